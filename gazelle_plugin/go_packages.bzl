"""The Go packages of rules_ocipkg, in the repository @rules_ocipkg_go_packages.

Their BUILD files name modules that rules_ocipkg itself does not depend on. A repository that an extension makes sees what the
module of the extension sees, hence the same files once more, by way of links, where these names have a meaning.
"""

# Of the same version, and of the same makers.
# buildifier: disable=bzl-visibility
load("@rules_ocipkg//rules/private:diagnostic.bzl", "diagnostic", "fail_with")

def _go_packages_impl(rctx):
    go_mod = rctx.path(Label("@rules_ocipkg//:go.mod"))
    module = rctx.read(Label("@rules_ocipkg//:MODULE.bazel"))
    version = module.partition("\n    version = \"")[2].partition("\"")[0]
    if version != rctx.attr.version:
        fail_with(diagnostic(
            "rules_ocipkg_gazelle_plugin has version {}, and rules_ocipkg, whose Go packages it compiles, {}.".format(rctx.attr.version, version),
            "ask for the same version of both in MODULE.bazel; where overrides say where they are, take both from one checkout",
        ))
    rctx.file("BUILD.bazel")
    for tree in ["fetcher", "gazelle_ext", "internal"]:
        rctx.symlink(go_mod.dirname.get_child(tree), tree)

_go_packages = repository_rule(
    implementation = _go_packages_impl,
    doc = "The Go packages of rules_ocipkg, to be compiled by the rules_go of this module.",
    attrs = {"version": attr.string(doc = "Of this module, which rules_ocipkg has to have.")},
)

def _go_packages_extension_impl(mctx):
    for module in mctx.modules:
        if module.name == "rules_ocipkg_gazelle_plugin":
            _go_packages(
                name = "rules_ocipkg_go_packages",
                version = module.version,
            )
    return mctx.extension_metadata(reproducible = True)

go_packages = module_extension(
    implementation = _go_packages_extension_impl,
    doc = "Makes @rules_ocipkg_go_packages; for this module's own use.",
)
