"""Tests of library.bzl and extension.bzl."""

load("@bazel_skylib//lib:partial.bzl", "partial")
load("@bazel_skylib//lib:unittest.bzl", "asserts", "unittest")
load("//rules/private:attributes.bzl", "RULE_ATTRIBUTES")
load("//rules/private:extension.bzl", "merge_tags")
load("//rules/private:library.bzl", "fetch_arguments", "label_prefix")

def _attributes(**said):
    values = {name: "" if name in ["image", "strip_include_prefix", "target"] else [] for name in RULE_ATTRIBUTES}
    return struct(**(values | said))

def _fetch_arguments_test_impl(ctx):
    env = unittest.begin(ctx)
    asserts.equals(
        env,
        ["fetch", "r.example/z:1", "--quiet", "--name", "z", "--output", ".", "--repository", "a=@@a", "--repository", "b=@@b~"],
        fetch_arguments("z", _attributes(image = "r.example/z:1"), "/w", {"b": "@@b~", "a": "@@a"}),
    )
    asserts.equals(
        env,
        ["fetch", "r.example/z:1", "--quiet", "--name", "z", "--output", ".", "--target=aarch64-unknown-linux-gnu", "--strip-include-prefix=include/z", "--component=headers", "--component=static", "--define=A", "--dep=@y", "--include=include", "--linkopt=-Wl,a,b", "--mirror=m.example/x", "--mirror=file:///w/x"],
        fetch_arguments("z", _attributes(
            components = ["headers", "static"],
            defines = ["A"],
            deps = ["@y"],
            image = "r.example/z:1",
            includes = ["include"],
            linkopts = ["-Wl,a,b"],
            mirrors = ["m.example/x", "file://%workspace%/x"],
            strip_include_prefix = "include/z",
            target = "aarch64-unknown-linux-gnu",
        ), "/w", {}),
    )
    return unittest.end(env)

_fetch_arguments_test = unittest.make(_fetch_arguments_test_impl)

def _label_prefix_test_impl(ctx):
    env = unittest.begin(ctx)
    skylib = label_prefix(Label("@bazel_skylib//lib:unittest.bzl"))
    asserts.true(env, skylib.startswith("@@") and "//" not in skylib, skylib)
    asserts.equals(env, str(Label("@bazel_skylib//lib:unittest.bzl")), skylib + "//lib:unittest.bzl")
    return unittest.end(env)

_label_prefix_test = unittest.make(_label_prefix_test_impl)

def _tag(name, image, module, is_root = False, target = ""):
    return struct(name = name, values = {"image": image, "target": target}, module = module, is_root = is_root)

def _merge_tags_test_impl(ctx):
    env = unittest.begin(ctx)

    merged = merge_tags([_tag("a", "r/a:2", "root", True), _tag("a", "r/a:1", "dep"), _tag("b", "r/b:1", "dep"), _tag("b", "r/b:1", "other")])
    asserts.equals(env, None, merged.error)
    asserts.equals(env, {"a": "r/a:2", "b": "r/b:1"}, {name: tag.values["image"] for name, tag in merged.libraries.items()}, "the root decides; the same twice is no conflict")

    merged = merge_tags([_tag("a", "r/a:1", "one"), _tag("a", "r/a:2", "two")])
    for part in ["one", "two", "library a", "r/a:1", "r/a:2", "root module"]:
        asserts.true(env, part in merged.error, merged.error)

    merged = merge_tags([_tag("a", "r/a:1", "one"), _tag("a", "r/a:1", "two", target = "aarch64-unknown-linux-gnu")])
    asserts.true(env, merged.error != None, "another target is another library")

    merged = merge_tags([_tag("a", "r/a:1", "root", True), _tag("a", "r/a:1", "root", True)])
    asserts.true(env, "twice" in merged.error, merged.error)
    return unittest.end(env)

_merge_tags_test = unittest.make(_merge_tags_test_impl)

def library_test_suite(name):
    unittest.suite(name, *[
        partial.make(test, size = "small")
        for test in [
            _fetch_arguments_test,
            _label_prefix_test,
            _merge_tags_test,
        ]
    ])
