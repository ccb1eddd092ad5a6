"""The command `ocipkg` for the machine that Bazel runs on, in the repository @rules_ocipkg_tool.

Repository rules run it, hence it cannot be built by Bazel. A release of this module names the programs that were released with
it, one of which is downloaded. In a checkout, or where that cannot be had, it is compiled from the sources of this module by the
Go on PATH, once for all workspaces of a user. The environment variable OCIPKG_TOOL names another, or says `source`.
"""

load(":diagnostic.bzl", "diagnostic", "fail_with")
load(
    ":go_environment.bzl",
    "QUERY_ENVIRONMENT",
    "USER_SETTINGS",
    "build_environment",
    "go_directive",
    "go_platform",
    "select_toolchain",
    "user_cache_dir",
)
load(":released.bzl", "RELEASED_TOOLS")

# Seconds. Bazel's default of 600 ends a compiler that is about to be done on a slow machine, and a download on a slow
# network, with nothing to show for the time.
_BUILD_TIMEOUT = 3600

_BUILD_FILE = """\
package(default_visibility = ["//visibility:public"])

exports_files(["{file}"])
"""

# So that a target can name the tool without knowing the platform.
_BUILD_FILE_ALIAS = """
alias(
    name = "ocipkg",
    actual = "{file}",
)
"""

# Which tool it is, as a file beside it.
_FINGERPRINT = "fingerprint"

_GO_TEMPORARY = ".go-tmp"

# The value of OCIPKG_TOOL for those who run nothing that they have not compiled.
_FROM_SOURCE = "source"

_DO_BINARY = "or set OCIPKG_TOOL to the absolute path of an ocipkg binary"

def _tool_file(rctx):
    """Returns the name of the tool's file in its repository.

    Args:
      rctx: the context of a repository rule.

    Returns:
      a string.
    """
    return "ocipkg.exe" if rctx.os.name.startswith("windows") else "ocipkg"

def tool_path(rctx):
    """Returns the path of the tool, which is made when this is called first.

    A repository made by it is made anew when the tool is another one. What is watched for that is the file that says which
    it is: Bazel would read the tool itself once for every repository, and sum it up.

    Args:
      rctx: the context of a repository rule.

    Returns:
      a path, to be run by rctx.execute.
    """
    fingerprint = rctx.path(Label("@rules_ocipkg_tool//:" + _FINGERPRINT))

    # From Bazel 8 on, a path is not watched for having been asked for.
    rctx.watch(fingerprint)
    return fingerprint.dirname.get_child(_tool_file(rctx))

def _fail(error):
    fail_with(diagnostic(
        "rules_ocipkg could not make the tool `ocipkg` that fetches libraries.\nWhy: " + error.message.strip(),
        error.do,
    ))

def _write_build_file(rctx):
    name = _tool_file(rctx)
    content = _BUILD_FILE.format(file = name)
    if name != "ocipkg":
        content += _BUILD_FILE_ALIAS.format(file = name)
    rctx.file("BUILD.bazel", content, executable = False)

def _watch_tree(rctx, path):
    if path.exists:
        rctx.watch_tree(path)

# Prints the digest of what the tool is made of, these rules included; nothing where it cannot be told. Where a tool was kept that is
# made of the same, it copies itself to $4 and prints its fingerprint, which was kept too: one that has been damaged has another,
# or none, or does not run.
_FIND_TOOL = """
mkdir -p "$1/tool" && test -w "$1/tool" || exit 3
cd "$2" && if command -v sha256sum >/dev/null; then sum=sha256sum; else sum="shasum -a 256"; fi
files=$(find -L go.mod go.sum rules/private/tool.bzl rules/private/go_environment.bzl fetcher internal -type f ! -name '*_test.go' ! -path '*/testdata/*') || exit 0
sums=$(printf '%s\\n' "$files" | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 $sum) && test -n "$sums" || exit 0
made_of=$(printf '%s\\n' "$3" "$sums" | $sum) && made_of=${made_of%% *} && test -n "$made_of" || exit 0
echo "$made_of"
kept=$1/tool/$made_of
test -s "$kept" && fingerprint=$("$kept" fingerprint --copy "$4") && test -n "$fingerprint" && test "$fingerprint" = "$(cat "$kept.fingerprint")" || exit 0
touch -c "$kept" "$kept.fingerprint"
echo "$fingerprint"
"""

# Keeps the tool $1, whose fingerprint is $3, as $2. Nobody finds it half there. What nobody has asked for in a month, goes.
_KEEP_TOOL = """
mkdir -p "${2%/*}" || exit
printf '%s\\n' "$3" >"$2.fingerprint.$$" && mv "$2.fingerprint.$$" "$2.fingerprint" &&
    cp "$1" "$2.$$" && mv "$2.$$" "$2"
find "${2%/*}" -type f -mtime +30 -exec rm -f {} +
"""

# Has the released tool that is kept as $1 copy itself to $3, and succeeds where it says of itself that its digest is $2.
_FIND_RELEASED = """
test -s "$1" && test "$("$1" fingerprint --copy "$3")" = "$2" || exit 1
touch -c "$1" "$1.fingerprint" || true # nobody's but the owner's
"""

def _cache(rctx):
    shared = user_cache_dir(rctx.os.name, rctx.os.environ)
    return shared.replace("\\", "/") + "/ocipkg" if shared else None

def _usable_cache(rctx, sources, sdk):
    """Finds the directory for Go's caches and for tools that were made, and in it the tool.

    Args:
      rctx: the context of the repository rule.
      sources: path of this module.
      sdk: which Go makes it.

    Returns:
      The directory, the user's or one in this repository where that cannot be written; the digest of what the tool is made
      of, None where it cannot be told; and whether the tool was kept there and is in this repository now.
    """
    shared = _cache(rctx)
    if shared:
        if rctx.os.name.startswith("windows"):
            return shared, None, False
        platform = rctx.os.name + " " + rctx.os.arch
        result = rctx.execute(["sh", "-c", _FIND_TOOL, "sh", shared, sources, sdk + " for " + platform, rctx.path(_tool_file(rctx))])
        if result.return_code != 3:
            made_of, _, fingerprint = result.stdout.strip().partition("\n")
            if fingerprint:
                rctx.file(_FINGERPRINT, fingerprint + "\n", executable = False)
            return shared, made_of or None, bool(fingerprint)
    return str(rctx.path(".cache")), None, False

def _ask_go(rctx, go, sources):
    # Where it is run, too: there are such as choose the Go by the folder.
    result = rctx.execute(
        [go, "env", "-json", "GOROOT", "GOVERSION"] + USER_SETTINGS,
        environment = QUERY_ENVIRONMENT,
        working_directory = str(sources),
    )
    if result.return_code != 0:
        _fail(diagnostic("`go env` failed: " + result.stderr, "check the settings of Go in your environment, " + _DO_BINARY))

    # An older Go answers for a name that it does not know with the empty string.
    return json.decode(result.stdout)

def _compile(rctx):
    sources = rctx.path(Label("//:go.mod")).dirname
    go_mod = rctx.read(sources.get_child("go.mod"))
    rctx.watch(sources.get_child("go.mod"))
    rctx.watch(sources.get_child("go.sum"))
    for tree in ["fetcher", "internal"]:
        _watch_tree(rctx, sources.get_child(tree))

    wanted = go_directive(go_mod)
    go = rctx.which("go")
    if not go:
        _fail(diagnostic(
            "it has to be compiled, with Go {} or any from 1.21 on, which downloads that one; and there is no `go` on PATH.".format(wanted),
            "install Go, " + _DO_BINARY,
        ))
    settings = _ask_go(rctx, go, sources)
    sdk = settings["GOVERSION"]
    toolchain = select_toolchain(sdk, wanted) if sdk else None
    if not toolchain:
        _fail(diagnostic(
            "it needs Go {}, and the one on PATH is {}, which cannot download another.".format(wanted, sdk or "older than 1.16"),
            "install a newer Go, " + _DO_BINARY,
        ))
    version = rctx.path(settings["GOROOT"] + "/VERSION")
    if version.exists:
        rctx.watch(version)  # another Go compiles another tool

    cache, made_of, found = _usable_cache(rctx, sources, sdk)
    if found:
        return
    if cache == str(rctx.path(".cache")):
        # buildifier: disable=print
        print("ocipkg is compiled for this workspace alone, which takes a minute: the environment names no folder for caches that can be written. Pass --repo_env=HOME, or set XDG_CACHE_HOME.")
    env = build_environment(toolchain, cache, settings)

    # What it links anew, Go starts from there, and not every system's /tmp is for programs.
    rctx.file(_GO_TEMPORARY + "/README", "")
    env["GOTMPDIR"] = str(rctx.path(_GO_TEMPORARY))
    rctx.report_progress(
        "Compiling ocipkg with {}".format(sdk) if toolchain == "local" else "Downloading {} to compile ocipkg ({} is too old)".format(toolchain, sdk),
    )

    # Not `go build`: it prints its fingerprint, and where nothing of ours keeps it, Go does.
    result = rctx.execute(
        [
            go,
            "run",
            "-mod=readonly",
            "-modcacherw",  # else nobody could delete the cache with rm
            "-trimpath",
            "-buildvcs=false",
            "-ldflags=-s -w",
            "./fetcher",
            "fingerprint",
            "--copy",
            rctx.path(_tool_file(rctx)),
        ],
        environment = env,
        timeout = _BUILD_TIMEOUT,
        working_directory = str(sources),
    )
    if result.return_code != 0:
        _fail(diagnostic(
            "`go run` of it failed ({}): {}".format(sdk, result.stderr),
            "check the network, or set GOPROXY, if a module could not be downloaded; see whether programs may run from {} and from Bazel's output base, if it could not be started; ".format(cache) + _DO_BINARY,
        ))
    rctx.file(_FINGERPRINT, result.stdout, executable = False)
    rctx.delete(_GO_TEMPORARY)
    if made_of:
        rctx.execute(["sh", "-c", _KEEP_TOOL, "sh", rctx.path(_tool_file(rctx)), "{}/tool/{}".format(cache, made_of), result.stdout.strip()])
    if cache == str(rctx.path(".cache")):
        rctx.delete(".cache")

def _download(rctx):
    """Downloads the tool that was released for this machine, or takes the one that was kept when it was downloaded.

    Args:
      rctx: the context of the repository rule.

    Returns:
      whether there is one, and it could be had.
    """
    released = RELEASED_TOOLS.get(go_platform(rctx.os.name, rctx.os.arch))
    if not released:
        return False

    # Bazel keeps it, too, but sums it up with Java that is not compiled yet, while all libraries wait. So it is looked for here first.
    cache = None if rctx.os.name.startswith("windows") else _cache(rctx)
    kept = "{}/tool/{}".format(cache, released.sha256)
    tool = rctx.path(_tool_file(rctx))
    if not cache or rctx.execute(["sh", "-c", _FIND_RELEASED, "sh", kept, released.sha256, tool]).return_code != 0:
        result = rctx.download(released.url, tool, sha256 = released.sha256, executable = True, allow_fail = True)
        if not result.success:
            # buildifier: disable=print
            print("{} could not be downloaded, or is not what was released, so that ocipkg is compiled from source. Where that is what you want, set OCIPKG_TOOL={}.".format(released.url, _FROM_SOURCE))
            return False
        if cache:
            rctx.execute(["sh", "-c", _KEEP_TOOL, "sh", tool, kept, released.sha256])

    # What `ocipkg fingerprint` would print.
    rctx.file(_FINGERPRINT, released.sha256 + "\n", executable = False)
    return True

def _tool_repository_impl(rctx):
    prebuilt = rctx.getenv("OCIPKG_TOOL")
    if prebuilt and prebuilt != _FROM_SOURCE:
        binary = rctx.path(prebuilt)
        if not binary.exists or binary.is_dir:
            _fail(diagnostic(
                "OCIPKG_TOOL names {}, which is not a file.".format(prebuilt),
                "set it to an absolute path, or unset it for the tool of these rules",
            ))
        rctx.watch(binary)
        rctx.symlink(binary, _tool_file(rctx))
        result = rctx.execute([binary, "fingerprint"])
        if result.return_code != 0:
            _fail(diagnostic(
                "OCIPKG_TOOL names {}, which does not run: {}".format(prebuilt, result.stderr.strip() or "exit status {}".format(result.return_code)),
                "set it to the ocipkg of this version of rules_ocipkg, or unset it for the tool of these rules",
            ))
        rctx.file(_FINGERPRINT, result.stdout, executable = False)
        _write_build_file(rctx)
        return None

    downloaded = prebuilt != _FROM_SOURCE and _download(rctx)
    if not downloaded:
        _compile(rctx)
    _write_build_file(rctx)

    # One that was downloaded may be kept for other workspaces. Which Go is on PATH, Bazel does not see.
    return rctx.repo_metadata(reproducible = downloaded) if hasattr(rctx, "repo_metadata") else None

_tool_repository = repository_rule(
    implementation = _tool_repository_impl,
    doc = "The command `ocipkg` for the machine that Bazel runs on, as the file `ocipkg`, on Windows `ocipkg.exe`.",
    attrs = {
        "platform": attr.string(
            doc = "The operating system and the processor that the tool is for: what is kept for one must not be taken for another.",
        ),
    },
)

def _tool_impl(mctx):
    _tool_repository(
        name = "rules_ocipkg_tool",
        platform = mctx.os.name + " " + mctx.os.arch,
    )
    return mctx.extension_metadata(reproducible = True)

tool = module_extension(
    implementation = _tool_impl,
    arch_dependent = True,
    doc = "Makes @rules_ocipkg_tool; for this module's own use.",
    os_dependent = True,
)
