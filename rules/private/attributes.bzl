"""What can be said of a library besides its image: the attributes of `ocipkg_library` and of the extension's `library`."""

_DEPS = """The libraries that this one needs, such as `["@zlib"]`. Each has to be declared as well; `ocipkg add IMAGE` writes them all. \
A dependency of the artifact that is not in `deps` is an error that says what to write. The name of a label's target has to be \
that of the dependency: where zlib's repository is called `my_zlib`, write `"@my_zlib//:zlib"`."""

# By name. Where a label of the user's has to be understood, `deps` is what it can be there: see RULE_ATTRIBUTES and
# TAG_ATTRIBUTES.
_LIBRARY_ATTRIBUTES = {
    "build_file": attr.label(
        allow_single_file = True,
        doc = "A file to take in place of the BUILD.bazel that is generated, such as `\"//third_party:zlib.BUILD\"`. What it loads and depends on is found as in the module that declares the library, and for a tag as in rules_ocipkg; `deps` is not looked at.",
    ),
    "components": attr.string_list(
        doc = "Of `headers`, `static` and `shared` those to fetch, such as `[\"headers\", \"static\"]`; the library is then as if it had no others. The default is all.",
    ),
    "defines": attr.string_list(
        doc = "Preprocessor definitions for whoever depends on the library, in place of those that the artifact names, such as `[\"ZLIB_CONST=1\"]`.",
    ),
    "image": attr.string(
        doc = "The library: `registry/name:tag@sha256:...`. Without a digest the tag is looked up at every fetch, and the line that pins it is printed; `OCIPKG_REQUIRE_DIGEST=1` makes that an error.",
        mandatory = True,
    ),
    "includes": attr.string_list(
        doc = "Folders of the library to search for headers, in place of those that the artifact names, such as `[\"include\", \"include/SDL2\"]`.",
    ),
    "linkage": attr.string(
        doc = """What the library's targets link, of a library that is there static and shared: `"static"`, `"shared"`, or `"auto"` for what `linkstatic` says. Without it the flag `--@rules_ocipkg//rules:linkage` decides, whose default is `auto`. Example: `linkage = "shared"`.""",
        values = ["", "auto", "shared", "static"],
    ),
    "linkopts": attr.string_list(
        doc = "Linker flags for whoever depends on the library, in place of those that the artifact names, such as `[\"-Wl,-z,now\"]`.",
    ),
    "mirrors": attr.string_list(
        doc = "Where else what has a digest is looked for, before the image's own registry: `[\"mirror.example.com:5000/ghcr.io\"]`, as `location` in docs/registries.md; or `[\"file://%workspace%/libraries\"]`, for archives of `ocipkg copy` in a folder of the root module. Those of several modules that declare one digest add up.",
    ),
    "strip_include_prefix": attr.string(
        doc = "A folder of the library, such as `include/SDL2`: its headers are included by their paths in it, and there are no others.",
    ),
}

# Of a repository rule. A label there would have Bazel fetch the repository that it names before the rule runs; a string
# becomes a label in the repository's BUILD file, where the apparent names of the module that declares it are known.
RULE_ATTRIBUTES = _LIBRARY_ATTRIBUTES | {"deps": attr.string_list(doc = _DEPS)}

# Of a tag. A string would be understood with the names that this module knows; a label is the user's, and is not fetched.
TAG_ATTRIBUTES = _LIBRARY_ATTRIBUTES | {"deps": attr.label_list(doc = _DEPS)}

def tag_values(tag):
    """Gives the values of a tag's attributes as those of a repository rule.

    Args:
      tag: a tag with TAG_ATTRIBUTES.

    Returns:
      A dict from the name of an attribute in RULE_ATTRIBUTES to its value.
    """
    values = {name: getattr(tag, name) for name in _LIBRARY_ATTRIBUTES}
    values["deps"] = [str(label) for label in tag.deps]
    return values

# Attribute to the flag of `ocipkg fetch` that says the same.
_FLAGS = {
    "components": "--component",
    "defines": "--define",
    "deps": "--dep",
    "includes": "--include",
    "linkopts": "--linkopt",
    "mirrors": "--mirror",
}

def attribute_arguments(attributes, workspace):
    """Writes attributes as arguments of `ocipkg fetch`.

    Args:
      attributes: a struct with RULE_ATTRIBUTES; image and build_file are left out.
      workspace: path of the root module's folder, which takes the place of %workspace% in mirrors.

    Returns:
      A list of strings.
    """
    args = []
    if attributes.linkage:
        args.append("--linkage=" + attributes.linkage)
    if attributes.strip_include_prefix:
        args.append("--strip-include-prefix=" + attributes.strip_include_prefix)
    for name in sorted(_FLAGS):
        for value in getattr(attributes, name):
            if name == "mirrors":
                value = value.replace("%workspace%", workspace)
            args.append(_FLAGS[name] + "=" + value)
    return args
