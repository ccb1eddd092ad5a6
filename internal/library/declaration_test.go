package library

import (
	"encoding/json"
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
)

// packedAs packs a prefix under a name and publishes it as host/name:1.
func packedAs(t *testing.T, server *registrytest.Server, claims artifact.Claims, files fstest.MapFS) registry.Reference {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "layout")
	w, err := artifact.CreateLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	packed, err := artifact.Pack(files, claims, artifact.Zstd, w)
	if err != nil {
		t.Fatal(err)
	}
	w.Add(packed.Manifest, "")
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return pushLayout(t, dest, server.Host+"/"+claims.Name+":1")
}

// curlOnZlib publishes zlib, and a curl that needs it.
func curlOnZlib(t *testing.T, server *registrytest.Server) (curl, zlib registry.Reference, d *Depot) {
	t.Helper()
	zlib = packedAs(t, server, artifact.Claims{Name: "zlib"}, installed("z", "zlib.h"))
	d = newDepot(t, t.TempDir())
	pinned, err := d.Pinned(t.Context(), map[string]string{"zlib": zlib.String()})
	if err != nil {
		t.Fatal(err)
	}
	files := installed("curl", "curl.h")
	files["lib/libcurl.so.1"].Data = artifacttest.Shared{SONAME: "libcurl.so.1", Needed: []string{"libz.so.1"}}.Bytes()
	files["include/curl/deep.h"] = &fstest.MapFile{Data: []byte("\n")}
	curl = packedAs(t, server, artifact.Claims{Name: "curl", Defines: []string{"OLD"}, Dependencies: pinned, Dependency: func(image string, target artifact.Triple) (*artifact.Package, error) {
		return d.Describe(t.Context(), image, target)
	}}, files)
	return curl, zlib, d
}

// A dependency that is not declared is told with what to write, before anything of the library is fetched; one that is
// declared is linked. What an author names without a digest is refused with the digest.
func TestDependencies(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	curl, zlib, d := curlOnZlib(t, server)

	if _, err := d.Pinned(t.Context(), map[string]string{"zlib": untagged(zlib).String()}); diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), "zlib="+zlib.String()) {
		t.Errorf("a dependency without a digest: %v", err)
	}
	server.Clear()
	_, err := d.PullDeclared(t.Context(), curl, x86, &Declaration{Name: "web", Deps: []string{"@other"}})
	for _, words := range []string{"needs zlib (libz.so.1)", "ocipkg add " + curl.String(), `ocipkg_library(name = "zlib", image = "` + zlib.String() + `")`, `deps = ["@other", "@zlib"]`} {
		if diagnostic.KindOf(err) != diagnostic.NotFound || !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not in %v", words, err)
		}
	}
	for _, layer := range manifestOf(t, d, curl).Layers {
		if n := len(server.Requests("/blobs/" + layer.Digest.String())); n > 0 {
			t.Errorf("%d requests for layer %s", n, layer.Digest)
		}
	}
	for _, deps := range [][]string{{"zlib"}, {"//:zlib"}, {"@zlib//:"}, {"@"}, {"@zlib", "@z//:zlib"}} {
		if _, err := d.PullDeclared(t.Context(), curl, x86, &Declaration{Name: "web", Deps: deps}); diagnostic.KindOf(err) != diagnostic.Usage {
			t.Errorf("deps %q: %v", deps, err)
		}
	}
	text := buildFileOf(t, d, curl, Declaration{Name: "web", Deps: []string{"@my_z//:zlib"}})
	for _, words := range []string{`dep = "@my_z//:zlib"`, `dep = "@my_z//:shared"`, `image = "` + zlib.String() + `"`, `needed = ["libz.so.1"]`, `headers_only = True`, `"-Wl,--disable-new-dtags"`} {
		if !strings.Contains(text, words) {
			t.Errorf("%q is not in\n%s", words, text)
		}
	}
	name, needs, err := d.Needs(t.Context(), curl)
	if err != nil || name != "curl" || len(needs) != 1 || needs[0].Image != zlib.String() {
		t.Errorf("%s needs %+v (%v)", name, needs, err)
	}
}

func manifestOf(t *testing.T, d *Depot, ref registry.Reference) artifact.Manifest {
	t.Helper()
	hold := d.Store.Hold()
	defer hold.Release()
	l, _, err := d.describe(t.Context(), hold, ref, x86)
	if err != nil {
		t.Fatal(err)
	}
	return l.Manifest
}

// buildFileOf pulls and lays out a library as it is declared, and returns its BUILD.bazel.
func buildFileOf(t *testing.T, d *Depot, ref registry.Reference, decl Declaration) string {
	t.Helper()
	_, text := laidOut(t, d, ref, decl)
	return text
}

func laidOut(t *testing.T, d *Depot, ref registry.Reference, decl Declaration) (dir, build string) {
	t.Helper()
	l, err := d.PullDeclared(t.Context(), ref, x86, &decl)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	dir = filepath.Join(t.TempDir(), "repository")
	if _, err := Repository(t.Context(), l, dir, decl.Name, labels()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "BUILD.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, string(data)
}

// Components that are left out are neither fetched nor in the repository, and damage does not bring them back.
func TestComponents(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	curl, _, _ := curlOnZlib(t, server)
	for _, c := range []struct {
		components []string
		files      string
		without    []string // of the BUILD file
	}{
		{[]string{"headers", "static"}, "include/curl/deep.h include/curl.h lib/libcurl.a libcurl.a", []string{"shared_library"}},
		{[]string{"shared"}, "lib/libcurl.so lib/libcurl.so.1", []string{"static_library", "include/", "OLD2"}},
		{[]string{"headers"}, "include/curl/deep.h include/curl.h", []string{"static_library", "shared_library"}},
	} {
		d := newDepot(t, t.TempDir())
		server.Clear()
		decl := Declaration{Name: "curl", Deps: []string{"@zlib"}, Components: c.components}
		dir, text := laidOut(t, d, curl, decl)
		there := slices.DeleteFunc(list(t, dir), func(f string) bool { return slices.Contains(ownFiles, f) })
		if got := strings.Join(there, " "); got != c.files {
			t.Errorf("%q: files %s, want %s", c.components, got, c.files)
		}
		for _, words := range c.without {
			if strings.Contains(text, words) {
				t.Errorf("%q: %s is in\n%s", c.components, words, text)
			}
		}
		// The manifest, the config, and as many layers as there are components.
		if n := len(server.Requests("/blobs/")); n != 1+len(c.components) {
			t.Errorf("%q: %d requests for blobs", c.components, n)
		}
		// What is damaged in the store is fetched again, and nothing else.
		l, err := d.PullDeclared(t.Context(), curl, x86, &decl)
		if err != nil {
			t.Fatal(err)
		}
		file := treeWith(t, l, there[0])
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("damage, of another length"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Repository(t.Context(), l, filepath.Join(t.TempDir(), "r"), decl.Name, nil); err != nil {
			t.Errorf("%q, damaged: %v", c.components, err)
		}
		l.release()
		if n := len(server.Requests("/blobs/")); n != 2+len(c.components) {
			t.Errorf("%q, damaged: %d requests for blobs in all", c.components, n)
		}
	}
	for _, wrong := range []string{"debug", "Headers", ""} {
		_, err := newDepot(t, t.TempDir()).PullDeclared(t.Context(), curl, x86, &Declaration{Name: "curl", Deps: []string{"@zlib"}, Components: []string{wrong}})
		if diagnostic.KindOf(err) != diagnostic.NotFound || !strings.Contains(err.Error(), "it has headers, static, shared") {
			t.Errorf("component %q: %v", wrong, err)
		}
	}
}

// What the declaration says counts in place of what the artifact says.
func TestOverrides(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	curl, _, d := curlOnZlib(t, server)
	with := func(change func(*Declaration)) Declaration {
		decl := Declaration{Name: "curl", Deps: []string{"@zlib"}}
		change(&decl)
		return decl
	}
	own := filepath.Join(t.TempDir(), "own.BUILD")
	if err := os.WriteFile(own, []byte("# mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what      string
		decl      Declaration
		has, lack []string
		index     string // header=target
	}{
		{"nothing", with(func(*Declaration) {}), []string{`defines = ["OLD"]`, `includes = ["include"]`}, nil, "curl.h curl/deep.h"},
		{"defines", with(func(d *Declaration) { d.Defines = []string{"NEW=a b"} }), []string{`defines = ["NEW=a b"]`}, []string{"OLD"}, "curl.h curl/deep.h"},
		{"linkopts", with(func(d *Declaration) { d.Linkopts = []string{"-Wl,-z,now"} }), []string{`linkopts = ["-Wl,-z,now"]`, "OLD"}, nil, "curl.h curl/deep.h"},
		{"includes", with(func(d *Declaration) { d.Includes = []string{"include/", "include/curl"} }), []string{`"include/curl",`}, nil, "curl.h curl/deep.h deep.h"},
		{"strip_include_prefix", with(func(d *Declaration) { d.StripIncludePrefix = "include/curl" }), []string{`hdrs = ["include/curl/deep.h"]`, `includes = ["include/curl"]`}, nil, "deep.h"},
		{"build_file", Declaration{Name: "curl", BuildFile: own}, []string{"# mine\n"}, []string{"prebuilt_library"}, "curl.h curl/deep.h"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir, text := laidOut(t, d, curl, c.decl)
			for _, words := range c.has {
				if !strings.Contains(text, words) {
					t.Errorf("%s is not in\n%s", words, text)
				}
			}
			for _, words := range c.lack {
				if strings.Contains(text, words) {
					t.Errorf("%s is in\n%s", words, text)
				}
			}
			// A BUILD file that somebody wrote may have globs, which leave out what is ignored.
			if _, err := os.Stat(filepath.Join(dir, ".bazelignore")); (err == nil) == (c.decl.BuildFile != "") {
				t.Errorf(".bazelignore: %v", err)
			}
			data, err := os.ReadFile(filepath.Join(dir, HeaderIndexFile))
			if err != nil {
				t.Fatal(err)
			}
			var index map[string][]string
			if err := json.Unmarshal(data, &index); err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Join(slices.Sorted(maps.Keys(index)), " "), "-lcurl "+c.index; got != want {
				t.Errorf("the index has %s, want %s", got, want)
			}
		})
	}
	for what, decl := range map[string]Declaration{
		"the library has no such folder":         with(func(d *Declaration) { d.Includes = []string{"include/openssl"} }),
		"name one of include, include/curl, lib": with(func(d *Declaration) { d.StripIncludePrefix = "../lib" }),
		"includes says where headers are":        with(func(d *Declaration) { d.StripIncludePrefix, d.Includes = "include", []string{"include"} }),
		"build_file /nonexistent":                {Name: "curl", BuildFile: "/nonexistent"},
	} {
		l, err := d.PullDeclared(t.Context(), curl, x86, &decl)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "r")
		_, err = Repository(t.Context(), l, dir, decl.Name, nil)
		l.release()
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something is left", what)
		}
	}
}
