package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/native"
)

var update = flag.Bool("update", false, "write the goldens anew")

// zlibPrefix is an install prefix with everything that a library has; it is the tree of the golden digests.
func zlibPrefix() map[string]string {
	return map[string]string{
		"include/zlib.h":           "#include \"zconf.h\"\n",
		"include/zconf.h":          "#define MAX_WBITS 15\n",
		"lib/libz.a":               static("deflate"),
		"lib/libz.so":              "-> libz.so.1",
		"lib/libz.so.1":            "-> libz.so.1.3.1",
		"lib/libz.so.1.3.1":        "*" + shared("libz.so.1"),
		"lib/pkgconfig/zlib.pc":    "prefix=/usr/local\nexec_prefix=${prefix}\nlibdir=/usr/local/lib64\nincludedir = ${prefix}/include\n\nName: zlib\nDescription: compression\nVersion: 1.3.1\nLibs: -L${libdir} -lz\nCflags: -I${includedir}\n",
		"share/licenses/zlib/COPY": "(C) <author> & others\n",
	}
}

func packed(t testing.TB, prefix string, claims Claims, compression Compression, dest string) *Packed {
	t.Helper()
	w, err := CreateLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	p, err := Pack(os.DirFS(prefix), claims, compression, w)
	if err != nil {
		t.Fatal(err)
	}
	w.Add(p.Manifest, "example.com/acme/zlib:1.3.1")
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return p
}

func opened(t testing.TB, dest string) (*Layout, Manifest, Config) {
	t.Helper()
	l, err := OpenLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	desc, _, err := l.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	data, err := l.ReadBlob(desc.Digest, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	if written, err := marshal(m); err != nil || string(written) != string(data) {
		t.Errorf("the manifest is not as upstream writes it anew:\n%s\n%s", data, written)
	}
	if data, err = l.ReadBlob(m.Config.Digest, 1<<20); err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(data, "\n\r") || bytes.Contains(data, []byte(`\u00`)) {
		t.Errorf("the config is not compact, or escaped: %s", data)
	}
	return l, m, c
}

// checkGolden compares a digest with the one in testdata. They change with the format; then every library that is packed
// anew gets another digest, which is to be decided and not to happen.
func checkGolden(t *testing.T, name, digest string) {
	t.Helper()
	golden := filepath.Join("testdata", "digests.json")
	want := map[string]string{}
	if data, err := os.ReadFile(golden); err == nil {
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
	}
	if *update {
		want[name] = digest
		data, err := json.MarshalIndent(want, "", "  ")
		if err == nil {
			err = os.WriteFile(golden, append(data, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	} else if want[name] != digest {
		t.Errorf("%s: the digest is %s and was %s: the format has changed (see -update)", name, digest, want[name])
	}
}

// One tree is one digest, in whatever order its files were made, under any umask, time and time zone, of whatever owner,
// in any folder.
func TestPackIsReproducible(t *testing.T) {
	got := map[Compression]string{}
	for round, mask := range []int{0o022, 0o077, 0o002} {
		func() {
			defer umask(mask)()
			t.Setenv("TZ", []string{"UTC", "Asia/Tokyo", "America/St_Johns"}[round])
			zone := time.Local
			time.Local = time.FixedZone("elsewhere", round*3600+1800)
			defer func() { time.Local = zone }()
			prefix := filepath.Join(t.TempDir(), strings.Repeat("d", round+1))
			putShuffled(t, prefix, zlibPrefix())
			if os.Getuid() == 0 {
				err := filepath.WalkDir(prefix, func(p string, _ fs.DirEntry, err error) error {
					return errors.Join(err, os.Lchown(p, 1000*round, 100*round))
				})
				if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) {
					t.Log("the files are of one owner, this machine gives them no other:", err)
				} else if err != nil {
					t.Fatal(err)
				}
			}
			for _, compression := range []Compression{Zstd, Gzip} {
				digest := packed(t, prefix, Claims{License: "Zlib"}, compression, filepath.Join(t.TempDir(), "z.tar")).Manifest.Digest.String()
				if got[compression] == "" {
					got[compression] = digest
				} else if got[compression] != digest {
					t.Errorf("%s, round %d: %s, and %s before", compression, round, digest, got[compression])
				}
			}
		}()
	}
	for compression, digest := range got {
		checkGolden(t, string(compression), digest)
	}
}

// putShuffled makes a prefix in any order, its files of any age.
func putShuffled(t *testing.T, prefix string, files map[string]string) {
	t.Helper()
	var names []string
	for name := range files {
		names = append(names, name)
	}
	rand.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	for _, name := range names {
		put(t, prefix, name, files[name])
		if !strings.HasPrefix(files[name], "-> ") {
			at := time.Unix(rand.Int64N(1<<31), 0)
			if err := os.Chtimes(filepath.Join(prefix, name), at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What upstream reads, it finds in ours: 1.7 and 1.8 of its description.
func TestPackFollowsTheFormat(t *testing.T) {
	for _, compression := range []Compression{Zstd, Gzip} {
		t.Run(string(compression), func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "z.tar")
			p := packed(t, prefixOf(t, zlibPrefix()), Claims{License: "Zlib"}, compression, dest)
			l, m, c := opened(t, dest)
			if p.Package.Name != "zlib" || p.Package.Version != "1.3.1" || p.Manifest.Platform == nil || p.Manifest.Platform.Architecture != "amd64" {
				t.Errorf("packed %+v", p)
			}
			if !m.V1() || len(m.Layers) != 3 || len(c.Layers) != 3 {
				t.Fatalf("manifest %+v", m)
			}
			places := map[string]string{}
			for i, layer := range m.Layers {
				data, err := l.ReadBlob(layer.Digest, 1<<20)
				if err != nil || int64(len(data)) != layer.Size {
					t.Fatalf("%d bytes, %v", len(data), err)
				}
				var stream io.Reader
				if compression == Gzip {
					if layer.MediaType != TypeLayerGzip || !bytes.Equal(data[:10], []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}) {
						t.Errorf("layer %d (%s) begins with % x", i, layer.MediaType, data[:10])
					}
					r := bytes.NewReader(data)
					z, err := gzip.NewReader(r)
					if err != nil {
						t.Fatal(err)
					}
					z.Multistream(false)
					plain, err := io.ReadAll(z)
					if err != nil || r.Len() != 0 {
						t.Errorf("layer %d goes on behind its first member: %d bytes, %v", i, r.Len(), err)
					}
					stream = bytes.NewReader(plain)
				} else {
					if layer.MediaType != TypeLayerZstd {
						t.Errorf("layer %d is of type %s", i, layer.MediaType)
					}
					z, err := zstd.NewReader(bytes.NewReader(data))
					if err != nil {
						t.Fatal(err)
					}
					defer z.Close()
					stream = z
				}
				plain, err := io.ReadAll(stream)
				if err != nil {
					t.Fatal(err)
				}
				component := p.Package.Components[i]
				if component.Layer != layer.Digest.String() || component.Unpacked != int64(len(plain)) {
					t.Errorf("component %+v of a layer of %d bytes", component, len(plain))
				}
				var files []string
				r := tar.NewReader(bytes.NewReader(plain))
				last := ""
				for {
					h, err := r.Next()
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					if !h.ModTime.Equal(time.Unix(0, 0)) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || len(h.PAXRecords) > 0 {
						t.Errorf("%s tells more than it should: %+v", h.Name, h)
					}
					if h.Typeflag != tar.TypeDir {
						files = append(files, h.Name)
						if h.Name < last {
							t.Errorf("%s stands behind %s", h.Name, last)
						}
						last = h.Name
						places[h.Name] = component.Name
					}
				}
				if !slices.Equal(files, c.Layers[layer.Digest.String()]) {
					t.Errorf("layer %d holds %q and its config says %q", i, files, c.Layers[layer.Digest.String()])
				}
			}
			for place, component := range map[string]string{"include/zlib.h": "headers", "lib/libz.a": "static", "libz.a": "static", "lib/libz.so.1.3.1": "shared", "lib/libz.so.1": "shared", "lib/libz.so": "shared", "lib/pkgconfig/zlib.pc": "headers", "share/licenses/zlib/COPY": "headers"} {
				if places[place] != component {
					t.Errorf("%s is in %q, not in %s", place, places[place], component)
				}
			}
		})
	}
}

func TestPackAndUnpackGiveTheTreeBack(t *testing.T) {
	files := zlibPrefix()
	long := "include/" + strings.Repeat("folder-with-a-name/", 12) + strings.Repeat("h", 200) + ".h"
	files[long], files["include/größe.h"] = "long", "umlaut"
	files["include/alias.h"] = "-> " + strings.TrimPrefix(long, "include/")
	prefix := prefixOf(t, files)
	for _, name := range []string{"z.tar", "z"} {
		for _, compression := range []Compression{Zstd, Gzip} {
			t.Run(name+" "+string(compression), func(t *testing.T) {
				defer umask(0o022)()
				dest := filepath.Join(t.TempDir(), name)
				packed(t, prefix, Claims{}, compression, dest)
				l, m, _ := opened(t, dest)
				dir := unpackedFrom(t, l, m, false)
				want := map[string]string{"libz.a": "-> lib/libz.a"}
				for place, content := range files {
					want[place] = content
				}
				for _, line := range listing(t, dir) {
					place, rest, _ := strings.Cut(line, " ")
					content, ok := want[place]
					delete(want, place)
					switch {
					case !ok:
						t.Errorf("too much: %s", line)
					case strings.HasPrefix(content, "-> "):
						if rest != content {
							t.Errorf("%s, want %s", line, content)
						}
					default:
						// Whether a file can be executed is not packed.
						mode, content := "-r--r--r--", strings.TrimPrefix(content, "*")
						data, err := os.ReadFile(filepath.Join(dir, place))
						if err != nil || !strings.HasPrefix(rest, mode) || path.Ext(place) != ".pc" && string(data) != content {
							t.Errorf("%s: %v", line, err)
						}
					}
				}
				if len(want) > 0 {
					t.Errorf("missing: %q", want)
				}
				pc, err := os.ReadFile(filepath.Join(dir, "lib/pkgconfig/zlib.pc"))
				if err != nil {
					t.Fatal(err)
				}
				checkRelocatable(t, string(pc), "/some/where/lib/pkgconfig")
			})
		}
	}
}

// memory keeps blobs for tests that look at nothing but the outcome.
type memory map[v1.Hash][]byte

var memoryLock sync.Mutex

func (m memory) WriteBlob(write func(io.Writer) error) (v1.Hash, int64, error) {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return v1.Hash{}, 0, err
	}
	h := digestOf(b.String())
	memoryLock.Lock()
	defer memoryLock.Unlock()
	m[h] = b.Bytes()
	return h, int64(b.Len()), nil
}

func TestPackRefuses(t *testing.T) {
	for _, c := range []struct {
		what   string
		files  map[string]string
		claims Claims
		kind   diagnostic.Kind
		says   string
	}{
		{"empty folder", nil, Claims{Name: "z"}, diagnostic.Refused, "neither headers nor libraries"},
		{"nothing of use", map[string]string{"README": "", "src/z.c": ""}, Claims{Name: "z"}, diagnostic.Refused, "neither headers nor libraries"},
		{"no name", map[string]string{"include/z.h": ""}, Claims{}, diagnostic.Usage, "--name"},
		{"two names", map[string]string{"include/z.h": "", "lib/pkgconfig/a.pc": "Name: a\nDescription: a\nVersion: 1\n", "lib/pkgconfig/b.pc": "Name: b\nDescription: b\nVersion: 1\n"}, Claims{}, diagnostic.Usage, "--name"},
		{"missing library", map[string]string{"lib/libz.so.1": shared("libz.so.1", "libssl.so.3")}, Claims{Name: "z"}, diagnostic.Refused, "--allow-missing"},
		{"two names, one SONAME", map[string]string{"lib/libz.so.1": shared("libz.so.1"), "lib/libz_debug.so.1": shared("libz.so.1", "libm.so.6")}, Claims{Name: "z"}, diagnostic.Refused, "lib/libz.so.1 are two shared libraries that programs load as libz.so.1"},
		{"name that writes lines", map[string]string{"include/z.h": ""}, Claims{Name: "z\nload()"}, diagnostic.Usage, "control character"},
		{"define that writes lines", map[string]string{"include/z.h": ""}, Claims{Name: "z", Defines: []string{"A=\x1b[2J"}}, diagnostic.Usage, "control character"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := Pack(os.DirFS(prefixOf(t, c.files)), c.claims, Zstd, memory{})
			if diagnostic.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A layer that holds a link without its file cannot be unpacked by itself.
func TestPackTellsOfTexts(t *testing.T) {
	prefix := prefixOf(t, map[string]string{"include/z.h": "", "lib/libz.a": "GROUP ( libz1.a )\n"})
	packed, err := Pack(os.DirFS(prefix), Claims{Name: "z"}, Zstd, memory{})
	if err != nil || !slices.Equal(packed.Texts, []string{"lib/libz.a"}) {
		t.Errorf("%+v, %v", packed, err)
	}
}

func TestPackRefusesClaims(t *testing.T) {
	prefix := prefixOf(t, map[string]string{"include/z.h": ""})
	for _, c := range []struct {
		claims Claims
		says   string
	}{
		{Claims{Name: "LZ 4/"}, `name "LZ 4/"`},
		{Claims{Name: "z", Version: "1 2"}, `version "1 2"`},
		{Claims{Name: "z", License: "My licence"}, `licence "My licence"`},
	} {
		if _, err := Pack(os.DirFS(prefix), c.claims, Zstd, memory{}); diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.claims, err)
		}
	}
}

func TestPackKeepsLinksWithTheirFiles(t *testing.T) {
	for _, c := range []struct {
		what  string
		files map[string]string
		links map[string]string // component to the links in it
	}{
		{"SONAME without the look of one", map[string]string{"include/z.h": "", "lib/libz.so": shared("z-plugin.1")}, map[string]string{"shared": "lib/z-plugin.1"}},
		{"SONAME that was no link yet", map[string]string{"lib/libz.so.1.3": shared("libz.so.1")}, map[string]string{"shared": "lib/libz.so.1"}},
		{"shared name for an archive", map[string]string{"lib/libz.a": static("a"), "lib/libz.so": "-> libz.a"}, map[string]string{"static": "lib/libz.so libz.a"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "z.tar")
			p := packed(t, prefixOf(t, c.files), Claims{Name: "z"}, Zstd, dest)
			l, m, config := opened(t, dest)
			unpackedFrom(t, l, m, false)
			for _, component := range p.Package.Components {
				want, ok := c.links[component.Name]
				if !ok {
					continue
				}
				delete(c.links, component.Name)
				for _, link := range strings.Fields(want) {
					if !slices.Contains(config.Layers[component.Layer], link) {
						t.Errorf("%s holds %q, not %s", component.Name, config.Layers[component.Layer], link)
					}
				}
			}
			if len(c.links) > 0 {
				t.Errorf("no layers for %v", c.links)
			}
			if s := p.Package.Libraries[0].Shared; s != nil && path.Base(s.Path) != s.SONAME {
				t.Errorf("the run-time linker looks for %s and finds %s", s.SONAME, s.Path)
			}
		})
	}
}

// changing is a folder in which a file changes between the look at it and its reading.
type changing struct {
	fs.FS
	file    string
	content string
}

func (c changing) ReadLink(name string) (string, error)   { return fs.ReadLink(c.FS, name) }
func (c changing) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(c.FS, name) }
func (c changing) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	if err != nil || !strings.HasSuffix(c.file, name) {
		return f, err
	}
	return &changingFile{f, c}, nil
}

type changingFile struct {
	fs.File
	c changing
}

func (f *changingFile) Stat() (fs.FileInfo, error) {
	info, err := f.File.Stat()
	if err == nil {
		err = os.WriteFile(f.c.file, []byte(f.c.content), 0o644)
	}
	return info, err
}

func TestPackNoticesAFileThatChanges(t *testing.T) {
	prefix := prefixOf(t, map[string]string{"include/z.h": "1234567890"})
	for _, content := range []string{"1", strings.Repeat("x", 100)} {
		fsys := changing{os.DirFS(prefix), filepath.Join(prefix, "include/z.h"), content}
		if _, err := Pack(fsys, Claims{Name: "z"}, Zstd, memory{}); err == nil || !strings.Contains(err.Error(), "z.h") && !strings.Contains(err.Error(), "missed writing") {
			t.Errorf("%d bytes in place of 10: got %v", len(content), err)
		}
		put(t, prefix, "include/z.h", "1234567890")
	}
}

func checkRelocatable(t *testing.T, text, dir string) {
	t.Helper()
	pc, err := native.ParsePkgConfig(strings.NewReader(text), map[string]string{"pcfiledir": dir})
	if err != nil {
		t.Fatal(err)
	}
	root := path.Dir(path.Dir(dir))
	clean := func(flags []string, mark string) []string {
		var paths []string
		for _, f := range flags {
			if p, ok := strings.CutPrefix(f, mark); ok {
				paths = append(paths, path.Clean(p))
			}
		}
		return paths
	}
	if libs := clean(pc.Libs, "-L"); !slices.Equal(libs, []string{root + "/lib"}) {
		t.Errorf("libraries in %q of\n%s", libs, text)
	}
	if includes := clean(pc.Cflags, "-I"); !slices.Equal(includes, []string{root + "/include"}) {
		t.Errorf("headers in %q of\n%s", includes, text)
	}
}

func TestRelocatable(t *testing.T) {
	for what, text := range map[string]string{
		"of autoconf":          "prefix=/usr\nexec_prefix=${prefix}\nlibdir=${exec_prefix}/lib/x86_64-linux-gnu\nincludedir=${prefix}/include\n",
		"of CMake":             "prefix=/opt/z\nexec_prefix=${prefix}\nlibdir=/opt/z/lib64\nincludedir = \t/opt/z/include\n",
		"relocatable already":  "prefix=${pcfiledir}/../..\nlibdir=${prefix}/lib\nincludedir=${prefix}/include\n",
		"without a prefix":     "libdir=/usr/lib/x86_64-linux-gnu\nincludedir=/usr/include\n",
		"with Windows's lines": "prefix=/usr\r\nlibdir=${prefix}/lib\r\nincludedir=${prefix}/include\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			text += "Name: z\nDescription: d\nVersion: 1\nLibs: -L${libdir} -lz\nCflags: -I${includedir}\n"
			checkRelocatable(t, string(relocatable([]byte(text))), "/new/place/lib/pkgconfig")
		})
	}
	for before, after := range map[string]string{
		"includedir=${prefix}/include/z-1.0\nprefix=/opt/include\n": "includedir=${prefix}/include/z-1.0\nprefix=${pcfiledir}/../..\n",
		"includedir=/usr/include/x86_64-linux-gnu/z\n":              "prefix=${pcfiledir}/../..\nincludedir=${prefix}/include/z\n",
		"Cflags: -I/usr/include/z -I/opt/other\n":                   "prefix=${pcfiledir}/../..\nCflags: -I${prefix}/include/z -I/opt/other\n",
		"prefix=/opt/z\nLibs: -L/opt/z/lib64 -lz\n":                 "prefix=${pcfiledir}/../..\nLibs: -L${prefix}/lib -lz\n",
		"Libs.private: -L/usr/lib/x86_64-linux-gnu -lm\n":           "prefix=${pcfiledir}/../..\nLibs.private: -L${prefix}/lib -lm\n",
		"prefix=\"/usr\"\nexec_prefix=\"${prefix}\"\nincludedir=\"${prefix}/include\"\nlibdir='${prefix}/lib/x86_64-linux-gnu/p'\nLibs: -L/usr/lib -lp\n": "prefix=${pcfiledir}/../..\nexec_prefix=${prefix}\nincludedir=${prefix}/include\nlibdir=${prefix}/lib/p\nLibs: -L${prefix}/lib -lp\n",
		"prefix=/usr\nCflags: -I/usr/includes\n": "prefix=${pcfiledir}/../..\nCflags: -I/usr/includes\n",
	} {
		if got := string(relocatable([]byte(before))); got != after {
			t.Errorf("%q became %q, want %q", before, got, after)
		}
	}
	const other = "# prefix=/usr\nmyprefix=/x\nprefixed=/y\nName: prefix=/usr\n"
	if got := string(relocatable([]byte(other))); got != other {
		t.Errorf("became %q", got)
	}
}
