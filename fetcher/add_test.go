package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestAdd: a library that needs another one is declared with it; a second time there is nothing to do; and --dry-run
// shows what would be done and does nothing.
func TestAdd(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	zlib := strings.TrimSpace(u.publish(t, server.Host+"/acme/zlib:1", "1", 0))
	u.write(t, "headers/web.h", []byte("int web;\n"))
	u.must(t, "pack", "headers", "--name", "web", "--version", "2", "--dependency", "ssl="+zlib, "-o", "web.tar")
	web := server.Host + "/acme/web:2"
	pinned := strings.TrimSpace(u.must(t, "push", "--quiet", "web.tar", web))

	o := u.run(t, "pack", "headers", "--name", "web", "--dependency", "ssl="+server.Host+"/acme/zlib:1", "-o", "no.tar")
	if o.code != int(diagnostic.Usage) || !strings.Contains(o.stderr, "write ssl="+zlib) {
		t.Errorf("a dependency without a digest: exit status %d\n%s", o.code, o.stderr)
	}

	const before = moduleHead + "# ends here"
	u.write(t, "MODULE.bazel", []byte(before))
	read := func() string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(u.dir, "MODULE.bazel"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	diff := u.must(t, "add", "--dry-run", "--name", "www", web)
	if read() != before || !strings.HasPrefix(diff, "--- MODULE.bazel\n") || !strings.Contains(diff, "+    deps = [\"@ssl\"],") {
		t.Errorf("--dry-run left\n%s\nand printed\n%s", read(), diff)
	}
	want := "MODULE.bazel: www: added: " + pinned + "\nMODULE.bazel: ssl: added: " + zlib
	if got := u.must(t, "add", "--name", "www", web); got != want {
		t.Errorf("printed %s, want %s", got, want)
	}
	after := read()
	for _, words := range []string{"name = \"www\"", "image = \"" + pinned + "\"", "image = \"" + zlib + "\"", "# ends here"} {
		if !strings.Contains(after, words) {
			t.Errorf("%s is not in\n%s", words, after)
		}
	}
	u.must(t, "add", "--name", "www", web)
	if read() != after {
		t.Errorf("a second time, it changed to\n%s", read())
	}
	o = u.run(t, "add", "--name", "no name", web)
	if o.code != int(diagnostic.Usage) {
		t.Errorf("a name that is none: exit status %d\n%s", o.code, o.stderr)
	}
}

// TestSuggestedNames: a library is called the same by every command that says what to write in MODULE.bazel, whatever its
// image is called.
func TestSuggestedNames(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	u.write(t, "headers/web.h", []byte("int web;\n"))
	image := server.Host + "/acme/native-build.web:2"
	u.must(t, "pack", "headers", "--name", "web++", "--version", "2", "--image", image, "-o", "web.tar")
	pushed := u.run(t, "push", "web.tar")
	pinned := strings.TrimSpace(pushed.stdout)
	want := "ocipkg_library(name = \"web__\", image = \"" + pinned + "\")"
	u.write(t, "MODULE.bazel", []byte(moduleHead))
	for what, said := range map[string]string{
		"push":                pushed.stderr,
		"inspect":             u.must(t, "inspect", image),
		"inspect of a layout": u.must(t, "inspect", "web.tar"),
		"add":                 strings.Replace(u.must(t, "add", image), "MODULE.bazel: web__: added: "+pinned, want, 1),
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%s: %s is not in\n%s", what, want, said)
		}
	}
	u.must(t, "pull", image, "-o", "web")
	if data, err := os.ReadFile(filepath.Join("web", "BUILD.bazel")); err != nil || !strings.Contains(string(data), "name = \"web__\"") {
		t.Errorf("pull --output wrote %v\n%s", err, data)
	}
}
