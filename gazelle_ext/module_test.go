package ocipkg

import (
	"strings"
	"testing"

	"github.com/bazelbuild/bazel-gazelle/label"
)

func TestReadRepositories(t *testing.T) {
	const library = "ocipkg_library = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\n"
	for _, c := range []struct{ name, module, unread string }{
		{"a library", library + `ocipkg_library(name = "zlib")`, ""},
		{"the rule by another name", library + "lib = ocipkg_library\nlib(name = \"zlib\")", ""},
		{"an extension's", `ocipkg = use_extension("@rules_ocipkg//rules:extensions.bzl", "ocipkg")
ocipkg.library(name = "z")
use_repo(ocipkg, zlib = "z")`, ""},
		{"a module by another name", `bazel_dep(name = "zlib_ng", repo_name = "zlib")`, ""},
		{"constants", "VERSIONS = [\"1\", \"2\"]\n" + library + `ocipkg_library(name = "zlib")`, ""},
		{"a comprehension", library + `[ocipkg_library(name = n) for n in ["zlib"]]`, "MODULE.bazel:"},
		{"a comprehension with a name", library + `_ = [ocipkg_library(name = n) for n in ["zlib"]]`, "MODULE.bazel:"},
		{"a declaration in an assignment", library + `_ = ocipkg_library(name = "zlib")`, "MODULE.bazel:"},
		{"a use_repo in an assignment", `_ = use_repo(x, "zlib")`, "MODULE.bazel:"},
		{"a declaration in an argument", library + `print(ocipkg_library(name = "zlib"))`, "MODULE.bazel:"},
		{"a rule without a variable", `use_repo_rule("//:x.bzl", "x")(name = "zlib")`, ""},
		{"a tag with a call", library + `x.tag(value = "{}".format(1))
ocipkg_library(name = "zlib")`, ""},
		{"a computed name", library + `ocipkg_library(name = "z" + "lib")`, "MODULE.bazel:"},
		{"computed names", `use_repo(use_extension("//:x.bzl", "x"), *NAMES)`, "MODULE.bazel:1 "},
		{"a computed module", `bazel_dep(name = NAME)`, "MODULE.bazel:1 "},
		{"a file that is not there", `include("//:more.MODULE.bazel")`, "more.MODULE.bazel cannot be read"},
		{"no Starlark", `ocipkg_library(`, "MODULE.bazel is no file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := workspace(t, "MODULE.bazel", c.module).RepoRoot
			r := readRepositories(root, "")
			if (c.unread == "") != (r.unread == "") || !strings.Contains(r.unread, c.unread) {
				t.Errorf("unread %q, want %q", r.unread, c.unread)
			}
			if !r.visible(label.New("zlib", "", "zlib")) {
				t.Error("@zlib is taken for undeclared")
			}
			if r.visible(label.New("gone", "", "gone")) != (c.unread != "") {
				t.Errorf("@gone: visible is %v", r.visible(label.New("gone", "", "gone")))
			}
		})
	}
}
