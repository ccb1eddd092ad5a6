package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// platformsOf is a library called foo for many platforms: for this machine's one built here, for the others what other
// systems' compilers have made. The keys are target triples; a value is a file of internal/native/nativetest/files, and
// the name under which it is packed. That for arm64 asks for no C library, and goes for either.
var platformsOf = map[string][2]string{
	"aarch64-apple-darwin":       {"macho-arm64.a", "libfoo.a"},
	"aarch64-unknown-linux-gnu":  {"elf-aarch64-linux-gnu.so", "libfoo.so"},
	"aarch64-unknown-linux-musl": {"elf-aarch64-linux-gnu.so", "libfoo.so"},
	"riscv64-unknown-linux-gnu":  {"elf-riscv64-linux-gnu.so", "libfoo.so"},
	"x86_64-apple-darwin":        {"macho-x86_64.a", "libfoo.a"},
	"x86_64-pc-windows-gnu":      {"pe-mingw-libz.a", "libfoo.a"},
	"x86_64-pc-windows-msvc":     {"pe-msvc-zs.lib", "foo.lib"},
	"x86_64-unknown-linux-musl":  {"elf-musl-x86_64.so", "libfoo.so"},
}

const (
	host = "x86_64-unknown-linux-gnu"
	musl = "x86_64-unknown-linux-musl"
)

// several pushes foo for this machine and for the platforms given, each version another image, and returns it pinned.
func (s *suite) several(t *testing.T, image, version string, targets ...string) string {
	t.Helper()
	archives := []string{s.packed(t, "single", "--version", version)}
	single := strings.TrimSuffix(archives[0], ".tar")
	for _, target := range targets {
		prefix := filepath.Join(filepath.Dir(single), "for-"+target)
		file, name := platformsOf[target][0], platformsOf[target][1]
		source := filepath.Join(s.repository, "internal", "native", "nativetest", "files", file)
		for from, to := range map[string]string{filepath.Join(single, "include", "foo.h"): "include/foo.h", source: "lib/" + name} {
			data, err := os.ReadFile(from)
			if err == nil {
				err = errors.Join(os.MkdirAll(filepath.Join(prefix, filepath.Dir(to)), 0o755), os.WriteFile(filepath.Join(prefix, to), data, 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		archive := prefix + ".tar"
		s.must(t, s.out, s.ocipkg, "pack", prefix, "--name", "single", "--version", version, "--target", target, "-o", archive)
		archives = append(archives, archive)
	}
	return strings.TrimSpace(s.must(t, s.out, slices.Concat([]string{s.ocipkg, "push", "--quiet", "--no-upstream-tags"}, archives, []string{image})...))
}

// layersOf are the digests of the layers of an image for a target.
func (s *suite) layersOf(t *testing.T, image, target string) []string {
	t.Helper()
	var described struct {
		Manifest struct{ Layers []struct{ Digest string } }
	}
	if err := json.Unmarshal([]byte(s.must(t, s.out, s.ocipkg, "inspect", "--json", "--target", target, image)), &described); err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, layer := range described.Manifest.Layers {
		digests = append(digests, layer.Digest)
	}
	if len(digests) == 0 {
		t.Fatalf("%s has no layers for %s", image, target)
	}
	return digests
}

func (w *workspace) write(t *testing.T, name, text string) {
	t.Helper()
	p := filepath.Join(w.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

const extension = `ocipkg = use_extension("@rules_ocipkg//rules:extensions.bzl", "ocipkg")
`

// depends is what the workspace's own BUILD file needs.
const depends = `bazel_dep(name = "platforms", version = "1.0.0")
bazel_dep(name = "rules_cc", version = "0.1.5")
`

// platforms is a BUILD file with a platform for each triple, called like it.
const platforms = `load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_test")

genrule(
    name = "unrelated",
    outs = ["unrelated.txt"],
    cmd = "echo nothing >$@",
)

[
    platform(
        name = name,
        constraint_values = ["@platforms//" + cpu, "@platforms//" + os] + more,
    )
    for name, cpu, os, more in [
        ("aarch64-apple-darwin", "cpu:aarch64", "os:macos", []),
        ("aarch64-unknown-linux-gnu", "cpu:aarch64", "os:linux", []),
        ("aarch64-unknown-linux-musl", "cpu:aarch64", "os:linux", ["@rules_ocipkg//rules/libc:musl"]),
        ("riscv64-unknown-linux-gnu", "cpu:riscv64", "os:linux", ["@rules_ocipkg//rules/libc:glibc"]),
        ("s390x-unknown-linux-gnu", "cpu:s390x", "os:linux", []),
        ("x86_64-apple-darwin", "cpu:x86_64", "os:macos", []),
        ("x86_64-pc-windows-gnu", "cpu:x86_64", "os:windows", ["@rules_ocipkg//rules/windows_abi:mingw"]),
        ("x86_64-pc-windows-msvc", "cpu:x86_64", "os:windows", []),
        ("x86_64-unknown-linux-gnu", "cpu:x86_64", "os:linux", []),
        ("x86_64-unknown-linux-musl", "cpu:x86_64", "os:linux", ["@rules_ocipkg//rules/libc:musl"]),
    ]
]
`

const fooMain = `#include <foo.h>
#include <stdio.h>

int main(void) {
    printf("foo %d\n", foo_value());
    return 0;
}
`

// subcommand is what --subcommands prints before whatever Bazel runs.
const subcommand = "SUBCOMMAND: "

// TestHub: of a library for nine platforms that the module extension declares, nothing is fetched until something
// depends on it, then what it is and the layers of the one platform that is built for; every platform leads to its own
// library, and one that is not there to a message before a compiler runs.
func TestHub(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	var others []string
	for target := range platformsOf {
		others = append(others, target)
	}
	slices.Sort(others)
	pinned := s.several(t, server.Host+"/foo:9", "hub", others...)
	two := s.several(t, server.Host+"/two:1", "hub-two", "aarch64-unknown-linux-gnu")
	layers := map[string][]string{host: s.layersOf(t, pinned, host)}
	for _, target := range others {
		layers[target] = s.layersOf(t, pinned, target)
	}
	// What is pushed from here is not in the store: nothing has been pulled.
	w := s.declare(t, "hub", nil, depends, extension+fmt.Sprintf(`ocipkg.library(name = "foo", image = %q)
ocipkg.library(name = "narrow", image = %q, platforms = ["x86_64-unknown-linux-musl", "s390x-unknown-linux-gnu"])
ocipkg.library(name = "two", image = %q)
use_repo(ocipkg, "foo", "narrow", "two")

ocipkg_library(
    name = "folders",
    image = %q,
    platforms = ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"],
)

ocipkg_library(
    name = "plain",
    image = %q,
)

changing = use_extension("//:changing.bzl", "changing")
use_repo(changing, "changing")`, pinned, pinned, two, pinned, pinned))
	w.write(t, "BUILD.bazel", platforms+`
[
    cc_binary(
        name = "with_" + library,
        srcs = ["main.c"],
        deps = ["@" + library],
    )
    for library in ["foo", "folders", "narrow", "plain"]
]
`)
	w.write(t, "main.c", fooMain)
	w.write(t, "changing.bzl", `def _repository_impl(rctx):
    rctx.file("BUILD.bazel", "")

_repository = repository_rule(_repository_impl)

def _changing_impl(_mctx):
    _repository(name = "changing")

changing = module_extension(_changing_impl)
`)
	w.write(t, "musl/BUILD.bazel", `load("@rules_cc//cc:defs.bzl", "cc_library")

cc_library(
    name = "library",
    target_compatible_with = ["@rules_ocipkg//rules/libc:musl"],
    deps = ["@narrow"],
)
`)
	// A store of its own: other tests have fetched the same bytes.
	store := filepath.Join(t.TempDir(), "store")
	ownStore := "common --repo_env=OCIPKG_STORE=" + store + "\n"
	w.write(t, ".bazelrc", ownStore)

	// Evaluating the extension asks nobody. What has been expunged has to be evaluated, for there is no lock file; and a build
	// that needs none of its repositories may do without, so Bazel is asked for what only the evaluation tells: the
	// repositories that nobody has named.
	if _, err := os.Stat(filepath.Join(w.dir, "MODULE.bazel.lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("there is a lock file (%v): this test tells nothing", err)
	}
	for _, c := range []struct {
		command string
		args    []string
		prints  []string
	}{
		{"mod", []string{"show_extension", "@rules_ocipkg//rules:extensions.bzl%ocipkg"}, []string{"foo", "foo__" + host, "foo__s390x-unknown-linux-gnu", "narrow__" + musl, "two__aarch64-apple-darwin"}},
		{"mod", []string{"deps"}, nil},
		{"build", []string{"//:unrelated"}, nil},
	} {
		w.bazel(t, "clean", "--expunge")
		server.Clear()
		printed := w.bazel(t, c.command, c.args...)
		for _, repository := range c.prints {
			if !regexp.MustCompile(`(?m)^\s*- ` + repository + `( |$)`).MatchString(printed) {
				t.Errorf("bazel %s %v tells of no %s, so that the extension was not evaluated:\n%s", c.command, c.args, repository, printed)
			}
		}
		if requests := server.Requests(""); len(requests) > 0 {
			t.Errorf("bazel %s %v, with libraries that nothing depends on, costs %d requests: %v", c.command, c.args, len(requests), requests)
		}
		if there := files(t, store); len(there) > 0 {
			t.Errorf("bazel %s %v has put into the store: %v", c.command, c.args, there)
		}
	}

	// No compiler runs for a platform that is not there, and no layer is fetched.
	t.Run("no match", func(t *testing.T) {
		for _, c := range []struct {
			args  []string
			wants []string
		}{
			{[]string{"//:with_narrow"}, []string{"single hub is not there for the platform", "(x86_64, linux, glibc)", "It is there for: x86_64-unknown-linux-musl\n", "Published too", "x86_64-unknown-linux-gnu", "--platforms"}},
			{[]string{"@two//:files", "--platforms=//:x86_64-unknown-linux-musl"}, []string{"single hub-two is not there for the platform", "//:x86_64-unknown-linux-musl (x86_64, linux, musl)", "aarch64-unknown-linux-gnu, x86_64-unknown-linux-gnu\n"}},
			{[]string{"--platforms=//:s390x-unknown-linux-gnu", "@foo//:files"}, []string{"single hub is not there for the platform", "//:s390x-unknown-linux-gnu (s390x, linux, glibc)", "It is there for: " + strings.Join(slices.Sorted(slices.Values(append(others, host))), ", ")}},
		} {
			r := w.exec(t, nil, "build", append(c.args, "--subcommands")...)
			for _, words := range c.wants {
				if r.code == 0 || !strings.Contains(r.stderr, words) {
					t.Errorf("bazel build %v: exit status %d, and %q is not in:\n%s", c.args, r.code, words, r.stderr)
				}
			}
			if strings.Contains(r.stderr, subcommand) {
				t.Errorf("a compiler ran:\n%s", r.stderr)
			}
		}
		// Who says so himself is passed over.
		if r := w.exec(t, nil, "build", "//musl:all"); r.code != 0 || !strings.Contains(r.stderr, "was skipped") {
			t.Errorf("a target for another platform: exit status %d\n%s", r.code, r.stderr)
		}
		for target, digests := range layers {
			for _, digest := range digests {
				if asked := server.Requests("/blobs/" + digest); len(asked) > 0 {
					t.Errorf("asked for a layer of %s: %v", target, asked)
				}
			}
		}
	})

	// MODULE.bazel.lock has nothing of what the same tags lead to everywhere, so that no update of it is ever missing.
	t.Run("lock file", func(t *testing.T) {
		if r := w.exec(t, nil, "query", "--lockfile_mode=error", "@changing//:all"); !strings.Contains(r.stderr, "does not exist in the lockfile") {
			t.Skipf("SKIPPED, this Bazel has more to say of a lock file that is not there: exit status %d\n%s", r.code, r.stderr)
		}
		w.bazel(t, "query", "--lockfile_mode=error", "@foo//:all")
	})

	server.Clear()
	// Also the control of "no match": where a compiler runs, Bazel says so.
	if r := w.exec(t, nil, "build", "--subcommands", "//:with_foo"); r.code != 0 || !strings.Contains(r.stderr, subcommand) {
		t.Fatalf("exit status %d, or no %q in:\n%s", r.code, subcommand, r.stderr)
	}
	if r := s.inEnv(t, w.dir, "bazel-bin/with_foo"); r.code != 0 || !strings.HasPrefix(r.stdout, "foo ") {
		t.Errorf("the program: exit status %d, %s%s", r.code, r.stdout, r.stderr)
	}
	for target, digests := range layers {
		for _, digest := range digests {
			asked := len(server.Requests("/blobs/" + digest))
			if slices.Contains(layers[host], digest) {
				if asked != 1 {
					t.Errorf("asked %d times for a layer of %s", asked, host)
				}
			} else if asked > 0 {
				t.Errorf("asked for a layer of %s", target)
			}
		}
	}
	if all := server.Requests("/blobs/|/manifests/"); len(all) != len(layers[host]) {
		t.Errorf("%d layers cost %d requests: %v", len(layers[host]), len(all), all)
	}

	// Every platform has its own.
	t.Run("platforms", func(t *testing.T) {
		for _, target := range append(others, host) {
			files := w.bazel(t, "cquery", "--platforms=//:"+target, "--output=files", "@foo//:files")
			want := "foo__" + target + "/lib/" + platformsOf[target][1]
			if target == host {
				want = "foo__" + target + "/lib/libfoo.so.1.2.3"
			}
			if !strings.Contains(files, want) {
				t.Errorf("for %s there is no %s but:\n%s", target, want, files)
			}
		}
		if files := w.bazel(t, "cquery", "--platforms=//:"+musl, "--output=files", "@folders//:files"); !strings.Contains(files, "/"+musl+"/lib/libfoo.so") || strings.Contains(files, host) {
			t.Errorf("the repository for two platforms has for musl:\n%s", files)
		}
	})
	// A repository for one platform is refused by another.
	if r := w.exec(t, nil, "build", "--platforms=//:"+musl, "//:with_plain"); r.code == 0 || !strings.Contains(r.stderr, "is incompatible") || !strings.Contains(r.stderr, "libc:glibc") {
		t.Errorf("a library for glibc where musl is built for: exit status %d\n%s", r.code, r.stderr)
	}
	w.bazel(t, "build", "//:with_folders")
	if r := s.inEnv(t, w.dir, "bazel-bin/with_folders"); r.code != 0 || !strings.HasPrefix(r.stdout, "foo ") {
		t.Errorf("the program: exit status %d, %s%s", r.code, r.stdout, r.stderr)
	}
	// The header index of the hub, which is there without a layer.
	index, err := filepath.Glob(filepath.Join(strings.TrimSpace(w.bazel(t, "info", "output_base")), "external", "*ocipkg*foo", "header_index.json"))
	if err != nil || len(index) != 1 {
		t.Fatalf("header indexes: %q, %v", index, err)
	}
	if data, err := os.ReadFile(index[0]); err != nil || !strings.Contains(string(data), `"@foo//:foo"`) {
		t.Errorf("the header index is %s, %v", data, err)
	}

	// What fetches every repository, such as bazel vendor, gets to platforms that the image is not there for.
	hub := filepath.Base(filepath.Dir(index[0]))
	w.bazel(t, "fetch", "--repo=@@"+hub+"__s390x-unknown-linux-gnu")
	if r := w.exec(t, nil, "build", "@@"+hub+"__s390x-unknown-linux-gnu//:foo"); r.code == 0 || !strings.Contains(r.stderr, "no such target") {
		t.Errorf("a platform that is not there: exit status %d\n%s", r.code, r.stderr)
	}

	// Anew, and with what later Bazels make the default, with nobody to ask.
	server.Close()
	w.bazel(t, "clean", "--expunge")
	w.bazel(t, "build", "//:with_foo", "//:with_folders")
	w.nextMajors(t)
	w.write(t, "user.bazelrc", ownStore)
	w.bazel(t, "build", "--config=next", "//:with_foo", "//:with_folders")
}

// modules are a workspace of a root module that declares nothing, and of two modules, one and two, that both declare the
// library single, with the attributes given, and have it as //:library.
func (s *suite) modules(t *testing.T, workspace, one, two string) *workspace {
	t.Helper()
	overrides := ""
	for _, name := range []string{"one", "two"} {
		overrides += fmt.Sprintf("bazel_dep(name = %q)\nlocal_path_override(\n    module_name = %q,\n    path = %q,\n)\n", name, name, name)
	}
	w := s.declare(t, workspace, nil, overrides)
	for name, attributes := range map[string]string{"one": one, "two": two} {
		w.write(t, name+"/MODULE.bazel", fmt.Sprintf("module(name = %q, version = \"1.0\")\nbazel_dep(name = \"rules_ocipkg\", version = \"0.1.0\")\n%socipkg.library(name = \"single\", %s)\nuse_repo(ocipkg, \"single\")\n", name, extension, attributes))
		w.write(t, name+"/BUILD.bazel", "alias(\n    name = \"library\",\n    actual = \"@single//:license\",\n    visibility = [\"//visibility:public\"],\n)\n")
	}
	w.write(t, "BUILD.bazel", "")
	return w
}

// TestTwoModulesTwoDigests: where two modules want different bytes under one name, the message says who wants what, and the
// root module's word settles it.
func TestTwoModulesTwoDigests(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	first := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", s.packed(t, "single", "--version", "first"), server.Host+"/single:1"))
	second := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", s.packed(t, "single", "--version", "second"), server.Host+"/single:2"))
	w := s.modules(t, "modules", fmt.Sprintf("image = %q", first), fmt.Sprintf("image = %q", second))
	r := w.exec(t, nil, "build", "@one//:library", "@two//:library")
	for _, words := range []string{"two modules declare the library single", first + `" in the module one 1.0`, second + `" in the module two 1.0`, "declare it in the root module"} {
		if r.code == 0 || !strings.Contains(r.stderr, words) {
			t.Errorf("exit status %d, and %q is not in:\n%s", r.code, words, r.stderr)
		}
	}
	module, err := os.ReadFile(filepath.Join(w.dir, "MODULE.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "MODULE.bazel", string(module)+extension+fmt.Sprintf("ocipkg.library(name = \"single\", image = %q)\nuse_repo(ocipkg, \"single\")\n", second))
	server.Clear()
	w.bazel(t, "build", "@one//:library", "@two//:library", "@single//:license")
	if asked := server.Requests("/manifests/" + strings.SplitN(second, "@", 2)[1]); len(asked) == 0 {
		t.Error("the root module's image was not fetched")
	}
	if asked := server.Requests("/manifests/" + strings.SplitN(first, "@", 2)[1]); len(asked) > 0 {
		t.Error("another image than the root module's was fetched")
	}
}

// TestModulesShareMirrors: modules that mean one digest need not agree on mirrors; all of them are asked, the root module's
// first, and none that goes with another digest; also for the index that Gazelle has.
func TestModulesShareMirrors(t *testing.T) {
	s := theSuite
	var servers []*registrytest.Server
	for range 5 {
		server := registrytest.New(t.TempDir())
		defer server.Close()
		servers = append(servers, server)
	}
	registry, full, empty, roots, others := servers[0], servers[1], servers[2], servers[3], servers[4]
	archive := s.packed(t, "single", "--version", "mirrors")
	pinned := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", archive, registry.Host+"/single:1"))
	s.must(t, s.out, s.ocipkg, "push", archive, full.Host+"/single:1")
	other := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", s.packed(t, "single", "--version", "mirrors-other"), registry.Host+"/single:2"))
	registry.Close()

	const tag = "image = %q, mirrors = [%q]"
	w := s.modules(t, "mirrors", fmt.Sprintf(tag, pinned, empty.Host), fmt.Sprintf(tag, pinned, full.Host))
	build := func(targets ...string) {
		t.Helper()
		w.write(t, ".bazelrc", "common --repo_env=OCIPKG_STORE="+filepath.Join(t.TempDir(), "store")+"\n")
		for _, server := range servers {
			server.Clear()
		}
		w.bazel(t, "build", targets...)
	}
	asked := func(server *registrytest.Server) int { return len(server.Requests("/single/")) }

	build("@one//:library", "@two//:library")
	if asked(empty) == 0 || asked(full) == 0 || asked(roots) > 0 {
		t.Errorf("asked one's mirror %d times, two's %d times, and one of nobody's %d times", asked(empty), asked(full), asked(roots))
	}

	// The root module's own, which has nothing either, is the first; two's, which goes with other bytes, is none.
	module, err := os.ReadFile(filepath.Join(w.dir, "MODULE.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "MODULE.bazel", string(module)+extension+fmt.Sprintf("ocipkg.library(name = \"single\", "+tag+")\nuse_repo(ocipkg, \"rules_ocipkg_header_index\", \"single\")\n", pinned, roots.Host))
	w.edit(t, "one/MODULE.bazel", func(text string) string { return strings.Replace(text, empty.Host, full.Host, 1) })
	w.edit(t, "two/MODULE.bazel", func(text string) string {
		return strings.NewReplacer(pinned, other, full.Host, others.Host).Replace(text)
	})
	for _, target := range []string{"@one//:library", "@rules_ocipkg_header_index//:header_index.json"} {
		build(target)
		if asked(roots) == 0 || asked(full) == 0 || asked(others) > 0 {
			t.Errorf("%s: asked the root module's mirror %d times, one's %d times, and that of another digest %d times", target, asked(roots), asked(full), asked(others))
		}
	}
}

// TestLinkage: the flag and the attribute choose what is linked, of one library, of one of several, and of one that another
// brings along; and whatever they choose runs.
func TestLinkage(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	pair := s.packed(t, "pair", "--version", "linkage")
	pinned := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", pair, server.Host+"/pair:1"))
	var more strings.Builder
	more.WriteString(extension)
	for _, linkage := range []string{"static", "shared", "auto"} {
		fmt.Fprintf(&more, "ocipkg.library(name = \"hub_%[1]s\", image = %[2]q, linkage = %[1]q)\nuse_repo(ocipkg, \"hub_%[1]s\")\nocipkg_library(name = \"pair_%[1]s\", image = %[2]q, linkage = %[1]q)\n", linkage, pinned)
	}
	fmt.Fprintf(&more, "ocipkg.library(name = \"hub\", image = %q)\nuse_repo(ocipkg, \"hub\")\n", pinned)
	// A library that needs another one, which may be linked in one form alone: its declaration goes before the form of what
	// brings it along.
	native := filepath.Dir(pair)
	single := s.published(t, filepath.Join(native, "single"), "single", "linkage", server.Host)
	apart := s.published(t, filepath.Join(native, "apart"), "apart", "linkage", server.Host, "--dependency", "single="+single)
	fmt.Fprintf(&more, `ocipkg_library(name = "single", image = %[1]q)
ocipkg_library(name = "never_static", image = %[1]q, linkage = "shared")
ocipkg_library(name = "apart", image = %[2]q, deps = ["@single"])
ocipkg_library(name = "apart_lgpl", image = %[2]q, deps = ["@never_static//:single"])
ocipkg_library(name = "apart_lgpl_static", image = %[2]q, deps = ["@never_static//:single"], linkage = "static")
`, single, apart)
	w := s.declare(t, "linkage", map[string]string{"pair": pinned}, depends, more.String())
	w.write(t, "BUILD.bazel", `load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_test")

[
    (
        cc_binary(
            name = "binary_" + name,
            srcs = ["main.c"],
            deps = [label],
        ),
        cc_binary(
            name = "dynamic_" + name,
            srcs = ["main.c"],
            linkstatic = False,
            deps = [label],
        ),
    )
    for name, label in {
        "pair": "@pair",
        "one": "@pair//:bar",
        "pair_static": "@pair_static",
        "pair_shared": "@pair_shared",
        "pair_auto": "@pair_auto",
        "hub": "@hub",
        "hub_one": "@hub//:bar",
        "hub_static": "@hub_static",
        "hub_shared": "@hub_shared//:bar",
        "hub_auto": "@hub_auto",
        "apart": "@apart",
        "apart_lgpl": "@apart_lgpl",
        "apart_lgpl_static": "@apart_lgpl_static",
    }.items()
]
`)
	w.write(t, "main.c", `#include <bar.h>
#include <stdio.h>

int main(void) {
    printf("bar %d\n", bar_value());
    return 0;
}
`)
	for _, flag := range []string{"", "auto", "static", "shared"} {
		t.Run("flag="+flag, func(t *testing.T) {
			var flags []string
			if flag != "" {
				flags = []string{"--@rules_ocipkg//rules:linkage=" + flag}
			}
			w.build(t, flags...)
			w.checkBinaries(t, `kind("cc_binary rule", //...)`, flags...)
			for _, name := range []string{"pair", "one", "pair_static", "pair_shared", "pair_auto", "hub", "hub_one", "hub_static", "hub_shared", "hub_auto", "apart", "apart_lgpl", "apart_lgpl_static"} {
				asked := flag
				for _, linkage := range []string{"static", "shared", "auto"} {
					if strings.HasSuffix(name, "_"+linkage) {
						asked = linkage
					}
				}
				for _, form := range []string{"binary", "dynamic"} {
					want := asked == "shared" || asked != "static" && form == "dynamic"
					needed, _ := w.dynamic(t, "bazel-bin/"+form+"_"+name)
					if has := slices.Contains(needed, "libbar.so.1"); has != want {
						t.Errorf("%s_%s is linked with libbar.so.1: %v, want %v (NEEDED %v)", form, name, has, want, needed)
					}
					want = want || strings.HasPrefix(name, "apart_lgpl")
					if has := slices.Contains(needed, "libfoo.so.1"); has != want {
						t.Errorf("%s_%s is linked with libfoo.so.1: %v, want %v (NEEDED %v)", form, name, has, want, needed)
					}
				}
			}
		})
	}
	r := w.exec(t, nil, "build", "--@rules_ocipkg//rules:linkage=dynamic", "//:binary_pair")
	for _, words := range []string{"dynamic", "auto", "shared", "static"} {
		if r.code == 0 || !strings.Contains(r.stderr, words) {
			t.Errorf("a linkage that does not exist: exit status %d, and %q is not in:\n%s", r.code, words, r.stderr)
		}
	}
	w.analyseNext(t, "--@rules_ocipkg//rules:linkage=shared")
}
