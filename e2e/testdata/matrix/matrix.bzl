"""Every way in which a program can come by a library."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_shared_library", "cc_test")
load("@rules_go//go:def.bzl", "go_binary", "go_library", "go_test")

def link_every_way(name, dep, srcs, go_srcs, wrapper_linkopts = []):
    """Declares programs that all do the same and link a library differently.

    Args:
      name: what the names of the targets begin with.
      dep: label of the library.
      srcs: source of a C or C++ program that exits with 0 where the library does its job. Beside it is one whose name ends
        in `_middle`, with a function of that name that returns 1 then.
      go_srcs: source of a Go program that does, with a function `check` that returns nil then.
      wrapper_linkopts: what a program needs to be told that takes the library out of a cc_shared_library, which passes the
        linker options of a library that is shared alone on to nobody.
    """
    cc_binary(
        name = name + "_static",
        srcs = srcs,
        linkstatic = True,
        deps = [dep],
    )
    cc_binary(
        name = name + "_dynamic",
        srcs = srcs,
        linkstatic = False,
        deps = [dep],
    )

    # In the test's own runfiles, in the sandbox.
    cc_test(
        name = name + "_test",
        srcs = srcs,
        deps = [dep],
    )

    # A library of the workspace between the program and the prebuilt one.
    cc_library(
        name = name + "_middle",
        srcs = [src.replace(".c", "_middle.c") for src in srcs],
        deps = [dep],
    )
    cc_test(
        name = name + "_middle_test",
        srcs = ["middle.c"],
        deps = [name + "_middle"],
    )
    cc_shared_library(
        name = name + "_middle_shared",
        deps = [name + "_middle"],
    )
    cc_binary(
        name = name + "_shared_library",
        srcs = ["middle.c"],
        dynamic_deps = [name + "_middle_shared"],
        deps = [name + "_middle"],
    )

    # A shared library of the prebuilt one alone.
    cc_shared_library(
        name = name + "_wrapped",
        deps = [dep],
    )
    cc_binary(
        name = name + "_wrapper",
        srcs = srcs,
        dynamic_deps = [name + "_wrapped"],
        linkopts = wrapper_linkopts,
        deps = [dep],
    )
    if wrapper_linkopts:
        # Without: what becomes of it is the toolchain's affair.
        cc_binary(
            name = name + "_wrapper_bare",
            srcs = srcs,
            dynamic_deps = [name + "_wrapped"],
            tags = ["wrong"],
            deps = [dep],
        )

    # A program that an action runs.
    native.genrule(
        name = name + "_action",
        outs = [name + "_action.txt"],
        cmd = "$(location {}_dynamic) > $@".format(name),
        tools = [name + "_dynamic"],
    )
    go_library(
        name = name + "_go_library",
        srcs = go_srcs,
        cdeps = [dep],
        cgo = True,
        importpath = "example.com/" + name,
        tags = ["go"],
    )
    go_binary(
        name = name + "_go",
        embed = [name + "_go_library"],
        tags = ["go"],
    )
    go_test(
        name = name + "_go_test",
        srcs = ["check_test.go"],
        embed = [name + "_go_library"],
        tags = ["go"],
    )
