package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRelease: the archive that a tag would publish, made by what the release workflow runs, is a module that works: an
// example builds and runs with it in place of this checkout. A tag that is not the version of MODULE.bazel is refused.
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
	// The files as they are, committed or not: what a release of them would be.
	s.must(t, s.repository, "sh", "-c", `set -e
git ls-files -co --exclude-standard -z | xargs -0 sh -c 'for f; do test -e "$f" && printf "%s\0" "$f"; done' sh | tar --null -T - -cf - | (mkdir -p "$1" && tar -C "$1" -xf -)
cd "$1"
git init -q
git add -A
git -c user.name=Release -c user.email=release@example.com commit -qm release
git tag v0.1.0
git tag v0.2.0`, "sh", checkout)
	s.inPlace(checkout)
	prepare := filepath.Join(checkout, ".github", "workflows", "release_prep.sh")
	env := []string{"BAZEL=" + s.bazel}

	if r := s.exec(t, checkout, env, prepare, "v0.2.0"); r.code == 0 || !strings.Contains(r.stderr, "MODULE.bazel says version 0.1.0") {
		t.Errorf("a tag of another version: exit status %d\n%s", r.code, r.stderr)
	}
	r := s.exec(t, checkout, env, prepare, "v0.1.0")
	if r.code != 0 {
		t.Fatalf("exit status %d\n%s\n%s", r.code, r.stdout, r.stderr)
	}
	for _, words := range []string{`bazel_dep(name = "rules_ocipkg", version = "0.1.0")`, "ocipkg_library"} {
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
	released := strings.Replace(string(text), `path = "`+s.repository+`"`, `path = "`+module+`"`, 1)
	if released == string(text) {
		t.Fatalf("the example does not depend on this checkout:\n%s", text)
	}
	if err := os.WriteFile(name, []byte(released), 0o644); err != nil {
		t.Fatal(err)
	}
	w.pin(t)
	w.bazel(t, "test", "//...")

	// What the presubmit of the Central Registry does.
	example := s.inPlace(filepath.Join(module, "examples", "publish_greet"))
	example.bazel(t, "build", "//:package", "@rules_ocipkg//:ocipkg")
}
