"""The header index of all libraries that the root module declares, in the repository @rules_ocipkg_header_index.

The Gazelle extension has it in its data, so that a gazelle_binary finds the libraries without being told where. It is made
by `ocipkg index` of what the images say of themselves: no library is fetched.
"""

load(":bazel_cache.bzl", "fetch_through_bazel_cache")
load(":diagnostic.bzl", "diagnostic", "fail_with")
load(":tool.bzl", "tool_path")

# Bazel's default of 600 seconds is for all libraries together, and registries may be slow.
_TIMEOUT_SECONDS = 86400

_FILE = "header_index.json"

# By what a MODULE.bazel says that may declare libraries; internal/modulefile knows better, and is in the tool.
_DECLARATIONS = ["//rules:defs.bzl", "//rules:extensions.bzl", "include("]

def _may_declare(module):
    """Tells whether the tool has to be asked what the text of a MODULE.bazel declares."""
    return any([words in module for words in _DECLARATIONS])

def _header_index_impl(rctx):
    rctx.file("BUILD.bazel", "exports_files([\"{}\"])\n".format(_FILE), executable = False)

    # Empty where nobody is to look into it.
    rctx.file(_FILE, "", executable = False)

    # A file that is checked in says the same, and goes before this one.
    checked_in = rctx.workspace_root.get_child("ocipkg_index.json")
    rctx.watch(checked_in)
    module = rctx.workspace_root.get_child("MODULE.bazel")
    rctx.watch(module)
    if checked_in.exists or not _may_declare(rctx.read(module)):
        return None
    rctx.getenv("OCIPKG_REQUIRE_DIGEST")
    rctx.report_progress("Asking what the libraries in MODULE.bazel have")
    args = [tool_path(rctx), "index", "--quiet", "--json", "--file", module, "--output", _FILE]
    for digest, places in rctx.attr.mirrors.items():
        args += ["--mirror={}={}".format(digest, place) for place in places]

    def run(more):
        result = rctx.execute(args + more, timeout = _TIMEOUT_SECONDS)
        if result.return_code != 0:
            fail_with(diagnostic(
                "The header index of the libraries in MODULE.bazel, for Gazelle, could not be made: {}".format(result.stderr.strip().removeprefix("ocipkg: ") or "exit status {}".format(result.return_code)),
                "correct that; or run `ocipkg index` where the registry can be reached and commit ocipkg_index.json, by which nobody is asked; one that holds {} has Gazelle do without",
            ))
        if result.stderr.strip():
            # buildifier: disable=print
            print(result.stderr.strip())
        return json.decode(result.stdout)

    fetch_through_bazel_cache(rctx, "The header index of the libraries in MODULE.bazel, for Gazelle", run)
    made = run([])
    for name in made["files"]:
        rctx.watch(name)
    if made["libraries"] == 0:
        rctx.file(_FILE, "", executable = False)
    return None

header_index = repository_rule(
    implementation = _header_index_impl,
    doc = "Which label answers each #include, each name of pkg-config and each -l, of all libraries of the root module, as the file header_index.json.",
    attrs = {
        "mirrors": attr.string_list_dict(
            doc = "Places to ask for images, by digest, besides those that the root module names: other modules' for the same libraries.",
        ),
    },
)
