"""The module extension `ocipkg`."""

load(":attributes.bzl", "TAG_ATTRIBUTES", "tag_values")
load(":diagnostic.bzl", "diagnostic", "fail_with")
load(":header_index.bzl", "header_index")
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
    doc = """Declares a library.

Where several modules declare one name, the root module's declaration counts. Where that has none, theirs have to agree: in the \
digest of `image`, in which `components` and `deps` there are, in whatever order, and in every other attribute as it is \
written. `platforms` and `mirrors` need not agree. The former add up where the root module declares nothing; the latter do always, of all \
modules that mean one digest, the root module's first.""",
)

# The repository that gazelle_ext has in its data.
_HEADER_INDEX = "rules_ocipkg_header_index"

# Attributes whose order says nothing: they are sets, written as lists.
_SETS = ["components", "deps"]

def _identity(attr, value):
    """What two values of an attribute have in common if they mean the same library.

    Of an image it is the digest, where there is one, wherever the bytes come from.
    """
    if attr == "image":
        return value.partition("@")[2] or value
    return sorted(value) if attr in _SETS else value

def _conflict(name, first, tag, what):
    return struct(libraries = {}, error = diagnostic(
        "ocipkg.library: two modules declare the library {} with different values of {}:\n    {} in {}\n    {} in {}".format(
            name,
            what,
            repr(first.attrs[what]),
            first.module,
            repr(tag.attrs[what]),
            tag.module,
        ),
        "declare it in the root module, whose word counts over theirs",
    ))

def _union(first, other):
    return first + [value for value in other if value not in first]

def _join(first, platforms, mirrors):
    return struct(
        name = first.name,
        platforms = platforms,
        attrs = first.attrs | {"mirrors": _union(first.attrs["mirrors"], mirrors)},
        module = first.module,
        is_root = first.is_root,
    )

def merge_tags(tags):
    """Decides which declaration of each library counts.

    Args:
      tags: a list of structs with the fields name, platforms, attrs (a dict of the values of RULE_ATTRIBUTES), module (what
        people call it) and is_root, the root module's first.

    Returns:
      A struct of libraries, a dict from name to a struct with the fields platforms and attrs, and error, a diagnostic or
      None.
    """
    libraries = {}
    for tag in tags:
        error = platforms_error(tag.platforms)
        if error:
            told = "ocipkg.library(name = \"{}\") in {}: {}".format(tag.name, tag.module, error.message)
            return struct(libraries = {}, error = diagnostic(told, error.do))
        first = libraries.get(tag.name)
        if not first:
            libraries[tag.name] = tag
            continue
        if first.module == tag.module:
            return struct(libraries = {}, error = diagnostic(
                "ocipkg.library: {} declares the library {} twice.".format(tag.module, tag.name),
                "keep one of the two",
            ))
        differs = [
            key
            for key in first.attrs
            if key != "mirrors" and _identity(key, first.attrs[key]) != _identity(key, tag.attrs[key])
        ]
        if first.is_root:
            # Where the bytes are to be had is nobody's decision; but a mirror of other bytes does not have these.
            if "image" not in differs:
                libraries[tag.name] = _join(first, first.platforms, tag.attrs["mirrors"])
            continue
        if differs:
            return _conflict(tag.name, first, tag, "image" if "image" in differs else differs[0])

        # No platforms stand for all.
        platforms = _union(first.platforms, tag.platforms) if first.platforms and tag.platforms else []
        libraries[tag.name] = _join(first, platforms, tag.attrs["mirrors"])
    return struct(libraries = libraries, error = None)

def _called(module):
    if module.is_root:
        return "the root module"
    return "the module {} {}".format(module.name, module.version).strip()

def _ocipkg_impl(mctx):
    tags = []
    direct, direct_dev = [], []
    for module in mctx.modules:
        if module.is_root and module.name == "rules_ocipkg":
            direct_dev.append(_HEADER_INDEX)
        elif module.is_root and module.name == "rules_ocipkg_gazelle_plugin":
            direct.append(_HEADER_INDEX)  # nobody else names it in use_repo
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
        fail_with(merged.error)
    mirrors = {}
    for name, library in merged.libraries.items():
        declare_library(name, library.platforms, **library.attrs)
        digest = library.attrs["image"].partition("@")[2]
        if digest and library.attrs["mirrors"]:
            mirrors[digest] = _union(mirrors.get(digest, []), library.attrs["mirrors"])

    # Of whatever is declared, not of these libraries alone: it reads MODULE.bazel. What it cannot read there is handed to it.
    header_index(name = _HEADER_INDEX, mirrors = mirrors)

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
