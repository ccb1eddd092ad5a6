package library

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
	"github.com/ocipkg/rules_ocipkg/internal/trust"
)

const (
	armGNU   = "aarch64-unknown-linux-gnu"
	intelGNU = "x86_64-unknown-linux-gnu"
	muslGNU  = "x86_64-unknown-linux-musl"
	riscGNU  = "riscv64-unknown-linux-gnu"
)

// platformsOf is foo for three platforms, of which x86-64 with glibc alone has a second library, and a second header.
func platformsOf() map[string]fstest.MapFS {
	header := fstest.MapFS{"include/foo.h": {Data: []byte("int foo(void);\n")}}
	arm, musl, intel := maps.Clone(header), maps.Clone(header), maps.Clone(header)
	arm["lib/libfoo.so.1"] = &fstest.MapFile{Data: artifacttest.Shared{Machine: elf.EM_AARCH64, SONAME: "libfoo.so.1"}.Bytes()}
	musl["lib/libfoo.a"] = &fstest.MapFile{Data: artifacttest.Archive(artifacttest.Object{Defines: []string{"foo"}})}
	intel["include/bar.h"] = &fstest.MapFile{Data: []byte("int bar(void);\n")}
	intel["lib/libfoo.so.1"] = &fstest.MapFile{Data: artifacttest.Shared{SONAME: "libfoo.so.1"}.Bytes()}
	intel["lib/libbar.a"] = &fstest.MapFile{Data: artifacttest.Archive(artifacttest.Object{Defines: []string{"bar"}})}
	return map[string]fstest.MapFS{armGNU: arm, muslGNU: musl, intelGNU: intel}
}

// publishIndex pushes an index of these platforms and returns the pinned reference and, by target, the layers' digests.
func publishIndex(t *testing.T, server *registrytest.Server, name string, platforms map[string]fstest.MapFS) (registry.Reference, map[string][]string) {
	t.Helper()
	var layouts []*artifact.Layout
	layers := map[string][]string{}
	for target, files := range platforms {
		dest := filepath.Join(t.TempDir(), "layout")
		w, err := artifact.CreateLayout(dest)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := artifact.Pack(files, artifact.Claims{Name: "foo", Version: "1", Target: target}, artifact.Zstd, w)
		if err != nil {
			t.Fatal(err)
		}
		w.Add(packed.Manifest, "")
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		layouts = append(layouts, openedLayout(t, dest))
		for _, c := range packed.Package.Components {
			layers[target] = append(layers[target], c.Layer)
		}
	}
	pushed, err := Push(t.Context(), client(), layouts, reference(t, server.Host+"/"+name), PushOptions{NoUpstreamTags: true})
	if err != nil {
		t.Fatal(err)
	}
	return pushed.Reference, layers
}

// elsewhere are spokes in repositories of their own; here are spokes in folders.
func elsewhere(t *testing.T, targets ...string) []Spoke {
	spokes := here(t, targets...)
	for i, target := range targets {
		spokes[i].Repository = "foo__" + target
	}
	return spokes
}

func here(t *testing.T, targets ...string) []Spoke {
	t.Helper()
	var spokes []Spoke
	for _, target := range targets {
		triple, err := artifact.ParseTriple(target)
		if err != nil {
			t.Fatal(err)
		}
		spokes = append(spokes, Spoke{Target: triple})
	}
	return spokes
}

func (d *Depot) hub(t *testing.T, ref registry.Reference, spokes []Spoke) (dir, build string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "hub")
	found, err := d.Hub(t.Context(), ref, dir, "foo", spokes, nil, labels())
	if err != nil {
		t.Fatal(err)
	}
	if !found.Pinned() || ref.Pinned() && found != ref {
		t.Errorf("asked for %s, found %s", ref, found)
	}
	data, err := os.ReadFile(filepath.Join(dir, "BUILD.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, string(data)
}

// Invariant: a hub costs no layer, and a second one no request; its spokes are those that the image is there for; and a
// spoke costs its own layers alone.
func TestHubFetchesNoLayers(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	pinned, layers := publishIndex(t, server, "acme/foo:1", platformsOf())
	root := t.TempDir()
	server.Clear()
	spokes := elsewhere(t, riscGNU, intelGNU, armGNU, muslGNU)
	dir, text := newDepot(t, root).hub(t, untagged(pinned), spokes)
	for target, digests := range layers {
		for _, digest := range digests {
			if asked := server.Requests("/blobs/" + digest); len(asked) > 0 {
				t.Errorf("asked for a layer of %s: %v", target, asked)
			}
		}
	}
	if n := len(server.Requests("")); n == 0 || n > 1+2*3+2 {
		t.Errorf("%d requests: %v", n, server.Requests(""))
	}
	for _, words := range []string{
		`"@@rules_ocipkg//rules/private/platforms:` + intelGNU + `": "@foo__` + intelGNU + `//:foo",`,
		`"@@rules_ocipkg//rules/private/platforms:` + muslGNU + `": "@foo__` + muslGNU + `//:foo",`,
		`"@@rules_ocipkg//rules/private/platforms:` + intelGNU + `": "@foo__` + intelGNU + `//:bar",`,
		`"//conditions:default": ":bar_unsupported_platform",`,
		`what = "foo 1",`, `what = "foo 1, target :bar,",`, "# foo 1, from " + pinned.String(),
	} {
		if !strings.Contains(text, words) {
			t.Errorf("not in BUILD.bazel: %s", words)
		}
	}
	if strings.Contains(text, riscGNU) || strings.Contains(text, "@foo__"+armGNU+"//:bar") {
		t.Error("it leads to what is not there")
	}
	if t.Failed() {
		t.Log(text)
	}
	var index map[string][]string
	data, err := os.ReadFile(filepath.Join(dir, HeaderIndexFile))
	if err != nil || json.Unmarshal(data, &index) != nil {
		t.Fatalf("%s: %v", data, err)
	}
	want := map[string][]string{"foo.h": {"@foo//:foo"}, "bar.h": {"@foo//:foo"}, "-lfoo": {"@foo//:foo"}, "-lbar": {"@foo//:bar"}}
	if !maps.EqualFunc(index, want, slices.Equal) {
		t.Errorf("the header index is %v", index)
	}

	// A spoke afterwards.
	server.Clear()
	pull(t, newDepot(t, root), pinned).release()
	if got := server.Requests("/blobs/|/manifests/"); len(got) != len(layers[intelGNU]) {
		t.Errorf("%d requests for %d layers: %v", len(got), len(layers[intelGNU]), got)
	}
	// Which is what there is, for people; of the others the store has the descriptions alone.
	images, err := Images(newDepot(t, root).Store)
	if err != nil || len(images) != 1 || images[0].Target != intelGNU || !images[0].Complete {
		t.Errorf("the store has %+v, %v", images, err)
	}
	// And both again, with nobody to ask.
	server.Close()
	if _, again := newDepot(t, root).hub(t, pinned, spokes); again != text {
		t.Errorf("the hub became\n%s", again)
	}
	pull(t, newDepot(t, root), pinned).release()
}

// Platforms that are laid out in the hub itself, each with its own files; what the hub is declared for has to be there.
func TestHubOfFolders(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	platforms := platformsOf()
	pinned, layers := publishIndex(t, server, "acme/foo:1", platforms)
	server.Clear()
	d := newDepot(t, t.TempDir())
	dir, text := d.hub(t, pinned, here(t, armGNU, intelGNU))
	for _, target := range []string{armGNU, intelGNU} {
		has(t, filepath.Join(dir, target), platforms[target])
		if _, err := os.Stat(filepath.Join(dir, target, "BUILD.bazel")); err != nil {
			t.Error(err)
		}
		if !strings.Contains(text, fmt.Sprintf(`%s": "//%s:foo"`, target, target)) {
			t.Errorf("nothing leads to %s:\n%s", target, text)
		}
	}
	if !strings.Contains(text, `left_out = ["`+muslGNU+`"]`) {
		t.Errorf("what is left out is not named:\n%s", text)
	}
	// The folders of the libraries, and not those that the BUILD files are in.
	want := armGNU + "/include\n" + armGNU + "/lib\n" + intelGNU + "/include\n" + intelGNU + "/lib\n"
	if data, err := os.ReadFile(filepath.Join(dir, ".bazelignore")); err != nil || string(data) != want {
		t.Errorf(".bazelignore is %q, %v, want %q", data, err, want)
	}
	own := filepath.Join(t.TempDir(), "own.BUILD")
	if err := os.WriteFile(own, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	owned := filepath.Join(t.TempDir(), "hub")
	if _, err := d.Hub(t.Context(), pinned, owned, "foo", here(t, armGNU, intelGNU), &Declaration{Name: "foo", BuildFile: own}, labels()); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(list(t, owned), func(f string) bool { return strings.HasSuffix(f, ".bazelignore") }) {
		t.Error("folders are ignored where somebody's own BUILD file may have globs")
	}
	for _, digest := range layers[muslGNU] {
		if !slices.Contains(layers[armGNU], digest) && len(server.Requests("/blobs/"+digest)) > 0 {
			t.Errorf("asked for %s, of a platform that is not wanted", digest)
		}
	}

	missing := filepath.Join(t.TempDir(), "hub")
	_, err := d.Hub(t.Context(), pinned, missing, "foo", here(t, armGNU, riscGNU), nil, labels())
	if diagnostic.KindOf(err) != diagnostic.Mismatch || !strings.Contains(err.Error(), riscGNU) || !strings.Contains(err.Error(), armGNU) {
		t.Errorf("a platform that is not there: %v", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("something was left behind")
	}
}

// What a single manifest, headers alone or an artifact that describes nothing becomes.
func TestHubOfOneManifest(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	all := elsewhere(t, armGNU, intelGNU, muslGNU)

	single := publishLibrary(t, server, "acme/single:1", installed("foo", "foo.h"))
	_, text := newDepot(t, t.TempDir()).hub(t, single, all)
	if !strings.Contains(text, "@foo__x86_64-unknown-linux") || strings.Contains(text, armGNU) {
		t.Errorf("a library for x86-64 becomes\n%s", text)
	}
	_, err := newDepot(t, t.TempDir()).Hub(t.Context(), single, filepath.Join(t.TempDir(), "hub"), "foo", elsewhere(t, armGNU, riscGNU), nil, labels())
	for _, words := range []string{"x86_64-unknown-linux", armGNU, riscGNU, "platforms = [...]"} {
		if diagnostic.KindOf(err) != diagnostic.Mismatch || !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not in %v", words, err)
		}
	}

	headers := publishLibrary(t, server, "acme/headers:1", fstest.MapFS{"include/foo.h": {Data: []byte("int foo;\n")}})
	_, text = newDepot(t, t.TempDir()).hub(t, headers, all)
	if strings.Contains(text, "select") || !strings.Contains(text, `actual = "@foo__`+armGNU+`//:foo"`) {
		t.Errorf("headers alone become\n%s", text)
	}

	// Policy and errors are those of a pull.
	d := newDepot(t, t.TempDir())
	d.Policy = trust.Policy{RequireDigest: true}
	if _, err := d.Hub(t.Context(), untagged(single), filepath.Join(t.TempDir(), "hub"), "foo", all, nil, labels()); diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), single.String()) {
		t.Errorf("a tag where a digest is required: %v", err)
	}
}
