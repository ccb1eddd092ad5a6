"""Tests of prebuilt_library.bzl: what the linker and the run-time linker are given."""

load("@bazel_skylib//lib:unittest.bzl", "analysistest", "asserts")
load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")
load("//rules/private:artifact.bzl", "ArtifactInfo")
load("//rules/private:prebuilt_library.bzl", "prebuilt_library")

def _library(env):
    linker_inputs = analysistest.target_under_test(env)[CcInfo].linking_context.linker_inputs.to_list()
    asserts.equals(env, 1, len(linker_inputs))
    return linker_inputs[0].libraries[0]

def _dll_test_impl(ctx):
    env = analysistest.begin(ctx)
    library = _library(env)
    asserts.equals(env, "libz.dll.a", library.interface_library.basename)
    asserts.equals(env, "libz-1.dll", library.dynamic_library.basename)
    return analysistest.end(env)

_dll_test = analysistest.make(_dll_test_impl)

def _runfiles(env):
    return [f.basename for f in analysistest.target_under_test(env)[DefaultInfo].default_runfiles.files.to_list()]

def _soname_test_impl(ctx):
    env = analysistest.begin(ctx)
    library = _library(env)
    asserts.equals(env, ["libz.so.1"], _runfiles(env))
    asserts.equals(env, None, library.interface_library)
    asserts.true(env, library.dynamic_library.path.endswith("/_main/libz.so.1"), library.dynamic_library.path)
    return analysistest.end(env)

_soname_test = analysistest.make(_soname_test_impl)

def _alwayslink_test_impl(ctx):
    env = analysistest.begin(ctx)
    library = _library(env)
    asserts.true(env, library.alwayslink)
    asserts.equals(env, [], _runfiles(env))
    asserts.equals(env, "libz.lo", library.static_library.basename)
    return analysistest.end(env)

_alwayslink_test = analysistest.make(_alwayslink_test_impl)

def _headers_test_impl(ctx):
    env = analysistest.begin(ctx)
    target = analysistest.target_under_test(env)
    context = target[CcInfo].compilation_context
    folder = ctx.label.package

    # What layering_check and other tools ask: whose header it is.
    asserts.equals(env, ["z.h"], [header.basename for header in context.direct_public_headers])
    asserts.equals(env, [folder + "/include"], context.system_includes.to_list())
    asserts.equals(env, [], context.includes.to_list())
    asserts.true(env, "." in context.quote_includes.to_list(), "no header is found by its path in the repository")
    asserts.equals(env, ["NEEDED=1", "WORDS=a $(b) 'c"], sorted(context.defines.to_list()))
    asserts.equals(env, [], _runfiles(env))
    asserts.equals(env, [], target[DefaultInfo].files.to_list())
    asserts.equals(env, "artifact.json", target[ArtifactInfo].inspected.basename)

    # It has no library of its own, and hands on that of what it needs. A cc_shared_library that exports it is known by its name.
    linker_inputs = target[CcInfo].linking_context.linker_inputs.to_list()
    asserts.equals(env, [target.label, ctx.attr.needed.label], [linker_input.owner for linker_input in linker_inputs])
    asserts.equals(env, [0, 1], [len(linker_input.libraries) for linker_input in linker_inputs])
    return analysistest.end(env)

_headers_test = analysistest.make(_headers_test_impl, attrs = {"needed": attr.label()})

def _circle_test_impl(ctx):
    env = analysistest.begin(ctx)
    linker_inputs = analysistest.target_under_test(env)[CcInfo].linking_context.linker_inputs.to_list()
    own = linker_inputs[0]
    archives = own.additional_inputs
    asserts.equals(env, ["liba.a", "libb.a"], [archive.basename for archive in archives])
    asserts.equals(
        env,
        ["-Wl,--start-group"] + [archive.path for archive in archives] + ["-Wl,--end-group", "-Wl,-rpath,$ORIGIN"],
        own.user_link_flags,
    )
    return analysistest.end(env)

_circle_test = analysistest.make(_circle_test_impl)

def prebuilt_library_test_suite(name):
    """Makes the tests.

    Args:
      name: name of the suite.
    """
    native.genrule(
        name = name + "_files",
        outs = ["artifact.json", "include/z.h", "liba.a", "libb.a", "libz.a", "libz.dll.a", "libz-1.dll", "libz.so", "libz.so.1"],
        cmd = "touch $(OUTS)",
        tags = ["manual"],
    )
    prebuilt_library(
        name = name + "_dll",
        interface_library = "libz.dll.a",
        shared_library = "libz-1.dll",
        tags = ["manual"],
    )
    prebuilt_library(
        name = name + "_soname",
        shared_library = "libz.so",
        soname = "libz.so.1",
        tags = ["manual"],
    )
    prebuilt_library(
        name = name + "_alwayslink",
        alwayslink = True,
        shared_library = "libz.so",
        static_library = "libz.a",
        tags = ["manual"],
    )
    prebuilt_library(
        name = name + "_needed",
        defines = ["NEEDED=1"],
        static_library = "libz.a",
        tags = ["manual"],
    )
    prebuilt_library(
        name = name + "_headers",
        hdrs = [
            "include/z.h",
            "libb.a",  # in a folder that is searched for headers
            "libz.so.1",
        ],
        defines = ["WORDS=a $(b) 'c"],
        includes = ["include"],
        inspected = "artifact.json",
        tags = ["manual"],
        deps = [":" + name + "_needed"],
    )
    prebuilt_library(
        name = name + "_circle",
        circle = ["liba.a", "libb.a"],
        linkopts = ["-Wl,-rpath,$ORIGIN"],
        tags = ["manual"],
    )
    _dll_test(name = name + "_dll_test", target_under_test = ":" + name + "_dll")
    _soname_test(name = name + "_soname_test", target_under_test = ":" + name + "_soname")
    _alwayslink_test(name = name + "_alwayslink_test", target_under_test = ":" + name + "_alwayslink")
    _headers_test(name = name + "_headers_test", needed = ":" + name + "_needed", target_under_test = ":" + name + "_headers")
    _circle_test(name = name + "_circle_test", target_under_test = ":" + name + "_circle")
    native.test_suite(name = name, tests = [":" + name + "_" + what + "_test" for what in ["alwayslink", "circle", "dll", "headers", "soname"]])
