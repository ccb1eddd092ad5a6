"""Tests of index.bzl and push.bzl."""

load("@bazel_skylib//lib:partial.bzl", "partial")
load("@bazel_skylib//lib:unittest.bzl", "analysistest", "asserts", "unittest")
load("//rules/private:index.bzl", "ocipkg_index")
load("//rules/private:package.bzl", "ocipkg_package")
load("//rules/private:push.bzl", "launcher", "ocipkg_push", "runfiles_path", "shell_quote")

def _shell_quote_test_impl(ctx):
    env = unittest.begin(ctx)
    asserts.equals(env, "'a b'", shell_quote("a b"))
    asserts.equals(env, "'it'\\''s $HOME'", shell_quote("it's $HOME"))
    return unittest.end(env)

_shell_quote_test = unittest.make(_shell_quote_test_impl)

def _runfiles_path_test_impl(ctx):
    env = unittest.begin(ctx)
    asserts.equals(env, "_main/a/b", runfiles_path("a/b", "_main"))
    asserts.equals(env, "tool~/ocipkg", runfiles_path("../tool~/ocipkg", "_main"))
    return unittest.end(env)

_runfiles_path_test = unittest.make(_runfiles_path_test_impl)

def _launcher_test_impl(ctx):
    env = unittest.begin(ctx)
    asserts.equals(
        env,
        "exec \"$runfiles/\"'t/ocipkg' push \"$runfiles/\"'_main/a b' --to 'r/{X}' --tag '1' --tag '{Y}' --workspace-status \"$runfiles/\"'_main/s' \"$@\"",
        launcher("t/ocipkg", "_main/a b", "r/{X}", ["1", "{Y}"], ["_main/s"]).splitlines()[-1],
    )
    return unittest.end(env)

_launcher_test = unittest.make(_launcher_test_impl)

def _index_test_impl(ctx):
    env = analysistest.begin(ctx)
    join = [action for action in analysistest.target_actions(env) if action.mnemonic == "OcipkgJoin"][0]
    layouts = [word for word in join.argv if word.endswith("push_test_package")]
    asserts.equals(env, 2, len({layout: None for layout in layouts}), "one for each platform")
    for word in join.argv:
        asserts.false(env, word.startswith("/"), word)
    return analysistest.end(env)

_index_test = analysistest.make(_index_test_impl)

def _push_test_impl(ctx):
    env = analysistest.begin(ctx)
    target = analysistest.target_under_test(env)
    runfiles = [file.basename for file in target[DefaultInfo].default_runfiles.files.to_list()]
    for file in ctx.attr.runfiles:
        asserts.true(env, file in runfiles, "{} in {}".format(file, runfiles))
    for file in ctx.attr.absent:
        asserts.false(env, file in runfiles, file)
    return analysistest.end(env)

_attrs = {"absent": attr.string_list(), "runfiles": attr.string_list()}

_push_test = analysistest.make(_push_test_impl, attrs = _attrs, config_settings = {"//command_line_option:stamp": False})
_stamped_push_test = analysistest.make(_push_test_impl, attrs = _attrs, config_settings = {"//command_line_option:stamp": True})

def _neither_test_impl(ctx):
    env = analysistest.begin(ctx)
    asserts.expect_failure(env, "either an index or a package")
    return analysistest.end(env)

_neither_test = analysistest.make(_neither_test_impl, expect_failure = True)

def push_test_suite(name):
    """Makes the tests.

    Args:
      name: name of the suite.
    """
    unittest.suite(name + "_functions", *[
        partial.make(test, size = "small")
        for test in [_shell_quote_test, _runfiles_path_test, _launcher_test]
    ])
    for cpu in ["aarch64", "x86_64"]:
        native.platform(
            name = name + "_" + cpu,
            constraint_values = ["@platforms//cpu:" + cpu, "@platforms//os:linux"],
        )
    native.genrule(
        name = name + "_library",
        outs = [name + "/libz.a"],
        cmd = "touch $@",
        tags = ["manual"],
    )
    ocipkg_package(name = name + "_package", static = [name + "/libz.a"], tags = ["manual"])
    ocipkg_index(
        name = name + "_index",
        package = ":" + name + "_package",
        platforms = [":" + name + "_aarch64", ":" + name + "_x86_64"],
        tags = ["manual"],
    )
    ocipkg_push(name = name + "_push", index = ":" + name + "_index", repository = "r.example/z", tags = ["manual"])
    ocipkg_push(name = name + "_nothing", repository = "r.example/z", tags = ["manual"])
    status = [name + "_push.stable-status.txt", name + "_push.volatile-status.txt"]
    _index_test(name = name + "_index_test", target_under_test = ":" + name + "_index")
    _push_test(name = name + "_push_test", runfiles = [name + "_index"], absent = status, target_under_test = ":" + name + "_push")
    _stamped_push_test(name = name + "_stamped_test", runfiles = status, target_under_test = ":" + name + "_push")
    _neither_test(name = name + "_neither_test", target_under_test = ":" + name + "_nothing")
    native.test_suite(
        name = name,
        tests = [":" + name + "_functions"] + [":{}_{}_test".format(name, test) for test in ["index", "push", "stamped", "neither"]],
    )
