package artifact

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// unpackedFrom unpacks every layer of a layout's manifest over each other, as others' artifacts are.
func unpackedFrom(t *testing.T, l *Layout, m Manifest, foreign bool) string {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, layer := range m.Layers {
		blob, err := l.OpenBlob(layer.Digest)
		if err != nil {
			t.Fatal(err)
		}
		defer blob.Close()
		if !foreign {
			// Of ours each layer is whole by itself.
			part := t.TempDir()
			own, err := os.OpenRoot(part)
			if err != nil {
				t.Fatal(err)
			}
			defer own.Close()
			if err := unpackBelow(own, blob, layer.MediaType, false, Limits{}); err != nil {
				t.Fatal(err)
			}
			if err := overlayTree(dir, part); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := unpackBelow(root, blob, layer.MediaType, true, Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// overlayTree moves what is in one folder into another.
func overlayTree(to, from string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return os.Rename(p, filepath.Join(to, rel))
	})
}

// listing describes a folder: a line for each file with mode, size and digest, or with a link's target.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		rel = filepath.ToSlash(rel)
		if d.Type() == fs.ModeSymlink {
			target, err := os.Readlink(p)
			lines = append(lines, rel+" -> "+target)
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%s %v %d %x", rel, info.Mode(), len(data), sha256.Sum256(data)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// The archives in testdata/upstream were written by the ocipkg project's own programs, versions 0.2.9 (V0) and 0.4.0.
func TestUpstreamArchives(t *testing.T) {
	longName := "lib" + strings.Repeat("a", 120) + ".a"
	cases := []struct {
		file, name string
		v1         bool
		files      []string // path, or path and the beginning of the rest of its line in a listing
		libraries  string
		includes   []string
		configured []string // what the V1 config says of its layer, right or not
	}{
		{"v0-compose-0.2.9.tar", "localhost:5077/test/compose0:v1", false, []string{"libf.a -r--r--r-- 1234", "libf.so -r-xr-xr-x 15008"}, "f: libf.a libf.so", nil, nil},
		{"v0-pack-0.2.9.tar", "localhost:5077/test/pack0:v1", false,
			[]string{"include/foo/f.h -r--r--r-- 13", "lib/libf.a -r--r--r-- 1234", "lib/libf.so -r-xr-xr-x 15008", "lib/libf.so.1 -r-xr-xr-x 15008", "libf.a -r--r--r-- 1234"}, "f: lib/libf.a lib/libf.so", []string{"include"}, nil},
		{"v1-compose-0.4.0.tar", "localhost:5077/test/compose:v1", true, []string{"libf.a -r--r--r-- 1234", "libf.so -r-xr-xr-x 15008"}, "f: libf.a libf.so", nil, []string{"libf.a", "libf.so"}},
		{"v1-pack-0.4.0.tar", "localhost:5077/test/pack:v1", true,
			[]string{"include/foo/f.h -r--r--r-- 13", "lib/libf.a -r--r--r-- 1234", "lib/libf.so -r-xr-xr-x 15008", "lib/libf.so.1 -r-xr-xr-x 15008", "libf.a -r--r--r-- 1234"}, "f: lib/libf.a lib/libf.so", []string{"include"},
			[]string{"in/dir/lib", "in/dir/libf.a", "in/dir/include"}},
		{"v1-sparse-longname-0.4.0.tar", "x/y:z", true, []string{longName + " -r--r--r-- 1234", "sparse.bin -r--r--r-- 2097152"}, longName[3:len(longName)-2] + ": " + longName, nil, []string{"sparse.bin", longName}},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			l, err := OpenLayout(filepath.Join("testdata", "upstream", c.file))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			desc, name, err := l.Manifest()
			if err != nil || name != c.name {
				t.Fatalf("name %q, %v; want %q", name, err, c.name)
			}
			data, err := l.ReadBlob(desc.Digest, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			m, err := ParseManifest(data)
			if err != nil || m.V1() != c.v1 {
				t.Fatalf("V1 %v, %v", m.V1(), err)
			}
			configData, err := l.ReadBlob(m.Config.Digest, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if c.v1 {
				config, err := ParseConfig(configData)
				if err != nil {
					t.Fatal(err)
				}
				if config.Package != nil || !slices.Equal(config.Layers[m.Layers[0].Digest.String()], c.configured) {
					t.Errorf("config %+v", config)
				}
			} else if err := RefuseContainer(configData); err != nil {
				t.Error(err)
			}
			dir := unpackedFrom(t, l, m, true)
			got := listing(t, dir)
			if len(got) != len(c.files) {
				t.Fatalf("files %q, want %q", got, c.files)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], c.files[i]) {
					t.Errorf("file %d is %q, want %q", i, got[i], c.files[i])
				}
			}
			if i := slices.IndexFunc(got, func(s string) bool { return strings.HasPrefix(s, "sparse.bin") }); i >= 0 {
				sparse, err := os.ReadFile(filepath.Join(dir, "sparse.bin"))
				if err != nil {
					t.Fatal(err)
				}
				if n := len(bytes.Trim(sparse, "\x00")); n == 0 || n > 4096 {
					t.Errorf("of the sparse file %d bytes are no holes", n)
				}
			}
			tree := Tree{}
			for _, line := range got {
				p, _, _ := strings.Cut(line, " ")
				tree[p] = Entry{Source: p}
			}
			p, err := Describe(os.DirFS(dir), tree, Claims{})
			if err != nil {
				t.Fatal(err)
			}
			if got := librariesOf(p); got != c.libraries {
				t.Errorf("libraries %q, want %q", got, c.libraries)
			}
			if !slices.Equal(p.Includes, c.includes) || p.Target != "x86_64-unknown-linux-gnu" {
				t.Errorf("includes %q, target %q", p.Includes, p.Target)
			}
		})
	}
}

// librariesOf writes what was found in a line: "z: lib/libz.a lib/libz.so.1, …".
func librariesOf(p *Package) string {
	var all []string
	for _, l := range p.Libraries {
		s := l.Name + ":"
		if l.Static != nil {
			s += " " + l.Static.Path
		}
		if l.Shared != nil {
			s += " " + l.Shared.Path
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// handmade writes a layout as an archive of the given members, in their order, and returns its path.
func handmade(t *testing.T, members ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: members[i], Mode: 0o644, Size: int64(len(members[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, members[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), "layout.tar")
	if err := os.WriteFile(p, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func digestOf(s string) v1.Hash {
	sum := sha256.Sum256([]byte(s))
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// Packers of the ocipkg project before 0.3 wrote wrong diff_ids for any layer of more than a few kilobytes: what a write took
// only a part of was hashed twice. The config is one that 0.2.9 wrote, of a file of 3 MB; the layer here is as incompressible
// and large enough, and its real digest is as little what the config says.
func TestWrongDiffIDsAreNotVerified(t *testing.T) {
	const config = `{"created":"2026-11-23T20:45:45.680944230+00:00","architecture":"amd64","os":"linux","config":{"Labels":{}},"rootfs":{"type":"layers","diff_ids":["sha256:f16f51cae064831d94c71a0c02a5474e5b6a836c3078a41cfc99ed82316367a8"]},"history":[]}`
	content := make([]byte, 200_000)
	rand.NewChaCha8([32]byte{}).Read(content)
	var plain bytes.Buffer
	archive := tar.NewWriter(&plain)
	err := archive.WriteHeader(&tar.Header{Name: "big.bin", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatGNU})
	if err == nil {
		_, err = archive.Write(content)
	}
	if err := errors.Join(err, archive.Close()); err != nil {
		t.Fatal(err)
	}
	layer := string(gzipped(t, plain.Bytes()))
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		TypeV0Config, digestOf(config), len(config), TypeV0Gzip, digestOf(layer), len(layer))
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"annotations":{}}]}`, TypeManifest, digestOf(manifest), len(manifest))
	l, err := OpenLayout(handmade(t, "blobs/sha256/"+digestOf(layer).Hex, layer, "blobs/sha256/"+digestOf(config).Hex, config,
		"blobs/sha256/"+digestOf(manifest).Hex, manifest, "index.json", index))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	desc, name, err := l.Manifest()
	if err != nil || name != "" {
		t.Fatalf("name %q, %v", name, err)
	}
	data, err := l.ReadBlob(desc.Digest, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("big.bin -r--r--r-- %d %x", len(content), sha256.Sum256(content))
	if got := listing(t, unpackedFrom(t, l, m, true)); len(got) != 1 || got[0] != want {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestOpenLayoutRefuses(t *testing.T) {
	one := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":2}`, TypeManifest, digestOf("{}"))
	gz := filepath.Join(t.TempDir(), "layout.tar.gz")
	if err := os.WriteFile(gz, gzipped(t, []byte("x")), 0o644); err != nil {
		t.Fatal(err)
	}
	whole := handmade(t, "index.json", `{"schemaVersion":2,"manifests":[`+one+`]}`, "blobs/sha256/"+digestOf("{}").Hex, strings.Repeat("x", 4096))
	cut := filepath.Join(t.TempDir(), "cut.tar")
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, data[:len(data)-4096], 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, path string
		kind       diagnostic.Kind
		says       string
	}{
		{"missing", filepath.Join(t.TempDir(), "none.tar"), diagnostic.NotFound, "none.tar"},
		{"gzip", gz, diagnostic.Unsupported, "uncompressed first"},
		{"cut short", cut, diagnostic.Unsupported, "unexpected EOF"},
		{"empty folder", t.TempDir(), diagnostic.Unsupported, "no index.json"},
		{"no index", handmade(t, "oci-layout", "{}"), diagnostic.Unsupported, "no index.json"},
		{"index is HTML", handmade(t, "index.json", "<html>"), diagnostic.Unsupported, "invalid character"},
		{"no manifest", handmade(t, "index.json", `{"schemaVersion":2,"manifests":[]}`), diagnostic.Unsupported, "names no manifest"},
		{"bad digest", handmade(t, "index.json", `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}`), diagnostic.Unsupported, "non-hex"},
	} {
		t.Run(c.what, func(t *testing.T) {
			l, err := OpenLayout(c.path)
			if err == nil {
				l.Close()
			}
			if diagnostic.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (kind %d)", err, diagnostic.KindOf(err))
			}
		})
	}

	t.Run("two manifests", func(t *testing.T) {
		l, err := OpenLayout(handmade(t, "./index.json", `{"schemaVersion":2,"manifests":[`+one+`,`+one+`]}`))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, _, err := l.Manifest(); diagnostic.KindOf(err) != diagnostic.Unsupported {
			t.Errorf("got %v", err)
		}
	})
	t.Run("altered blob", func(t *testing.T) {
		l, err := OpenLayout(whole)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, err := l.ReadBlob(digestOf("{}"), 1<<20); diagnostic.KindOf(err) != diagnostic.Corrupt {
			t.Errorf("got %v", err)
		}
		if _, err := l.ReadBlob(digestOf("other"), 1<<20); diagnostic.KindOf(err) != diagnostic.NotFound {
			t.Errorf("missing blob: got %v", err)
		}
		if _, err := l.ReadBlob(digestOf("{}"), 4095); diagnostic.KindOf(err) != diagnostic.Refused {
			t.Errorf("large blob: got %v", err)
		}
	})
}

func TestCreateLayoutSparesOthersFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, data string) string {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("sources/main.c", "int main;")
	write("mixed/oci-layout", "{}")
	write("mixed/thesis.txt", "years of work")
	write("folder.tar/x", "")
	for _, p := range []string{filepath.Join(dir, "sources"), filepath.Join(dir, "mixed"), filepath.Join(dir, "folder.tar"), write("result", "of a day"), write("zlib-1.3.1.tar", "sources")} {
		before := listing(t, dir)
		w, err := CreateLayout(p)
		if err == nil {
			w.Close()
		}
		if diagnostic.KindOf(err) != diagnostic.Usage {
			t.Errorf("%s: got %v", filepath.Base(p), err)
		}
		if after := listing(t, dir); !slices.Equal(before, after) {
			t.Errorf("%s: files became %q", filepath.Base(p), after)
		}
	}
}

func TestLayoutAppearsAtCommitAndWhole(t *testing.T) {
	for _, name := range []string{"layout.tar", "layout"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := CreateLayout(filepath.Join(dir, "new", name)); diagnostic.KindOf(err) != diagnostic.NotFound {
				t.Errorf("in a folder that is not there: %v", err)
			}
			dest := filepath.Join(dir, name)
			for round := range 2 { // the second replaces the first
				blob := fmt.Sprintf("blob %d", round)
				w, err := CreateLayout(dest)
				if err != nil {
					t.Fatal(err)
				}
				h, n, err := w.WriteBlob(func(w io.Writer) error { _, err := io.WriteString(w, blob); return err })
				if err != nil || h != digestOf(blob) || n != int64(len(blob)) {
					t.Fatalf("%v %d %v", h, n, err)
				}
				if _, _, err := w.WriteBlob(func(w io.Writer) error { return io.ErrNoProgress }); err != io.ErrNoProgress {
					t.Fatalf("a failed blob: %v", err)
				}
				w.Add(Descriptor{MediaType: TypeManifest, Digest: h, Size: n}, "example.com/z:1")
				if _, err := os.Stat(dest); round == 0 && err == nil {
					t.Error("it is there before Commit")
				}
				if err := w.Commit(); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if entries, _ := os.ReadDir(filepath.Dir(dest)); len(entries) != 1 {
					t.Errorf("left beside it: %v", entries)
				}
				l, err := OpenLayout(dest)
				if err != nil {
					t.Fatal(err)
				}
				desc, ref, err := l.Manifest()
				if err != nil || ref != "example.com/z:1" {
					t.Fatalf("%q, %v", ref, err)
				}
				if data, err := l.ReadBlob(desc.Digest, 100); err != nil || string(data) != blob {
					t.Errorf("%q, %v", data, err)
				}
				l.Close()
			}
			w, err := CreateLayout(dest)
			if err != nil {
				t.Fatal(err)
			}
			w.Close()
			if entries, _ := os.ReadDir(filepath.Dir(dest)); len(entries) != 1 {
				t.Errorf("left without Commit: %v", entries)
			}
			if l, err := OpenLayout(dest); err == nil {
				l.Close()
			} else {
				t.Errorf("a layout that was not committed spoilt the one before: %v", err)
			}
		})
	}
}
