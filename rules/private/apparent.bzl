"""Labels as people write them."""

load(":platforms.bzl", "TRIPLES")

def apparent(label):
    """Returns a label for messages, with the name that its repository was declared by in place of the canonical one.

    A rule cannot ask what its module calls a repository: bazel_dep and use_repo may have given it another name.

    Args:
      label: a Label.

    Returns:
      A string such as `@zlib//:headers`, or `//pkg:name` of the main repository. For a spoke of a hub it is the hub's.
    """
    repository = label.repo_name

    # MODULE~VERSION, MODULE~VERSION~EXTENSION~NAME and _main~EXTENSION~NAME; from Bazel 8 on with + and without _main.
    parts = repository.replace("+", "~").split("~")
    name = parts[0] if len(parts) < 3 else parts[-1]
    for triple in TRIPLES:
        name = name.removesuffix("__" + triple)
    return "{}//{}:{}".format("@" + name if name else "@@" + repository if repository else "", label.package, label.name)
