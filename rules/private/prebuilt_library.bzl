"""A library of files that are there already, which cc_library and cc_import would link in a way that fails, most often at run time,
or take longer to analyse; see docs/linking.md."""

load("@rules_cc//cc:find_cc_toolchain.bzl", "find_cc_toolchain", "use_cc_toolchain")
load("@rules_cc//cc/common:cc_common.bzl", "cc_common")
load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")
load(":artifact.bzl", "ArtifactInfo")

def _folder(label, path):
    parts = [part for part in [label.workspace_root, label.package, path] if part not in ["", "."]]
    return "/".join(parts) or "."

# What cc_library does not take for a header, though it be in `hdrs`; and what has .so. in its name.
_NO_HEADERS = ["a", "dll", "dylib", "ifso", "lib", "lo", "o", "obj", "so", "tbd", "wasm"]

def _is_header(file):
    return file.extension not in _NO_HEADERS and ".so." not in file.basename

def _compilation_context(ctx, cc_toolchain, feature_configuration):
    """Makes what a compiler needs to know, None where that is what `deps` say and no more."""
    if not (ctx.files.hdrs or ctx.attr.includes or ctx.attr.defines):
        return None
    headers = [file for file in ctx.files.hdrs if _is_header(file)]
    includes = [_folder(ctx.label, include) for include in ctx.attr.includes]
    if not cc_common.is_enabled(feature_configuration = feature_configuration, feature_name = "module_maps"):
        return cc_common.create_compilation_context(
            defines = depset(ctx.attr.defines),
            headers = depset(headers),
            quote_includes = depset([ctx.label.workspace_root or "."]),  # by their paths in the repository
            system_includes = depset(includes),
        )

    # Nothing is compiled. But this makes a module map, without which layering_check lets nobody include the headers. Where
    # the compiler has none it would take some times as long for nothing.
    context, _ = cc_common.compile(
        name = ctx.label.name,
        actions = ctx.actions,
        cc_toolchain = cc_toolchain,
        compilation_contexts = [dep[CcInfo].compilation_context for dep in ctx.attr.deps],
        defines = ctx.attr.defines,
        feature_configuration = feature_configuration,
        public_hdrs = headers,
        system_includes = includes,
    )
    return context

def _libraries(ctx, cc_toolchain, feature_configuration):
    """Makes what a linker needs to know of the files.

    Returns:
      A list of the library, empty where the target has none, and a list of files besides it that links wait for.
    """
    shared = ctx.file.shared_library
    archive = ctx.file.static_library
    if not shared and not archive and not ctx.file.interface_library:
        return [], []
    if archive and ctx.attr.alwayslink and archive.extension == "a":
        # By this ending rules_go knows an archive that is linked whole.
        archive = ctx.actions.declare_file("_static/" + archive.basename.removesuffix(".a") + ".lo")
        ctx.actions.symlink(output = archive, target_file = ctx.file.static_library)

    dynamic = shared
    symlink = ""
    if shared and not ctx.file.interface_library:
        # One folder for all libraries of a repository, and in it each under its SONAME: so that the run-time linker finds
        # them from the program by one RPATH entry, and from each other by $ORIGIN. DLLs are copied into the program's folder
        # as they are.
        symlink = (ctx.label.repo_name or "_main") + "/" + (ctx.attr.soname or shared.basename)

        # For Bazel, source files of one path below their repositories' roots are one library, built in two ways, which it
        # refuses to link into one program. lib/libfoo.so.1 and lib/libfoo.so.2 are of one path there. What an action
        # made has the repository in its path; for all targets that import a file it is one action.
        dynamic = ctx.actions.declare_file("_shared/" + shared.basename)
        ctx.actions.symlink(output = dynamic, target_file = shared)
    library = cc_common.create_library_to_link(
        actions = ctx.actions,
        feature_configuration = feature_configuration,
        cc_toolchain = cc_toolchain,
        static_library = archive,
        alwayslink = ctx.attr.alwayslink,
        dynamic_library = dynamic,
        dynamic_library_symlink_path = symlink,
        interface_library = ctx.file.interface_library,
    )
    links = []
    if symlink and ctx.attr.link_name and not archive:
        # rustc knows libraries by what follows -l alone, and looks in the folder of the one that it is given: beside it lies
        # a link of that name. Bazel itself links by SONAMEs. What is an input here, every link waits for; where there is an
        # archive, rustc takes that.
        links.append(cc_common.create_library_to_link(
            actions = ctx.actions,
            feature_configuration = feature_configuration,
            cc_toolchain = cc_toolchain,
            dynamic_library = dynamic,
            dynamic_library_symlink_path = (ctx.label.repo_name or "_main") + "/" + ctx.attr.link_name,
        ).dynamic_library)
    return [library], links

def _prebuilt_library_impl(ctx):
    cc_toolchain = find_cc_toolchain(ctx)
    feature_configuration = cc_common.configure_features(
        ctx = ctx,
        cc_toolchain = cc_toolchain,
        requested_features = ctx.features,
        unsupported_features = ctx.disabled_features,
    )
    libraries, links = _libraries(ctx, cc_toolchain, feature_configuration)
    linkopts = ctx.attr.linkopts
    if ctx.files.circle:
        linkopts = ["-Wl,--start-group"] + [archive.path for archive in ctx.files.circle] + ["-Wl,--end-group"] + linkopts

    # Also where there is nothing to link: by its owner cc_binary knows that a cc_shared_library has exported the target, and links
    # what that needs from there.
    own = cc_common.create_linker_input(
        owner = ctx.label,
        additional_inputs = depset(links + ctx.files.circle),
        libraries = depset(libraries),
        user_link_flags = linkopts,
    )

    info = CcInfo(
        compilation_context = _compilation_context(ctx, cc_toolchain, feature_configuration),
        linking_context = cc_common.create_linking_context(linker_inputs = depset([own])),
    )
    if ctx.attr.deps:
        info = cc_common.merge_cc_infos(
            direct_cc_infos = [info],
            cc_infos = [dep[CcInfo] for dep in ctx.attr.deps],
        )

    # For whoever has it in `data` and opens it while it runs (rules_cc#695). One that may be linked statically is left to
    # Bazel, which adds it where it is not.
    shared = ctx.file.shared_library
    opened = ctx.runfiles(files = [libraries[0].dynamic_library] if shared and not ctx.file.static_library else [])

    # Who names a whole artifact in `data` wants nothing that is linked, and all else is in its :files.
    files = [] if ctx.file.inspected else [file for file in [ctx.file.static_library, shared] if file]
    provided = [
        DefaultInfo(
            files = depset(files),
            runfiles = opened.merge_all([dep[DefaultInfo].default_runfiles for dep in ctx.attr.deps]),
        ),
        info,
    ]
    if ctx.file.inspected:
        provided.append(ArtifactInfo(inspected = ctx.file.inspected))
    return provided

prebuilt_library = rule(
    doc = "A shared library, found at run time by its SONAME whatever its file is called, its static twin, or both; and headers.",
    implementation = _prebuilt_library_impl,
    attrs = {
        "alwayslink": attr.bool(
            doc = "Whether all of the static library is linked, and not only what is asked for by name.",
        ),
        "circle": attr.label_list(
            allow_files = [".a", ".lib"],
            doc = "Static libraries that need each other: all are searched again until nothing is missing, which linkers of the GNU kind do not do by themselves.",
        ),
        "defines": attr.string_list(
            doc = "Preprocessor definitions for whoever depends on it, as they are.",
        ),
        "deps": attr.label_list(
            doc = "Libraries that it needs.",
            providers = [CcInfo],
        ),
        "hdrs": attr.label_list(
            allow_files = True,
            doc = "Headers for whoever depends on it. No action makes them: `includes` are folders of sources.",
        ),
        "includes": attr.string_list(
            doc = "Folders of the package that are searched for headers, as for those of the system: what a compiler warns of in them is nobody's concern.",
        ),
        "inspected": attr.label(
            allow_single_file = True,
            doc = "The file that says which artifact the library is, as `ocipkg inspect --json` does.",
        ),
        "interface_library": attr.label(
            allow_single_file = [".lib", ".dll.a"],
            doc = "The import library of a DLL.",
        ),
        "link_name": attr.string(
            doc = "The name by which `-l` finds the shared library, where that is not its SONAME and there is no static one.",
        ),
        "linkopts": attr.string_list(
            doc = "Linker flags for whatever links it.",
        ),
        "shared_library": attr.label(
            allow_single_file = True,
            doc = "The shared library, if there is one.",
        ),
        "soname": attr.string(
            doc = "The name that the run-time linker looks for; the file's name where it has none.",
        ),
        "static_library": attr.label(
            allow_single_file = [".a", ".lib"],
            doc = "The static library, if there is one.",
        ),
    },
    fragments = ["cpp"],
    provides = [CcInfo],
    toolchains = use_cc_toolchain(),
)
