package artifact

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// armPrefix is zlibPrefix for 64-bit Arm.
func armPrefix() map[string]string {
	files := zlibPrefix()
	files["lib/libz.a"] = string(artifacttest.Archive(artifacttest.Object{Machine: elf.EM_AARCH64, Defines: []string{"deflate"}}))
	files["lib/libz.so.1.3.1"] = "*" + string(artifacttest.Shared{Machine: elf.EM_AARCH64, SONAME: "libz.so.1", Needed: []string{"libc.so.6"}}.Bytes())
	return files
}

// artifactsOf packs files into a layout and reads it.
func artifactsOf(t *testing.T, files map[string]string, claims Claims, compression Compression) []Artifact {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "z.tar")
	packed(t, prefixOf(t, files), claims, compression, dest)
	l, _, _ := opened(t, dest)
	all, err := l.Artifacts()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// counting keeps blobs and counts how often each was written.
type counting struct {
	*LayoutWriter
	written chan v1.Hash
}

func (c counting) WriteBlob(write func(io.Writer) error) (v1.Hash, int64, error) {
	h, n, err := c.LayoutWriter.WriteBlob(write)
	c.written <- h
	return h, n, err
}

// Compressed anew and packed anew give one digest: the gzip manifest beside a tag is not one more thing to trust.
func TestTranscodeIsPackWithGzip(t *testing.T) {
	files := zlibPrefix()
	// Enough for several blocks and windows of both compressors, and neither all noise nor all alike.
	var big strings.Builder
	random := rand.New(rand.NewPCG(1, 2))
	for big.Len() < 3<<20 {
		fmt.Fprintf(&big, "#define MACRO_%x %d\n", random.Uint64(), random.IntN(100))
		if random.IntN(50) == 0 {
			big.WriteString(strings.Repeat("// a comment that repeats itself\n", random.IntN(2000)))
		}
	}
	files["include/big.h"] = big.String()
	files["include/empty.h"] = ""
	claims := Claims{License: "Zlib", Defines: []string{"A=<b>&c"}}
	want := artifactsOf(t, files, claims, Gzip)[0]
	a := artifactsOf(t, files, claims, Zstd)[0]
	if a.Gzipped() || !want.Gzipped() {
		t.Error("which is gzip?")
	}
	// What the config says of a layer's files is not to be believed, not even in one of ours.
	for layer := range a.Config.Layers {
		a.Config.Layers[layer] = []string{"../../etc/passwd"}
	}
	blobs := memory{}
	one := Transcoder{Blobs: locked(blobs)}
	got, err := one.Transcode(a)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != want.Descriptor.Digest || got.Size != int64(len(want.Bytes)) || !bytes.Equal(blobs[got.Digest], want.Bytes) {
		t.Errorf("transcoded\n%s\npacked\n%s", blobs[got.Digest], want.Bytes)
	}
	for _, layer := range want.Manifest.Layers {
		if int64(len(blobs[layer.Digest])) != layer.Size {
			t.Errorf("layer %s was not written", layer.Digest)
		}
	}
	if a.Config.Package.Components[0].Layer != a.Manifest.Layers[0].Digest.String() {
		t.Error("the artifact itself was changed")
	}
}

// locked takes several blobs at a time.
func locked(m memory) BlobWriter { return &lockedMemory{m: m, turn: make(chan bool, 1)} }

type lockedMemory struct {
	m    memory
	turn chan bool
}

func (l *lockedMemory) WriteBlob(write func(io.Writer) error) (v1.Hash, int64, error) {
	l.turn <- true
	defer func() { <-l.turn }()
	return l.m.WriteBlob(write)
}

// Headers that are the same on two platforms are one blob, compressed either way, and are compressed anew once.
func TestPlatformsShareTheirHeaders(t *testing.T) {
	for _, compression := range []Compression{Zstd, Gzip} {
		intel := artifactsOf(t, zlibPrefix(), Claims{}, compression)[0]
		arm := artifactsOf(t, armPrefix(), Claims{}, compression)[0]
		for i, component := range []string{ComponentHeaders, ComponentStatic, ComponentShared} {
			if same := intel.Manifest.Layers[i].Digest == arm.Manifest.Layers[i].Digest; same != (component == ComponentHeaders) {
				t.Errorf("%s: the layer of %s is the same: %v", compression, component, same)
			}
		}
		w, err := CreateLayout(filepath.Join(t.TempDir(), "gzip"))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		blobs := counting{w, make(chan v1.Hash, 100)}
		transcoder := Transcoder{Blobs: blobs}
		for _, a := range []Artifact{intel, arm} {
			if _, err := transcoder.Transcode(a); err != nil {
				t.Fatal(err)
			}
		}
		close(blobs.written)
		seen := map[v1.Hash]bool{}
		for h := range blobs.written {
			if seen[h] {
				t.Errorf("%s: %s was written twice", compression, h)
			}
			seen[h] = true
		}
		if len(seen) != 5+2*2 { // layers, and configs with manifests
			t.Errorf("%s: %d blobs", compression, len(seen))
		}
	}
}

func TestJoin(t *testing.T) {
	intel := artifactsOf(t, zlibPrefix(), Claims{License: "Zlib"}, Zstd)[0]
	arm := artifactsOf(t, armPrefix(), Claims{License: "Zlib"}, Zstd)[0]
	musl := artifactsOf(t, map[string]string{"include/zlib.h": "", "lib/libz.a": static("deflate"), "lib/pkgconfig/zlib.pc": zlibPrefix()["lib/pkgconfig/zlib.pc"]}, Claims{Target: "x86_64-unknown-linux-musl"}, Zstd)[0]
	var first []byte
	for _, order := range [][]Artifact{{intel, arm, musl}, {musl, arm, intel}, {arm, intel, musl}} {
		index, err := Join(order)
		if err != nil {
			t.Fatal(err)
		}
		data, err := index.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = data
		} else if !bytes.Equal(first, data) {
			t.Errorf("another order is another index:\n%s\n%s", first, data)
		}
	}
	index, err := ParseIndex(first)
	if err != nil {
		t.Fatal(err)
	}
	for target, a := range map[string]Artifact{"x86_64-unknown-linux-gnu": intel, "aarch64-unknown-linux-gnu": arm, "x86_64-unknown-linux-musl": musl} {
		want, err := ParseTriple(target)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := index.Select(want); err != nil || d.Digest != a.Descriptor.Digest || d.Size != int64(len(a.Bytes)) || d.MediaType != TypeManifest || d.Platform == nil || d.Platform.String() != want.Platform().String() {
			t.Errorf("%s: %+v, %v", target, d, err)
		}
	}
	checkGolden(t, "index", digestOf(string(first)).String())
}

// A layout of several platforms is about the index that Join makes, and has everything that it names, once.
func TestCombine(t *testing.T) {
	intel := artifactsOf(t, zlibPrefix(), Claims{}, Zstd)[0]
	arm := artifactsOf(t, armPrefix(), Claims{}, Zstd)[0]
	index, err := Join([]Artifact{intel, arm})
	if err != nil {
		t.Fatal(err)
	}
	want, err := index.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(t.TempDir(), "z.tar")
	w, err := CreateLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	blobs := map[v1.Hash]bool{}
	if _, err := Combine([]Artifact{arm, intel}, w); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	desc, name, err := l.Manifest()
	if err != nil || desc.Digest != digestOf(string(want)) || !IsIndex(desc.MediaType) || name != "" {
		t.Errorf("it is about %+v, %q, %v", desc, name, err)
	}
	all, err := l.Artifacts()
	if err != nil || len(all) != 2 {
		t.Fatalf("%d artifacts, %v", len(all), err)
	}
	for _, a := range all {
		for _, d := range append(a.Manifest.Layers, a.Manifest.Config) {
			blobs[d.Digest] = true
			r, err := l.OpenBlob(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != d.Size {
				t.Errorf("%s: %d bytes, %v", d.Digest, n, err)
			}
			r.Close()
		}
	}
	if len(blobs) != 2*3-1+2 {
		t.Errorf("%d blobs beside the manifests", len(blobs))
	}
	if _, err := Combine([]Artifact{intel, intel}, w); diagnostic.KindOf(err) != diagnostic.Refused {
		t.Errorf("one platform twice: %v", err)
	}
}

func TestJoinRefuses(t *testing.T) {
	intel := artifactsOf(t, zlibPrefix(), Claims{Dependencies: map[string]string{"y": "x.io/y"}, Dependency: having()}, Zstd)[0]
	upstream, err := OpenLayout(filepath.Join("testdata", "upstream", "v1-pack-0.4.0.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	theirs, err := upstream.Artifacts()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what  string
		other Artifact
		says  string
	}{
		{"the same twice", intel, "both for x86_64-unknown-linux-gnu"},
		{"one triple twice", artifactsOf(t, zlibPrefix(), Claims{Defines: []string{"X"}}, Zstd)[0], "both for x86_64-unknown-linux-gnu"},
		{"one triple in two spellings", artifactsOf(t, zlibPrefix(), Claims{Target: "x86_64-pc-linux-gnu"}, Zstd)[0], "both for x86_64-pc-linux-gnu"},
		{"another version", artifactsOf(t, armPrefix(), Claims{Version: "1.3.2"}, Zstd)[0], "it is zlib 1.3.2"},
		{"another name", artifactsOf(t, armPrefix(), Claims{Name: "zlib-ng"}, Zstd)[0], "it is zlib-ng 1.3.1"},
		{"another dependency", artifactsOf(t, armPrefix(), Claims{Dependencies: map[string]string{"y": "x.io/other/y"}, Dependency: func(string, Triple) (*Package, error) { return &Package{Name: "y"}, nil }}, Zstd)[0], "it needs y as x.io/other/y, and another one as x.io/y"},
		{"headers alone", artifactsOf(t, map[string]string{"zlib.h": ""}, Claims{Name: "zlib", Version: "1.3.1"}, Zstd)[0], "headers alone"},
		{"of the ocipkg project", theirs[0], "does not say which platform"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := Join([]Artifact{intel, c.other})
			if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.other.Layout.path) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("of the ocipkg project, first", func(t *testing.T) {
		if _, err := Join([]Artifact{theirs[0], intel}); diagnostic.KindOf(err) != diagnostic.Refused {
			t.Errorf("got %v", err)
		}
	})
	t.Run("transcoding it", func(t *testing.T) {
		if _, err := (&Transcoder{Blobs: memory{}}).Transcode(theirs[0]); diagnostic.KindOf(err) != diagnostic.Unsupported {
			t.Errorf("got %v", err)
		}
	})
}

// A layout may come from anywhere: what does not fit together is noticed before anything is sent.
func TestTranscodeRefuses(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(a *Artifact)
		kind   diagnostic.Kind
		says   string
	}{
		{"layer that the config does not know", func(a *Artifact) { a.Config.Package.Components = nil }, diagnostic.Corrupt, "does not know"},
		{"more bytes than declared", func(a *Artifact) { a.Config.Package.Components[0].Unpacked -= 512 }, diagnostic.Refused, "declares"},
		{"fewer bytes than declared", func(a *Artifact) { a.Config.Package.Components[0].Unpacked += 512 }, diagnostic.Refused, "declares"},
		{"not zstd", func(a *Artifact) {
			a.Manifest.Layers[0].Digest, a.Manifest.Layers[0].Size = a.Manifest.Config.Digest, a.Manifest.Config.Size
			a.Config.Package.Components[0].Layer = a.Manifest.Config.Digest.String()
		}, diagnostic.Refused, "magic"},
		{"zstd layer with bytes added", func(a *Artifact) {
			alter(a, append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...))
		}, diagnostic.Corrupt, "its bytes have the digest"},
		{"gzip layer with bytes added", func(a *Artifact) {
			*a = artifactsOf(t, zlibPrefix(), Claims{}, Gzip)[0]
			alter(a, []byte("abc"))
		}, diagnostic.Corrupt, "its bytes have the digest"},
		{"layer said to be longer", func(a *Artifact) { a.Manifest.Layers[0].Size++ }, diagnostic.Corrupt, "its manifest says"},
		{"layer that is not there", func(a *Artifact) {
			a.Manifest.Layers[0].Digest = digestOf("x")
			a.Config.Package.Components[0].Layer = digestOf("x").String()
		}, diagnostic.NotFound, "does not hold it"},
	} {
		t.Run(c.what, func(t *testing.T) {
			a := artifactsOf(t, zlibPrefix(), Claims{}, Zstd)[0]
			c.change(&a)
			_, err := (&Transcoder{Blobs: locked(memory{})}).Transcode(a)
			if diagnostic.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (kind %d)", err, diagnostic.KindOf(err))
			}
		})
	}
}

// A disk that is full is not to be told as a damaged artifact.
func TestTranscodeTellsWhoFailed(t *testing.T) {
	a := artifactsOf(t, zlibPrefix(), Claims{}, Zstd)[0]
	for after := range 3 {
		full := &fullDisk{left: after * 100}
		_, err := (&Transcoder{Blobs: full}).Transcode(a)
		if !errors.Is(err, syscall.ENOSPC) || diagnostic.KindOf(err) != diagnostic.Failure {
			t.Errorf("with room for %d bytes: got %v", after*100, err)
		}
	}
}

type fullDisk struct{ left int }

func (f *fullDisk) WriteBlob(write func(io.Writer) error) (v1.Hash, int64, error) {
	left := f.left
	return v1.Hash{}, 0, write(writerFunc(func(p []byte) (int, error) {
		if left -= len(p); left < 0 {
			return 0, syscall.ENOSPC
		}
		return len(p), nil
	}))
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// alter adds bytes to every blob of an artifact's layout.
func alter(a *Artifact, more []byte) {
	open := a.Layout.open
	a.Layout.open = func(name string) (io.ReadCloser, int64, error) {
		r, n, err := open(name)
		if err != nil {
			return nil, 0, err
		}
		return io.NopCloser(io.MultiReader(r, bytes.NewReader(more))), n, nil
	}
}

// A layout may hold an index, as a copy of one from a registry does, but no index of indexes.
func TestLayoutWithAnIndex(t *testing.T) {
	for depth := 1; depth <= 2; depth++ {
		dest := filepath.Join(t.TempDir(), "both.tar")
		w, err := CreateLayout(dest)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		var all []Artifact
		for _, files := range []map[string]string{zlibPrefix(), armPrefix()} {
			p, err := Pack(os.DirFS(prefixOf(t, files)), Claims{}, Zstd, w)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, Artifact{Layout: &Layout{}, Descriptor: p.Manifest, Bytes: make([]byte, p.Manifest.Size), Config: Config{Package: p.Package}})
		}
		index, err := Join(all)
		if err != nil {
			t.Fatal(err)
		}
		var desc Descriptor
		for range depth {
			data, err := index.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			desc.MediaType = TypeIndex
			if desc.Digest, desc.Size, err = w.WriteBlob(func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
				t.Fatal(err)
			}
			index = Index{SchemaVersion: 2, MediaType: TypeIndex, Manifests: []Descriptor{desc}}
		}
		w.Add(desc, "example.com/z:1")
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLayout(dest)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		got, err := l.Artifacts()
		if depth == 2 {
			if diagnostic.KindOf(err) != diagnostic.Unsupported || !strings.Contains(err.Error(), "another index") {
				t.Errorf("an index in an index: got %v", err)
			}
			continue
		}
		if err != nil || len(got) != 2 {
			t.Fatalf("%d artifacts, %v", len(got), err)
		}
		for i, target := range []string{"aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"} {
			if triple, ok := got[i].Target(); !ok || triple.String() != target || got[i].Descriptor.Annotations[AnnotationTarget] != target {
				t.Errorf("artifact %d is for %v", i, triple)
			}
		}
	}
}
