"""The repositories of a library that the module extension declares: a hub, and a spoke for each platform.

People depend on the hub, whose targets lead to those of the spoke that the platform chooses. The hub reads what the
library is on each platform and none of its layers; a spoke is fetched when something is built for its platform.
"""

load(":attributes.bzl", "RULE_ATTRIBUTES")
load(":library.bzl", "fetch_library")
load(":platforms.bzl", "TRIPLES")

def _hub_impl(rctx):
    return fetch_library(rctx, rctx.original_name, "ocipkg.library", spokes = rctx.attr.spokes)

_hub = repository_rule(
    doc = "A library's targets for every platform.",
    implementation = _hub_impl,
    attrs = RULE_ATTRIBUTES | {
        "spokes": attr.string_dict(
            doc = "From target triples to the names of the repositories with the library for these platforms. Names and not labels, for which Bazel would fetch the repositories.",
            mandatory = True,
        ),
    },
)

def _spoke_impl(rctx):
    # Of an image that is not pinned, the hub says so. Nothing leads to a platform that the image is not there for but
    # `bazel fetch --all` and `bazel vendor`, which are not to fail for it.
    return fetch_library(rctx, rctx.attr.library, "", target = rctx.attr.target, or_nothing = True)

_spoke = repository_rule(
    doc = "A library for one platform.",
    implementation = _spoke_impl,
    attrs = RULE_ATTRIBUTES | {
        "library": attr.string(
            doc = "Name of the library.",
            mandatory = True,
        ),
        "target": attr.string(
            doc = "Target triple.",
            mandatory = True,
        ),
    },
)

def spoke_names(library, platforms):
    """Returns the names of the repositories for a library's platforms.

    Args:
      library: name of the library.
      platforms: a list of target triples; an empty one stands for all that are known.

    Returns:
      A dict from target triples to names.
    """
    return {triple: library + "__" + triple for triple in platforms or TRIPLES}

def declare_library(name, platforms, **attrs):
    """Declares the repositories of a library; for a module extension.

    Args:
      name: name of the library and of its hub.
      platforms: a list of target triples, or an empty one.
      **attrs: values for RULE_ATTRIBUTES.
    """
    spokes = spoke_names(name, platforms)
    for triple, repository in spokes.items():
        _spoke(name = repository, library = name, target = triple, **attrs)
    _hub(name = name, spokes = spokes, **attrs)
