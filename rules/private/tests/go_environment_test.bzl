"""Tests of go_environment.bzl."""

load("@bazel_skylib//lib:partial.bzl", "partial")
load("@bazel_skylib//lib:unittest.bzl", "asserts", "unittest")
load(
    "//rules/private:go_environment.bzl",
    "QUERY_ENVIRONMENT",
    "build_environment",
    "go_directive",
    "go_platform",
    "module_proxy",
    "parse_go_version",
    "select_toolchain",
    "user_cache_dir",
)

def _parse_go_version_test_impl(ctx):
    env = unittest.begin(ctx)
    for version, want in {
        "": None,
        "1.26": (1, 26, 2, 0),
        "1.26.5": (1, 26, 2, 5),
        "devel +abc": None,
        "devel go1.27-abc": None,
        "go1": None,
        "go1.20": (1, 20, 2, 0),
        "go1.26.5": (1, 26, 2, 5),
        "go1.26.5 X:nocoverageredesign": (1, 26, 2, 5),
        "go1.26.5-custom": (1, 26, 2, 5),
        "go1.27beta2": (1, 27, 0, 2),
        "go1.27rc1": (1, 27, 1, 1),
    }.items():
        asserts.equals(env, want, parse_go_version(version), version)
    return unittest.end(env)

_parse_go_version_test = unittest.make(_parse_go_version_test_impl)

def _go_directive_test_impl(ctx):
    env = unittest.begin(ctx)
    asserts.equals(env, "1.26.5", go_directive("module m\n\ngo 1.26.5\n\ntoolchain go1.27.0\n"))
    asserts.equals(env, "1.26", go_directive("module m\r\n\r\ngo 1.26 // the floor\r\n"))
    asserts.equals(env, None, go_directive("module m\n\n// go 1.26\nrequire (\n\tgo.uber.org/x v1.0.0\n)\n"))
    return unittest.end(env)

_go_directive_test = unittest.make(_go_directive_test_impl)

def _go_platform_test_impl(ctx):
    env = unittest.begin(ctx)
    for os_name, arch, want in [
        ("linux", "amd64", "linux-amd64"),
        ("linux", "aarch64", "linux-arm64"),
        ("linux", "s390x", "linux-s390x"),
        ("mac os x", "aarch64", "darwin-arm64"),
        ("mac os x", "x86_64", "darwin-amd64"),
        ("windows 11", "amd64", "windows-amd64"),
        ("windows server 2022", "amd64", "windows-amd64"),
        ("freebsd", "amd64", "freebsd-amd64"),
    ]:
        asserts.equals(env, want, go_platform(os_name, arch), os_name + " " + arch)
    return unittest.end(env)

_go_platform_test = unittest.make(_go_platform_test_impl)

def _select_toolchain_test_impl(ctx):
    env = unittest.begin(ctx)
    for sdk, wanted, want in [
        ("go1.26.5", "1.26.5", "local"),
        ("go1.26.10", "1.26.5", "local"),
        ("go1.27.0", "1.26.5", "local"),
        ("go1.26.4", "1.26.5", "go1.26.5"),
        ("go1.21.0", "1.26.5", "go1.26.5"),
        ("go1.20.14", "1.26.5", None),
        ("go1.27rc1", "1.27", "go1.27"),
        ("devel go1.28-abc", "1.26.5", "local"),
        ("go1.26.5", "", "local"),
    ]:
        asserts.equals(env, want, select_toolchain(sdk, wanted), sdk + " for " + wanted)
    return unittest.end(env)

_select_toolchain_test = unittest.make(_select_toolchain_test_impl)

def _user_cache_dir_test_impl(ctx):
    env = unittest.begin(ctx)
    for os_name, environ, want in [
        ("linux", {"HOME": "/home/u"}, "/home/u/.cache"),
        ("linux", {"HOME": "/"}, None),
        ("linux", {"HOME": "/home/u", "XDG_CACHE_HOME": "/c/"}, "/c"),
        ("linux", {"HOME": "/home/u", "XDG_CACHE_HOME": "c"}, "/home/u/.cache"),
        ("linux", {"HOME": ""}, None),
        ("linux", {}, None),
        ("mac os x", {"HOME": "/Users/u"}, "/Users/u/Library/Caches"),
        ("windows 11", {"HOME": "/home/u", "LOCALAPPDATA": "C:\\Users\\u\\AppData\\Local"}, "C:\\Users\\u\\AppData\\Local"),
        ("windows 11", {"HOME": "/home/u"}, None),
    ]:
        asserts.equals(env, want, user_cache_dir(os_name, environ), os_name + str(environ))
    return unittest.end(env)

_user_cache_dir_test = unittest.make(_user_cache_dir_test_impl)

def _module_proxy_test_impl(ctx):
    env = unittest.begin(ctx)
    for proxy, cache, want in [
        ("https://p.example,direct", "/home/u/go/pkg/mod", "file:///home/u/go/pkg/mod/cache/download,https://p.example,direct"),
        ("off", "/m/", "file:///m/cache/download,off"),
        ("https://p.example|direct", "C:\\Users\\u v\\go\\pkg\\mod", "file:///C:/Users/u%20v/go/pkg/mod/cache/download,https://p.example|direct"),
        ("direct", "/a,b%c#d", "file:///a%2Cb%25c%23d/cache/download,direct"),
        ("direct", "", "direct"),
        ("", "/m", "file:///m/cache/download"),
    ]:
        asserts.equals(env, want, module_proxy(proxy, cache))
    return unittest.end(env)

_module_proxy_test = unittest.make(_module_proxy_test_impl)

def _build_environment_test_impl(ctx):
    env = unittest.begin(ctx)
    got = build_environment("go1.26.5", "/c/ocipkg", {
        "GOFLAGS": "-mod=vendor",
        "GOMODCACHE": "/m",
        "GONOSUMDB": "",
        "GOPRIVATE": "corp.example",
        "GOPROXY": "https://p.example",
        "GOROOT": "/sdk",
        "GOSUMDB": "off",
    })
    for name, want in {
        "CGO_ENABLED": "0",
        "GOCACHE": "/c/ocipkg/go-build",
        "GOENV": "off",
        "GOFLAGS": "",
        "GOMODCACHE": "/c/ocipkg/go-mod",
        "GOOS": "",
        "GOPRIVATE": "corp.example",
        "GOPROXY": "file:///m/cache/download,https://p.example",
        "GOROOT": "/sdk",
        "GOSUMDB": "off",
        "GOTOOLCHAIN": "go1.26.5",
        "GOWORK": "off",
    }.items():
        asserts.equals(env, want, got.get(name), name)
    asserts.false(env, "GONOSUMDB" in got, "a setting that the user has not made is not made for them")
    asserts.true(env, QUERY_ENVIRONMENT["GOFLAGS"], "an empty one lets the user's configuration file speak")
    return unittest.end(env)

_build_environment_test = unittest.make(_build_environment_test_impl)

def go_environment_test_suite(name):
    unittest.suite(name, *[
        partial.make(test, size = "small")
        for test in [
            _parse_go_version_test,
            _go_directive_test,
            _go_platform_test,
            _select_toolchain_test,
            _user_cache_dir_test,
            _module_proxy_test,
            _build_environment_test,
        ]
    ])
