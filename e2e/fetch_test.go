package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/credentials"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// declare makes a workspace that declares libraries, by name and image, and builds nothing of its own.
func (s *suite) declare(t *testing.T, name string, images map[string]string, more ...string) *workspace {
	t.Helper()
	w := s.workspace(t, "examples/c_zlib", "unused")
	var b strings.Builder
	fmt.Fprintf(&b, "module(name = %q)\n\nbazel_dep(name = \"rules_ocipkg\", version = \"0.1.0\")\nlocal_path_override(\n    module_name = \"rules_ocipkg\",\n    path = %q,\n)\n\n", name, s.repository)
	b.WriteString("ocipkg_library = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\n")
	for library, image := range images {
		fmt.Fprintf(&b, "\nocipkg_library(\n    name = %q,\n    image = %q,\n)\n", library, image)
	}
	for _, text := range more {
		b.WriteString("\n" + text + "\n")
	}
	if err := os.WriteFile(filepath.Join(w.dir, "MODULE.bazel"), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"BUILD.bazel", "app.c"} {
		if err := os.Remove(filepath.Join(w.dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// packed packs one of the native libraries of the matrix and returns the path of the archive.
func (s *suite) packed(t *testing.T, name string, flags ...string) string {
	t.Helper()
	native := filepath.Join(s.out, "native-"+strings.ReplaceAll(t.Name(), "/", "_"))
	s.matrixLibraries(t, native)
	archive := filepath.Join(native, name+".tar")
	s.must(t, s.out, append([]string{s.ocipkg, "pack", filepath.Join(native, name), "--name", name, "-o", archive}, flags...)...)
	return archive
}

// TestPinning: a tag is looked up and the line that pins it printed; with OCIPKG_REQUIRE_DIGEST it is refused, with the
// same line; and what is pinned and has been fetched once is had without a single request, in any workspace.
func TestPinning(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	image := server.Host + "/acme/pair:1"
	// Other bytes than in other tests, so that the store does not have them yet.
	pinned := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", s.packed(t, "pair", "--version", "pinning"), image))
	if !strings.HasPrefix(pinned, image+"@sha256:") {
		t.Fatalf("push printed %q", pinned)
	}

	tagged := s.declare(t, "tagged", map[string]string{"pair": image})
	r := tagged.exec(t, []string{"OCIPKG_REQUIRE_DIGEST=1"}, "build", "@pair//:shared")
	if r.code == 0 || !strings.Contains(r.stderr, "OCIPKG_REQUIRE_DIGEST=1 allows pinned images alone") || !strings.Contains(r.stderr, fmt.Sprintf("image = %q", pinned)) {
		t.Errorf("OCIPKG_REQUIRE_DIGEST=1: exit status %d\n%s", r.code, r.stderr)
	}
	r = tagged.exec(t, nil, "build", "@pair//:shared")
	if r.code != 0 || !strings.Contains(r.stderr, fmt.Sprintf("    image = %q,\n", pinned)) {
		t.Fatalf("a tag: exit status %d, and the line that pins it is not in:\n%s", r.code, r.stderr)
	}

	// pin writes that very line, and the pinned workspace asks the registry nothing: all is in the store.
	tagged.pin(t)
	before := len(server.Requests(""))
	tagged.bazel(t, "build", "@pair//:shared")
	other := s.declare(t, "other", map[string]string{"again": pinned})
	if r := other.exec(t, []string{"OCIPKG_REQUIRE_DIGEST=1"}, "build", "@again"); r.code != 0 || strings.Contains(r.stderr, "is not pinned") {
		t.Errorf("a pinned image: exit status %d\n%s", r.code, r.stderr)
	}
	if requests := server.Requests("")[before:]; len(requests) > 0 {
		t.Errorf("a pinned library in the store cost %d requests: %v", len(requests), requests)
	}
	server.Close()
	third := s.declare(t, "third", map[string]string{"offline": pinned})
	third.bazel(t, "build", "@offline")
}

// TestWrongDigest: a digest that was copied from another library's line is a warning of Bazel's, once for each declaration, also
// where that is a hub of which the build fetches a spoke.
func TestWrongDigest(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	wrong := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", s.packed(t, "pair", "--version", "wrong"), server.Host+"/acme/bread:1"))
	w := s.declare(t, "wrong_digest", map[string]string{"bread": wrong}, `ocipkg = use_extension("@rules_ocipkg//rules:extensions.bzl", "ocipkg")`,
		fmt.Sprintf("ocipkg.library(name = \"crumbs\", image = %q)\nuse_repo(ocipkg, \"crumbs\")", wrong))
	r := w.exec(t, nil, "build", "@bread//:shared", "@crumbs//:shared")
	if r.code != 0 {
		t.Fatal(r.stderr)
	}
	for _, name := range []string{"bread", "crumbs"} {
		want := fmt.Sprintf("warning: %s: the digest is of pair wrong, and the image is called %s/acme/bread:1. ", name, server.Host)
		if n := strings.Count(r.stderr, want); n != 1 {
			t.Errorf("%d times %q in\n%s", n, want, r.stderr)
		}
	}
}

// TestTool: OCIPKG_TOOL takes the place of the compiled tool, and is what to set where there is no Go to compile one.
func TestTool(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	pinned := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", s.packed(t, "single"), server.Host+"/single:1"))

	// A tool that says it was run, and then does its work.
	witness := filepath.Join(t.TempDir(), "witness")
	tool := filepath.Join(t.TempDir(), "tool")
	script := fmt.Sprintf("#!/bin/sh\necho \"$1\" >>%q\nexec %q \"$@\"\n", witness, s.ocipkg)
	if err := os.WriteFile(tool, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	w := s.declare(t, "tool", map[string]string{"single": pinned})
	if r := w.exec(t, []string{"OCIPKG_TOOL=" + tool}, "build", "@single"); r.code != 0 {
		t.Fatalf("exit status %d\n%s", r.code, r.stderr)
	}
	if ran, err := os.ReadFile(witness); err != nil || !strings.Contains(string(ran), "\nfetch\n") {
		t.Errorf("OCIPKG_TOOL was not run to fetch: %q, %v", ran, err)
	}
	if r := w.exec(t, []string{"OCIPKG_TOOL=/bin/false"}, "build", "@single"); r.code == 0 || !strings.Contains(r.stderr, "OCIPKG_TOOL names /bin/false, which does not run") {
		t.Errorf("OCIPKG_TOOL that is another program: exit status %d\n%s", r.code, r.stderr)
	}
	r := w.exec(t, []string{"OCIPKG_TOOL=/nonexistent/ocipkg"}, "build", "@single")
	if r.code == 0 || !strings.Contains(r.stderr, "OCIPKG_TOOL names /nonexistent/ocipkg, which is not a file") {
		t.Errorf("OCIPKG_TOOL that does not exist: exit status %d\n%s", r.code, r.stderr)
	}
	if graph := w.bazel(t, "mod", "graph"); !strings.Contains(graph, "rules_ocipkg") || strings.Contains(graph, "rules_go") || strings.Contains(graph, "gazelle") {
		t.Errorf("who depends on the rules alone depends on:\n%s", graph)
	}
	r = w.exec(t, nil, "build", "--repo_env=PATH=/nonexistent", "@single")
	if r.code == 0 || !strings.Contains(r.stderr, "there is no `go` on PATH") || !strings.Contains(r.stderr, "install Go, or set OCIPKG_TOOL") {
		t.Errorf("no Go: exit status %d\n%s", r.code, r.stderr)
	}
}

// TestToolCompilesOnce: the second workspace on a machine takes the tool that was kept, and where that is damaged or gone compiles
// nothing anew; neither does one whose user has set Go up for work of their own, for which the tool comes out the same. Other
// sources make another tool.
func TestToolCompilesOnce(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	pinned := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", s.packed(t, "single"), server.Host+"/single:1"))

	// A cache that nobody else writes to. It is kept from one run of the tests to the next, as a user's is.
	cache := filepath.Join(s.out, "cache")
	compiled := func() []string { return files(t, filepath.Join(cache, "ocipkg", "go-build")) }
	w := s.declare(t, "once", map[string]string{"single": pinned})
	build := func(env ...string) (tool []byte) {
		t.Helper()
		// Without what Bazel keeps of a workspace, it is one that it has never seen.
		w.bazel(t, "clean", "--expunge")
		if r := w.exec(t, env, "build", "--repo_env=XDG_CACHE_HOME="+cache, "--repo_env=GOROOT=/nonexistent", "@single"); r.code != 0 {
			t.Fatalf("with %v: exit status %d\n%s", env, r.code, r.stderr)
		}
		tools, err := filepath.Glob(filepath.Join(strings.TrimSpace(w.bazel(t, "info", "output_base")), "external", "*rules_ocipkg_tool", "ocipkg"))
		if err != nil || len(tools) != 1 {
			t.Fatalf("the tool is %v, %v", tools, err)
		}
		tool, err = os.ReadFile(tools[0])
		if err != nil {
			t.Fatal(err)
		}
		return tool
	}
	first := build()
	before := compiled()
	if len(before) == 0 {
		t.Fatalf("nothing is in %s: this test tells nothing", cache)
	}
	kept := func() (tools []string) {
		t.Helper()
		for _, path := range files(t, filepath.Join(cache, "ocipkg", "tool")) {
			if filepath.Ext(path) == "" {
				tools = append(tools, path)
			}
		}
		if len(tools) == 0 {
			t.Fatal("no tool is kept")
		}
		return tools
	}
	// In the place of the tool that is kept, one that says so: no other one would.
	real := filepath.Join(t.TempDir(), "ocipkg")
	if err := os.WriteFile(real, first, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tool := range kept() {
		marked := fmt.Sprintf("#!/bin/sh\ntest \"$1 $2\" = \"fingerprint --copy\" && cp '%s' \"$3\" && echo marked\n", real)
		if err := errors.Join(os.WriteFile(tool, []byte(marked), 0o755), os.WriteFile(tool+".fingerprint", []byte("marked\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if again := build(); !bytes.Equal(first, again) {
		t.Error("the tool that was kept is another")
	}
	prints, err := filepath.Glob(filepath.Join(strings.TrimSpace(w.bazel(t, "info", "output_base")), "external", "*rules_ocipkg_tool", "fingerprint"))
	if err != nil || len(prints) != 1 {
		t.Fatalf("%v, %v", prints, err)
	}
	if data, err := os.ReadFile(prints[0]); err != nil || string(data) != "marked\n" {
		t.Errorf("the tool that was kept was not asked: %q, %v", data, err)
	}
	// Damaged: as a power cut leaves both, and torn.
	for _, tool := range kept() {
		if err := errors.Join(os.WriteFile(tool, nil, 0o755), os.WriteFile(tool+".fingerprint", nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if again := build(); !bytes.Equal(first, again) {
		t.Error("where an empty tool was kept, the tool is another")
	}
	for _, tool := range kept() {
		if err := os.WriteFile(tool, first[:len(first)/2], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, env := range [][]string{
		nil,
		{"GOFLAGS=-race -tags=other -mod=vendor", "GOOS=plan9", "GOARCH=arm", "GOAMD64=v4", "GOWORK=/nonexistent/go.work", "GO111MODULE=off", "CGO_ENABLED=1", "GOEXPERIMENT=jsonv2"},
	} {
		if again := build(env...); !bytes.Equal(first, again) {
			t.Errorf("with %v, the tool is another", env)
		}
		if after := compiled(); !slices.Equal(before, after) {
			t.Errorf("with %v, %d files became %d in the cache of what is compiled", env, len(before), len(after))
		}
		whole := 0
		for _, tool := range kept() {
			if data, err := os.ReadFile(tool); err == nil && bytes.Equal(data, first) {
				whole++
			}
			if err := os.Remove(tool); err != nil {
				t.Fatal(err)
			}
		}
		if whole != 1 {
			t.Errorf("with %v, %d whole tools are kept in place of damaged ones or none", env, whole)
		}
	}

	build()
	sources := filepath.Join(t.TempDir(), "rules_ocipkg")
	s.must(t, s.repository, "sh", "-c", `mkdir "$1" && cp -r MODULE.bazel BUILD.bazel go.mod go.sum fetcher internal rules "$1" && cd "$1" && sed -i 's/Print the SHA-256 of this program/&, which is another/' fetcher/fingerprint.go`, "sh", sources)
	w.edit(t, "MODULE.bazel", func(text string) string {
		return strings.Replace(text, fmt.Sprintf("%q", s.repository), fmt.Sprintf("%q", sources), 1)
	})
	if other := build(); bytes.Equal(first, other) {
		t.Error("other sources make the same tool")
	}
	if n := len(kept()); n != 2 {
		t.Errorf("%d tools are kept, of two kinds of sources", n)
	}
}

// TestEnvironment: what a developer has set for work of their own does not reach what is tested here.
func TestEnvironment(t *testing.T) {
	t.Setenv("OCIPKG_STORE", "/nonexistent")
	t.Setenv("OCIPKG_TOOL", "/nonexistent")
	t.Setenv("OCIPKG_AIRGAP_BIND", "/usr")
	t.Setenv("MAKEFLAGS", "-j2")
	r := theSuite.exec(t, theSuite.out, []string{"OCIPKG_REQUIRE_DIGEST=1"}, "env")
	for setting, want := range map[string]bool{
		"OCIPKG_STORE=": false, "OCIPKG_TOOL=": false, "OCIPKG_AIRGAP_BIND=/usr\n": true, "OCIPKG_REQUIRE_DIGEST=1\n": true,
		"MAKEFLAGS": false,
	} {
		if strings.Contains(r.stdout, setting) != want {
			t.Errorf("%q is there: %v, want %v", setting, !want, want)
		}
	}
}

// TestPrivateRegistry: credentials in a variable are enough for Bazel, and are in none of the files that it writes about a
// repository; nor are they on the tool's command line, where Bazel would print them.
func TestPrivateRegistry(t *testing.T) {
	const password = "hunter22-secret"
	s := theSuite
	server, mirror := registrytest.New(t.TempDir()), registrytest.New(t.TempDir())
	defer server.Close()
	defer mirror.Close()
	archive := s.packed(t, "single", "--version", "private")
	pinned := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", archive, server.Host+"/acme/single:1"))
	server.RequireBearer("bob", password)
	variable := credentials.Variable(server.Host)

	w := s.declare(t, "private", map[string]string{"single": pinned})
	r := w.exec(t, nil, "build", "@single")
	for _, words := range []string{"none were found", "ocipkg login " + server.Host, variable + "=NAME:PASSWORD"} {
		if r.code == 0 || !strings.Contains(r.stderr, words) {
			t.Errorf("without credentials: exit status %d, and %q is not in:\n%s", r.code, words, r.stderr)
		}
	}
	r = w.exec(t, []string{variable + "=bob:" + password, "OCIPKG_DEBUG_AUTH=1"}, "build", "--verbose_failures", "@single")
	if r.code != 0 || !strings.Contains(r.stderr, variable+": used") || strings.Contains(r.stdout+r.stderr, password) {
		t.Fatalf("with credentials: exit status %d\n%s", r.code, r.stderr)
	}
	base := strings.TrimSpace(w.bazel(t, "info", "output_base"))
	looked := 0
	for _, pattern := range []string{"external/*.marker", "external/*single*/*", "*.log", "command.log"} {
		names, err := filepath.Glob(filepath.Join(base, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				continue // a folder
			}
			looked++
			if strings.Contains(string(data), password) {
				t.Errorf("%s has the password in it", name)
			}
		}
	}
	if looked == 0 {
		t.Errorf("no files below %s", base)
	}

	// A mirror in a variable does as well, without the registry.
	other := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", s.packed(t, "single", "--version", "mirrored"), mirror.Host+"/copy/single:1"))
	_, digest, _ := strings.Cut(other, "@")
	w = s.declare(t, "mirrored", map[string]string{"single": "registry.invalid/acme/single:1@" + digest})
	if r := w.exec(t, []string{"OCIPKG_MIRRORS=registry.invalid/acme=" + mirror.Host + "/copy"}, "build", "@single"); r.code != 0 {
		t.Errorf("with a mirror: exit status %d\n%s", r.code, r.stderr)
	}
}

// TestSeveralPlatforms: of an image for two processors, Bazel fetches what this machine links and nothing of the other.
func TestSeveralPlatforms(t *testing.T) {
	const arm = "aarch64-unknown-linux-gnu"
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	intel := s.packed(t, "single", "--version", "two")
	dir := t.TempDir()
	library, err := os.ReadFile(filepath.Join(s.repository, "internal", "native", "nativetest", "files", "elf-aarch64-linux-gnu.so"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "p", "lib"), 0o755), os.WriteFile(filepath.Join(dir, "p", "lib", "libfoo.so"), library, 0o755)); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "arm.tar")
	s.must(t, s.out, s.ocipkg, "pack", filepath.Join(dir, "p"), "--name", "single", "--version", "two", "--target", arm, "-o", archive)
	pinned := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", "--quiet", intel, archive, server.Host+"/two:1"))
	var described struct {
		Manifest struct{ Layers []struct{ Digest string } }
	}
	if err := json.Unmarshal([]byte(s.must(t, s.out, s.ocipkg, "inspect", "--json", "--target", arm, archive)), &described); err != nil || len(described.Manifest.Layers) == 0 {
		t.Fatalf("%+v, %v", described, err)
	}
	server.Clear()
	w := s.declare(t, "several", map[string]string{"two": pinned})
	w.bazel(t, "build", "@two")
	fetched := len(server.Requests("/blobs/"))
	for _, layer := range described.Manifest.Layers {
		if asked := server.Requests("/blobs/" + layer.Digest); len(asked) > 0 {
			t.Errorf("asked for %s, of the other platform: %+v", layer.Digest, asked)
		}
	}
	if fetched == 0 {
		t.Error("nothing was fetched, so that this test tells nothing")
	}
}

// TestExtension: the module extension declares libraries too; of one that is not pinned it says so once, and one that does not
// describe itself, which the hub has to look into, is linked like any other.
func TestExtension(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	archive := s.packed(t, "single")
	pinned := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", archive, server.Host+"/single:1"))
	pushFlat(t, server.Host, filepath.Join(filepath.Dir(archive), "flat"))
	w := s.declare(t, "extension", nil, depends, extension+fmt.Sprintf(`ocipkg.library(name = "single", image = %q)
ocipkg.library(name = "tagged", image = %q)
ocipkg.library(name = "flat", image = %q)
use_repo(ocipkg, "flat", "single", "tagged")`, pinned, server.Host+"/single:1", server.Host+"/flat:1"))
	w.write(t, "BUILD.bazel", "load(\"@rules_cc//cc:defs.bzl\", \"cc_binary\")\n\ncc_binary(\n    name = \"app\",\n    srcs = [\"main.c\"],\n    deps = [\"@flat\"],\n)\n")
	w.write(t, "main.c", fooMain)
	w.bazel(t, "build", "@single")
	if targets := w.bazel(t, "query", "@single//:all"); !strings.Contains(targets, "@single//:shared") {
		t.Errorf("its targets: %s", targets)
	}
	r := w.exec(t, nil, "build", "@tagged")
	if r.code != 0 || strings.Count(r.stderr, "is not pinned") != 1 || !strings.Contains(r.stderr, `ocipkg.library(name = "tagged") is not pinned`) || !strings.Contains(r.stderr, fmt.Sprintf("image = %q", pinned)) {
		t.Errorf("a tag: exit status %d\n%s", r.code, r.stderr)
	}
	w.bazel(t, "build", "//:app")
	w.checkBinaries(t, "//:app")
	w.nextMajors(t)
	w.bazel(t, "build", "--config=next", "@single", "//:app")
}
