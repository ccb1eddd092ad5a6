"""Where the repository rules find the command `ocipkg`.

A file of its own, because what loads tool.bzl depends on rules_go's choice of an SDK, which has no documentation to load.
"""

FINGERPRINT = "fingerprint"

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

    A repository made by it is made anew when the tool is another one. What is watched for that is the file that says which
    it is: Bazel would read the tool itself once for every repository, and sum it up.

    Args:
      rctx: the context of a repository rule.

    Returns:
      a path, to be run by rctx.execute.
    """
    fingerprint = rctx.path(Label("@rules_ocipkg_tool//:" + FINGERPRINT))

    # From Bazel 8 on, a path is not watched for having been asked for.
    rctx.watch(fingerprint)
    return fingerprint.dirname.get_child(tool_file(rctx))
