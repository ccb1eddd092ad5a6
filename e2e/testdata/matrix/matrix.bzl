"""Every way in which a program can come by a library."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_shared_library", "cc_test")
load("@rules_go//go:def.bzl", "go_binary")

def link_every_way(name, dep, srcs, go_srcs, wrapper_linkopts = []):
    """Declares programs that all do the same and link a library differently.

    Args:
      name: what the names of the targets begin with.
      dep: label of the library.
      srcs: sources of a C program that exits with 0 where the library does its job.
      go_srcs: sources of a Go program that does.
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

    # A program that an action runs.
    native.genrule(
        name = name + "_action",
        outs = [name + "_action.txt"],
        cmd = "$(location {}_dynamic) > $@".format(name),
        tools = [name + "_dynamic"],
    )
    go_binary(
        name = name + "_go",
        srcs = go_srcs,
        cdeps = [dep],
        cgo = True,
        tags = ["go"],
    )
