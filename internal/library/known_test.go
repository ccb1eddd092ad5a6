package library

import (
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// What is at hand describes an artifact as its registry does: its layout, what was inspected, and the repository of it,
// also where that has not all of its components. Nobody is asked.
func TestKnownDependencies(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	d := newDepot(t, t.TempDir())
	files := installed("z", "zlib.h")
	zlib := packedAs(t, server, artifact.Claims{Name: "zlib"}, files)
	want, err := d.Describe(t.Context(), zlib.String(), x86)
	if err != nil {
		t.Fatal(err)
	}

	layout := filepath.Join(t.TempDir(), "layout")
	w, err := artifact.CreateLayout(layout)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := artifact.Pack(files, artifact.Claims{Name: "zlib"}, artifact.Zstd, w)
	if err != nil {
		t.Fatal(err)
	}
	w.Add(packed.Manifest, "")
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	x, err := d.Inspect(t.Context(), zlib, x86, true)
	if err != nil {
		t.Fatal(err)
	}
	inspected, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "repository")
	l, err := d.PullDeclared(t.Context(), zlib, x86, &Declaration{Name: "zlib", Components: []string{"headers"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Repository(t.Context(), l, dir, "zlib", labels()); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, ArtifactFile))
	if err != nil {
		t.Fatal(err)
	}

	tagged, _, _ := strings.Cut(zlib.String(), "@")
	server.Clear()
	for how, read := range map[string]func() (Known, error){
		"layout":     func() (Known, error) { return KnownFromLayout(tagged, layout) },
		"inspected":  func() (Known, error) { return KnownFromInspection(inspected) },
		"repository": func() (Known, error) { return KnownFromInspection(file) },
	} {
		k, err := read()
		if err != nil || k.Name != "zlib" || k.Image != zlib.String() {
			t.Errorf("%s: %s as %s (%v), want %s", how, k.Name, k.Image, err, zlib)
			continue
		}
		all, describe, err := Dependencies(t.Context(), map[string]string{"zlib": zlib.String()}, []Known{k}, nil)
		if err != nil || len(all) != 1 || all["zlib"] != zlib.String() {
			t.Errorf("%s: %v (%v)", how, all, err)
			continue
		}
		if got, err := describe(zlib.String(), x86); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: it is %+v (%v), want %+v", how, got, err, want)
		}
		if _, err := describe(zlib.String(), triple(t, "aarch64-unknown-linux-gnu")); diagnostic.KindOf(err) != diagnostic.Mismatch {
			t.Errorf("%s, for another platform: %v", how, err)
		}
		if _, _, err := Dependencies(t.Context(), map[string]string{"zlib": server.Host + "/other@" + zlib.Digest.String()}, []Known{k}, nil); diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), "keep one of them") {
			t.Errorf("%s, and another one: %v", how, err)
		}
	}
	if _, _, err := Dependencies(t.Context(), map[string]string{"zlib": zlib.String()}, nil, nil); diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), "no registry may be asked") {
		t.Errorf("what is not at hand: %v", err)
	}
	if n := len(server.Requests("")); n > 0 {
		t.Errorf("%d requests", n)
	}

	if _, err := KnownFromLayout(zlib.String(), layout); diagnostic.KindOf(err) != diagnostic.Usage {
		t.Errorf("a digest beside a layout: %v", err)
	}
	for _, text := range []string{"", "[]", "{}", `{"image": "x.io/z:1", "package": {"name": "z"}}`, `{"image": "` + zlib.String() + `"}`} {
		if _, err := KnownFromInspection([]byte(text)); diagnostic.KindOf(err) != diagnostic.Usage {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What needs something that is nowhere is not pushed, and the message says what to run first.
func TestPushChecksDependencies(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	d := newDepot(t, t.TempDir())
	zlib := packedAs(t, server, artifact.Claims{Name: "zlib"}, installed("z", "zlib.h"))
	nowhere := server.Host + "/nowhere@" + zlib.Digest.String()
	claims := func(image string) artifact.Claims {
		return artifact.Claims{Name: "web", Version: "1", Dependencies: map[string]string{"zlib": image}, Dependency: func(_ string, target artifact.Triple) (*artifact.Package, error) {
			return d.Describe(t.Context(), zlib.String(), target)
		}}
	}
	options := PushOptions{PushedBy: map[string]string{"zlib": "bazel run //zlib:push"}}
	missing := []*artifact.Layout{packedLayout(t, prefix(t, elf.EM_X86_64), claims(nowhere), artifact.Zstd, "")}
	web := reference(t, server.Host+"/web:1")
	server.Clear()
	_, err := Push(t.Context(), client(), missing, web, options)
	if diagnostic.KindOf(err) != diagnostic.NotFound || !strings.Contains(err.Error(), nowhere) || !strings.Contains(err.Error(), "run `bazel run //zlib:push` first") {
		t.Errorf("a dependency that is nowhere: %v", err)
	}
	if n := len(server.Requests("/web/")); n > 0 {
		t.Errorf("%d requests to the repository all the same", n)
	}
	options.Unchecked = true
	if _, err := Push(t.Context(), client(), missing, web, options); err != nil {
		t.Errorf("unchecked: %v", err)
	}
	there := []*artifact.Layout{packedLayout(t, prefix(t, elf.EM_X86_64), claims(zlib.String()), artifact.Zstd, "")}
	if _, err := Push(t.Context(), client(), there, web, PushOptions{}); err != nil {
		t.Errorf("a dependency that is there: %v", err)
	}
}
