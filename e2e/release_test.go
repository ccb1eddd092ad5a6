package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// TestRelease: the archive that a tag would publish, made by what the release workflow runs, is a module that works: an
// example builds and runs with it in place of this checkout, and with the program that the release has, or one compiled from
// the archive. A tag that is not the version of MODULE.bazel is refused.
func TestRelease(t *testing.T) {
	s := theSuite
	checkout := filepath.Join(s.out, "release", "checkout")
	if err := os.RemoveAll(filepath.Dir(checkout)); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(filepath.Dir(checkout), "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	// What a release of the files as they are would be.
	s.must(t, s.repository, "tools/copy-checkout", checkout)
	const commit = `git add -A && git -c user.name=Release -c user.email=release@example.com commit -qm release && `
	s.must(t, checkout, "sh", "-c", `git init -q && `+commit+`git tag v0.1.0 && git tag v0.2.0`)
	s.inPlace(checkout)
	prepare := filepath.Join(checkout, ".github", "workflows", "release_prep.sh")
	env := []string{"BAZEL=" + s.bazel}

	if r := s.exec(t, checkout, env, prepare, "v0.2.0"); r.code == 0 || !strings.Contains(r.stderr, "MODULE.bazel says version 0.1.0") {
		t.Errorf("a tag of another version: exit status %d\n%s", r.code, r.stderr)
	}
	if r := s.exec(t, checkout, env, prepare, "v0.1.0"); r.code == 0 || !strings.Contains(r.stderr, "fetcher/version.go says version 0.1.0-dev") {
		t.Errorf("programs of another version: exit status %d\n%s", r.code, r.stderr)
	}
	s.must(t, checkout, "sh", "-c", `sed -i 's/^const release = "0.1.0-dev"/const release = "0.1.0"/' fetcher/version.go && `+commit+`git tag -f v0.1.0`)
	platform := runtime.GOOS + "-" + runtime.GOARCH // compiling for others takes minutes
	r := s.exec(t, checkout, env, prepare, "v0.1.0", platform)
	if r.code != 0 {
		t.Fatalf("exit status %d\n%s\n%s", r.code, r.stdout, r.stderr)
	}
	for _, words := range []string{`bazel_dep(name = "rules_ocipkg", version = "0.1.0")`, `bazel_dep(name = "rules_ocipkg_gazelle_plugin", version = "0.1.0")`, "ocipkg_library"} {
		if !strings.Contains(r.stdout, words) {
			t.Errorf("the notes do not say %q:\n%s", words, r.stdout)
		}
	}
	docs := s.must(t, checkout, "tar", "-tzf", "rules_ocipkg-v0.1.0.docs.tar.gz")
	if docs != "defs.doc.binaryproto\nextensions.doc.binaryproto\n" {
		t.Errorf("the documentation holds %s", docs)
	}
	s.must(t, checkout, "tar", "-C", out, "-xzf", "rules_ocipkg-v0.1.0.tar.gz")
	module := filepath.Join(out, "rules_ocipkg-0.1.0")
	for _, left := range []string{"e2e", ".ci", ".github", ".bcr"} {
		if _, err := os.Stat(filepath.Join(module, left)); err == nil {
			t.Errorf("the archive holds %s", left)
		}
	}

	address := s.dockerRegistry(t)
	s.must(t, s.repository, "tools/publish-examples", s.ocipkg, filepath.Join(s.repository, ".out", "prefixes"), address)
	w := s.workspace(t, "examples/c_zlib", address)
	name := filepath.Join(w.dir, "MODULE.bazel")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	depends := strings.Replace(string(text), `path = "`+s.repository+`"`, `path = "`+module+`"`, 1)
	if depends == string(text) {
		t.Fatalf("the example does not depend on this checkout:\n%s", text)
	}
	if err := os.WriteFile(name, []byte(depends), 0o644); err != nil {
		t.Fatal(err)
	}
	w.pin(t)

	program := "ocipkg-v0.1.0-" + platform
	released := filepath.Join(module, "rules", "private", "released.bzl")
	if text, err = os.ReadFile(released); err != nil {
		t.Fatal(err)
	}
	if url := "https://github.com/ocipkg/rules_ocipkg/releases/download/v0.1.0/" + program; !strings.Contains(string(text), `"`+url+`"`) {
		t.Fatalf("the program is not at %s:\n%s", url, text)
	}
	// There is no such release. Where it would be is a server that has something else, and then nothing.
	var gone atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintln(w, "#!/bin/sh")
	}))
	defer server.Close()
	if err := os.WriteFile(released, []byte(strings.Replace(string(text), "https://github.com/", server.URL+"/", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	kept := releasedTool(t, checkout, program)
	none := "--repository_cache=" // which would have it from an earlier run
	compiled := program + " could not be downloaded, or is not what was released, so that ocipkg is compiled from source"
	if r := w.exec(t, nil, "test", none, "//..."); r.code != 0 || !strings.Contains(r.stderr, compiled) {
		t.Errorf("with another program: exit status %d, not %q\n%s\n%s", r.code, compiled, r.stdout, r.stderr)
	}
	gone.Store(true)
	if r := w.exec(t, []string{"OCIPKG_TOOL=source"}, "test", none, "//..."); r.code != 0 || strings.Contains(r.stderr, "could not be downloaded") {
		t.Errorf("from source, as asked for: exit status %d\n%s\n%s", r.code, r.stdout, r.stderr)
	}
	// With nothing to compile.
	source := filepath.Join(module, "fetcher", "main.go")
	if err := os.Rename(source, source+".away"); err != nil {
		t.Fatal(err)
	}
	if r := w.exec(t, []string{"OCIPKG_TOOL=source"}, "test", none, "//..."); r.code == 0 || !strings.Contains(r.stderr, "could not make the tool") {
		t.Errorf("without sources: exit status %d\n%s\n%s", r.code, r.stdout, r.stderr)
	}
	w.bazel(t, "test", none, "--distdir="+checkout, "//...")
	// For the next workspace it was kept; and where that was damaged, it is downloaded again.
	w.bazel(t, "clean", "--expunge")
	w.bazel(t, "test", none, "//...")
	if err := os.WriteFile(kept, []byte("#!/bin/sh\necho damaged\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.bazel(t, "clean", "--expunge")
	if r := w.exec(t, nil, "test", none, "//..."); r.code == 0 || !strings.Contains(r.stderr, compiled) {
		t.Errorf("with one that was damaged: exit status %d, not %q\n%s\n%s", r.code, compiled, r.stdout, r.stderr)
	}
	w.bazel(t, "test", none, "--distdir="+checkout, "//...")
	if err := os.Rename(source+".away", source); err != nil {
		t.Fatal(err)
	}

	// What the presubmit of the Central Registry does.
	example := s.inPlace(filepath.Join(module, "examples", "publish_greet"))
	example.bazel(t, "build", none, "--distdir="+checkout, "//:package", "@rules_ocipkg//:ocipkg")
	const of = "@rules_ocipkg_gazelle_plugin//"
	user := s.declare(t, "plugin", nil)
	user.edit(t, "MODULE.bazel", func(text string) string {
		return strings.Replace(text, s.repository, module, 1) + fmt.Sprintf("bazel_dep(name = %[1]q, version = \"0.1.0\")\nlocal_path_override(module_name = %[1]q, path = %[2]q)\n",
			"rules_ocipkg_gazelle_plugin", filepath.Join(module, "gazelle_plugin"))
	})
	user.bazel(t, "build", none, "--distdir="+checkout, of+"ocipkg", of+"prebuilt", of+"go_deps", of+"fetcher")
	// Both modules are of one version, or it is said that they are not.
	(&workspace{suite: s, dir: module}).edit(t, "MODULE.bazel", func(text string) string { return strings.Replace(text, `"0.1.0"`, `"0.1.1"`, 1) })
	if r := user.exec(t, nil, "build", none, of+"ocipkg"); r.code == 0 || !strings.Contains(r.stderr, "rules_ocipkg_gazelle_plugin has version 0.1.0, and rules_ocipkg, whose Go packages it compiles, 0.1.1") {
		t.Errorf("with rules_ocipkg of another version: exit status %d\n%s", r.code, r.stderr)
	}
}

// releasedTool is where the rules keep the program of a release that they have downloaded. What earlier runs of the test have
// kept there is removed.
func releasedTool(t *testing.T, dir, program string) string {
	data, err := os.ReadFile(filepath.Join(dir, program))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(cache, "ocipkg", "tool", fmt.Sprintf("%x", sha256.Sum256(data)))
	if err := os.Remove(kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return kept
}
