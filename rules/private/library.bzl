"""The repository rule `ocipkg_library`."""

load(":attributes.bzl", "RULE_ATTRIBUTES", "attribute_arguments")
load(":bazel_cache.bzl", "fetch_through_bazel_cache")
load(":tool.bzl", "tool_path")

# Bazel's default of 600 seconds kills a large library on a slow line. The tool notices by itself when nothing comes any more.
_TIMEOUT_SECONDS = 86400

def label_prefix(label):
    """Returns what a label begins with, up to `//`.

    Generated BUILD files are read with the repository mapping of whoever declared the library, who need not know
    rules_cc; the canonical form of a label means the same everywhere.

    Args:
      label: a Label.

    Returns:
      A string such as `@@rules_cc~`.
    """
    return str(label).partition("//")[0]

def fetch_arguments(name, attributes, workspace, prefixes):
    """Assembles the arguments of `ocipkg fetch`.

    Args:
      name: apparent name of the repository.
      attributes: a struct with RULE_ATTRIBUTES; build_file is left out.
      workspace: path of the root module's folder.
      prefixes: dict from a repository's name in this module to what its labels begin with.

    Returns:
      A list of strings.
    """
    args = ["fetch", attributes.image, "--quiet", "--name", name, "--output", "."] + attribute_arguments(attributes, workspace)
    for repository in sorted(prefixes):
        args += ["--repository", repository + "=" + prefixes[repository]]
    return args

def _ocipkg_library_impl(rctx):
    image = rctx.attr.image

    # What in the environment changes the tool's result has to be known to Bazel. Switches only: Bazel writes the values
    # that it is asked for to a file, so credentials go from the environment to the tool alone.
    rctx.getenv("OCIPKG_REQUIRE_DIGEST")

    name = rctx.original_name
    args = fetch_arguments(name, rctx.attr, str(rctx.workspace_root), {
        "platforms": label_prefix(Label("@platforms//os:os")),
        "rules_cc": label_prefix(Label("@rules_cc//cc:defs.bzl")),
        "rules_ocipkg": label_prefix(Label("//rules:defs.bzl")),
    })
    if rctx.attr.build_file:
        args += ["--build-file", rctx.path(rctx.attr.build_file)]
        rctx.watch(rctx.attr.build_file)  # from Bazel 8 on, a path is not watched for having been asked for
    rctx.report_progress("Fetching " + image)

    def run(more):
        result = rctx.execute([tool_path(rctx)] + args + more, timeout = _TIMEOUT_SECONDS)
        if result.return_code != 0:
            fail("\nocipkg_library(name = \"{}\"): {}".format(name, result.stderr.strip().removeprefix("ocipkg: ") or "exit status {}".format(result.return_code)))
        if result.stderr.strip():
            # buildifier: disable=print
            print(result.stderr.strip())
        return json.decode(result.stdout)

    cache = rctx.getenv("OCIPKG_BAZEL_CACHE", "")
    if cache not in ["", "0", "1", "distdir"]:
        fail("\nOCIPKG_BAZEL_CACHE is {}. It can be 1, for the repository cache, or distdir, for that and --distdir.".format(repr(cache)))
    if cache not in ["", "0"] and "@sha256:" in image:
        fetch_through_bazel_cache(rctx, cache == "distdir", run)
    fetched = run([])
    if not fetched["wasPinned"]:
        # buildifier: disable=print
        print("\nocipkg_library(name = \"{}\") is not pinned: its tag may point elsewhere tomorrow. In MODULE.bazel write\n    image = \"{}\",\nor run `ocipkg pin`.".format(name, fetched["image"]))
    if hasattr(rctx, "repo_metadata"):
        return rctx.repo_metadata(reproducible = fetched["wasPinned"])
    return None

ocipkg_library = repository_rule(
    doc = """Makes a repository of a prebuilt native library from an OCI registry.

```starlark
ocipkg_library = use_repo_rule("@rules_ocipkg//rules:defs.bzl", "ocipkg_library")

ocipkg_library(
    name = "zlib",
    image = "ghcr.io/acme/zlib:1.3.1@sha256:…",
)
```

The repository has these targets:

* `@zlib`: depend on this. Static and shared library are under one label; `linkstatic` chooses.
* `@zlib//:headers`: the headers alone.
* `@zlib//:static`, `@zlib//:shared`: one kind of library whatever `linkstatic` says.
* `@zlib//:<library>`: one library of several, such as `@openssl//:crypto`.
* `@zlib//:files`, `@zlib//:pkgconfig`, `@zlib//:license`: files.

Credentials are those of docker and podman, among others; see `ocipkg login` and docs/registries.md.
""",
    implementation = _ocipkg_library_impl,
    attrs = RULE_ATTRIBUTES,
)
