"""What the cgo packages of Go modules need of C libraries, for modules that come through go_deps.

Written, and not to be edited, by:

    bazel run @rules_ocipkg_gazelle_plugin//go_deps -- -build_tags=external example.com/a example.com/b/v2@v2.1.0
"""

load("@my_go//go:def.bzl", "go_library")

def _attributes(root):
    # By import path; root is where the module lies when it is compiled.
    return {
        "example.com/a": {
            "cdeps": [
                Label("@openssl//:ssl"),
                Label("@zlib"),
            ],
            "clinkopts": ["-lm"],
            "copts": ["-I" + root + "/include -DA=1"],
        },
        "example.com/a/mine": {
            "cdeps": [Label("//third_party:mine")],
            "clinkopts": [],
        },
        "example.com/a/tagged": {
            "cdeps": [Label("@zlib")],
        },
        "example.com/a/where": {
            "cdeps": select({
                Label("@my_go//go/platform:android"): [
                    Label("@zlib"),
                ],
                Label("@my_go//go/platform:linux"): [
                    Label("@zlib"),
                ],
                "//conditions:default": [],
            }),
            "clinkopts": select({
                Label("@my_go//go/platform:windows"): [
                    "-lws2_32",
                ],
                "//conditions:default": [],
            }),
        },
        "example.com/b/v2": {
            "cdeps": [Label("@zlib")],
        },
    }

def ocipkg_go_library(name, **kwargs):
    """A go_library with what its package needs.

    Args:
      name: name of the target.
      **kwargs: attributes of go_library.
    """
    kwargs.update(_attributes("external/" + native.repo_name()).get(kwargs.get("importpath"), {}))
    go_library(name = name, **kwargs)

# In MODULE.bazel:
#
# go_deps.gazelle_override(
#     build_file_generation = "clean",
#     directives = [
#         "gazelle:build_tags external,other",
#         "gazelle:map_kind go_library ocipkg_go_library @@//:ocipkg_go_deps.bzl",
#     ],
#     path = "example.com/a",
# )
# go_deps.gazelle_override(
#     directives = [
#         "gazelle:build_tags external,other",
#         "gazelle:map_kind go_library ocipkg_go_library @@//:ocipkg_go_deps.bzl",
#     ],
#     path = "example.com/b/v2",
# )
