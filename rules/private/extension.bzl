"""The module extension `ocipkg`."""

load(":attributes.bzl", "TAG_ATTRIBUTES", "tag_values")
load(":hub.bzl", "declare_library")
load(":platforms.bzl", "platforms_error")

_library = tag_class(
    attrs = TAG_ATTRIBUTES | {
        "name": attr.string(
            doc = "Name of the repository.",
            mandatory = True,
        ),
        "platforms": attr.string_list(
            doc = """Target triples of the platforms that may be built for; the default is all that are known. A build fetches the platform that it builds for and no other, so this restricts what `bazel fetch` and `bazel vendor` take, and what a module promises to work on. Example: `platforms = ["x86_64-unknown-linux-gnu", "aarch64-apple-darwin"]`.""",
        ),
    },
    doc = "Declares a library. Two modules may declare one name if they mean the same bytes; the root module's word counts over theirs.",
)

def _identity(image):
    """What tells one image from another: the digest, where there is one, wherever it comes from."""
    return image.partition("@")[2] or image

def _conflict(name, first, tag, what):
    return struct(libraries = {}, error = "\n".join([
        "ocipkg.library: two modules declare the library {} with different values of {}:".format(name, what),
        "    {} in {}".format(repr(first.attrs[what]), first.module),
        "    {} in {}".format(repr(tag.attrs[what]), tag.module),
        "What to do: declare it in the root module, whose word counts over theirs.",
    ]))

def _union(first, other):
    """The platforms of two declarations; an empty list stands for all."""
    if not first or not other:
        return []
    return first + [triple for triple in other if triple not in first]

def merge_tags(tags):
    """Decides which declaration of each library counts.

    Args:
      tags: a list of structs with the fields name, platforms, attrs (a dict of the values of RULE_ATTRIBUTES), module (what
        people call it) and is_root, the root module's first.

    Returns:
      A struct of libraries, a dict from name to a struct with the fields platforms and attrs, and error, a message or
      None.
    """
    libraries = {}
    for tag in tags:
        error = platforms_error(tag.platforms)
        if error:
            return struct(libraries = {}, error = "ocipkg.library(name = \"{}\") in {}: {}".format(tag.name, tag.module, error))
        first = libraries.get(tag.name)
        if not first:
            libraries[tag.name] = tag
            continue
        if first.is_root:
            if tag.is_root:
                return struct(libraries = {}, error = "ocipkg.library: {} declares the library {} twice".format(tag.module, tag.name))
            continue
        for key in first.attrs:
            same = first.attrs[key] == tag.attrs[key]
            if key == "image":
                same = _identity(first.attrs[key]) == _identity(tag.attrs[key])
            if not same:
                return _conflict(tag.name, first, tag, key)
        libraries[tag.name] = struct(
            name = first.name,
            platforms = _union(first.platforms, tag.platforms),
            attrs = first.attrs,
            module = first.module,
            is_root = False,
        )
    return struct(libraries = libraries, error = None)

def _called(module):
    if module.is_root:
        return "the root module"
    return "the module {} {}".format(module.name, module.version).strip()

def _ocipkg_impl(mctx):
    tags = []
    direct, direct_dev = [], []
    for module in mctx.modules:
        for tag in module.tags.library:
            tags.append(struct(
                name = tag.name,
                platforms = tag.platforms,
                attrs = tag_values(tag),
                module = _called(module),
                is_root = module.is_root,
            ))
            if module.is_root:
                (direct_dev if mctx.is_dev_dependency(tag) else direct).append(tag.name)
    merged = merge_tags(sorted(tags, key = lambda t: not t.is_root))
    if merged.error:
        fail("\n" + merged.error)
    for name, library in merged.libraries.items():
        declare_library(name, library.platforms, **library.attrs)

    # Evaluating this asks nobody anything: the same tags give the same repositories.
    return mctx.extension_metadata(
        reproducible = True,
        root_module_direct_deps = direct,
        root_module_direct_dev_deps = direct_dev,
    )

ocipkg = module_extension(
    doc = """Declares libraries for a module and those that depend on it.

```starlark
ocipkg = use_extension("@rules_ocipkg//rules:extensions.bzl", "ocipkg")
ocipkg.library(name = "zlib", image = "ghcr.io/acme/zlib:1.3.1@sha256:...")
use_repo(ocipkg, "zlib")
```

The targets are those of `ocipkg_library`, for every platform that the image is there for. Evaluating the extension
needs no network; what the image is there for is read when something depends on it, and of its layers nothing is fetched
but for the platform that is built for. `bazel mod tidy` keeps `use_repo` current. See docs/consuming.md.
""",
    implementation = _ocipkg_impl,
    tag_classes = {"library": _library},
)
