"""The rule `ocipkg_push`."""

load(":apparent.bzl", "apparent")
load(":diagnostic.bzl", "diagnostic", "fail_with")
load(":layout.bzl", "LayoutInfo", "PushInfo")

StampInfo = provider(
    doc = "Whether Bazel runs with --stamp.",
    fields = {"stamp": "A bool."},
)

def _stamp_setting_impl(ctx):
    return [StampInfo(stamp = ctx.attr.stamp)]

stamp_setting = rule(
    doc = "Tells whether Bazel runs with --stamp, which a rule cannot ask.",
    implementation = _stamp_setting_impl,
    attrs = {"stamp": attr.bool(mandatory = True)},
)

_LAUNCHER = """\
#!/usr/bin/env bash
set -euo pipefail
runfiles=${{RUNFILES_DIR:-$0.runfiles}}
[[ $runfiles == /* ]] || runfiles=$PWD/$runfiles
exec "$runfiles/"{tool} push "$runfiles/"{layout}{flags} "$@"
"""

def shell_quote(text):
    """Returns text as one word of a POSIX shell.

    Args:
      text: a string.

    Returns:
      A string.
    """
    return "'" + text.replace("'", "'\\''") + "'"

def runfiles_path(short_path, workspace):
    """Returns a file's path in a tree of runfiles.

    Args:
      short_path: the File's short_path.
      workspace: the name of the main repository in that tree.

    Returns:
      A string.
    """
    return short_path[3:] if short_path.startswith("../") else workspace + "/" + short_path

def launcher(tool, layout, repository, tags, status, pushed_by = {}):
    """Assembles the script that pushes.

    Args:
      tool: path of the command in the runfiles.
      layout: path of the layout in the runfiles.
      repository: name of the image.
      tags: list of tags.
      status: list of paths of workspace status files in the runfiles.
      pushed_by: dict from names of libraries that it needs to labels of targets that push them.

    Returns:
      A string.
    """
    flags = [" --to " + shell_quote(repository)]
    flags += [" --tag " + shell_quote(tag) for tag in tags]
    flags += [" --workspace-status \"$runfiles/\"" + shell_quote(path) for path in status]
    flags += [" --pushed-by " + shell_quote(library + "=bazel run " + label) for library, label in pushed_by.items()]
    return _LAUNCHER.format(
        flags = "".join(flags),
        layout = shell_quote(layout),
        tool = shell_quote(tool),
    )

def _typed(label):
    """Returns a label as one types it: those of the main repository without the @@ that stands for it."""
    text = str(label)
    return text.removeprefix("@@") if text.startswith("@@//") else text

def _ocipkg_push_impl(ctx):
    if bool(ctx.attr.index) == bool(ctx.attr.package):
        fail_with(diagnostic(
            "{}: it does not say what is to be pushed.".format(apparent(ctx.label)),
            "give it either an index or a package",
        ))
    info = (ctx.attr.index or ctx.attr.package)[LayoutInfo]
    layout = info.layout
    tool = ctx.executable._tool

    # The values are read when the target runs: a build without --stamp does not depend on them.
    stamp = ctx.attr.stamp == 1 or ctx.attr.stamp == -1 and ctx.attr._stamp[StampInfo].stamp
    status = []
    for source in [ctx.info_file, ctx.version_file] if stamp else []:
        link = ctx.actions.declare_file(ctx.label.name + "." + source.basename)
        ctx.actions.symlink(output = link, target_file = source)
        status.append(link)

    workspace = ctx.workspace_name
    script = ctx.actions.declare_file(ctx.label.name + ".sh")
    ctx.actions.write(script, launcher(
        tool = runfiles_path(tool.short_path, workspace),
        layout = runfiles_path(layout.short_path, workspace),
        repository = ctx.attr.repository,
        tags = ctx.attr.remote_tags,
        status = [runfiles_path(file.short_path, workspace) for file in status],
        pushed_by = {push.info.library: _typed(push.label) for push in info.pushes.to_list()},
    ), is_executable = True)
    runfiles = ctx.runfiles(files = [layout, tool] + status)
    tags = ctx.attr.remote_tags
    tag = ":" + tags[0] if tags and "{" not in tags[0] else ""
    return [
        DefaultInfo(
            executable = script,
            files = depset([script]),
            runfiles = runfiles.merge_all([r for r in [ctx.attr._tool[DefaultInfo].default_runfiles] if r]),
        ),
        PushInfo(image = ctx.attr.repository + tag, info = info, label = ctx.label),
    ]

ocipkg_push = rule(
    doc = """Pushes a package or an index to a registry, when it is run.

```starlark
load("@rules_ocipkg//rules:defs.bzl", "ocipkg_push")

ocipkg_push(
    name = "push",
    index = ":index",
    repository = "ghcr.io/acme/greet",
    remote_tags = ["{STABLE_VERSION}", "latest"],
)
```

    bazel run -c opt --stamp //:push
    bazel run -c opt //:push -- --tag 1.3.1

It prints the pinned reference, and the line for MODULE.bazel. Flags behind `--` are those of `ocipkg push`: `--tag` adds
a tag, `--to` goes in place of the attribute. Without any tag, the tag is the library's version. Credentials are
those of the environment in which it is run; see docs/registries.md.
""",
    implementation = _ocipkg_push_impl,
    attrs = {
        "index": attr.label(
            doc = "The `ocipkg_index` to push. Either this or `package`.",
            providers = [LayoutInfo],
        ),
        "package": attr.label(
            doc = "The `ocipkg_package` to push.",
            providers = [LayoutInfo],
        ),
        "remote_tags": attr.string_list(
            doc = "Tags of the image. `{KEY}` stands for a value of the workspace status, such as `{STABLE_VERSION}`, when Bazel runs with `--stamp`. (`tags` are Bazel's own, of the target.)",
        ),
        "repository": attr.string(
            doc = "Registry and name of the image, without a tag. Example: `ghcr.io/acme/greet`. `{KEY}` stands for a value, as in tags.",
            mandatory = True,
        ),
        "stamp": attr.int(
            default = -1,
            doc = "Whether `{KEY}` has values: 1 always, 0 never, -1 when Bazel runs with `--stamp`.",
            values = [-1, 0, 1],
        ),
        "_stamp": attr.label(
            default = "//rules/private:stamp",
            providers = [StampInfo],
        ),
        "_tool": attr.label(
            allow_single_file = True,
            cfg = "exec",
            # Not the one of actions: it runs where `bazel run` does.
            default = "@rules_ocipkg_tool//:ocipkg",
            executable = True,
        ),
    },
    executable = True,
)
