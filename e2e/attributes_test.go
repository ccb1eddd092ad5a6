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

// TestAttributes: what MODULE.bazel says of a library beside its image, as docs/attributes.md has it, in the rule and in
// the tag: parts are left out and not fetched, headers are found where it says and warn of nothing, defines and linker flags
// are its own, and its BUILD file too.
func TestAttributes(t *testing.T) {
	s := theSuite
	server, mirror := registrytest.New(t.TempDir()), registrytest.New(t.TempDir())
	defer server.Close()
	defer mirror.Close()
	native := s.natives(t)
	prefix := filepath.Join(native, "single")
	// Headers one folder deeper, and one that shows what it was compiled with.
	const warns = "static int unused(void) { return 0; }\n"
	for name, text := range map[string]string{"include/foo/deep.h": "#include <foo.h>\n", "include/foo/named.h": "#ifndef NAMED\n#error without a define\n#endif\nint foo_value(void);\n" + warns} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(prefix, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(prefix, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image := s.published(t, prefix, "single", "attributes", server.Host, "--define", "OF_ITS_AUTHOR=1", "--linkopt", "-lnowhere")
	layers := s.componentsOf(t, image)
	elsewhere := s.published(t, prefix, "single", "elsewhere", mirror.Host)
	digest := strings.SplitAfter(elsewhere, "@")[1]

	const form = `
ocipkg_library(
    name = "all",
    image = %[1]q,
    components = ["headers", "static"],
    defines = ["NAMED"],
    includes = ["include", "include/foo"],
    linkopts = ["-Wl,-rpath,/of/its/own"],
)
ocipkg_library(
    name = "stripped",
    image = %[1]q,
    components = ["headers"],
    strip_include_prefix = "include/foo",
)
ocipkg_library(
    name = "mirrored",
    image = "registry.invalid/single:elsewhere@%[2]s",
    mirrors = [%[3]q],
)
ocipkg_library(
    name = "own",
    image = %[1]q,
    build_file = "//third_party:own.BUILD",
)
`
	declared := fmt.Sprintf(form, image, digest, mirror.Host)
	tags := "oci = use_extension(\"@rules_ocipkg//rules:extensions.bzl\", \"ocipkg\")\n" + strings.ReplaceAll(declared, "ocipkg_library(", "oci.library(") + "use_repo(oci, \"all\", \"mirrored\", \"own\", \"stripped\")\n"
	for name, text := range map[string]string{"attributes": declared, "attributes_tags": tags} {
		t.Run(name, func(t *testing.T) {
			w := s.declare(t, name, nil, text, "bazel_dep(name = \"rules_cc\", version = \"0.1.5\")\n")
			if err := os.Mkdir(filepath.Join(w.dir, "third_party"), 0o755); err != nil {
				t.Fatal(err)
			}
			w.append(t, "third_party/BUILD.bazel", "")
			w.append(t, "third_party/own.BUILD", `filegroup(name = "own", srcs = ["lib/libfoo.a"], visibility = ["//visibility:public"])`+"\n")
			w.append(t, "BUILD.bazel", `
load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library")
cc_binary(name = "all", srcs = ["all.c"], copts = ["-Werror"], linkstatic = False, deps = ["@all"])
cc_library(name = "stripped", srcs = ["stripped.c"], copts = ["-Werror"], deps = ["@stripped"])
cc_library(name = "warned", srcs = ["warned.c", "warns.h"], copts = ["-Werror"], tags = ["manual"])
cc_library(name = "unstripped", srcs = ["unstripped.c"], deps = ["@stripped"], tags = ["manual"])
cc_binary(name = "mirrored", srcs = ["mirrored.c"], deps = ["@mirrored"])
filegroup(name = "own", srcs = ["@own"])
`)
			w.append(t, "all.c", "#include <deep.h>\n#include <named.h>\n#ifdef OF_ITS_AUTHOR\n#error it is still there\n#endif\nint main(void) { return foo_value() == 41 ? 0 : 1; }\n")
			w.append(t, "stripped.c", "#include <named.h>\n")
			w.append(t, "warned.c", "#include \"warns.h\"\n")
			w.append(t, "warns.h", warns)
			w.append(t, "unstripped.c", "#include <foo/named.h>\n")
			w.append(t, "mirrored.c", "#include <foo.h>\nint main(void) { return foo_value() == 41 ? 0 : 1; }\n")

			store := "OCIPKG_STORE=" + t.TempDir()
			server.Clear()
			if r := w.exec(t, []string{store}, "build", "//:all"); r.code != 0 {
				t.Fatalf("exit status %d\n%s", r.code, r.stderr)
			}
			for component, layer := range layers {
				if asked := len(server.Requests("/blobs/" + layer)); (asked > 0) != (component != "shared") {
					t.Errorf("%d requests for the component %s", asked, component)
				}
			}
			r := w.exec(t, []string{store}, "build", "//:stripped")
			if r.code == 0 || !strings.Contains(r.stderr, "without a define") {
				t.Errorf("stripped: exit status %d\n%s", r.code, r.stderr)
			}
			if r := w.exec(t, []string{store}, "build", "--copt=-DNAMED", "//..."); r.code != 0 {
				t.Errorf("exit status %d\n%s", r.code, r.stderr)
			}
			if r := w.exec(t, []string{store}, "build", "--copt=-DNAMED", "//:unstripped"); r.code == 0 || !strings.Contains(r.stderr, "foo/named.h") {
				t.Errorf("unstripped: exit status %d\n%s", r.code, r.stderr)
			}
			// What a library's headers would be warned of is not its users' affair, who may have warnings be errors.
			if r := w.exec(t, []string{store}, "build", "//:warned"); r.code == 0 || !strings.Contains(r.stderr, "defined but not used") {
				t.Errorf("warned: exit status %d\n%s; then this test tells nothing", r.code, r.stderr)
			}
			w.runs(t, "all", "mirrored")
			if _, paths := w.dynamic(t, "bazel-bin/all"); !slices.Contains(paths, "/of/its/own") {
				t.Errorf("linkopts: the program looks in %v", paths)
			}
			// A hub has the names that its platforms would have, and they lead where the BUILD file has something.
			if targets := w.bazel(t, "query", "@own//:all"); (name == "attributes") == strings.Contains(targets, "@own//:shared") || !strings.Contains(targets, "@own//:own") {
				t.Errorf("own: %s", targets)
			}
			w.analyseNext(t)
		})
	}
}
