"""The repository rule `ocipkg_library`, and what it shares with the repositories of the module extension."""

load(":attributes.bzl", "RULE_ATTRIBUTES", "attribute_arguments")
load(":bazel_cache.bzl", "fetch_through_bazel_cache")
load(":diagnostic.bzl", "diagnostic", "fail_with")
load(":platforms.bzl", "platforms_error")
load(":tool.bzl", "tool_path")

# Bazel's default of 600 seconds kills a large library on a slow line. The tool notices by itself when nothing comes any more.
_TIMEOUT_SECONDS = 86400

# The tool's exit status where an image is not for the platform; docs/errors.md.
_MISMATCH = 8

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

def fetch_arguments(name, attributes, workspace, prefixes, target = "", spokes = {}):
    """Assembles the arguments of `ocipkg fetch`.

    Args:
      name: apparent name of the repository, and name of its main target.
      attributes: a struct with RULE_ATTRIBUTES; build_file is left out.
      workspace: path of the root module's folder.
      prefixes: dict from a repository's name in this module to what its labels begin with.
      target: target triple, or an empty string for the host's.
      spokes: dict from the target triples that the repository serves to the names of the repositories for these, or to
        an empty string for a folder.

    Returns:
      A list of strings.
    """
    args = ["fetch", attributes.image, "--quiet", "--name", name, "--output", "."] + attribute_arguments(attributes, workspace)
    if target:
        args += ["--target", target]
    for triple in sorted(spokes):
        args += ["--spoke", triple + "=" + spokes[triple] if spokes[triple] else triple]
    for repository in sorted(prefixes):
        args += ["--repository", repository + "=" + prefixes[repository]]
    return args

def fetch_library(rctx, name, declared, target = "", spokes = {}, or_nothing = False):
    """Fills the repository of a repository rule that has RULE_ATTRIBUTES, by running the tool.

    Args:
      rctx: the context of the repository rule.
      name: name of the library: of its main target, and in messages.
      declared: how it is declared, for messages, such as `ocipkg_library`; an empty string where somebody else says what
        is wrong with its image, as that it is not pinned.
      target: target triple, or an empty string for the host's.
      spokes: dict from target triples to repositories, as in `fetch_arguments`.
      or_nothing: whether an image that is not for the target becomes a repository without targets.

    Returns:
      What the rule returns.
    """
    image = rctx.attr.image

    # What in the environment changes the tool's result has to be known to Bazel. Switches only: Bazel writes the values
    # that it is asked for to a file, so credentials go from the environment to the tool alone.
    rctx.getenv("OCIPKG_REQUIRE_DIGEST")

    args = fetch_arguments(
        name,
        rctx.attr,
        str(rctx.workspace_root),
        {
            "platforms": label_prefix(Label("@platforms//os:os")),
            "rules_cc": label_prefix(Label("@rules_cc//cc:defs.bzl")),
            "rules_ocipkg": label_prefix(Label("//rules:defs.bzl")),
        },
        target = target,
        spokes = spokes,
    )
    if rctx.attr.build_file:
        args += ["--build-file", rctx.path(rctx.attr.build_file)]
        rctx.watch(rctx.attr.build_file)  # from Bazel 8 on, a path is not watched for having been asked for
    if not declared:
        args.append("--of-hub")
    told = "{}(name = \"{}\")".format(declared or "ocipkg.library", name)
    rctx.report_progress("Fetching " + image)

    def run(more):
        result = rctx.execute([tool_path(rctx)] + args + more, timeout = _TIMEOUT_SECONDS)
        if result.return_code == _MISMATCH and or_nothing:
            return None
        if result.return_code != 0:
            if "ocipkg: " in result.stderr:
                # The tool says by itself what to do.
                fail_with(diagnostic("{}: {}".format(told, result.stderr.strip().removeprefix("ocipkg: ")), ""))
            fail_with(diagnostic(
                "{}: the tool could not be started, or was ended: {} (exit status {})".format(told, result.stderr.strip(), result.return_code),
                "see whether programs may run from Bazel's output base, or set OCIPKG_TOOL to the absolute path of an ocipkg binary",
            ))
        if result.stderr.strip():
            # buildifier: disable=print
            print(result.stderr.strip())
        return json.decode(result.stdout)

    if "@sha256:" in image:
        fetch_through_bazel_cache(rctx, told, run)
    fetched = run([])
    if not fetched:
        rctx.file("BUILD.bazel", "# The image has nothing for this platform.\n", executable = False)
        return None
    if declared and not fetched["wasPinned"]:
        # buildifier: disable=print
        print("\n{} is not pinned: its tag may point elsewhere tomorrow. In MODULE.bazel write\n    image = \"{}\",\nor run `bazel run @rules_ocipkg//:ocipkg -- pin`.".format(told, fetched["image"]))
    if hasattr(rctx, "repo_metadata"):
        return rctx.repo_metadata(reproducible = fetched["wasPinned"])
    return None

def _ocipkg_library_impl(rctx):
    name = rctx.original_name
    error = platforms_error(rctx.attr.platforms)
    if rctx.attr.platforms and rctx.attr.target:
        error = diagnostic("it has both target and platforms.", "give one of them")
    if error:
        fail_with(diagnostic("ocipkg_library(name = \"{}\"): {}".format(name, error.message), error.do))
    return fetch_library(
        rctx,
        name,
        "ocipkg_library",
        target = rctx.attr.target,
        spokes = {triple: "" for triple in rctx.attr.platforms},
    )

ocipkg_library = repository_rule(
    doc = """Makes a repository of a prebuilt native library from an OCI registry.

```starlark
ocipkg_library = use_repo_rule("@rules_ocipkg//rules:defs.bzl", "ocipkg_library")

ocipkg_library(
    name = "zlib",
    image = "ghcr.io/acme/zlib:1.3.1@sha256:...",
)
```

The repository has these targets:

* `@zlib`: depend on this. Static and shared library are under one label; `linkstatic`, the flag
  `--@rules_ocipkg//rules:linkage` and the attribute `linkage` choose.
* `@zlib//:headers`: the headers alone.
* `@zlib//:static`, `@zlib//:shared`: one kind of library whatever these say.
* `@zlib//:<library>`: one library of several, such as `@openssl//:crypto`.
* `@zlib//:files`, `@zlib//:pkgconfig`, `@zlib//:license`: files.

It is for one platform, or with `platforms` for several, all of which are fetched; the module extension `ocipkg` fetches
those alone that something is built for. See docs/consuming.md.

Credentials are those of docker and podman, among others; see `ocipkg login` and docs/registries.md.
""",
    implementation = _ocipkg_library_impl,
    attrs = RULE_ATTRIBUTES | {
        "platforms": attr.string_list(
            doc = """Target triples of several platforms to fetch the library for; the one that is built for is linked. The image must have all of them. Example: `platforms = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]`.""",
        ),
        "target": attr.string(
            doc = "Target triple of the library, such as `aarch64-unknown-linux-gnu`. The default is the machine that runs Bazel.",
        ),
    },
)
