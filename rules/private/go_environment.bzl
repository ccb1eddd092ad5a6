"""How the Go compiler is called in a repository rule, as values: no file is read here, and no process started.

What is built must depend on the sources, go.mod, go.sum and the Go version, and on nothing that a user has set for work
of their own; how modules are reached, on the other hand, is theirs to say.
"""

# What decides where modules come from and which are trusted. GOMODCACHE is only read, as a proxy: see module_proxy.
USER_SETTINGS = [
    "GOAUTH",
    "GOINSECURE",
    "GOMODCACHE",
    "GONOPROXY",
    "GONOSUMDB",
    "GOPRIVATE",
    "GOPROXY",
    "GOSUMDB",
    "GOVCS",
]

# What is laid over the environment for `go env` to tell the user's settings, and which Go there is, whatever else the user has set.
QUERY_ENVIRONMENT = {
    # Not empty, because the user's configuration file is read here.
    "GOFLAGS": "-modcacherw",
    "GOROOT": "",  # which has Go find its own
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}

# What would change the result or break the build. Go takes an empty variable for one that is not set, and looks for it
# in the user's configuration file next, which GOENV=off takes away.
_UNSET = [
    "GO386",
    "GOAMD64",
    "GOARCH",
    "GOARM",
    "GOARM64",
    "GOCACHEPROG",
    "GODEBUG",
    "GOEXPERIMENT",
    "GOFIPS140",
    "GOFLAGS",
    "GOMIPS",
    "GOMIPS64",
    "GOOS",
    "GOPPC64",
    "GORISCV64",
    "GOTMPDIR",
    "GOWASM",
]

def parse_go_version(version):
    """Returns a Go version as a tuple that compares, or None.

    Args:
      version: "1.26", "1.26.5", "1.27rc1", with or without the prefix "go" and with whatever follows after a space or
        a hyphen, as in "go1.26.5-custom X:nocoverageredesign".

    Returns:
      (major, minor, rank, patch), where rank is 0 for a development version or beta, 1 for a release candidate and 2
      for a release; "1.27rc1" comes before "1.27" and "1.27.0".
    """
    version = version.strip().removeprefix("go").split(" ")[0].split("-")[0].split("+")[0]
    rank, patch = 2, "0"
    for name, value in [("rc", 1), ("beta", 0)]:
        if name in version:
            rank = value
            version, _, patch = version.partition(name)
            break
    parts = version.split(".")
    if len(parts) == 2:
        parts.append(patch)
    if len(parts) != 3 or [p for p in parts if not p.isdigit()]:
        return None
    return (int(parts[0]), int(parts[1]), rank, int(parts[2]))

def go_directive(go_mod):
    """Returns the version in the `go` line of a go.mod file, or None.

    Args:
      go_mod: the file's content.

    Returns:
      a string such as "1.26.5".
    """
    for line in go_mod.splitlines():
        words = [w for w in line.split("//")[0].replace("\t", " ").strip().split(" ") if w]
        if len(words) == 2 and words[0] == "go":
            return words[1]
    return None

def select_toolchain(sdk, wanted):
    """Returns the value of GOTOOLCHAIN with which a Go builds a module.

    Args:
      sdk: its version, what `go env GOVERSION` tells, such as "go1.26.5".
      wanted: the version in the module's `go` line.

    Returns:
      "local" where the Go is new enough, or of no known version, such as a Go built from source; the name of the
      toolchain that it has to download where it is older; None where it is older than 1.21, which cannot.
    """
    have, want = parse_go_version(sdk), parse_go_version(wanted)
    if not have or not want or have >= want:
        return "local"
    if have < (1, 21, 0, 0):
        return None
    return "go" + wanted

def user_cache_dir(os_name, environ):
    """Returns the directory for caches of the user, as Go's os.UserCacheDir and the XDG specification say, or None.

    Args:
      os_name: the `name` of repository_os, such as "linux", "mac os x" or "windows 11".
      environ: the environment, a dict.

    Returns:
      an absolute path without a trailing slash, its separators those of the environment; None where the environment
      does not tell.
    """
    if os_name.startswith("windows"):
        return environ.get("LOCALAPPDATA") or None
    xdg = environ.get("XDG_CACHE_HOME", "")
    if xdg.startswith("/"):  # a relative one is to be ignored, says the specification
        return xdg.rstrip("/")
    home = environ.get("HOME", "").rstrip("/")
    if not home.startswith("/"):
        return None
    return home + ("/Library/Caches" if os_name.startswith("mac") else "/.cache")

def go_platform(os_name, arch):
    """Returns what Go calls a platform.

    Args:
      os_name: the `name` of repository_os, such as "linux", "mac os x" or "windows 11".
      arch: its `arch`, such as "amd64", "x86_64" or "aarch64".

    Returns:
      a string such as "linux-amd64"; with the name as it is where it is not one of those that Bazel runs on.
    """
    system = {"linux": "linux", "mac": "darwin", "windows": "windows"}.get(os_name.split(" ")[0], os_name)
    return system + "-" + {"aarch64": "arm64", "x86_64": "amd64"}.get(arch, arch)

def _file_url(path):
    path = path.replace("\\", "/")
    for char, escape in [("%", "%25"), (" ", "%20"), ("#", "%23"), ("?", "%3F"), (",", "%2C"), ("|", "%7C")]:
        path = path.replace(char, escape)
    return "file://" + ("" if path.startswith("/") else "/") + path

def module_proxy(user_proxy, user_module_cache):
    """Returns the value of GOPROXY that takes modules from the user's module cache before the network.

    The cache itself is not written to: it is the user's, and may be read-only. A directory that does not exist, like
    a module that is not in it, makes Go go on with the next proxy.

    Args:
      user_proxy: the user's GOPROXY; "off" stays in force for what the cache does not hold.
      user_module_cache: the user's GOMODCACHE, or "".

    Returns:
      a list of proxies as Go reads it.
    """
    proxies = [p for p in [
        _file_url(user_module_cache.rstrip("/\\") + "/cache/download") if user_module_cache else "",
        user_proxy,
    ] if p]
    return ",".join(proxies)

def build_environment(toolchain, cache, settings):
    """Returns the environment in which `go run` compiles and starts the tool.

    Args:
      toolchain: what select_toolchain returned.
      cache: the directory for Go's caches, shared by all workspaces of the user; Go locks what has to be locked.
      settings: USER_SETTINGS, the user's, and GOROOT, as `go env` tells them.

    Returns:
      a dict to lay over the environment.
    """
    env = {name: "" for name in _UNSET}
    env.update({
        name: settings[name]
        for name in USER_SETTINGS
        if settings.get(name) and name not in ["GOMODCACHE", "GOPROXY"]
    })
    env.update({
        "CGO_ENABLED": "0",
        "GO111MODULE": "on",
        "GOCACHE": cache + "/go-build",
        "GOENV": "off",
        "GOMODCACHE": cache + "/go-mod",
        "GOPATH": cache + "/go",
        "GOPROXY": module_proxy(settings.get("GOPROXY", ""), settings.get("GOMODCACHE", "")),
        "GOROOT": settings["GOROOT"],
        "GOTOOLCHAIN": toolchain,
        "GOWORK": "off",
    })
    return env
