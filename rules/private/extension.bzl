"""The module extension `ocipkg`."""

load(":attributes.bzl", "TAG_ATTRIBUTES", "tag_values")
load(":library.bzl", "ocipkg_library")

_library = tag_class(
    attrs = TAG_ATTRIBUTES | {
        "name": attr.string(
            doc = "Name of the repository.",
            mandatory = True,
        ),
    },
    doc = "Declares a library. Two modules may declare one name if they mean the same image; the root module's word counts over theirs.",
)

def _wanted(tag):
    said = ["{} = {}".format(name, repr(value)) for name, value in sorted(tag.values.items()) if value]
    return ", ".join(said)

def merge_tags(tags):
    """Decides which declaration of each library counts.

    Args:
      tags: a list of structs with the fields name, values (a dict of attributes), module (a name) and is_root, the root
        module's first.

    Returns:
      A struct of libraries, a dict from name to the struct that counts, and error, a message or None.
    """
    libraries = {}
    for tag in tags:
        first = libraries.get(tag.name)
        if not first:
            libraries[tag.name] = tag
        elif not first.is_root and first.values != tag.values:
            return struct(libraries = {}, error = (
                "ocipkg.library: the modules {} and {} declare the library {} with {} and with {}. " +
                "Declare it in the root module, whose word counts."
            ).format(first.module, tag.module, tag.name, _wanted(first), _wanted(tag)))
        elif first.is_root and tag.is_root:
            return struct(libraries = {}, error = "ocipkg.library: the root module declares the library {} twice".format(tag.name))
    return struct(libraries = libraries, error = None)

def _ocipkg_impl(mctx):
    tags = []
    for module in mctx.modules:
        for tag in module.tags.library:
            tags.append(struct(
                name = tag.name,
                values = tag_values(tag),
                module = module.name or "<root>",
                is_root = module.is_root,
            ))
    merged = merge_tags(sorted(tags, key = lambda t: not t.is_root))
    if merged.error:
        fail(merged.error)
    for name, tag in merged.libraries.items():
        ocipkg_library(name = name, **tag.values)

    # Evaluating this asks nobody anything: the same tags give the same repositories.
    return mctx.extension_metadata(reproducible = True)

ocipkg = module_extension(
    doc = """Declares libraries for a module and those that depend on it.

```starlark
ocipkg = use_extension("@rules_ocipkg//rules:extensions.bzl", "ocipkg")
ocipkg.library(name = "zlib", image = "ghcr.io/acme/zlib:1.3.1@sha256:…")
use_repo(ocipkg, "zlib")
```""",
    implementation = _ocipkg_impl,
    tag_classes = {"library": _library},
)
