"""The repository rule that finds a GCC of this machine by its prefix."""

_BUILD_FILE = """load("{toolchain_bzl}", "gnu_toolchain")

gnu_toolchain(
    name = "toolchain",
    cpp_link_flags = {cpp_link_flags},
    drivers = {drivers},
    include_directories = {include_directories},
    prefix = "{prefix}",
    tool_paths = {tool_paths},
    visibility = ["//visibility:public"],
)
"""

# What a toolchain names, by the ending of the command's name: of the compiler's package, and of binutils.
_COMPILER = ["cpp", "gcc", "gcov"]
_BINUTILS = ["ar", "dwp", "ld", "nm", "objcopy", "objdump", "strip"]

def include_directories(stderr):
    """Returns the folders that a GCC searches for headers.

    Args:
      stderr: what `gcc -E -v` prints there.

    Returns:
      a list of absolute paths, as the compiler spells them.
    """
    _, _, after = stderr.partition("#include <...> search starts here:\n")
    listed, _, _ = after.partition("End of search list.")
    return [line.strip() for line in listed.splitlines() if line.strip()]

def _gnu_compiler_impl(rctx):
    prefix = rctx.attr.prefix
    gcc = rctx.which(prefix + "-gcc")
    if not gcc:
        fail("\ncross_toolchains: there is no {}-gcc on PATH, which compiles for the platform that was asked for. On Debian and Ubuntu, `apt install {}` brings it.".format(prefix, rctx.attr.package))
    found = {tool: rctx.which(prefix + "-" + tool) for tool in _COMPILER}
    found |= {tool: rctx.which((rctx.attr.binutils or prefix) + "-" + tool) for tool in _BINUTILS}

    searched = []
    for language in rctx.attr.languages:
        result = rctx.execute([gcc, "-x" + language, "-E", "-v", "/dev/null"])
        for directory in include_directories(result.stderr):
            for spelt in [directory, str(rctx.path(directory).realpath)]:
                if spelt not in searched:
                    searched.append(spelt)

    # The driver prints the bare name of a file that it does not have: a GCC may be one for C alone.
    has_cxx = "c++" in rctx.attr.languages and rctx.execute([gcc, "-print-file-name=libstdc++.a"]).stdout.strip().startswith("/")

    # Actions take the drivers as inputs, so that what another release of the compiler made does not come from a cache; and
    # the compiler behind them, because a driver can be a script that calls another.
    drivers = []
    for tool, path in {
        "cc1": rctx.execute([gcc, "-print-prog-name=cc1"]).stdout.strip(),
        "g++": rctx.which(prefix + "-g++"),
        "gcc": gcc,
        "ld": found["ld"],
    }.items():
        if path:
            rctx.symlink(rctx.path(path).realpath, "drivers/" + tool)
            drivers.append("drivers/" + tool)
    rctx.file("BUILD.bazel", _BUILD_FILE.format(
        cpp_link_flags = ["-lstdc++", "-lm"] if has_cxx else [],
        drivers = drivers,
        include_directories = searched,
        prefix = prefix,
        # What is not there is not used: a toolchain has to name all the same.
        tool_paths = {tool: str(path or "/bin/false") for tool, path in found.items()},
        toolchain_bzl = str(Label("//:gnu_toolchain.bzl")),
    ))

gnu_compiler = repository_rule(
    configure = True,
    doc = "A GCC on this machine, as the target `toolchain`.",
    environ = ["PATH"],
    implementation = _gnu_compiler_impl,
    attrs = {
        "binutils": attr.string(
            doc = "What precedes `-ar` and the other binutils, where that is not what precedes `-gcc`.",
        ),
        "languages": attr.string_list(
            default = ["c", "c++"],
            doc = "The languages that there are libraries for; `c` alone for a GCC whose C++ library is another platform's.",
        ),
        "package": attr.string(
            doc = "The Debian package to name where there is none.",
            mandatory = True,
        ),
        "prefix": attr.string(
            doc = "What precedes `-gcc`, such as `aarch64-linux-gnu`.",
            mandatory = True,
        ),
    },
)
