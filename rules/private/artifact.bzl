"""Which artifact a library of an external repository is."""

ArtifactInfo = provider(
    doc = "The artifact that a library is.",
    fields = {
        "inspected": "File that says it, as `ocipkg inspect --json` does.",
    },
)

def _artifact_impl(ctx):
    return [
        ArtifactInfo(inspected = ctx.file.inspected),
        DefaultInfo(files = depset([ctx.file.inspected])),
    ]

artifact = rule(
    doc = "Says which artifact the libraries of its repository are. Their headers name it in `aspect_hints`.",
    implementation = _artifact_impl,
    attrs = {
        "inspected": attr.label(
            allow_single_file = True,
            doc = "The file that says it.",
            mandatory = True,
        ),
    },
    provides = [ArtifactInfo],
)
