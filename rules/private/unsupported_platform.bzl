"""What stands for a library on a platform that it has not been published for."""

load(":diagnostic.bzl", "diagnostic", "fail_with")
load(":platforms.bzl", "constraint_values")

def unsupported(what, platforms, left_out, platform, constraints):
    """Says that there is no library for a platform, and for which there is.

    Args:
      what: the library, with its version.
      platforms: target triples of the platforms that there are.
      left_out: target triples of platforms that are published but not declared.
      platform: label of the platform that was asked for, a string.
      constraints: names of those of its constraint values that matter, such as "x86_64".

    Returns:
      A diagnostic.
    """
    more = ""
    if left_out:
        more = "\nPublished too, but without a place here: {} (see `platforms` where it is declared)".format(", ".join(left_out))
    return diagnostic(
        "{} is not there for the platform {} ({}).\nIt is there for: {}{}".format(
            what,
            platform,
            ", ".join(constraints) or "no known constraint",
            ", ".join(platforms),
            more,
        ),
        "build for one of these platforms (--platforms), or ask the library's author for yours",
    )

# What tells platforms of one system apart, and by its default value holds on those of others too.
_MATTERS_ON = {
    "rules/libc": "linux",
    "rules/windows_abi": "windows",
}

def _unsupported_platform_impl(ctx):
    values = [
        value.label
        for value in ctx.attr._constraint_values
        if ctx.target_platform_has_constraint(value[platform_common.ConstraintValueInfo])
    ]
    names = [value.name for value in values]
    asked = [
        value.name
        for value in values
        if value.package not in _MATTERS_ON or _MATTERS_ON[value.package] in names
    ]
    fail_with(unsupported(
        ctx.attr.what,
        ctx.attr.platforms,
        ctx.attr.left_out,
        str(ctx.fragments.platform.platform),
        asked,
    ))

unsupported_platform = rule(
    doc = "Fails when it is built: with what there is and what was asked for, before a compiler runs.",
    implementation = _unsupported_platform_impl,
    attrs = {
        "left_out": attr.string_list(
            doc = "Target triples of platforms that are published but not declared.",
        ),
        "platforms": attr.string_list(
            doc = "Target triples of the platforms that there are.",
        ),
        "what": attr.string(
            doc = "The library, with its version.",
            mandatory = True,
        ),
        "_constraint_values": attr.label_list(
            default = constraint_values(),
            providers = [platform_common.ConstraintValueInfo],
        ),
    },
    fragments = ["platform"],
)
