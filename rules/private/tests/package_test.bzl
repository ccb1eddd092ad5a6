"""Tests of package.bzl: where files go, and what the command is told."""

load("@bazel_skylib//lib:partial.bzl", "partial")
load("@bazel_skylib//lib:unittest.bzl", "analysistest", "asserts", "unittest")
load("@rules_cc//cc:defs.bzl", "cc_import", "cc_library", "cc_shared_library")
load("//rules/private:apparent.bzl", "apparent")
load(
    "//rules/private:package.bzl",
    "header_place",
    "library_name",
    "link_name",
    "ocipkg_package",
    "sort_link_flags",
    "source_header_place",
    "static_files",
)
load("//rules/private:push.bzl", "ocipkg_push")

def _header_place_test_impl(ctx):
    env = unittest.begin(ctx)
    quote = [".", "bazel-out/k8-fastbuild/bin", "external/foo", "bazel-out/k8-fastbuild/bin/external/foo"]
    for path, include_dirs, place, subdirectories in [
        # No folder of its own: the name that the workspace's root makes.
        ("pkg/z.h", [], "pkg/z.h", []),
        ("z.h", [], "z.h", []),
        ("bazel-out/k8-fastbuild/bin/pkg/z.h", [], "pkg/z.h", []),
        ("external/foo/pkg/z.h", [], "pkg/z.h", []),
        ("bazel-out/k8-fastbuild/bin/external/foo/z.h", [], "z.h", []),
        # includes
        ("pkg/include/z.h", ["pkg/include", "bazel-out/k8-fastbuild/bin/pkg/include"], "z.h", []),
        ("bazel-out/k8-fastbuild/bin/pkg/include/z.h", ["pkg/include", "bazel-out/k8-fastbuild/bin/pkg/include"], "z.h", []),
        ("pkg/include/z.h", ["pkg/includes", "other"], "pkg/include/z.h", []),
        ("pkg/include/z.h", ["."], "pkg/include/z.h", []),
        # One folder in another: SDL2/SDL.h and SDL.h are both right.
        ("pkg/include/SDL2/SDL.h", ["pkg/include/SDL2", "pkg/include"], "SDL2/SDL.h", ["SDL2"]),
        # strip_include_prefix
        ("bazel-out/k8-fastbuild/bin/pkg/_virtual_includes/z/a/z.h", ["bazel-out/k8-fastbuild/bin/pkg/_virtual_includes/z"], "a/z.h", []),
    ]:
        got = header_place(path, include_dirs, quote)
        asserts.equals(env, place, got.place, path)
        asserts.equals(env, subdirectories, got.subdirectories, path)
    asserts.equals(env, None, header_place("external/bar/z.h", ["pkg"], quote))
    return unittest.end(env)

_header_place_test = unittest.make(_header_place_test_impl)

def _apparent_test_impl(ctx):
    env = unittest.begin(ctx)
    for repository, want in {
        "": "//a/b:c",
        "+_repo_rules+zlib": "@zlib//a/b:c",
        "_main~_repo_rules2~zlib": "@zlib//a/b:c",
        "_main~_repo_rules~zlib": "@zlib//a/b:c",
        "bazel_tools": "@bazel_tools//a/b:c",
        "rules_ocipkg++ocipkg+zlib": "@zlib//a/b:c",
        "rules_ocipkg~0.1.0~ocipkg~my.zlib-1__x86_64-unknown-linux-gnu": "@my.zlib-1//a/b:c",
        "rules_ocipkg~~ocipkg~zlib__aarch64-apple-darwin": "@zlib//a/b:c",
        "zlib+": "@zlib//a/b:c",
        "zlib~": "@zlib//a/b:c",
        "zlib~1.3.1": "@zlib//a/b:c",
    }.items():
        asserts.equals(env, want, apparent(struct(repo_name = repository, package = "a/b", name = "c")), repository)
    return unittest.end(env)

_apparent_test = unittest.make(_apparent_test_impl)

def _library_name_test_impl(ctx):
    env = unittest.begin(ctx)
    for basename, want in {
        "libz.a": "libz.a",
        "libz.lo": "libz.a",
        "libz.pic.lo": "libz.a",
        "z.lo.lib": "z.lib",
        "libz.pic.a": "libz.a",
        "libz.so.1": "libz.so.1",
        "z.if.lib": "z.lib",
        "z.lib": "z.lib",
    }.items():
        asserts.equals(env, want, library_name(basename))
    for basename in ["libz.a", "z.lib"]:
        asserts.equals(env, "z", link_name(basename))
    return unittest.end(env)

_library_name_test = unittest.make(_library_name_test_impl)

def _static_files_test_impl(ctx):
    env = unittest.begin(ctx)
    files = [
        struct(dirname = path.rpartition("/")[0], basename = path.rpartition("/")[2], path = path)
        for path in ["a/libz.a", "a/libz.so", "a/libz.pic.a", "b/libz.a", "b/liby.pic.a", "c/x.lib"]
    ]
    asserts.equals(env, ["a/libz.pic.a", "b/libz.a", "b/liby.pic.a", "c/x.lib"], [file.path for file in static_files(files)])
    return unittest.end(env)

_static_files_test = unittest.make(_static_files_test_impl)

def _sort_link_flags_test_impl(ctx):
    env = unittest.begin(ctx)
    got = sort_link_flags(["-lm", "-pthread", "-Wl,-z,now", "-lm", "-l:z.a", "-framework", "Security", "-Lsomewhere", "-Wl,--version-script=bazel-out/k8/bin/z.map"])
    asserts.equals(env, ["m", "pthread"], got.system_libraries)
    asserts.equals(env, ["-Wl,-z,now", "-l:z.a", "-framework", "Security"], got.linkopts)
    asserts.equals(env, ["-Lsomewhere", "-Wl,--version-script=bazel-out/k8/bin/z.map"], got.here)
    return unittest.end(env)

_sort_link_flags_test = unittest.make(_sort_link_flags_test_impl)

def _source_header_place_test_impl(ctx):
    env = unittest.begin(ctx)
    here, root = Label("//a/b:c"), Label("//:c")
    for short_path, label, strip, prefix, want in [
        ("a/b/z.h", here, "", "", "include/z.h"),
        ("a/b/src/z.h", here, "", "", "include/src/z.h"),
        ("a/b/src/z.h", here, "src", "", "include/z.h"),
        ("a/b/src/z.h", here, "src/", "p/q", "include/p/q/z.h"),
        ("a/z.h", here, "/a", "", "include/z.h"),
        ("a/b/z.h", here, "/", "", "include/a/b/z.h"),
        ("a/z.h", here, "", "", None),
        ("a/bc/z.h", here, "", "", None),
        ("z.h", root, "", "", "include/z.h"),
        ("a/b/dir", here, "dir", "", "include"),  # a folder of headers
    ]:
        asserts.equals(env, want, source_header_place(short_path, label, strip, prefix), short_path + " without " + strip)
    return unittest.end(env)

_source_header_place_test = unittest.make(_source_header_place_test_impl)

def _action(env, mnemonic):
    for action in analysistest.target_actions(env):
        if action.mnemonic == mnemonic:
            return action
    return None

def _values(argv, flag):
    return [argv[i + 1] for i in range(len(argv) - 1) if argv[i] == flag]

def _packed_test_impl(ctx):
    env = analysistest.begin(ctx)
    argv = _action(env, "OcipkgPack").argv
    for flag, want in ctx.attr.flags.items():
        asserts.equals(env, want, _values(argv, flag), flag)
    places = json.decode(_action(env, "FileWrite").content)
    asserts.equals(env, sorted(ctx.attr.places), sorted(places))
    for place, basename in ctx.attr.files.items():
        asserts.equals(env, basename, places[place].split("/")[-1], place)

    # Nothing that is outside of the execution root.
    for word in argv + places.values():
        asserts.false(env, word.startswith("/"), word)
    asserts.equals(env, {}, {name: None for name in _action(env, "OcipkgPack").env})
    return analysistest.end(env)

_packed_attrs = {
    "files": attr.string_dict(doc = "By place, the name of the file that goes there."),
    "flags": attr.string_list_dict(doc = "By flag, its values."),
    "places": attr.string_list(doc = "All places that have a file."),
}

_packed_test = analysistest.make(_packed_test_impl, attrs = _packed_attrs)

_optimized_test = analysistest.make(
    _packed_test_impl,
    attrs = _packed_attrs,
    config_settings = {"//command_line_option:compilation_mode": "opt"},
)

def _on(platform):
    return analysistest.make(
        _packed_test_impl,
        attrs = _packed_attrs,
        config_settings = {"//command_line_option:platforms": str(Label(":package_test_" + platform))},
    )

_riscv_test = _on("riscv")
_musl_test = _on("musl")
_mingw_test = _on("mingw")
_unknown_test = _on("unknown")

def _refused_test_impl(ctx):
    env = analysistest.begin(ctx)
    for message in ctx.attr.messages:
        asserts.expect_failure(env, message)

    # No canonical name of a repository.
    for cause in analysistest.target_under_test(env)[AnalysisFailureInfo].causes.to_list():
        asserts.false(env, "@@" in cause.message, cause.message)
    return analysistest.end(env)

_refused_test = analysistest.make(
    _refused_test_impl,
    attrs = {"messages": attr.string_list()},
    expect_failure = True,
)

def _libraries(name):
    """Makes what the packages of the tests are made of."""
    for out in ["z.c", "z.h", "z_private.h", "inner.c", "inner.h", "data.inc", "stripped.h", "other/libzz.so", "z.pc", "COPYING"]:
        native.genrule(
            name = name + "_" + out.replace("/", "_"),
            outs = [name + "/" + out],
            cmd = "touch $@",
            tags = ["manual"],
        )
    cc_library(
        name = name + "_inner",
        srcs = [name + "/inner.c"],
        hdrs = [name + "/inner.h"],
        defines = ["INNER=1"],
        includes = [name],
        linkopts = ["-lm"],
        tags = ["manual"],
    )
    cc_library(
        name = "zed",
        srcs = [
            name + "/z.c",
            name + "/z_private.h",
        ],
        hdrs = [name + "/z.h"],
        defines = ["Z=1"],
        includes = [name],
        linkopts = ["-Wl,-z,now"],
        tags = ["manual"],
        textual_hdrs = [name + "/data.inc"],
        deps = [":" + name + "_inner"],
    )
    cc_shared_library(
        name = name + "_shared",
        shared_lib_name = "libzed.so.1",
        tags = ["manual"],
        deps = [":zed"],
    )
    cc_library(
        name = name + "_stripped",
        hdrs = [name + "/stripped.h"],
        include_prefix = "p",
        strip_include_prefix = name,
        tags = ["manual"],
    )
    cc_library(
        name = name + "_plain",
        hdrs = [name + "/z.h"],
        tags = ["manual"],
    )
    cc_import(
        name = name + "_imported",
        shared_library = name + "/other/libzz.so",
        tags = ["manual"],
    )
    cc_library(
        name = name + "_importer",
        srcs = [name + "/z.c"],
        tags = ["manual"],
        deps = [":" + name + "_imported"],
    )
    cc_shared_library(
        name = name + "_importer_shared",
        shared_lib_name = "libimporter.so.1",
        tags = ["manual"],
        deps = [":" + name + "_importer"],
    )
    cc_library(
        name = name + "_alwayslink",
        srcs = [name + "/z.c"],
        alwayslink = True,
        tags = ["manual"],
    )
    cc_library(
        name = name + "_here",
        srcs = [name + "/z.c"],
        linkopts = ["-Lsomewhere"],
        tags = ["manual"],
    )
    cc_library(
        name = name + "_outer",
        srcs = [name + "/z.c"],
        hdrs = [name + "/stripped.h"],
        includes = [name],
        linkopts = ["-lrt"],
        tags = ["manual"],
        deps = [":zed"],
    )
    cc_shared_library(
        name = name + "_outer_shared",
        dynamic_deps = [":" + name + "_shared"],
        shared_lib_name = "libouter.so.1",
        tags = ["manual"],
        deps = [":" + name + "_outer"],
    )
    cc_library(
        name = name + "_outermost",
        srcs = [name + "/z.c"],
        tags = ["manual"],
        deps = [":" + name + "_outer"],
    )
    cc_library(
        name = name + "_foreign",
        srcs = [name + "/z.c"],
        tags = ["manual"],
        deps = ["@bazel_tools//tools/cpp:malloc", "@rules_cc//cc/runfiles"],
    )

def package_test_suite(name):
    """Makes the tests.

    Args:
      name: name of the suite.
    """
    unittest.suite(name + "_functions", *[
        partial.make(test, size = "small")
        for test in [
            _apparent_test,
            _header_place_test,
            _library_name_test,
            _sort_link_flags_test,
            _source_header_place_test,
            _static_files_test,
        ]
    ])
    _libraries(name)
    tests = []

    def packed(case, flags, places, files = {}, rule = _packed_test, **kwargs):
        ocipkg_package(name = name + "_packed_" + case, tags = ["manual"], **kwargs)
        tests.append(name + "_" + case + "_test")
        rule(
            name = tests[-1],
            files = files,
            flags = flags,
            places = places,
            # Of the names of files, and of compilers.
            target_compatible_with = ["@platforms//os:linux"],
            target_under_test = ":" + name + "_packed_" + case,
        )

    def refused(case, messages, **kwargs):
        ocipkg_package(name = name + "_packed_" + case, tags = ["manual"], **kwargs)
        tests.append(name + "_" + case + "_test")
        _refused_test(name = tests[-1], messages = messages, target_under_test = ":" + name + "_packed_" + case)

    here = native.package_name()
    packed(
        "libraries",
        deps = [":zed", ":" + name + "_shared"],
        library_name = "zed",
        version = "1.3.1",
        license = "Zlib",
        license_files = [name + "/COPYING"],
        pkg_config = [name + "/z.pc"],
        defines = ["MORE=\\\"1\\\""],
        linkopts = ["-Wl,-z,relro"],
        system_libraries = ["dl"],
        requires = {"z": ["inner"]},
        flags = {
            "--define": ["INNER=1", "Z=1", "MORE=\"1\""],
            "--include": [],
            "--license": ["Zlib"],
            "--name": ["zed"],
            "--requires": ["z=inner"],
            "--system-library": ["m", "dl"],
            "--version": ["1.3.1"],
        },
        places = [
            "include/data.inc",
            "include/inner.h",
            "include/z.h",
            "lib/lib{}_inner.a".format(name),
            "lib/libzed.a",
            "lib/libzed.so.1",
            "lib/pkgconfig/z.pc",
            "share/licenses/zed/COPYING",
        ],
    )
    packed(
        "optimized",
        deps = [":zed"],
        rule = _optimized_test,
        flags = {"--name": [name + "_packed_optimized"]},
        places = ["include/data.inc", "include/inner.h", "include/z.h", "lib/lib{}_inner.a".format(name), "lib/libzed.a"],
        # What fits shared objects as well as programs.
        files = {"lib/libzed.a": "libzed.pic.a"},
    )
    packed(
        "shared",
        deps = [":" + name + "_shared"],
        flags = {"--define": ["INNER=1", "Z=1"], "--system-library": []},
        places = ["include/data.inc", "include/inner.h", "include/z.h", "lib/libzed.so.1"],
    )
    packed(
        "stripped",
        deps = [":" + name + "_stripped"],
        flags = {"--target": []},  # headers alone fit every platform
        places = ["include/p/stripped.h"],
    )
    packed(
        "plain",
        deps = [":" + name + "_plain"],
        flags = {"--target": []},
        places = ["include/{}/{}/z.h".format(here, name)],
    )
    packed(
        "imported",
        deps = [":" + name + "_imported"],
        flags = {},
        places = ["lib/libzz.so"],
    )
    packed(
        "files",
        hdrs = [name + "/z.h"],
        shared = [name + "/other/libzz.so"],
        strip_include_prefix = name,
        include_prefix = "zed",
        includes = ["include/zed"],
        allow_missing = ["libq.so.1"],
        target = "riscv64-unknown-linux-musl",
        flags = {
            "--allow-missing": ["libq.so.1"],
            "--include": ["include/zed"],
            "--target": ["riscv64-unknown-linux-musl"],
        },
        places = ["include/zed/z.h", "lib/libzz.so"],
    )
    packed(
        "foreign_packed",
        deps = [":" + name + "_foreign"],
        provided_deps = ["@rules_cc//cc/runfiles"],
        flags = {},
        places = ["lib/lib{}_foreign.a".format(name)],
    )
    native.platform(
        name = name + "_riscv",
        constraint_values = ["@platforms//cpu:riscv64", "@platforms//os:linux"],
    )
    native.platform(
        name = name + "_musl",
        constraint_values = ["@platforms//cpu:x86_64", "@platforms//os:linux", "//rules/libc:musl"],
    )
    native.platform(
        name = name + "_mingw",
        constraint_values = ["@platforms//cpu:x86_64", "@platforms//os:windows", "//rules/windows_abi:mingw"],
    )
    native.platform(
        name = name + "_unknown",
        constraint_values = ["@platforms//cpu:x86_64", "@platforms//os:freebsd"],
    )
    native.genrule(
        name = name + "_static_file",
        outs = [name + "/libstatic.a"],
        cmd = "touch $@",
        tags = ["manual"],
    )
    for platform, rule, target in [
        ("riscv", _riscv_test, ["riscv64-unknown-linux"]),
        ("musl", _musl_test, ["x86_64-unknown-linux-musl"]),
        ("mingw", _mingw_test, ["x86_64-pc-windows-gnu"]),
        ("unknown", _unknown_test, []),
    ]:
        packed(
            "for_" + platform,
            static = [name + "/libstatic.a"],
            rule = rule,
            flags = {"--target": target},
            places = ["lib/libstatic.a"],
        )
    packed(
        "alwayslink",
        deps = [":" + name + "_alwayslink", ":zed"],
        always_link = ["more"],
        flags = {"--always-link": [name + "_alwayslink", "more"]},
        places = [
            "include/data.inc",
            "include/inner.h",
            "include/z.h",
            "lib/lib{}_alwayslink.a".format(name),
            "lib/lib{}_inner.a".format(name),
            "lib/libzed.a",
        ],
    )

    # What a dependency has is not packed, nor what that one has from another.
    for case, repository in [("libraries", "r.example/zed"), ("dependent", "r.example/outer"), ("imported", "r.example/zz"), ("stamped", "r.example/{STABLE_NAME}")]:
        ocipkg_push(
            name = name + "_push_" + case,
            package = "{}_packed_{}".format(name, case.replace("stamped", "libraries")),
            repository = repository,
            tags = ["manual"],
        )
    packed(
        "dependent",
        deps = [":" + name + "_outer", ":" + name + "_outer_shared"],
        dependencies = [":" + name + "_push_libraries"],
        flags = {"--define": [], "--linkopt": [], "--system-library": ["rt"]},
        places = ["include/stripped.h", "lib/lib{}_outer.a".format(name), "lib/libouter.so.1"],
    )
    packed(
        "dependent_of_dependent",
        deps = [":" + name + "_outermost"],
        dependencies = [":" + name + "_push_dependent"],
        flags = {"--system-library": []},
        places = ["lib/lib{}_outermost.a".format(name)],
    )
    packed(
        "dependent_on_import",
        deps = [":" + name + "_importer", ":" + name + "_importer_shared"],
        dependencies = [":" + name + "_push_imported"],
        flags = {},
        places = ["lib/lib{}_importer.a".format(name), "lib/libimporter.so.1"],
    )
    refused("unpublished", ["is a package", "name the ocipkg_push"], deps = [":" + name + "_outer"], dependencies = [":" + name + "_packed_libraries"])
    refused("stamped", ["r.example/{STABLE_NAME}", "without values that are stamped"], deps = [":" + name + "_outer"], dependencies = [":" + name + "_push_stamped"])
    refused("here", ["-Lsomewhere", "no other machine"], deps = [":" + name + "_here"])
    refused("foreign", ["\n//{}:{}_packed_foreign: its".format(here, name), "runfiles:runfiles, of", "provided_deps"], deps = [":" + name + "_foreign"])
    refused("twice", ["would both become lib/libzz.so"], deps = [":" + name + "_imported"], shared = [":" + name + "_twice_libzz"])
    native.genrule(
        name = name + "_twice_libzz",
        outs = [name + "/twice/libzz.so"],
        cmd = "touch $@",
        tags = ["manual"],
    )
    refused("elsewhere", ["strip_include_prefix"], hdrs = [name + "/z.h"], strip_include_prefix = "none")
    native.test_suite(name = name, tests = [":" + name + "_functions"] + [":" + test for test in tests])
