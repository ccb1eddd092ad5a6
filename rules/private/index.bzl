"""The rule `ocipkg_index`."""

load(":layout.bzl", "LayoutInfo", "TOOL", "make_layout")

def _platforms_transition_impl(_settings, attr):
    return {
        str(platform): {"//command_line_option:platforms": [str(platform)]}
        for platform in attr.platforms
    }

_platforms_transition = transition(
    implementation = _platforms_transition_impl,
    inputs = [],
    outputs = ["//command_line_option:platforms"],
)

def _ocipkg_index_impl(ctx):
    packages = [package[LayoutInfo] for package in ctx.split_attr.package.values()]
    layouts = [package.layout for package in packages]
    args = ctx.actions.args()
    args.add("join")
    args.add("--quiet")
    args.add_all(layouts, expand_directories = False)
    return make_layout(
        ctx,
        args,
        layouts,
        "OcipkgJoin",
        "Joining %{label}",
        library = packages[0].library,
        labels = depset(transitive = [package.labels for package in packages]),
        repositories = depset(transitive = [package.repositories for package in packages]),
        pushes = depset(transitive = [package.pushes for package in packages], order = "postorder"),
    )

ocipkg_index = rule(
    doc = """Builds a package for several platforms, and joins the artifacts under one name.

```starlark
load("@rules_ocipkg//rules:defs.bzl", "ocipkg_index")

ocipkg_index(
    name = "index",
    package = ":package",
    platforms = [":linux_x86_64", ":linux_arm64"],
)
```

Whoever fetches the image gets what fits. Each platform needs a C++ toolchain that is registered for it. The output is an
OCI layout, a folder, as `ocipkg join` writes it; its digest is a file in the output group `digest`.
""",
    implementation = _ocipkg_index_impl,
    attrs = {
        "package": attr.label(
            cfg = _platforms_transition,
            doc = "The `ocipkg_package`, which is built once for each platform.",
            mandatory = True,
            providers = [LayoutInfo],
        ),
        "platforms": attr.label_list(
            allow_empty = False,
            doc = "The platforms: targets of the rule `platform`.",
            mandatory = True,
            providers = [platform_common.PlatformInfo],
        ),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
        "_tool": attr.label(
            allow_single_file = True,
            cfg = "exec",
            default = TOOL,
            executable = True,
        ),
    },
    provides = [LayoutInfo],
)
