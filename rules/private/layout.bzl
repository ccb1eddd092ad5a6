"""What the rules for authors hand to each other."""

LayoutInfo = provider(
    doc = "An OCI layout that can be pushed: an artifact of one platform, or an index of several.",
    fields = {
        "digest": "File with the digest that will name it, as one line of text.",
        "layout": "File, a folder: the layout.",
    },
)

# The command, which actions run. It is the one that repository rules run, so that a workspace needs no Go toolchain; a
# build whose actions run on another platform than Bazel itself names one for that platform with this flag.
TOOL = Label("//rules:tool")
