package library

import (
	"bytes"
	"context"
	"debug/elf"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// prefix makes an install prefix of a library for a machine.
func prefix(t *testing.T, machine elf.Machine) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"include/zlib.h":   []byte("#define ZLIB_VERSION \"1.3.1\"\n"),
		"lib/libz.a":       artifacttest.Archive(artifacttest.Object{Machine: machine, Defines: []string{"deflate"}}),
		"lib/libz.so.1":    artifacttest.Shared{Machine: machine, SONAME: "libz.so.1", Needed: []string{"libc.so.6"}}.Bytes(),
		"share/licenses/z": []byte("do what you like\n"),
	} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// packedLayout packs a prefix and opens the result.
func packedLayout(t *testing.T, prefix string, claims artifact.Claims, compression artifact.Compression, tag string) *artifact.Layout {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "z.tar")
	w, err := artifact.CreateLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	p, err := artifact.Pack(os.DirFS(prefix), claims, compression, w)
	if err != nil {
		t.Fatal(err)
	}
	w.Add(p.Manifest, tag)
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return openedLayout(t, dest)
}

func openedLayout(t *testing.T, p string) *artifact.Layout {
	t.Helper()
	l, err := artifact.OpenLayout(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

func client() *registry.Client { return registry.NewClient(registry.Options{Keychain: anonymous{}}) }

func depot(t *testing.T) *Depot {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return &Depot{Registry: client(), Store: s}
}

func reference(t *testing.T, s string) registry.Reference {
	t.Helper()
	ref, err := registry.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func triple(t *testing.T, s string) artifact.Triple {
	t.Helper()
	want, err := artifact.ParseTriple(s)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

const (
	intel = "x86_64-unknown-linux-gnu"
	arm   = "aarch64-unknown-linux-gnu"
)

var zlib = artifact.Claims{Name: "zlib", Version: "1.3.1", License: "Zlib"}

// Two platforms under one name: whoever pulls gets his own, and each blob went up once.
func TestPushSeveralPlatforms(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	ref := reference(t, server.Host+"/acme/zlib:1.3.1")
	layouts := []*artifact.Layout{
		packedLayout(t, prefix(t, elf.EM_X86_64), zlib, artifact.Zstd, ""),
		packedLayout(t, prefix(t, elf.EM_AARCH64), zlib, artifact.Zstd, ""),
	}
	var last, total int64
	pushed, err := Push(t.Context(), client(), layouts, ref, PushOptions{Progress: func(done, all int64) {
		if done < last || done > all || total != 0 && all != total {
			t.Errorf("progress went from %d of %d to %d of %d", last, total, done, all)
		}
		last, total = done, all
	}})
	if err != nil {
		t.Fatal(err)
	}
	if last != total || total == 0 {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	if !slices.Equal(pushed.Targets, []string{intel, arm}) || pushed.Reference.Tag != "1.3.1" || !pushed.Reference.Pinned() || len(pushed.UpstreamTags) != 2 {
		t.Errorf("pushed %+v", pushed)
	}

	// In the other order it is the same, and nothing but manifests is sent.
	slices.Reverse(layouts)
	again, err := Push(t.Context(), client(), layouts, ref, PushOptions{})
	if err != nil || again.Reference != pushed.Reference {
		t.Errorf("the other way round: %v, %v; %v before", again, err, pushed.Reference)
	}

	var headers []v1.Hash
	for target, machine := range map[string]string{intel: "x86_64", arm: "aarch64"} {
		for _, from := range []registry.Reference{ref, pushed.Reference} {
			l, err := depot(t).Pull(t.Context(), from, triple(t, target))
			if err != nil {
				t.Fatal(err)
			}
			if l.Package.Target != target || l.Reference.Digest != pushed.Reference.Digest || l.Digest == l.Reference.Digest || len(l.Trees) != 3 {
				t.Errorf("pulled %+v", l)
			}
			data, err := os.ReadFile(filepath.Join(l.Trees[2].Path(), "lib", "libz.so.1"))
			if err != nil || elf.Machine(data[18]) != map[string]elf.Machine{"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64}[machine] {
				t.Errorf("%s: machine %d, %v", target, data[18], err)
			}
			headers = append(headers, l.Manifest.Layers[0].Digest)
		}
		// The ocipkg project's crate asks for a tag a platform.
		theirs, err := depot(t).Pull(t.Context(), reference(t, server.Host+"/acme/zlib:1.3.1-"+target), triple(t, target))
		if err != nil {
			t.Fatal(err)
		}
		for _, layer := range theirs.Manifest.Layers {
			if layer.MediaType != artifact.TypeLayerGzip {
				t.Errorf("%s: a layer of type %s", target, layer.MediaType)
			}
		}
		if !slices.ContainsFunc(pushed.UpstreamTags, func(r registry.Reference) bool { return r == theirs.Reference }) {
			t.Errorf("%s is none of %v", theirs.Reference, pushed.UpstreamTags)
		}
	}
	for _, h := range headers {
		if h != headers[0] {
			t.Errorf("the headers are several blobs: %v", headers)
		}
	}
	if _, err := depot(t).Pull(t.Context(), ref, triple(t, "riscv64-unknown-linux-gnu")); diagnostic.KindOf(err) != diagnostic.Mismatch || !strings.Contains(err.Error(), intel) {
		t.Errorf("a platform that there is not: %v", err)
	}

	// The log is whole when the server is closed.
	server.Close()
	uploads := 0
	for _, r := range server.Requests("/blobs/uploads") {
		if r.Method == http.MethodPost {
			uploads++
		}
	}
	// Of each compression one layer of headers, and for each platform two of libraries and a config.
	if want := 2 * (1 + 2*(2+1)); uploads != want {
		t.Errorf("%d uploads, want %d", uploads, want)
	}
}

// One layout goes up as it is: what pack printed is what is pinned, and what a reader without zstd or indexes gets.
func TestPushOnePlatform(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	dir := prefix(t, elf.EM_X86_64)
	for _, c := range []struct {
		what        string
		compression artifact.Compression
		options     PushOptions
		tags        int
	}{
		{"zstd", artifact.Zstd, PushOptions{}, 1},
		{"zstd, no tags beside it", artifact.Zstd, PushOptions{NoUpstreamTags: true}, 0},
		{"gzip", artifact.Gzip, PushOptions{}, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			layout := packedLayout(t, dir, zlib, c.compression, "")
			desc, _, err := layout.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			ref := reference(t, server.Host+"/one/"+strings.ReplaceAll(strings.ReplaceAll(c.what, ", ", "-"), " ", "-")+":1")
			pushed, err := Push(t.Context(), client(), []*artifact.Layout{layout}, ref, c.options)
			if err != nil {
				t.Fatal(err)
			}
			if pushed.Reference.Digest != desc.Digest || len(pushed.UpstreamTags) != c.tags {
				t.Errorf("pushed %+v; packed %s", pushed, desc.Digest)
			}
			if c.tags == 1 {
				want := artifactDigest(t, packedLayout(t, dir, zlib, artifact.Gzip, ""))
				if beside := pushed.UpstreamTags[0]; beside.Tag != "1-"+intel || beside.Digest != want {
					t.Errorf("beside it is %s, and packed with gzip it is %s", beside, want)
				}
			}
			_, err = client().Resolve(t.Context(), reference(t, ref.String()+"-"+intel))
			if there := err == nil; there != (c.tags == 1) || err != nil && diagnostic.KindOf(err) != diagnostic.NotFound {
				t.Errorf("the tag beside it: %v", err)
			}
		})
	}
}

func artifactDigest(t *testing.T, l *artifact.Layout) v1.Hash {
	t.Helper()
	desc, _, err := l.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return desc.Digest
}

func TestPushRefuses(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	one := packedLayout(t, prefix(t, elf.EM_X86_64), zlib, artifact.Zstd, "")
	other := artifact.Claims{Name: "zlib", Version: "1.3.2"}
	for _, c := range []struct {
		what    string
		layouts []*artifact.Layout
		ref     string
		kind    diagnostic.Kind
		says    string
	}{
		{"one platform twice", []*artifact.Layout{one, one}, "/a:1", diagnostic.Refused, "both for " + intel},
		{"two versions", []*artifact.Layout{one, packedLayout(t, prefix(t, elf.EM_AARCH64), other, artifact.Zstd, "")}, "/a:1", diagnostic.Refused, "zlib 1.3.2"},
		{"another digest", []*artifact.Layout{one}, "/a:1@sha256:" + strings.Repeat("0", 64), diagnostic.Corrupt, "has the digest " + artifactDigest(t, one).String()},
		{"a tag that has no room for the platform", []*artifact.Layout{one}, "/a:" + strings.Repeat("t", 120), diagnostic.Usage, "--no-upstream-tags"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := Push(t.Context(), client(), c.layouts, reference(t, server.Host+c.ref), PushOptions{})
			if diagnostic.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (kind %d)", err, diagnostic.KindOf(err))
			}
		})
	}
	server.Close()
	for _, r := range server.Requests("") {
		t.Errorf("something was sent: %s %s", r.Method, r.Path)
	}
}

// Where the tag is not reached, nobody sees it: it comes last.
func TestPushNamesLast(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	ref := reference(t, server.Host+"/acme/zlib:1.3.1")
	ctx, cancel := context.WithCancel(t.Context())
	server.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/v2/acme/zlib/manifests/1.3.1-" + arm, Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		cancel()
		next.ServeHTTP(w, r)
	}})
	layouts := []*artifact.Layout{packedLayout(t, prefix(t, elf.EM_X86_64), zlib, artifact.Zstd, ""), packedLayout(t, prefix(t, elf.EM_AARCH64), zlib, artifact.Zstd, "")}
	if _, err := Push(ctx, client(), layouts, ref, PushOptions{}); diagnostic.KindOf(err) != diagnostic.Interrupted {
		t.Errorf("got %v", err)
	}
	if _, err := client().Resolve(t.Context(), ref); diagnostic.KindOf(err) != diagnostic.NotFound {
		t.Errorf("the name is there: %v", err)
	}
	if _, err := Push(t.Context(), client(), layouts, ref, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client().Resolve(t.Context(), ref); err != nil {
		t.Error(err)
	}
}

// Compressing much takes a while; whoever does not want to wait leaves nothing behind, here or there.
func TestPushIsInterrupted(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	layout := packedLayout(t, prefix(t, elf.EM_X86_64), zlib, artifact.Zstd, "")
	scratch := t.TempDir()
	t.Setenv("TMPDIR", scratch)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Push(ctx, client(), []*artifact.Layout{layout}, reference(t, server.Host+"/a:1"), PushOptions{}); diagnostic.KindOf(err) != diagnostic.Interrupted {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	server.Close()
	if sent := server.Requests(""); len(sent) > 0 {
		t.Errorf("requests: %v", sent)
	}
}

// A layout that holds an index is pushed as it is, to the byte.
func TestPushALayoutWithAnIndex(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	layouts := []*artifact.Layout{packedLayout(t, prefix(t, elf.EM_X86_64), zlib, artifact.Zstd, ""), packedLayout(t, prefix(t, elf.EM_AARCH64), zlib, artifact.Zstd, "")}
	pushed, err := Push(t.Context(), client(), layouts, reference(t, server.Host+"/acme/zlib:1"), PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(t.TempDir(), "both")
	w, err := artifact.CreateLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	copyBlob := func(open func() (io.ReadCloser, error)) {
		t.Helper()
		if _, _, err := w.WriteBlob(func(w io.Writer) error {
			r, err := open()
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(w, r)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range layouts {
		artifacts, err := l.Artifacts()
		if err != nil {
			t.Fatal(err)
		}
		a := artifacts[0]
		for _, d := range append([]artifact.Descriptor{a.Descriptor, a.Manifest.Config}, a.Manifest.Layers...) {
			copyBlob(func() (io.ReadCloser, error) { return l.OpenBlob(d.Digest) })
		}
	}
	doc, err := client().Document(t.Context(), pushed.Reference)
	if err != nil {
		t.Fatal(err)
	}
	copyBlob(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(doc.Bytes)), nil })
	w.Add(artifact.Descriptor{MediaType: artifact.TypeIndex, Digest: doc.Digest, Size: int64(len(doc.Bytes))}, "")
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	both := openedLayout(t, dest)
	again, err := Push(t.Context(), client(), []*artifact.Layout{both}, reference(t, server.Host+"/other/zlib:2"), PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if again.Reference.Digest != pushed.Reference.Digest || len(again.UpstreamTags) != 2 {
		t.Errorf("pushed %+v, and %+v before", again, pushed)
	}
	if _, err := depot(t).Pull(t.Context(), again.Reference, triple(t, arm)); err != nil {
		t.Error(err)
	}
	// It may be joined like the layouts that it came from.
	if _, err := Push(t.Context(), client(), []*artifact.Layout{both, layouts[0]}, reference(t, server.Host+"/other/zlib:3"), PushOptions{}); diagnostic.KindOf(err) != diagnostic.Refused {
		t.Errorf("a platform twice: %v", err)
	}
}

// What the ocipkg project's programs wrote goes through our push and pull: nothing is changed, and all is measured.
func TestPushAndPullUpstreamArchives(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	archives, err := filepath.Glob(filepath.Join("..", "artifact", "testdata", "upstream", "*.tar"))
	if err != nil || len(archives) == 0 {
		t.Skip("SKIPPED, the archives are not here:", err)
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			layout := openedLayout(t, archive)
			name := strings.TrimSuffix(filepath.Base(archive), ".tar")
			pushed, err := Push(t.Context(), client(), []*artifact.Layout{layout}, reference(t, server.Host+"/theirs/"+name+":v1"), PushOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if pushed.Reference.Digest != artifactDigest(t, layout) || len(pushed.UpstreamTags) != 0 {
				t.Errorf("pushed %+v", pushed)
			}
			// As they write a digest.
			theirs := server.Host + "/theirs/" + name + ":" + pushed.Reference.Digest.String()
			l, err := depot(t).Pull(t.Context(), reference(t, theirs), triple(t, intel))
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Package.Libraries) != 1 || l.Package.Libraries[0].Static == nil || l.Package.Target != intel {
				t.Errorf("measured %+v", l.Package)
			}
		})
	}
}

func TestImageOf(t *testing.T) {
	dir := prefix(t, elf.EM_X86_64)
	pinned := "example.com/acme/zlib:sha256:" + strings.Repeat("a", 64)
	for _, c := range []struct {
		what  string
		names []string
		want  string
		kind  diagnostic.Kind
	}{
		{"full", []string{"ghcr.io/acme/zlib:1"}, "ghcr.io/acme/zlib:1", 0},
		{"with a port", []string{"localhost:5000/zlib:1"}, "localhost:5000/zlib:1", 0},
		{"localhost", []string{"localhost/zlib:1"}, "localhost/zlib:1", 0},
		{"digest as upstream writes it", []string{pinned}, pinned, 0},
		{"bare tag", []string{"v1"}, "", 0},
		{"no registry", []string{"acme/zlib:1"}, "", 0},
		{"none", []string{""}, "", 0},
		{"twice the same", []string{"ghcr.io/acme/zlib:1", "ghcr.io/acme/zlib:1"}, "ghcr.io/acme/zlib:1", 0},
		{"two", []string{"ghcr.io/acme/zlib:1", "ghcr.io/acme/zlib:2"}, "", diagnostic.Usage},
	} {
		t.Run(c.what, func(t *testing.T) {
			var layouts []*artifact.Layout
			for _, name := range c.names {
				layouts = append(layouts, packedLayout(t, dir, zlib, artifact.Zstd, name))
			}
			got, err := ImageOf(layouts)
			if got != c.want || err == nil != (c.kind == 0) || err != nil && diagnostic.KindOf(err) != c.kind {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// What another repository of the registry has is not sent.
func TestPushMountsFrom(t *testing.T) {
	s := registrytest.New(t.TempDir())
	defer s.Close()
	s.SeparateRepositories()
	dir := prefix(t, elf.EM_X86_64)
	layouts := []*artifact.Layout{packedLayout(t, dir, artifact.Claims{Name: "zlib", Version: "1.3.1"}, artifact.Zstd, "")}
	if _, err := Push(t.Context(), client(), layouts, reference(t, s.Host+"/acme/ci:1"), PushOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Clear()
	from := reference(t, s.Host+"/acme/ci").Repository
	if _, err := Push(t.Context(), client(), layouts, reference(t, s.Host+"/acme/zlib:1"), PushOptions{MountFrom: from}); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Requests("") {
		if r.Method == http.MethodPatch {
			t.Errorf("%s %s", r.Method, r.Path)
		}
	}
	_, err := Push(t.Context(), client(), layouts, reference(t, "registry.invalid/acme/zlib:1"), PushOptions{MountFrom: from})
	if diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), "--mount-from") {
		t.Error(err)
	}
}

// TestPushMovesATag: of a tag that stood for something else it is told what that was; where that cannot be found out, the
// push does not fail of it.
func TestPushMovesATag(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	ref := reference(t, server.Host+"/acme/zlib:1.3.1")
	newer := zlib
	newer.License = "MIT"
	var was v1.Hash
	for _, c := range []struct {
		what    string
		claims  artifact.Claims
		refused bool // nobody is told what a tag stands for
		moves   bool
	}{
		{"a new tag", zlib, false, false},
		{"the same again", zlib, false, false},
		{"another", newer, false, true},
		{"unknown to us", zlib, true, false},
	} {
		server.Clear()
		if c.refused {
			server.Inject(registrytest.Fault{Method: http.MethodHead, Path: "/manifests/1.3.1$", Times: 1, Act: registrytest.Answer(http.StatusForbidden, "", "", "")})
		}
		pushed, err := Push(t.Context(), client(), []*artifact.Layout{packedLayout(t, prefix(t, elf.EM_X86_64), c.claims, artifact.Zstd, "")}, ref, PushOptions{})
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		var want []Moved
		if c.moves {
			want = []Moved{{"1.3.1", was}}
		}
		if !slices.Equal(pushed.Moved, want) {
			t.Errorf("%s: moved %v, want %v", c.what, pushed.Moved, want)
		}
		was = pushed.Reference.Digest
	}
}
