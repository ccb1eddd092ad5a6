"""A cc_toolchain of a GCC and its binutils."""

load("@rules_cc//cc:action_names.bzl", "ACTION_NAMES")
load(
    "@rules_cc//cc:cc_toolchain_config_lib.bzl",
    "artifact_name_pattern",
    "feature",
    "flag_group",
    "flag_set",
    "tool_path",
    "with_feature_set",
)
load("@rules_cc//cc:defs.bzl", "cc_toolchain")
load("@rules_cc//cc/common:cc_common.bzl", "cc_common")
load("@rules_cc//cc/toolchains:cc_toolchain_config_info.bzl", "CcToolchainConfigInfo")

_COMPILE = [
    ACTION_NAMES.assemble,
    ACTION_NAMES.preprocess_assemble,
    ACTION_NAMES.linkstamp_compile,
    ACTION_NAMES.c_compile,
    ACTION_NAMES.cpp_compile,
    ACTION_NAMES.cpp_header_parsing,
]

_LINK = [
    ACTION_NAMES.cpp_link_executable,
    ACTION_NAMES.cpp_link_dynamic_library,
    ACTION_NAMES.cpp_link_nodeps_dynamic_library,
]

def _flags(actions, flags, mode = None):
    return flag_set(
        actions = actions,
        flag_groups = [flag_group(flags = flags)] if flags else [],
        with_features = [with_feature_set(features = [mode])] if mode else [],
    )

def _gnu_toolchain_config_impl(ctx):
    cpu, _, system = ctx.attr.prefix.partition("-")
    windows = system.endswith("mingw32")
    features = [
        feature(name = "opt"),
        feature(name = "dbg"),
        feature(name = "fastbuild"),
        feature(name = "supports_dynamic_linker", enabled = True),
        feature(name = "supports_pic", enabled = not windows),
        feature(
            name = "default_compile_flags",
            enabled = True,
            flag_sets = [
                _flags(_COMPILE, ["-fstack-protector", "-Wall", "-fno-omit-frame-pointer"]),
                _flags(_COMPILE, ["-g"], "dbg"),
                _flags(_COMPILE, ["-g0", "-O2", "-DNDEBUG", "-ffunction-sections", "-fdata-sections"], "opt"),
                _flags([ACTION_NAMES.linkstamp_compile, ACTION_NAMES.cpp_compile, ACTION_NAMES.cpp_header_parsing], ["-std=c++17"]),
            ],
        ),
        feature(
            name = "default_link_flags",
            enabled = True,
            flag_sets = [
                _flags(_LINK, ctx.attr.cpp_link_flags),
                _flags(_LINK, ["-Wl,--gc-sections"], "opt"),
            ],
        ),
        # Behind what a user asks for, because nothing may put the time or a path of this machine into what is compiled.
        feature(
            name = "unfiltered_compile_flags",
            enabled = True,
            flag_sets = [_flags(_COMPILE, [
                "-no-canonical-prefixes",
                "-fno-canonical-system-headers",
                "-Wno-builtin-macro-redefined",
                "-D__DATE__=\"redacted\"",
                "-D__TIMESTAMP__=\"redacted\"",
                "-D__TIME__=\"redacted\"",
            ])],
        ),
    ]
    if windows:
        # DLLs lie beside the program: Windows knows no RPATH.
        features += [
            feature(name = "targets_windows", enabled = True, implies = ["copy_dynamic_libraries_to_binary"]),
            feature(name = "copy_dynamic_libraries_to_binary"),
        ]
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        abi_libc_version = system,
        abi_version = system,
        artifact_name_patterns = [artifact_name_pattern("executable", "", ".exe")] if windows else [],
        compiler = "mingw-gcc" if windows else "gcc",
        cxx_builtin_include_directories = ctx.attr.include_directories,
        features = features,
        target_cpu = cpu,
        target_libc = system,
        target_system_name = ctx.attr.prefix,
        tool_paths = [tool_path(name, path) for name, path in ctx.attr.tool_paths.items()],
        toolchain_identifier = ctx.attr.prefix,
    )

_gnu_toolchain_config = rule(
    implementation = _gnu_toolchain_config_impl,
    attrs = {
        "cpp_link_flags": attr.string_list(),
        "include_directories": attr.string_list(),
        "prefix": attr.string(mandatory = True),
        "tool_paths": attr.string_dict(),
    },
    provides = [CcToolchainConfigInfo],
)

def gnu_toolchain(name, prefix, include_directories, tool_paths, drivers, cpp_link_flags = [], **kwargs):
    """Declares a cc_toolchain.

    Args:
      name: name of the target.
      prefix: what the commands' names begin with, such as `aarch64-linux-gnu`.
      include_directories: absolute paths of the folders that the compiler finds headers in.
      tool_paths: a dict from the name of a tool, such as `gcc`, to its absolute path.
      drivers: labels of files that change with the compiler.
      cpp_link_flags: what is linked with every program.
      **kwargs: other attributes of cc_toolchain.
    """
    _gnu_toolchain_config(
        name = name + "_config",
        cpp_link_flags = cpp_link_flags,
        include_directories = include_directories,
        prefix = prefix,
        tool_paths = tool_paths,
    )
    native.filegroup(name = name + "_drivers", srcs = drivers)
    native.filegroup(name = name + "_none")
    cc_toolchain(
        name = name,
        all_files = name + "_drivers",
        ar_files = name + "_drivers",
        as_files = name + "_drivers",
        compiler_files = name + "_drivers",
        dwp_files = name + "_none",
        linker_files = name + "_drivers",
        objcopy_files = name + "_none",
        strip_files = name + "_none",
        toolchain_config = name + "_config",
        **kwargs
    )
