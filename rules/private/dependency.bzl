"""What a prebuilt library needs of another repository; see docs/linking.md."""

load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")
load(":apparent.bzl", "apparent")
load(":diagnostic.bzl", "diagnostic", "fail_with")

_LinkageInfo = provider(
    doc = "How a library is linked.",
    fields = {"declared": "whether its declaration says so"},
)

def _linkage_aspect_impl(_target, ctx):
    return [_LinkageInfo(declared = "ocipkg_linkage_declared" in ctx.rule.attr.tags)]

# A tag, which internal/ccplan writes, and no provider of ours: any rule may stand behind the label.
_linkage_aspect = aspect(implementation = _linkage_aspect_impl)

def _dependency_impl(ctx):
    dep = ctx.attr.dep
    if ctx.attr.declared and ctx.attr.declared[_LinkageInfo].declared:
        # What the declaration of a library says of it goes before how another one that needs it is linked.
        dep = ctx.attr.declared
    if ctx.attr.headers_only:
        return [CcInfo(compilation_context = dep[CcInfo].compilation_context)]

    # A library is found at run time by the name of its file, which is its SONAME. Whether the dependency has those that
    # are needed is asked here, before anything is compiled: a linker would find out, or the program.
    found = {}
    for linker_input in dep[CcInfo].linking_context.linker_inputs.to_list():
        for library in linker_input.libraries:
            if library.dynamic_library:
                found[library.dynamic_library.basename] = linker_input.owner
    missing = [name for name in ctx.attr.needed if name not in found]
    if missing:
        own = sorted([name for name, owner in found.items() if owner.repo_name == dep.label.repo_name])
        fail_with(diagnostic(
            "@{} needs {}, and {} has {}.\nWhy: it was made for another one, {}.".format(
                ctx.attr.needed_by,
                ", ".join(missing),
                apparent(dep.label),
                ", ".join(own) or "no shared library",
                ctx.attr.image,
            ),
            "declare that in MODULE.bazel, with its shared component, or another with the same SONAMEs; or have of {} the static libraries alone: components = [\"headers\", \"static\"]".format(ctx.attr.needed_by),
        ))
    return [dep[CcInfo], dep[DefaultInfo]]

dependency = rule(
    doc = "A library of another repository, with what is needed of it.",
    implementation = _dependency_impl,
    attrs = {
        "declared": attr.label(
            aspects = [_linkage_aspect],
            doc = "The library as its declaration has it, to be linked in place of `dep` where that says how.",
            providers = [CcInfo],
        ),
        "dep": attr.label(
            doc = "The library.",
            mandatory = True,
            providers = [CcInfo],
        ),
        "headers_only": attr.bool(
            doc = "Whether nothing is linked.",
        ),
        "image": attr.string(
            doc = "The image that the library which needs it was made for.",
            mandatory = True,
        ),
        "needed": attr.string_list(
            doc = "File names of shared libraries that it must have.",
        ),
        "needed_by": attr.string(
            doc = "The library that needs it, as its user calls it.",
            mandatory = True,
        ),
    },
    provides = [CcInfo],
)
