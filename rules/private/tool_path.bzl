"""Where the repository rules find the command `ocipkg`.

A file of its own, because what loads tool.bzl depends on rules_go's choice of an SDK, which has no documentation to load.
"""

def tool_file(rctx):
    """Returns the name of the tool's file in its repository.

    Args:
      rctx: the context of a repository rule.

    Returns:
      a string.
    """
    return "ocipkg.exe" if rctx.os.name.startswith("windows") else "ocipkg"

def tool_path(rctx):
    """Returns the path of the tool, which is made when this is called first.

    Args:
      rctx: the context of a repository rule.

    Returns:
      a path, to be run by rctx.execute.
    """
    tool = rctx.path(Label("@rules_ocipkg_tool//:" + tool_file(rctx)))

    # From Bazel 8 on, a path is not watched for having been asked for.
    rctx.watch(tool)
    return tool
