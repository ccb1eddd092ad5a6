"""What the rules for authors hand to each other."""

LayoutInfo = provider(
    doc = "An OCI layout that can be pushed: an artifact of one platform, or an index of several.",
    fields = {
        "digest": "File with the digest that will name it, as one line of text.",
        "layout": "File, a folder: the layout.",
        "library": "Name of the library.",
        "labels": "depset of the labels of the targets that it or what it depends on has, so that who depends on it has no need to pack them.",
        "repositories": "depset of the names of the repositories whose libraries come with it.",
        "pushes": "depset of PushInfo, of what it depends on and this build pushes: each after what it needs itself.",
    },
)

PushInfo = provider(
    doc = "An artifact and where it is pushed to.",
    fields = {
        "image": "Name of the image, without a digest, and with a tag where one is known before it is pushed.",
        "info": "LayoutInfo of what is pushed.",
        "label": "Label of the target that pushes it.",
    },
)

# The command, which actions run. It is the one that repository rules run, so that a workspace needs no Go toolchain; a
# build whose actions run on another platform than Bazel itself names one for that platform with this flag.
TOOL = Label("//rules:tool")

def make_layout(ctx, args, inputs, mnemonic, progress_message, library, labels, repositories, pushes):
    """Runs the tool so that it writes a layout, called as the target, and its digest.

    Args:
      ctx: the context of a rule that has the tool as `_tool`.
      args: the Args of the command, without what it writes to.
      inputs: a list of files.
      mnemonic: the action's.
      progress_message: the action's.
      library: name of the library.
      labels: depset, as in LayoutInfo.
      repositories: depset, as in LayoutInfo.
      pushes: depset, as in LayoutInfo.

    Returns:
      a list of the providers of the rule.
    """
    layout = ctx.actions.declare_directory(ctx.label.name)
    digest = ctx.actions.declare_file(ctx.label.name + ".digest")
    args.add("--digest-file", digest)
    args.add("--output", layout.path)
    ctx.actions.run(
        arguments = [args],
        executable = ctx.executable._tool,
        inputs = inputs,
        mnemonic = mnemonic,
        outputs = [layout, digest],
        progress_message = progress_message,
    )
    return [
        DefaultInfo(files = depset([layout])),
        LayoutInfo(
            digest = digest,
            labels = labels,
            layout = layout,
            library = library,
            pushes = pushes,
            repositories = repositories,
        ),
        OutputGroupInfo(digest = depset([digest])),
    ]
