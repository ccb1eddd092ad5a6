"""The rule `ocipkg_package`."""

load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")
load("@rules_cc//cc/common:cc_shared_library_info.bzl", "CcSharedLibraryInfo")
load(":apparent.bzl", "apparent")
load(":artifact.bzl", "ArtifactInfo")
load(":diagnostic.bzl", "diagnostic", "fail_with")
load(":layout.bzl", "LayoutInfo", "PushInfo", "TOOL", "make_layout")

_PublishedInfo = provider(
    doc = "What the libraries that a target consists of offer to those who compile with them.",
    fields = {
        "parts": "depset of structs with the fields label, inspected (the File that says which artifact it is of, or None), headers (a tuple of Files), include_dirs and quote_dirs " +
                 "(tuples of paths, in which compilers find these headers) and defines (a tuple).",
    },
)

_VIRTUAL = "/_virtual_includes/"

def _published_aspect_impl(target, ctx):
    deps = getattr(ctx.rule.attr, "deps", None)
    deps = deps if type(deps) == "list" else []
    direct = []
    if CcInfo in target:
        context = target[CcInfo].compilation_context
        headers = context.direct_public_headers + context.direct_textual_headers

        # Where a prefix was stripped or added, headers are there twice, and compilers find the second ones.
        virtual = [header for header in headers if _VIRTUAL in header.path]
        if virtual:
            names = {header.basename: None for header in virtual}
            headers = virtual + [header for header in headers if _VIRTUAL not in header.path and header.basename not in names]

        inherited = {}
        for dep in deps:
            if CcInfo in dep:
                inherited.update({define: None for define in dep[CcInfo].compilation_context.defines.to_list()})
        external = getattr(context, "external_includes", depset())
        direct.append(struct(
            defines = tuple([define for define in context.defines.to_list() if define not in inherited]),
            headers = tuple(headers),
            inspected = target[ArtifactInfo].inspected if ArtifactInfo in target else None,
            include_dirs = tuple(depset(transitive = [context.includes, context.system_includes, external]).to_list()),
            label = target.label,
            quote_dirs = tuple(context.quote_includes.to_list()),
        ))
    return [_PublishedInfo(parts = depset(
        direct,
        order = "postorder",
        transitive = [dep[_PublishedInfo].parts for dep in deps if _PublishedInfo in dep],
    ))]

# Only `deps`: what is in `implementation_deps` is linked, and nobody else compiles with it.
_published_aspect = aspect(
    attr_aspects = ["deps"],
    implementation = _published_aspect_impl,
)

def _below(path, directory):
    """Returns the path relative to a directory, None where it is not below it."""
    if directory in ["", "."]:
        return path if not path.startswith("external/") and not path.startswith("bazel-out/") else None
    return path[len(directory) + 1:] if path.startswith(directory + "/") else None

def header_place(path, include_dirs, quote_dirs):
    """Decides where in an artifact a header goes, so that the `#include` that finds it in the workspace finds it there.

    Args:
      path: path of the header in the execution root.
      include_dirs: directories that a library has for its headers, by `includes` or `strip_include_prefix`.
      quote_dirs: the roots of repositories, in which compilers find what no such directory has.

    Returns:
      A struct of place, a path below the artifact's include/, and subdirectories, those of the artifact that have to be
      searched as well; or None where no compiler finds the header.
    """
    found = sorted([(len(d), d) for d in include_dirs if _below(path, d) != None])
    if found:
        # By the shortest path every name is still right: the longer ones become folders to search.
        root = found[0][1]
        return struct(
            place = _below(path, root),
            subdirectories = [sub for sub in [_below(d, root) for _, d in found[1:] if d != root] if sub],
        )
    roots = sorted([(-len(d), d) for d in quote_dirs if _below(path, d) != None])
    if not roots:
        return None
    return struct(place = _below(path, roots[0][1]), subdirectories = [])

def library_name(basename):
    """Returns the name under which a library is published: that of the file without what is Bazel's.

    Args:
      basename: such as libz.pic.a.

    Returns:
      Such as libz.a.
    """
    for ending, published in [
        (".pic.a", ".a"),
        (".pic.lo", ".a"),
        (".lo", ".a"),
        (".pic.lib", ".lib"),
        (".lo.lib", ".lib"),
        (".if.lib", ".lib"),
    ]:
        if basename.endswith(ending):
            return basename[:-len(ending)] + published
    return basename

def link_name(basename):
    """Returns what follows -l for a static library.

    Args:
      basename: such as libz.a or z.lib.

    Returns:
      Such as z.
    """
    if basename.endswith(".lib"):
        return basename[:-len(".lib")]
    return basename.removeprefix("lib").removesuffix(".a")

def static_files(files):
    """Chooses the static libraries among files, such as those that a cc_library builds.

    Args:
      files: a list of Files or of what has their basename and dirname.

    Returns:
      A list of those that are static libraries; of two variants of one the one that fits shared objects, too.
    """
    archives = [file for file in files if library_name(file.basename).endswith(".a") or file.basename.endswith(".lib")]
    pic = {
        (file.dirname, library_name(file.basename)): None
        for file in archives
        if library_name(file.basename) != file.basename
    }
    return [
        file
        for file in archives
        if library_name(file.basename) != file.basename or (file.dirname, file.basename) not in pic
    ]

def sort_link_flags(flags):
    """Divides linker flags into system libraries and others.

    Args:
      flags: a list of flags as `linkopts` have them.

    Returns:
      A struct of system_libraries, a list of names, linkopts, a list of flags, and here, a list of those that mean
      something on this machine alone.
    """
    libraries, others, here = [], [], []
    for flag in flags:
        if flag == "-pthread":
            libraries.append("pthread")
        elif flag.startswith("-l") and len(flag) > 2 and flag[2] != ":":
            libraries.append(flag[2:])
        elif flag.startswith("-L") or "bazel-out/" in flag or "external/" in flag:
            here.append(flag)
        else:
            others.append(flag)
    return struct(here = here, linkopts = others, system_libraries = _unique(libraries))

_ARCHITECTURES = {
    "@platforms//cpu:aarch64": "aarch64",
    "@platforms//cpu:armv7": "armv7",
    "@platforms//cpu:ppc64le": "powerpc64le",
    "@platforms//cpu:riscv64": "riscv64",
    "@platforms//cpu:s390x": "s390x",
    "@platforms//cpu:x86_32": "i686",
    "@platforms//cpu:x86_64": "x86_64",
}

_SYSTEMS = {
    "@platforms//os:linux": "unknown-linux",
    "@platforms//os:osx": "apple-darwin",
    "@platforms//os:windows": "pc-windows",
}

# What follows the system in a triple, where the platform says something else than its default: of the default nobody
# knows whether it was meant.
_LIBRARIES = {
    "//rules/libc:musl": "musl",
    "//rules/windows_abi:mingw": "gnu",
}

def _constraint_attr(values):
    return attr.label_keyed_string_dict(
        default = {Label(label): part for label, part in values.items()},
        providers = [platform_common.ConstraintValueInfo],
    )

def _target(ctx):
    """Returns the target triple of the platform, as far as its constraints tell it, or an empty string.

    Whose C library or compiler it is, is mostly left open: the files tell that.
    """

    def those_of(constraints):
        return [
            part
            for constraint, part in constraints.items()
            if ctx.target_platform_has_constraint(constraint[platform_common.ConstraintValueInfo])
        ]

    parts = those_of(ctx.attr._architectures) + those_of(ctx.attr._systems)
    return "-".join(parts + those_of(ctx.attr._libraries)) if len(parts) == 2 else ""

def _words(ctx, values):
    """Takes words out of quotes as a shell does, which is how cc_library reads its attributes."""
    words = []
    for value in values:
        words += ctx.tokenize(value)
    return words

def _unique(values):
    return {value: None for value in values}.keys()

def source_header_place(short_path, label, strip_include_prefix, include_prefix):
    """Decides where in an artifact a header goes that no library says anything of.

    Args:
      short_path: the File's short_path.
      label: the label of the package rule.
      strip_include_prefix: a folder of the label's package, or with a leading slash of its repository.
      include_prefix: a folder below include/.

    Returns:
      A path in the artifact, or None where the header is not in the folder that is to be stripped.
    """
    strip = strip_include_prefix.strip("/")
    folders = [strip] if strip_include_prefix.startswith("/") else [label.package, strip]
    if label.repo_name:
        folders = ["../" + label.repo_name] + folders
    directory = "/".join([folder for folder in folders if folder])
    if directory and short_path != directory and not short_path.startswith(directory + "/"):
        return None
    place = short_path[len(directory):].strip("/")
    return "/".join([part for part in ["include", include_prefix.strip("/"), place] if part])

def _parts(deps):
    return depset(order = "postorder", transitive = [dep[_PublishedInfo].parts for dep in deps if _PublishedInfo in dep]).to_list()

def _linker_inputs(deps):
    return depset(
        order = "topological",
        transitive = [dep[CcInfo].linking_context.linker_inputs for dep in deps if CcInfo in dep],
    ).to_list()

def _shared_linker_inputs(deps):
    """Returns those of the shared libraries among targets, with those that they need."""
    linker_inputs = []
    for dep in deps:
        if CcSharedLibraryInfo in dep:
            info = dep[CcSharedLibraryInfo]
            linker_inputs.append(info.linker_input)
            linker_inputs += [needed.linker_input for needed in info.dynamic_deps.to_list()]
    return linker_inputs

def _shared_library(library):
    # Linkers are given a link by another name, in a folder that Bazel makes for run time.
    return library.resolved_symlink_dynamic_library or library.dynamic_library

def _dependencies(ctx):
    """Finds out which artifacts the package depends on.

    Args:
      ctx: the context of the rule.

    Returns:
      A struct of args, flags of `ocipkg pack`, inputs, the files that these name, pushes, a list of PushInfo, and labels
      and repositories, as in LayoutInfo.
    """
    args, inputs, pushes, labels, repositories = [], [], [], [], []
    for dep in ctx.attr.dependencies:
        if PushInfo in dep:
            push = dep[PushInfo]
            if "{" in push.image:
                fail_with(diagnostic(
                    "{}: the dependency {} is pushed to {}, which is only known then.".format(apparent(ctx.label), apparent(dep.label), push.image),
                    "write its repository without values that are stamped",
                ))
            args += ["--dependency-layout", push.image + "=" + push.info.layout.path]
            inputs.append(push.info.layout)
            pushes.append(push)
            labels.append(push.info.labels)
            repositories.append(push.info.repositories)
            continue
        if LayoutInfo in dep:
            fail_with(diagnostic(
                "{}: the dependency {} is a package, and nobody knows by which name it will be found.".format(apparent(ctx.label), apparent(dep.label)),
                "name the ocipkg_push that pushes it",
            ))
        inspected = []
        if _PublishedInfo in dep:
            inspected = _unique([
                part.inspected
                for part in _parts([dep])
                if part.inspected and part.label.repo_name == dep.label.repo_name
            ])
        if not inspected and CcInfo not in dep:
            inspected = [file for file in dep[DefaultInfo].files.to_list() if file.extension == "json"]
        if len(inspected) != 1:
            fail_with(diagnostic(
                "{}: the dependency {} is no artifact.".format(apparent(ctx.label), apparent(dep.label)),
                "name a library that MODULE.bazel declares with its image and without build_file, an ocipkg_push, or a file that `ocipkg inspect --json` wrote",
            ))
        args += ["--dependency-inspected", inspected[0].path]
        inputs.append(inspected[0])

        # What it needs itself comes with it.
        repositories.append(depset(
            [part.label.repo_name for part in _parts([dep])] +
            [linker_input.owner.repo_name for linker_input in _linker_inputs([dep])],
        ))
    return struct(
        args = args,
        inputs = inputs,
        labels = depset(transitive = labels),
        pushes = pushes,
        repositories = depset(transitive = repositories),
    )

def _ocipkg_package_impl(ctx):
    files = {}  # place -> File
    packed = {}  # label -> None, of what the artifact has

    def put(place, file):
        other = files.get(place)
        if other and other != file:
            fail_with(diagnostic(
                "{}: {} and {} would both become {}.".format(apparent(ctx.label), other.short_path, file.short_path, place),
                "rename one of them, or make one library of both",
            ))
        files[place] = file

    def put_shared(library):
        shared, interface = _shared_library(library), library.interface_library
        if shared:
            packed[shared.owner] = None
            put("lib/" + shared.basename, shared)
        if interface and interface.extension == "lib":
            put("lib/" + library_name(interface.basename), interface)

    # What is of the repositories of `deps` belongs to the library; what they need of others does not come with it.
    ours = {dep.label.repo_name: None for dep in ctx.attr.deps}
    foreign = {}  # label -> None, of libraries that are needed and not packed
    dependencies = _dependencies(ctx)
    elsewhere = {label: None for label in dependencies.labels.to_list()}

    includes, defines = [], []
    for part in _parts(ctx.attr.deps):
        if part.label in elsewhere:
            continue
        if part.label.repo_name not in ours:
            if part.headers:
                foreign[part.label] = None
            continue
        packed[part.label] = None
        defines += list(part.defines)
        for header in part.headers:
            found = header_place(header.path, part.include_dirs, part.quote_dirs)
            if not found:
                fail_with(diagnostic(
                    "{}: no compiler finds the header {} of {}.".format(apparent(ctx.label), header.short_path, apparent(part.label)),
                    "give that library an include folder, with includes or strip_include_prefix",
                ))
            put("/".join([part for part in ["include", found.place] if part]), header)
            includes += ["include/" + sub for sub in found.subdirectories]

    flags, always_link = [], []
    for linker_input in _linker_inputs(ctx.attr.deps):
        if linker_input.owner in elsewhere:
            continue
        if linker_input.libraries and linker_input.owner.repo_name not in ours:
            foreign[linker_input.owner] = None
            continue
        packed[linker_input.owner] = None
        flags += list(linker_input.user_link_flags)
        for library in linker_input.libraries:
            static = library.pic_static_library or library.static_library
            if static:
                put("lib/" + library_name(static.basename), static)
                if library.alwayslink:
                    always_link.append(link_name(library_name(static.basename)))

            # A cc_library links a shared library for tests alone: it says nothing of what it needs.
            shared = _shared_library(library)
            if shared and (not static or shared.is_source):
                put_shared(library)
    for linker_input in _shared_linker_inputs(ctx.attr.deps):
        if linker_input.owner in elsewhere:
            continue
        if linker_input.owner.repo_name not in ours:
            foreign[linker_input.owner] = None
            continue
        packed[linker_input.owner] = None
        for library in linker_input.libraries:
            # A cc_shared_library hands on as its own what it was linked with and is there as a shared library alone.
            owner = (_shared_library(library) or library.interface_library).owner
            if owner in elsewhere:
                continue
            if owner.repo_name not in ours:
                foreign[owner] = None
                continue
            put_shared(library)

    provided = {repository: None for repository in dependencies.repositories.to_list()}
    for part in _parts(ctx.attr.provided_deps):
        provided[part.label.repo_name] = None
    for linker_input in _linker_inputs(ctx.attr.provided_deps):
        provided[linker_input.owner.repo_name] = None
    missing = _unique([apparent(label) for label in foreign if label.repo_name not in provided])
    if missing:
        fail_with(diagnostic(
            "{}: its libraries need {}, of another repository than theirs.".format(apparent(ctx.label), ", ".join(missing)),
            "name the artifact that has them in dependencies, add them to deps to pack them as well, or to provided_deps where whoever links the package brings them",
        ))

    for file in ctx.files.hdrs:
        place = source_header_place(file.short_path, ctx.label, ctx.attr.strip_include_prefix, ctx.attr.include_prefix)
        if not place:
            fail_with(diagnostic(
                "{}: the header {} is not in the folder that is to be stripped from its path.".format(apparent(ctx.label), file.short_path),
                "set strip_include_prefix to one that it is in; with a leading slash it counts from the repository's root",
            ))
        put(place, file)
    for file in static_files(ctx.files.static) + ctx.files.shared:
        put("lib/" + library_name(file.basename), file)
    for file in ctx.files.pkg_config:
        put("lib/pkgconfig/" + file.basename, file)
    name = ctx.attr.library_name or ctx.label.name
    for file in ctx.files.license_files:
        put("share/licenses/{}/{}".format(name, file.basename), file)

    link = sort_link_flags(flags)
    if link.here:
        fail_with(diagnostic(
            "{}: the linkopts {} name files of this workspace, which no other machine has.".format(apparent(ctx.label), ", ".join(link.here)),
            "give them to a cc_shared_library as user_link_flags, and pack that",
        ))

    args = ctx.actions.args()
    args.add("pack")
    args.add("--quiet")
    args.add("--offline")
    args.add_all(dependencies.args)
    args.add("--name", name)
    for flag, value in [("--version", ctx.attr.version), ("--license", ctx.attr.license)]:
        if value:
            args.add(flag, value)

    # Headers alone fit every platform, unless somebody says otherwise.
    libraries = [place for place in files if place.startswith("lib/") and not place.startswith("lib/pkgconfig/")]
    target = ctx.attr.target or (_target(ctx) if libraries else "")
    if target:
        args.add("--target", target)
    if includes and not ctx.attr.includes:
        includes = ["include"] + includes
    args.add_all(ctx.attr.includes or _unique(includes), before_each = "--include")
    args.add_all(_unique(defines + _words(ctx, ctx.attr.defines)), before_each = "--define")
    args.add_all(link.linkopts + _words(ctx, ctx.attr.linkopts), format_each = "--linkopt=%s")
    args.add_all(_unique(link.system_libraries + ctx.attr.system_libraries), before_each = "--system-library")
    for library, needed in ctx.attr.requires.items():
        args.add_all(needed, before_each = "--requires", format_each = library + "=%s")
    args.add_all(_unique(always_link + ctx.attr.always_link), before_each = "--always-link")
    args.add_all(ctx.attr.allow_missing, before_each = "--allow-missing")
    if ctx.attr.pic:
        args.add("--pic")
    inputs = list(files.values()) + dependencies.inputs
    if ctx.file.description:
        args.add("--description", ctx.file.description)
        inputs.append(ctx.file.description)

    # A file, because there is a limit to how long a command may be and none to how many headers a library has.
    places = ctx.actions.declare_file(ctx.label.name + ".files.json")
    ctx.actions.write(places, json.encode_indent({place: file.path for place, file in files.items()}))
    inputs.append(places)
    args.add("--files", places)

    return make_layout(
        ctx,
        args,
        inputs,
        "OcipkgPack",
        "Packing %{label}",
        library = name,
        labels = depset(packed.keys(), transitive = [dependencies.labels]),
        repositories = depset(provided.keys()),
        pushes = depset(
            dependencies.pushes,
            order = "postorder",
            transitive = [push.info.pushes for push in dependencies.pushes],
        ),
    )

ocipkg_package = rule(
    doc = """Packs a native library into an artifact, as `ocipkg pack` does: the same files give the same digest.

```starlark
load("@rules_ocipkg//rules:defs.bzl", "ocipkg_package")

ocipkg_package(
    name = "package",
    library_name = "greet",
    version = "1.2.0",
    license = "MIT",
    license_files = ["LICENSE"],
    deps = [
        ":greet",         # cc_library: headers and static library
        ":greet_shared",  # cc_shared_library
    ],
)
```

What is in `deps` is packed with what it needs of the same repository: the public headers, each where the `#include` that
finds it in the workspace finds it again, and the libraries. Architecture, C library, SONAMEs and needed libraries are
read from the files. Files that no cc rule made go into `hdrs`, `static` and `shared`.

The output is an OCI layout, a folder; its digest is a file in the output group `digest`. Build it with `-c opt`: what is
packed is what the configuration compiles. See docs/publishing.md.
""",
    implementation = _ocipkg_package_impl,
    attrs = {
        "allow_missing": attr.string_list(
            doc = "SONAMEs that the libraries need and the consumer brings.",
        ),
        "always_link": attr.string_list(
            doc = "Libraries of the artifact, by what follows `-l`, of which consumers link every object and not only those that are asked for by name; besides those of `deps` that are `alwayslink`.",
        ),
        "defines": attr.string_list(
            doc = "Preprocessor definitions that consumers need, besides the `defines` of `deps` and quoted as they are. Example: `[\"GREET_STATIC=1\"]`.",
        ),
        "dependencies": attr.label_list(
            allow_files = True,
            aspects = [_published_aspect],
            doc = "Other artifacts that the libraries need, and consumers declare beside this one: libraries that MODULE.bazel declares, such as `@zlib`; the `ocipkg_push` of a package of this build, such as `//zlib:push`, whose libraries are then left out of this one; and files that `ocipkg inspect --json IMAGE` wrote. No registry is asked for them.",
        ),
        "deps": attr.label_list(
            aspects = [_published_aspect],
            doc = "The library: cc_library, cc_shared_library, cc_import and what else provides `CcInfo` or `CcSharedLibraryInfo`.",
            providers = [[CcInfo], [CcSharedLibraryInfo]],
        ),
        "description": attr.label(
            allow_single_file = [".json"],
            doc = "A JSON file that says more, as `ocipkg pack --description` takes it (docs/packing.md).",
        ),
        "hdrs": attr.label_list(
            allow_files = True,
            doc = "Headers that are files, or folders of them. They go below `include/` by their path in this package.",
        ),
        "include_prefix": attr.string(
            doc = "Folder below `include/` that the headers of `hdrs` go into. Example: `greet`.",
        ),
        "includes": attr.string_list(
            doc = "Folders of the artifact to search for headers, such as `include/SDL2`. The default is `include`, and those that `deps` have below it.",
        ),
        "library_name": attr.string(
            doc = "Name of the library. The default is the target's name.",
        ),
        "license": attr.string(
            doc = "Licence, an SPDX expression. Example: `MIT OR Apache-2.0`.",
        ),
        "license_files": attr.label_list(
            allow_files = True,
            doc = "Texts of the licence, which go into `share/licenses/`.",
        ),
        "linkopts": attr.string_list(
            doc = "Linker flags that consumers need, besides the `linkopts` of `deps` and quoted as they are.",
        ),
        "pic": attr.bool(
            doc = "Whether to refuse static libraries whose code does not fit shared objects.",
        ),
        "pkg_config": attr.label_list(
            allow_files = [".pc"],
            doc = "Files of pkg-config, which are made independent of where they lie.",
        ),
        "provided_deps": attr.label_list(
            aspects = [_published_aspect],
            doc = "Libraries of other repositories that `deps` need and that are not packed: the consumer brings them.",
            providers = [CcInfo],
        ),
        "requires": attr.string_list_dict(
            doc = "For a library of the artifact, others of it that it needs, where the files do not tell. Example: `{\"ssl\": [\"crypto\"]}`.",
        ),
        "shared": attr.label_list(
            allow_files = True,
            doc = "Shared libraries that are files; on Windows with their import libraries.",
        ),
        "static": attr.label_list(
            allow_files = [".a", ".lib"],
            doc = "Static libraries that are files.",
        ),
        "strip_include_prefix": attr.string(
            doc = "Folder of this package that is taken off the paths of `hdrs`; with a leading slash one of the repository. Example: `include`.",
        ),
        "system_libraries": attr.string_list(
            doc = "Libraries that every such platform has and this one needs, without `-l`, besides those in the `linkopts` of `deps` and those that the files tell. Example: `[\"m\"]`.",
        ),
        "target": attr.string(
            doc = "Target triple. The default is the platform that is built for; it is checked against the files, which also tell the C library.",
        ),
        "version": attr.string(
            doc = "Version of the library. The default is that of the `.pc` files.",
        ),
        "_architectures": _constraint_attr(_ARCHITECTURES),
        "_libraries": _constraint_attr(_LIBRARIES),
        "_systems": _constraint_attr(_SYSTEMS),
        "_tool": attr.label(
            allow_single_file = True,
            cfg = "exec",
            default = TOOL,
            executable = True,
        ),
    },
    provides = [LayoutInfo],
)
