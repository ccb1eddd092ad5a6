package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

const dependBuild = `load("@rules_cc//cc:defs.bzl", "cc_library", "cc_shared_library")
load("@rules_ocipkg//rules:defs.bzl", "ocipkg_index", "ocipkg_package", "ocipkg_push")

cc_library(
    name = "squeeze",
    srcs = ["squeeze.c"],
    hdrs = ["squeeze.h"],
    deps = ["@zlib"],
)

cc_shared_library(
    name = "squeeze_shared",
    shared_lib_name = "libsqueeze.so.1",
    user_link_flags = ["-Wl,-soname,libsqueeze.so.1"],
    deps = [":squeeze"],
)

ocipkg_package(
    name = "squeeze_package",
    dependencies = ["@zlib"],
    library_name = "squeeze",
    version = "1",
    deps = [":squeeze", ":squeeze_shared"],
)

ocipkg_index(
    name = "squeeze_index",
    package = ":squeeze_package",
    platforms = [":host"],
)

ocipkg_push(
    name = "push_squeeze",
    index = ":squeeze_index",
    remote_tags = ["1"],
    repository = "ADDRESS/squeeze",
)

cc_library(
    name = "greet",
    srcs = ["greet.c"],
    hdrs = ["greet.h"],
    deps = [":squeeze"],
)

cc_shared_library(
    name = "greet_shared",
    dynamic_deps = [":squeeze_shared"],
    shared_lib_name = "libgreet.so.1",
    user_link_flags = ["-Wl,-soname,libgreet.so.1"],
    deps = [":greet"],
)

ocipkg_package(
    name = "greet_package",
    dependencies = [":push_squeeze", "@zlib"],
    library_name = "greet",
    version = "1",
    deps = [":greet", ":greet_shared"],
)

ocipkg_index(
    name = "greet_index",
    package = ":greet_package",
    platforms = [":host"],
)

ocipkg_push(
    name = "push_greet",
    index = ":greet_index",
    repository = "ADDRESS/greet",
)

platform(name = "host", parents = ["@platforms//host"])

# Of the module extension, where a platform chooses what @hub is.
ocipkg_package(
    name = "of_a_hub",
    dependencies = ["@hub//:zlib"],
    hdrs = ["squeeze.h"],
    library_name = "squeeze",
    shared = [":squeeze_shared"],
    static = [":squeeze"],
    version = "1",
)

# What is refused.
ocipkg_package(
    name = "described",
    hdrs = ["greet.h"],
    description = "needs.json",
    version = "1",
)

[
    (
        cc_library(
            name = "uses_" + library,
            hdrs = ["greet.h"],
            deps = ["@" + library],
        ),
        ocipkg_package(
            name = "without_" + library,
            deps = [":uses_" + library],
        ),
    )
    for library in ["zlib", "hub"]
]

ocipkg_package(
    name = "nowhere",
    hdrs = ["greet.h"],
    dependencies = [":squeeze_package"],
    version = "1",
)

ocipkg_package(
    name = "no_artifact",
    hdrs = ["greet.h"],
    dependencies = [":squeeze"],
    version = "1",
)

ocipkg_package(
    name = "inspected",
    hdrs = ["greet.h"],
    dependencies = ["zlib.json"],
    description = "needs.json",
    version = "1",
)
`

// TestPackagesThatDepend: a package names an artifact that the workspace consumes, and another one that is built beside
// it. What is packed is what the command packs that asks the registry; nothing is asked while it is built; and whoever
// adds the last of them gets all, and links it.
func TestPackagesThatDepend(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	zlib := s.published(t, s.debian(t, "zlib", "zlib1g-dev"), "zlib", "depend", server.Host)
	w := s.declare(t, "depend", nil, fmt.Sprintf("ocipkg_library(name = \"zlib\", image = %q, linkage = \"shared\")\nbazel_dep(name = \"rules_cc\", version = \"0.1.5\")\nbazel_dep(name = \"platforms\", version = \"1.0.0\")\noci = use_extension(\"@rules_ocipkg//rules:extensions.bzl\", \"ocipkg\")\noci.library(name = \"hub\", image = %[1]q, components = [\"headers\", \"static\"])\nuse_repo(oci, \"hub\")\n", zlib))
	for name, text := range map[string]string{
		"BUILD.bazel": strings.ReplaceAll(dependBuild, "ADDRESS", server.Host),
		"squeeze.h":   "#pragma once\n#include <zlib.h>\nunsigned long squeezed(const char *text);\n",
		"squeeze.c":   "#include \"squeeze.h\"\n#include <string.h>\nunsigned long squeezed(const char *text) {\n  unsigned char out[4096];\n  uLongf n = sizeof out;\n  return compress(out, &n, (const unsigned char *)text, strlen(text)) == Z_OK ? n : 0;\n}\n",
		"greet.h":     "#pragma once\nint greet(void);\n",
		"greet.c":     "#include \"greet.h\"\n#include \"squeeze.h\"\nint greet(void) { return squeezed(\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\") < 30 ? 0 : 1; }\n",
		"needs.json":  fmt.Sprintf("{\"dependencies\": {\"zlib\": %q}}\n", zlib),
		"zlib.json":   s.must(t, s.out, s.ocipkg, "inspect", "--json", zlib),
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.bazel(t, "build", "@zlib//:files", "@hub//:files")
	server.Clear()
	w.bazel(t, "build", "--disk_cache=", "//:greet_index", "//:squeeze_package", "//:of_a_hub", "//:inspected")
	if asked := server.Requests(""); len(asked) > 0 {
		t.Errorf("packing asked the registry: %v", asked)
	}
	// A hub has fewer components here; what the artifact is does not depend on that.
	if hub, want := w.text(t, "bazel-bin/of_a_hub.digest"), w.text(t, "bazel-bin/squeeze_package.digest"); hub != want {
		t.Errorf("with a hub it is %s, and without %s", hub, want)
	}
	for target, words := range map[string][]string{
		"described": {"dependency zlib", "no registry may be asked", "`dependencies` of the ocipkg_package"},
		"nowhere":   {"is a package", "name the ocipkg_push that pushes it"},
		// Labels that can be written, of a hub as well.
		"without_zlib": {"\n//:without_zlib: its libraries need @zlib//:"},
		"without_hub":  {"\n//:without_hub: its libraries need @hub//:"},
		"no_artifact":  {"//:squeeze is no artifact", "MODULE.bazel declares"},
	} {
		r := w.exec(t, nil, "build", "//:"+target)
		for _, word := range words {
			if r.code == 0 || !strings.Contains(r.stderr, word) {
				t.Errorf("%s: exit status %d, and %q is not in\n%s", target, r.code, word, r.stderr)
			}
		}
	}

	// In which order to push is said, and nothing is pushed before.
	r := w.exec(t, nil, "run", "//:push_greet")
	if r.code == 0 || !strings.Contains(r.stderr, "bazel run //:push_squeeze") || !strings.Contains(r.stderr, server.Host+"/squeeze:1@sha256:") {
		t.Errorf("before what it needs: exit status %d\n%s", r.code, r.stderr)
	}
	squeeze := strings.TrimSpace(w.bazel(t, "run", "//:push_squeeze"))
	greet := strings.TrimSpace(w.bazel(t, "run", "//:push_greet"))

	// The same from the command, which asks the registry.
	bin := filepath.Join(w.dir, "bazel-bin")
	for _, c := range []struct {
		name         string
		dependencies []string
	}{{"squeeze", []string{"--dependency", "zlib=" + zlib}}, {"greet", []string{"--dependency", "squeeze=" + squeeze, "--dependency", "zlib=" + zlib}}} {
		w.bazel(t, "build", "//:"+c.name+"_package")
		prefix := filepath.Join(t.TempDir(), c.name)
		for place, file := range map[string]string{"include/" + c.name + ".h": filepath.Join(w.dir, c.name+".h"), "lib/lib" + c.name + ".a": filepath.Join(bin, "lib"+c.name+".a"), "lib/lib" + c.name + ".so.1": filepath.Join(bin, "lib"+c.name+".so.1")} {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(prefix, place)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(prefix, place), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		digest := strings.TrimSpace(s.must(t, s.out, append([]string{s.ocipkg, "pack", "--quiet", prefix, "--name", c.name, "--version", "1", "-o", filepath.Join(t.TempDir(), "layout")}, c.dependencies...)...))
		if got := w.text(t, "bazel-bin/"+c.name+"_package.digest"); got != digest {
			t.Errorf("of %s the rule packed %s, the command %s", c.name, got, digest)
		}
	}

	user := s.declare(t, "depend_user", nil, "bazel_dep(name = \"rules_cc\", version = \"0.1.5\")\n")
	added := s.must(t, user.dir, s.ocipkg, "add", greet)
	for _, image := range []string{greet, squeeze, zlib} {
		if !strings.Contains(added, ": added: "+image+"\n") {
			t.Errorf("%s is not in\n%s", image, added)
		}
	}
	user.append(t, "BUILD.bazel", "load(\"@rules_cc//cc:defs.bzl\", \"cc_binary\")\n[cc_binary(name = name, srcs = [\"app.c\"], linkstatic = name == \"static\", deps = [\"@greet\"]) for name in [\"static\", \"dynamic\"]]\n")
	user.append(t, "app.c", "#include <greet.h>\nint main(void) { return greet(); }\n")
	user.build(t)
	user.runs(t, "static", "dynamic")
	if needed, _ := user.dynamic(t, "bazel-bin/dynamic"); !slices.Contains(needed, "libgreet.so.1") {
		t.Errorf("dynamic needs %v", needed)
	}
}
