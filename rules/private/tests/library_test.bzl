"""Tests of library.bzl and extension.bzl."""

load("@bazel_skylib//lib:partial.bzl", "partial")
load("@bazel_skylib//lib:unittest.bzl", "asserts", "unittest")
load("//rules/private:attributes.bzl", "RULE_ATTRIBUTES")
load("//rules/private:extension.bzl", "merge_tags")
load("//rules/private:library.bzl", "fetch_arguments", "fetch_library", "label_prefix")

def _attributes(**said):
    values = {name: "" if name in ["image", "linkage", "strip_include_prefix"] else [] for name in RULE_ATTRIBUTES}
    values["build_file"] = None
    return struct(**(values | said))

def _fetch_arguments_test_impl(ctx):
    env = unittest.begin(ctx)
    start = ["fetch", "r.example/z:1", "--quiet", "--name", "z", "--output", "."]
    asserts.equals(
        env,
        start + ["--repository", "a=@@a", "--repository", "b=@@b~"],
        fetch_arguments("z", _attributes(image = "r.example/z:1"), "/w", {"b": "@@b~", "a": "@@a"}),
    )
    asserts.equals(
        env,
        start + ["--linkage=shared", "--strip-include-prefix=include/z", "--component=headers", "--component=static", "--define=A", "--dep=@y", "--include=include", "--linkopt=-Wl,a,b", "--mirror=m.example/x", "--mirror=file:///w/x", "--target", "aarch64-unknown-linux-gnu"],
        fetch_arguments("z", _attributes(
            components = ["headers", "static"],
            defines = ["A"],
            deps = ["@y"],
            image = "r.example/z:1",
            includes = ["include"],
            linkage = "shared",
            linkopts = ["-Wl,a,b"],
            mirrors = ["m.example/x", "file://%workspace%/x"],
            strip_include_prefix = "include/z",
        ), "/w", {}, target = "aarch64-unknown-linux-gnu"),
    )
    asserts.equals(
        env,
        start + ["--spoke", "aarch64-apple-darwin", "--spoke", "x86_64-apple-darwin=z__x"],
        fetch_arguments("z", _attributes(image = "r.example/z:1"), "/w", {}, spokes = {"x86_64-apple-darwin": "z__x", "aarch64-apple-darwin": ""}),
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

def _context(was_pinned, **more):
    """What a repository rule gets, with a tool that says whether the image was pinned."""
    return struct(
        attr = _attributes(image = "r.example/z:1"),
        execute = lambda _arguments, **_kwargs: struct(return_code = 0, stderr = "", stdout = json.encode({"wasPinned": was_pinned})),
        getenv = lambda _name, default = None: default,
        os = struct(name = "linux"),
        path = lambda _label: struct(dirname = struct(get_child = lambda name: "/tool/" + name)),
        report_progress = lambda _text: None,
        watch = lambda _path: None,
        workspace_root = "/w",
        **more
    )

def _repo_metadata_test_impl(ctx):
    env = unittest.begin(ctx)
    metadata = lambda reproducible: {"reproducible": reproducible}
    for was_pinned in [True, False]:
        # From Bazel 8.3 on, which must not keep for others what a tag may lead away from.
        asserts.equals(env, {"reproducible": was_pinned}, fetch_library(_context(was_pinned, repo_metadata = metadata), "z", ""))
        asserts.equals(env, None, fetch_library(_context(was_pinned), "z", ""), "an older Bazel")
    return unittest.end(env)

_repo_metadata_test = unittest.make(_repo_metadata_test_impl)

def _tag(name, image, module, platforms = [], **said):
    values = _attributes(image = image, **said)
    return struct(
        name = name,
        platforms = platforms,
        attrs = {attr: getattr(values, attr) for attr in RULE_ATTRIBUTES},
        module = module,
        is_root = module == "root",
    )

def _merge_tags_test_impl(ctx):
    env = unittest.begin(ctx)

    merged = merge_tags([_tag("a", "r/a:2", "root"), _tag("a", "r/a:1", "dep"), _tag("b", "r/b:1", "dep"), _tag("b", "r/b:1", "other")])
    asserts.equals(env, None, merged.error)
    asserts.equals(env, {"a": "r/a:2", "b": "r/b:1"}, {name: tag.attrs["image"] for name, tag in merged.libraries.items()}, "the root decides; the same twice is no conflict")

    merged = merge_tags([_tag("a", "r/a:1@sha256:11", "one"), _tag("a", "r/a:1@sha256:22", "two")])
    for part in ["one", "two", "library a", "r/a:1@sha256:11", "r/a:1@sha256:22", "different values of image"]:
        asserts.true(env, part in merged.error.message, merged.error)
    asserts.true(env, "root module" in merged.error.do, merged.error)

    merged = merge_tags([_tag("a", "r/a:1@sha256:11", "one"), _tag("a", "mirror/a@sha256:11", "two")])
    asserts.equals(env, None, merged.error, "one digest is one image, wherever it comes from")

    merged = merge_tags([_tag("a", "r/a:1", "one", linkage = "static"), _tag("a", "r/a:1", "two")])
    asserts.true(env, "linkage" in merged.error.message and "\"static\"" in merged.error.message, merged.error)

    merged = merge_tags([_tag("a", "r/a:1", "root"), _tag("a", "r/a:1", "root")])
    asserts.true(env, "twice" in merged.error.message, merged.error)

    linux, mac = "x86_64-unknown-linux-gnu", "aarch64-apple-darwin"
    merged = merge_tags([_tag("a", "r/a:1", "one", [linux]), _tag("a", "r/a:1", "two", [mac, linux])])
    asserts.equals(env, [linux, mac], merged.libraries["a"].platforms)
    merged = merge_tags([_tag("a", "r/a:1", "one", [linux]), _tag("a", "r/a:1", "two")])
    asserts.equals(env, [], merged.libraries["a"].platforms, "all platforms, for the one that restricts nothing")
    merged = merge_tags([_tag("a", "r/a:1", "root", [mac]), _tag("a", "r/a:1", "two")])
    asserts.equals(env, [mac], merged.libraries["a"].platforms, "the root decides")

    merged = merge_tags([_tag("a", "r/a:1", "one", ["amd64-linux"])])
    for part in ["\"amd64-linux\"", "one", linux]:
        asserts.true(env, part in merged.error.message, merged.error)
    asserts.true(env, merged.error.do, "what to do")
    return unittest.end(env)

_merge_tags_test = unittest.make(_merge_tags_test_impl)

def _merge_identity_test_impl(ctx):
    env = unittest.begin(ctx)
    image, moved, other = "r/a:1@sha256:11", "mirror/a@sha256:11", "r/a:2@sha256:22"

    def mirrors(*tags):
        merged = merge_tags(tags)
        asserts.equals(env, None, merged.error)
        return merged.libraries["a"].attrs["mirrors"]

    one, two, root = ["m1", "m2"], ["m3", "m1"], ["m0", "m3"]
    asserts.equals(env, ["m1", "m2", "m3"], mirrors(_tag("a", image, "one", mirrors = one), _tag("a", moved, "two", mirrors = two)))
    asserts.equals(
        env,
        ["m0", "m3", "m1", "m2"],
        mirrors(_tag("a", image, "root", mirrors = root), _tag("a", image, "one", mirrors = one), _tag("a", moved, "two", mirrors = two)),
        "the root module's first",
    )
    asserts.equals(
        env,
        ["m0", "m3", "m1"],
        mirrors(_tag("a", image, "root", mirrors = root), _tag("a", other, "one", mirrors = one), _tag("a", image, "two", mirrors = two)),
        "none of those for other bytes",
    )

    # Sets have no order, and whatever else is said has to be the same.
    same = [("components", ["headers", "static"], ["static", "headers"]), ("deps", ["@@x", "@@y"], ["@@y", "@@x"])]
    for attr, first, second in same:
        merged = merge_tags([_tag("a", image, "one", **{attr: first}), _tag("a", image, "two", **{attr: second})])
        asserts.equals(env, None, merged.error)
        asserts.equals(env, first, merged.libraries["a"].attrs[attr])
    decided = {"build_file": Label("//rules:defs.bzl"), "image": other, "linkage": "static", "strip_include_prefix": "include"}
    for attr in RULE_ATTRIBUTES:
        if attr == "mirrors":
            continue
        said = decided.get(attr, ["x", "y"])
        different = {"image": image} | {attr: said}
        merged = merge_tags([_tag("a", module = "one", **{"image": image}), _tag("a", module = "two", **different)])
        asserts.true(env, merged.error and "different values of " + attr in merged.error.message, attr)
        if attr in ["defines", "includes", "linkopts"]:
            merged = merge_tags([_tag("a", image, "one", **{attr: ["x", "y"]}), _tag("a", image, "two", **{attr: ["y", "x"]})])
            asserts.true(env, merged.error and "different values of " + attr in merged.error.message, attr)
        merged = merge_tags([_tag("a", module = "root", **{"image": image}), _tag("a", module = "two", **different)])
        asserts.equals(env, None, merged.error)
        asserts.false(env, merged.libraries["a"].attrs[attr] == said, "the root decides on " + attr)
    return unittest.end(env)

_merge_identity_test = unittest.make(_merge_identity_test_impl)

def library_test_suite(name):
    unittest.suite(name, *[
        partial.make(test, size = "small")
        for test in [
            _fetch_arguments_test,
            _label_prefix_test,
            _merge_identity_test,
            _merge_tags_test,
            _repo_metadata_test,
        ]
    ])
