"""Tests of platforms.bzl and of what else a platform decides on."""

load("@bazel_skylib//lib:partial.bzl", "partial")
load("@bazel_skylib//lib:unittest.bzl", "analysistest", "asserts", "unittest")
load("//rules/private:hub.bzl", "spoke_names")
load("//rules/private:platforms.bzl", "TRIPLES", "constraint_values", "constraints_of", "platforms_error")
load("//rules/private:unsupported_platform.bzl", "unsupported", "unsupported_platform")

def _constraints_test_impl(ctx):
    env = unittest.begin(ctx)
    seen = {}
    for triple in TRIPLES:
        key = ", ".join(sorted([str(value) for value in constraints_of(triple)]))
        asserts.false(env, key in seen, "{} and {} have the same constraints".format(triple, seen.get(key)))
        seen[key] = triple
        for value in constraints_of(triple):
            asserts.true(env, value in constraint_values(), str(value))
    asserts.equals(env, sorted(TRIPLES), TRIPLES)
    asserts.equals(
        env,
        [Label("@platforms//cpu:x86_64"), Label("@platforms//os:linux"), Label("//rules/libc:musl")],
        constraints_of("x86_64-unknown-linux-musl"),
    )
    asserts.equals(
        env,
        [Label("@platforms//cpu:x86_64"), Label("@platforms//os:windows"), Label("//rules/windows_abi:mingw")],
        constraints_of("x86_64-pc-windows-gnu"),
    )
    return unittest.end(env)

_constraints_test = unittest.make(_constraints_test_impl)

def _platforms_error_test_impl(ctx):
    env = unittest.begin(ctx)
    asserts.equals(env, None, platforms_error([]))
    asserts.equals(env, None, platforms_error(TRIPLES))
    for part in ["\"x86_64-linux-gnu\"", "x86_64-unknown-linux-gnu", "aarch64-apple-darwin"]:
        asserts.true(env, part in platforms_error(["x86_64-linux-gnu"]).message, part)
    asserts.true(env, "twice" in platforms_error(["aarch64-apple-darwin", "aarch64-apple-darwin"]).message)
    return unittest.end(env)

_platforms_error_test = unittest.make(_platforms_error_test_impl)

def _spoke_names_test_impl(ctx):
    env = unittest.begin(ctx)
    asserts.equals(env, {"aarch64-apple-darwin": "z__aarch64-apple-darwin"}, spoke_names("z", ["aarch64-apple-darwin"]))
    asserts.equals(env, TRIPLES, spoke_names("z", []).keys())
    return unittest.end(env)

_spoke_names_test = unittest.make(_spoke_names_test_impl)

def _message_test_impl(ctx):
    env = unittest.begin(ctx)
    error = unsupported("z 1", ["a", "b"], ["c"], "@@//:p", ["riscv64", "linux"])
    for part in ["z 1", "a, b", "c (see `platforms`", "@@//:p (riscv64, linux)"]:
        asserts.true(env, part in error.message, error.message)
    asserts.true(env, "--platforms" in error.do, error.do)
    asserts.false(env, "Published too" in unsupported("z", ["a"], [], "p", []).message)
    return unittest.end(env)

_message_test = unittest.make(_message_test_impl)

def _unsupported_test_impl(ctx):
    env = analysistest.begin(ctx)
    asserts.expect_failure(env, "zlib 1.3.1 is not there for the platform @@//rules/private/tests:")
    asserts.expect_failure(env, "_musl (aarch64, linux, musl)")
    asserts.expect_failure(env, "It is there for: x86_64-unknown-linux-gnu, x86_64-apple-darwin\nPublished too")
    asserts.expect_failure(env, "\nWhat to do: build for one of these platforms")
    return analysistest.end(env)

_unsupported_test = analysistest.make(
    _unsupported_test_impl,
    config_settings = {"//command_line_option:platforms": [Label("//rules/private/tests:platforms_test_musl")]},
    expect_failure = True,
)

def platforms_test_suite(name):
    """Makes the tests.

    Args:
      name: name of the suite; a platform that a test builds for is called so too.
    """
    native.platform(
        name = name + "_musl",
        constraint_values = [
            "@platforms//cpu:aarch64",
            "@platforms//os:linux",
            "//rules/libc:musl",
        ],
    )
    unsupported_platform(
        name = name + "_subject",
        left_out = ["riscv64-unknown-linux-gnu"],
        platforms = ["x86_64-unknown-linux-gnu", "x86_64-apple-darwin"],
        tags = ["manual"],
        what = "zlib 1.3.1",
    )
    _unsupported_test(name = name + "_unsupported_test", target_under_test = ":" + name + "_subject")
    unittest.suite(name + "_units", *[
        partial.make(test, size = "small")
        for test in [_constraints_test, _platforms_error_test, _spoke_names_test, _message_test]
    ])
    native.test_suite(name = name, tests = [":" + name + "_unsupported_test", ":" + name + "_units"])
