package library

import (
	"archive/tar"
	"bytes"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

func newTestDepot(t *testing.T) *Depot {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &Depot{Registry: testClient(), Store: s}
}

// TestInspectIndex looks at an index in a registry, in an archive, and in the store without a registry.
func TestInspectIndex(t *testing.T) {
	server := registrytest.New(t.TempDir())
	image := server.Host + "/acme/zlib:1.3.1"
	p := publish(t, image)
	archive := filepath.Join(t.TempDir(), "zlib.tar")
	mustCopy(t, image, archive)
	depot, want := newTestDepot(t), triple(t, "aarch64-unknown-linux-gnu")
	ref := reference(t, image)

	check := func(what string, x *Inspection, stored bool) {
		t.Helper()
		if x.Digest != p.root.Digest || x.MediaType != artifact.TypeIndex || len(x.Platforms) != 2 {
			t.Fatalf("%s: %+v", what, x)
		}
		amd64, arm64 := x.Platforms[0], x.Platforms[1]
		if amd64.Chosen || !arm64.Chosen || arm64.Target != "aarch64-unknown-linux-gnu" || arm64.Digest != p.documents["arm64"] || arm64.Platform != "linux/arm64" {
			t.Errorf("%s: %+v", what, x.Platforms)
		}
		if x.Package == nil || x.Package.Target != arm64.Target || x.Manifest == nil || arm64.Compressed == 0 || arm64.Unpacked == 0 {
			t.Errorf("%s: the platform asked for is described as %+v", what, arm64)
		}
		if arm64.Stored != stored {
			t.Errorf("%s: stored is %v", what, arm64.Stored)
		}
		if want := ref.WithDigest(p.root.Digest).String(); x.Image != want || !strings.Contains(x.Module, want) {
			t.Errorf("%s: image %s, %s", what, x.Image, x.Module)
		}
	}
	x, err := depot.Inspect(t.Context(), ref, want, true)
	if err != nil {
		t.Fatal(err)
	}
	check("registry", x, false)
	if x.Platforms[0].Package == nil || x.Platforms[0].Problem != "" {
		t.Errorf("the other platform: %+v", x.Platforms[0])
	}
	if x, err = InspectLayout(t.Context(), depot.Store, archive, want, true); err != nil {
		t.Fatal(err)
	}
	check("archive", x, false)
	if x, err = InspectLayout(t.Context(), nil, archive, want, true); err != nil {
		t.Fatal(err)
	}
	check("archive without a store", x, false)
	riscv := triple(t, "riscv64-unknown-linux-gnu")
	if _, err := depot.Inspect(t.Context(), ref, riscv, true); diagnostic.KindOf(err) != diagnostic.Mismatch {
		t.Errorf("a platform that must be there and is not: %v", err)
	}
	if x, err = depot.Inspect(t.Context(), ref, riscv, false); err != nil || x.Package != nil || len(x.Platforms) != 2 {
		t.Errorf("a platform that is not there: %+v (%v)", x, err)
	} else if text := x.Summary(); !strings.Contains(text, "none of them is for riscv64-unknown-linux-gnu") {
		t.Errorf("its summary:\n%s", text)
	}

	fresh := newTestDepot(t)
	pinned := reference(t, image+"@"+p.root.Digest.String())
	if _, err := fresh.Pull(t.Context(), pinned, want); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if x, err = fresh.Inspect(t.Context(), pinned, want, true); err != nil {
		t.Fatal(err)
	}
	check("store", x, true)
	if x.Platforms[0].Problem != "not in the store" {
		t.Errorf("the other platform: %+v", x.Platforms[0])
	}
	for line := range strings.SplitSeq(x.Summary(), "\n") {
		if n := len([]rune(line)); n > summaryWidth && !strings.Contains(line, "ocipkg_library(") {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
}

// TestInspectForeignMembers: what is no library in an index is listed, and says so.
func TestInspectForeignMembers(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	client := testClient()
	library, note := packed(t, amd64Linux, "1", artifact.Zstd), statement(t, "how it was built", nil)
	mustPush(t, client, server.Host+"/mixed@"+library.doc.Digest.String(), library)
	mustPush(t, client, server.Host+"/mixed@"+note.doc.Digest.String(), note)
	own := describe(library.doc)
	own["annotations"] = map[string]string{artifact.AnnotationTarget: amd64Linux}
	mustPush(t, client, server.Host+"/mixed:1", &memory{doc: document(t, artifact.TypeIndex, map[string]any{"manifests": []any{own, describe(note.doc)}})})
	x, err := newTestDepot(t).Inspect(t.Context(), reference(t, server.Host+"/mixed:1"), triple(t, amd64Linux), true)
	if err != nil {
		t.Fatal(err)
	}
	if !x.Platforms[0].Chosen || !strings.Contains(x.Platforms[1].Problem, "not an ocipkg artifact") {
		t.Errorf("%+v", x.Platforms)
	}
	// But one that cannot be read although it was asked for is an error.
	server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/manifests/" + library.doc.Digest.String(), Act: registrytest.Answer(http.StatusNotFound, "", "", "")})
	if _, err := newTestDepot(t).Inspect(t.Context(), reference(t, server.Host+"/mixed:1"), triple(t, amd64Linux), true); diagnostic.KindOf(err) != diagnostic.NotFound {
		t.Errorf("error %v", err)
	}
}

// TestSummary draws what a pack may hold: circles, missing libraries, long lists.
func TestSummary(t *testing.T) {
	shared := func(soname string, needed ...string) *artifact.SharedLibrary {
		return &artifact.SharedLibrary{Path: "lib/" + soname, SONAME: soname, Needed: needed, Exports: 12, CXXFlavour: "libstdc++", Floors: map[string]string{"GLIBC": "2.34", "GLIBCXX": "3.4.29"}}
	}
	pkg := &artifact.Package{
		Name: "suite", Version: "2.0", License: "(MIT OR Apache-2.0) AND BSD-3-Clause AND BSD-2-Clause AND Zlib AND Unicode-3.0",
		Target: amd64Linux,
		Libraries: []artifact.Library{
			{Name: "app", Shared: shared("libapp.so.2", "libbase.so.2", "libnet.so.2", "libavahi-client.so.3", "libavahi-common.so.3", "libstdc++.so.6", "libm.so.6", "libc.so.6"), Requires: []string{"base", "net"}},
			{Name: "base", Static: &artifact.StaticLibrary{Path: "lib/libbase.a", PIC: "none", Reason: "very_long_object_name.o: R_X86_64_32S against symbol a_symbol_of_a_long_name"}, Shared: shared("libbase.so.2"), Requires: []string{"core"}},
			{Name: "core", Static: &artifact.StaticLibrary{Path: "lib/libcore.a", PIC: "pic"}},
			{Name: "net", Shared: shared("libnet.so.2"), Requires: []string{"base"}},
			{Name: "ping", Requires: []string{"pong"}, Static: &artifact.StaticLibrary{Path: "lib/libping.a", PIC: "pic"}},
			{Name: "pong", Requires: []string{"ping"}, Static: &artifact.StaticLibrary{Path: "lib/libpong.a", PIC: "pie"}},
		},
		SystemLibraries: []string{"dl", "m", "pthread"},
		Missing:         []string{"libavahi-client.so.3", "libavahi-common.so.3"},
		Dependencies: []artifact.Dependency{
			{Name: "openssl", Image: "ghcr.io/acme/openssl:3.0@sha256:" + strings.Repeat("3", 64), Needed: []string{"libcrypto.so.3", "libssl.so.3"}},
			{Name: "z", Image: "ghcr.io/acme/z@sha256:" + strings.Repeat("2", 64)},
		},
	}
	hex := strings.Repeat("0123456789abcdef", 4)
	ref, err := registry.ParseReference("ghcr.io/acme/suite:2.0@sha256:" + hex)
	if err != nil {
		t.Fatal(err)
	}
	x := &Inspection{Image: ref.String(), Digest: ref.Digest, Module: ModuleLine(ref, pkg.Name, pkg.Dependencies...), Target: amd64Linux, Package: pkg, Platforms: []Platform{
		{Target: amd64Linux, Digest: hashOf([]byte("a")), Chosen: true, Compressed: 3 << 20, Unpacked: 10 << 20, Package: pkg, Manifest: &artifact.Manifest{}, Components: []Component{
			{Name: "headers", MediaType: artifact.TypeLayerZstd, Compressed: 1000, Unpacked: 5000, Stored: true},
			{Name: "shared", MediaType: artifact.TypeLayerZstd, Compressed: 3 << 20, Unpacked: 10 << 20},
		}},
		{Target: "aarch64-unknown-linux-gnu", Digest: hashOf([]byte("b")), Problem: "not in the store"},
		{Platform: "unknown/unknown", Digest: hashOf([]byte("c")), Problem: "manifest: not an ocipkg artifact: it is an artifact of type application/vnd.example.statement, not application/vnd.ocipkg.v1.artifact"},
	}}
	got := x.Summary()
	if *update {
		if err := os.WriteFile("testdata/summary.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/summary.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("testdata/summary.txt is\n%s\nand would be\n%s", want, got)
	}
}

// TestInspectUndescribed: of an artifact that says nothing of itself, as those of the ocipkg project's first versions, the
// files are measured.
func TestInspectUndescribed(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	lib := artifacttest.Archive(artifacttest.Object{Defines: []string{"f"}})
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "libf.a", Mode: 0o644, Size: int64(len(lib))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(lib); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m := &memory{bytes: map[v1.Hash][]byte{}}
	blob := func(mediaType string, data []byte) map[string]any {
		h := hashOf(data)
		m.bytes[h] = data
		m.blobs = append(m.blobs, v1.Descriptor{Digest: h, Size: int64(len(data))})
		return map[string]any{"mediaType": mediaType, "digest": h.String(), "size": len(data)}
	}
	m.doc = document(t, artifact.TypeManifest, map[string]any{"config": blob(artifact.TypeV0Config, []byte("{}")), "layers": []any{blob(artifact.TypeV0Layer, layer.Bytes())}})
	image := server.Host + "/acme/f:1"
	mustPush(t, testClient(), image, m)
	archive := filepath.Join(t.TempDir(), "f.tar")
	mustCopy(t, image, archive)
	depot, want := newTestDepot(t), triple(t, amd64Linux)
	for what, inspect := range map[string]func() (*Inspection, error){
		"image":  func() (*Inspection, error) { return depot.Inspect(t.Context(), reference(t, image), want, true) },
		"layout": func() (*Inspection, error) { return InspectLayout(t.Context(), nil, archive, want, true) },
	} {
		x, err := inspect()
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		p := x.Platforms[0]
		if x.Package.Name != "f" || x.Package.Version != "1" || len(x.Package.Libraries) != 1 || p.Target != amd64Linux || p.Unpacked != 0 || p.Components[0].Name != "layer 1" {
			t.Errorf("%s: %+v, %+v", what, x.Package, p)
		}
		if p.Stored != (what == "image") { // it was fetched to be measured
			t.Errorf("%s: stored is %v", what, p.Stored)
		}
	}
}
