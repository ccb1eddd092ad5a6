package e2e

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPublish: one workspace builds a library for two processors, packs and pushes it; another one links it, pinned by
// the digest that the push printed, and the programs run.
func TestPublish(t *testing.T) {
	s := theSuite
	s.crossEnv(t, "aarch64-linux-gnu-gcc", "qemu-aarch64")
	address := s.dockerRegistry(t)
	author := s.workspace(t, "examples/publish_greet", address, withCross...)

	// Without a cache: what the actions make is looked at.
	author.bazel(t, "build", "-c", "opt", "--disk_cache=", "--spawn_strategy=sandboxed", "//...")
	t.Run("as the command packs", func(t *testing.T) { author.packsAsTheCommand(t) })
	t.Run("actions", func(t *testing.T) { author.packsHermetically(t) })

	var pinned string
	t.Run("push", func(t *testing.T) {
		r := author.exec(t, nil, "run", "-c", "opt", "//:push", "--", "--tag", "1.2", "--tag", "stable")
		if r.code != 0 {
			t.Fatalf("exit status %d\n%s", r.code, r.stderr)
		}
		pinned = strings.TrimSpace(r.stdout)
		digest := author.text(t, "bazel-bin/index.digest")
		if want := address + "/greet:1.2@" + digest; pinned != want {
			t.Errorf("it printed %q, want %q", pinned, want)
		}
		if line := `ocipkg_library(name = "greet", image = "` + pinned + `")`; !strings.Contains(r.stderr, line) {
			t.Errorf("it did not print %s:\n%s", line, r.stderr)
		}
		for _, tag := range []string{"1.2", "stable"} {
			if tagged := s.must(t, s.out, s.ocipkg, "inspect", "--json", address+"/greet:"+tag); !strings.Contains(tagged, digest) {
				t.Errorf("the tag %s is not of %s:\n%s", tag, digest, tagged)
			}
		}
		// Without a tag, the library's version is one.
		if r := author.exec(t, nil, "run", "-c", "opt", "//:push"); r.code != 0 || strings.TrimSpace(r.stdout) != address+"/greet:1.2.0@"+digest {
			t.Errorf("exit status %d, %q\n%s", r.code, r.stdout, r.stderr)
		}
		// The command's way to the same image: a layout for each platform, joined when it is pushed.
		layouts := slices.DeleteFunc(files(t, filepath.Join(author.dir, "bazel-out")+"/"), func(p string) bool {
			return !strings.HasSuffix(p, "/bin/package/oci-layout") || !strings.Contains(p, "-ST-")
		})
		if len(layouts) != 2 {
			t.Fatalf("the packages of the platforms are %q", layouts)
		}
		command := []string{s.ocipkg, "push", "--quiet", filepath.Dir(layouts[1]), filepath.Dir(layouts[0]), address + "/greet:command"}
		if got, want := strings.TrimSpace(s.must(t, s.out, command...)), address+"/greet:command@"+digest; got != want {
			t.Errorf("the command pushed %s, want %s", got, want)
		}
	})

	var polite string
	t.Run("dependency", func(t *testing.T) {
		r := author.exec(t, nil, "run", "-c", "opt", "//:push_polite")
		if r.code != 0 {
			t.Fatalf("exit status %d\n%s", r.code, r.stderr)
		}
		polite = strings.TrimSpace(r.stdout)
		author.dependsAsTheCommand(t, address+"/greet@"+author.text(t, "bazel-bin/index.digest"))
	})

	t.Run("stamp", func(t *testing.T) {
		author.edit(t, "BUILD.bazel", func(text string) string {
			return text + "\nocipkg_push(name = \"push_stamped\", package = \":package\", repository = \"" + address + "/{STABLE_GREET_NAME}\", remote_tags = [\"v{STABLE_GREET_VERSION}\"])\n"
		})
		status := filepath.Join(author.dir, "status")
		if err := os.WriteFile(status, []byte("#!/bin/sh\necho STABLE_GREET_NAME stamped\necho STABLE_GREET_VERSION 3.1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		r := author.exec(t, nil, "run", "-c", "opt", "--stamp", "--workspace_status_command="+status, "//:push_stamped")
		if r.code != 0 || !strings.HasPrefix(r.stdout, address+"/stamped:v3.1@sha256:") {
			t.Errorf("exit status %d, %q\n%s", r.code, r.stdout, r.stderr)
		}
		r = author.exec(t, nil, "run", "-c", "opt", "//:push_stamped")
		if r.code == 0 || !strings.Contains(r.stderr, "STABLE_GREET_NAME") || !strings.Contains(r.stderr, "--stamp") {
			t.Errorf("without --stamp: exit status %d, %q\n%s", r.code, r.stdout, r.stderr)
		}
	})

	t.Run("next majors", func(t *testing.T) {
		digest := author.text(t, "bazel-bin/package.digest")
		author.nextMajors(t)
		author.bazel(t, "build", "-c", "opt", "--config=next", "--disk_cache=", "//:index", "//:package")
		if next := author.text(t, "bazel-bin/package.digest"); next != digest {
			t.Errorf("it packed %s, and before %s", next, digest)
		}
	})

	t.Run("from a cache", func(t *testing.T) {
		// What was built elsewhere is downloaded where it is pushed, and no earlier.
		cache := "--disk_cache=" + filepath.Join(t.TempDir(), "cache")
		author.bazel(t, "clean") // what is up to date is not put into a cache
		author.bazel(t, "build", "-c", "opt", cache, "//:push")
		author.bazel(t, "clean")
		r := author.exec(t, nil, "run", "-c", "opt", cache, "--remote_download_minimal", "//:push", "--", "--tag", "cached")
		if r.code != 0 || !strings.HasPrefix(r.stdout, address+"/greet:cached@") || !strings.HasSuffix(pinned, r.stdout[strings.Index(r.stdout, "@")+1:len(r.stdout)-1]) {
			t.Errorf("exit status %d, %q and not %q\n%s", r.code, r.stdout, pinned, r.stderr)
		}
		if !regexp.MustCompile(`\d+ disk cache hit`).MatchString(r.stderr) || strings.Contains(r.stderr, "linux-sandbox") {
			t.Errorf("something was built again:\n%s", r.stderr)
		}
	})

	t.Run("use", func(t *testing.T) {
		if pinned == "" {
			t.Skip("SKIPPED, nothing was pushed")
		}
		user := s.workspace(t, "examples/use_greet", address, withCross...)
		user.edit(t, "MODULE.bazel", func(text string) string {
			return strings.ReplaceAll(text, address+"/greet:1.2.0", pinned)
		})
		user.build(t)
		user.test(t)
		for _, program := range []string{"app", "app_shared"} {
			r := s.inEnv(t, user.dir, filepath.Join(user.dir, "bazel-bin", program))
			if r.code != 0 || r.stdout != "Hello, world! greet 1.2.0 on x86_64\n" {
				t.Errorf("%s: exit status %d, %q, %s", program, r.code, r.stdout, r.stderr)
			}
		}
		if needed, _ := user.dynamic(t, "bazel-bin/app_shared"); !slices.Contains(needed, "libgreet.so.1") {
			t.Errorf("app_shared is linked with %v", needed)
		}

		user.checkActions(t)

		user.bazel(t, "build", "--platforms=//:linux_arm64", "//...")
		for _, program := range []string{"app", "app_shared"} {
			path := filepath.Join(user.dir, "bazel-bin", program)
			if machine := user.machine(t, path); machine != elf.EM_AARCH64 {
				t.Errorf("%s is for %s", program, machine)
			}
			r := s.exec(t, user.dir, user.env, slices.Concat([]string{s.bazel, "--in-env"}, qemu, []string{path})...)
			if r.code != 0 || r.stdout != "Hello, world! greet 1.2.0 on aarch64\n" {
				t.Errorf("%s for arm64: exit status %d, %q, %s", program, r.code, r.stdout, r.stderr)
			}
		}

		t.Run("dependency", func(t *testing.T) {
			if polite == "" {
				t.Skip("SKIPPED, nothing was pushed")
			}
			user.linksWhatNeeds(t, polite, address+"/greet@"+pinned[strings.Index(pinned, "@")+1:])
		})

		user.nextMajors(t)
		user.bazel(t, "test", "--config=next", "//...")
	})
}

// TestPublishedShapes: a C++ library of several targets is published as they say: headers by every name that an #include
// has for them, those of no concern to others left out, definitions, and what has to be linked as well.
func TestPublishedShapes(t *testing.T) {
	s := theSuite
	address := s.dockerRegistry(t)
	w := s.workspace(t, "e2e/testdata/publish", address)
	w.bazel(t, "build", "//...")
	control := s.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin/geometry/app"))
	if control.stdout != "314 square cm\n" {
		t.Fatalf("the program prints %q with the libraries of its own workspace: %s", control.stdout, control.stderr)
	}
	images := map[string]string{}
	for name, want := range map[string][]string{
		"shapes":  {"include/geometry/area.h", "include/geometry/limits.h", "include/metric/metric.h", "include/shapes/shape.h", "lib/libarea.a", "lib/librounding.a", "lib/libshape.a", "libarea.a", "librounding.a", "libshape.a"},
		"plugins": {"lib/libplugin.a", "libplugin.a"},
		"files":   {"include/shapes/shape.h", "lib/libarea.a", "lib/librounding.a", "lib/libshape.a", "libarea.a", "librounding.a", "libshape.a"},
	} {
		images[name] = strings.TrimSpace(w.bazel(t, "run", "//geometry:push_"+name, "--", "--to", address+"/"+name))
		dir := filepath.Join(s.out, "pulled-"+name)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		s.must(t, s.out, s.ocipkg, "pull", images[name], "--output", dir)
		got := files(t, dir)
		for i := range got {
			got[i], _ = filepath.Rel(dir, got[i])
		}
		got = slices.DeleteFunc(got, func(name string) bool {
			return slices.Contains([]string{".bazelignore", "BUILD.bazel", "artifact.json", "header_index.json"}, name)
		}) // of pull
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}

	if described := s.must(t, s.out, s.ocipkg, "inspect", "--json", images["files"]); !strings.Contains(described, `"license": "MIT"`) {
		t.Errorf("the description was not read:\n%s", described)
	}

	user := s.declare(t, "publish_user", images)
	text, err := os.ReadFile(filepath.Join(w.dir, "user", "app.cc"))
	if err != nil {
		t.Fatal(err)
	}
	build := `load("@rules_cc//cc:defs.bzl", "cc_binary")

[
    cc_binary(
        name = name + "_app",
        srcs = ["app.cc"],
        deps = ["@" + name],
    )
    for name in ["shapes", "files"]
]

cc_binary(
    name = "plugins_app",
    srcs = ["empty.c"],
    deps = ["@plugins"],
)
`
	for name, text := range map[string]string{"BUILD.bazel": build, "app.cc": string(text), "empty.c": "int main(void) { return 0; }\n"} {
		if err := os.WriteFile(filepath.Join(user.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	user.edit(t, "MODULE.bazel", func(text string) string {
		return text + "\nbazel_dep(name = \"rules_cc\", version = \"0.1.5\")\n"
	})
	user.bazel(t, "build", "//...")
	for program, want := range map[string]string{"shapes_app": "314 square cm\n", "files_app": "314 square mm\n", "plugins_app": "the plugin is here\n"} {
		if r := s.inEnv(t, user.dir, filepath.Join(user.dir, "bazel-bin", program)); r.stdout != want {
			t.Errorf("%s: exit status %d, %q, want %q: %s", program, r.code, r.stdout, want, r.stderr)
		}
	}
}

// packsAsTheCommand compares the layout of //:package, file by file, with what `ocipkg pack` makes of an install prefix.
func (w *workspace) packsAsTheCommand(t *testing.T) {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "prefix")
	w.install(t, prefix, map[string]string{
		"include/greet.h":              "include/greet.h",
		"lib/libgreet.a":               "bazel-bin/libgreet.pic.a", // -c opt makes one that fits programs alone, too
		"lib/libgreet.so.1":            "bazel-bin/libgreet.so.1",
		"lib/pkgconfig/greet.pc":       "greet.pc",
		"share/licenses/greet/LICENSE": "LICENSE",
	})
	command := filepath.Join(t.TempDir(), "layout")
	digest := strings.TrimSpace(w.must(t, w.dir, w.ocipkg, "pack", "--quiet", prefix, "--name", "greet", "--version", "1.2.0", "--license", "Apache-2.0", "-o", command))
	if got := w.text(t, "bazel-bin/package.digest"); got != digest {
		t.Errorf("the rule packed %s, the command %s", got, digest)
	}
	rule := filepath.Join(w.dir, "bazel-bin", "package")
	want := files(t, command)
	if got := files(t, rule+"/"); len(got) != len(want) || len(got) < 7 {
		t.Errorf("the rule wrote %q, the command %q", got, want)
	}
	for _, file := range want {
		rel, err := filepath.Rel(command, file)
		if err != nil {
			t.Fatal(err)
		}
		a, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(rule, rel))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: %d bytes of the command, %d of the rule, %v", rel, len(a), len(b), err)
		}
	}
}

// install makes an install prefix of files of the workspace, by their places in it.
func (w *workspace) install(t *testing.T, prefix string, places map[string]string) {
	t.Helper()
	for place, file := range places {
		data, err := os.ReadFile(filepath.Join(w.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		dest := filepath.Join(prefix, place)
		if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dest, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// dependsAsTheCommand compares //:polite_package, which needs the library that is pushed as greet, with what `ocipkg pack`
// makes of the same files: by asking the registry about greet, and offline, by the layout that was pushed.
func (w *workspace) dependsAsTheCommand(t *testing.T, greet string) {
	t.Helper()
	w.bazel(t, "build", "-c", "opt", "//:polite", "//:polite_package", "//:polite_shared")
	rule := w.text(t, "bazel-bin/polite_package.digest")
	prefix := filepath.Join(t.TempDir(), "prefix")
	w.install(t, prefix, map[string]string{
		"include/polite.h":              "include/polite.h",
		"lib/libpolite.a":               "bazel-bin/libpolite.pic.a",
		"lib/libpolite.so.1":            "bazel-bin/libpolite.so.1",
		"share/licenses/polite/LICENSE": "LICENSE",
	})
	for _, dependency := range [][]string{
		{"--dependency", "greet=" + greet},
		{"--offline", "--dependency-layout", greet[:strings.Index(greet, "@")] + "=bazel-bin/index"},
	} {
		command := slices.Concat([]string{w.ocipkg, "pack", "--quiet", prefix, "--name", "polite", "--version", "1.0.0", "--license", "Apache-2.0", "-o", filepath.Join(t.TempDir(), "layout")}, dependency)
		if got := strings.TrimSpace(w.must(t, w.dir, command...)); got != rule {
			t.Errorf("the rule packed %s, the command %s with %q", rule, got, dependency)
		}
	}
}

// linksWhatNeeds declares polite, an image that needs greet: a build says what is missing, `ocipkg add` writes it, and
// programs of it run.
func (w *workspace) linksWhatNeeds(t *testing.T, polite, greet string) {
	t.Helper()
	w.append(t, "politely.c", `#include <polite.h>
#include <string.h>

int main(void) {
    char text[64];
    greet_politely(text, sizeof(text), "world");
    return strcmp(text, "Hello, dear world!");
}
`)
	w.append(t, "BUILD.bazel", `
[
    cc_binary(
        name = "politely_" + how,
        srcs = ["politely.c"],
        linkstatic = how == "static",
        deps = ["@polite"],
    )
    for how in ["static", "shared"]
]
`)
	var before string
	w.edit(t, "MODULE.bazel", func(text string) string {
		before = text
		return text + "ocipkg.library(name = \"polite\", image = \"" + polite + "\")\nuse_repo(ocipkg, \"polite\")\n"
	})
	r := w.exec(t, nil, "build", "//:politely_static")
	for _, words := range []string{"needs greet (libgreet.so.1)", greet, "ocipkg add " + polite} {
		if r.code == 0 || !strings.Contains(r.stderr, words) {
			t.Errorf("without deps: exit status %d, and %q is not in:\n%s", r.code, words, r.stderr)
		}
	}
	w.edit(t, "MODULE.bazel", func(string) string { return before })
	w.must(t, w.dir, w.ocipkg, "add", polite)
	w.bazel(t, "build", "//:politely_static", "//:politely_shared")
	w.runs(t, "politely_static", "politely_shared")
	if needed, _ := w.dynamic(t, "bazel-bin/politely_shared"); !slices.Contains(needed, "libpolite.so.1") {
		t.Errorf("politely_shared is linked with %v", needed)
	}
	if needed, _ := w.dynamic(t, "bazel-bin/politely_static"); slices.Contains(needed, "libpolite.so.1") || slices.Contains(needed, "libgreet.so.1") {
		t.Errorf("politely_static is linked with %v", needed)
	}
	w.bazel(t, "build", "--platforms=//:linux_arm64", "//:politely_static")
	r = w.suite.exec(t, w.dir, w.env, slices.Concat([]string{w.suite.bazel, "--in-env"}, qemu, []string{filepath.Join(w.dir, "bazel-bin", "politely_static")})...)
	if r.code != 0 {
		t.Errorf("politely_static for arm64: exit status %d, %s", r.code, r.stderr)
	}
}

// packsHermetically: the actions know nothing of this machine, and give the same result without a sandbox, in another
// output base.
func (w *workspace) packsHermetically(t *testing.T) {
	t.Helper()
	actions := w.bazel(t, "aquery", "-c", "opt", "--output=text", "--include_commandline", `mnemonic("Ocipkg(Pack|Join)", deps(//:polite_index))`)
	// Of two libraries, for two platforms; the one that the other needs is packed once for each, too.
	if n := strings.Count(actions, "Mnemonic: OcipkgPack"); n != 4 || !strings.Contains(actions, "Mnemonic: OcipkgJoin") {
		t.Errorf("there are %d actions that pack, want 4:\n%s", n, actions)
	}
	for line := range strings.Lines(actions) {
		// Of words on a command line, and of paths.
		if m := regexp.MustCompile(`(^|[ =\[(',])/\w`).FindString(line); m != "" {
			t.Errorf("an absolute path: %s", line)
		}
		if strings.Contains(line, "Environment:") {
			t.Errorf("the environment: %s", line)
		}
	}
	if needed := w.bazel(t, "cquery", `filter("rules_go|io_bazel|fetcher", deps(//:polite_index))`); strings.TrimSpace(needed) != "" {
		t.Errorf("packing needs a Go toolchain:\n%s", needed)
	}
	first := w.text(t, "bazel-bin/polite_index.digest")
	base := filepath.Join(t.TempDir(), "base")
	cmd := func(args ...string) result {
		return w.suite.exec(t, w.dir, w.env, slices.Concat([]string{w.suite.bazel, "--output_base=" + base}, args)...)
	}
	defer func() {
		cmd("shutdown")
		// Bazel writes folders that only it can write to.
		_ = filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(p, 0o755)
			}
			return err
		})
	}()
	r := cmd(slices.Concat([]string{"build", "-c", "opt", "--disk_cache=", "--spawn_strategy=local", "--symlink_prefix=again-"}, quiet, []string{"//:polite_index"})...)
	if r.code != 0 {
		t.Fatalf("exit status %d\n%s", r.code, r.stderr)
	}
	if second := w.text(t, "again-bin/polite_index.digest"); second != first {
		t.Errorf("built again, it is %s and not %s", second, first)
	}
}

// text is the one line of a file of the workspace.
func (w *workspace) text(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}
