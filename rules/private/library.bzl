"""The repository rule `ocipkg_library`, and what it shares with the repositories of the module extension."""

load(":platforms.bzl", "platforms_error")
load(":tool_path.bzl", "tool_path")

# Bazel's default of 600 seconds kills a large library on a slow line. The tool notices by itself when nothing comes any more.
_TIMEOUT_SECONDS = 86400

# The tool's exit status where an image is not for the platform; docs/errors.md.
_MISMATCH = 8

# Attributes that mean the same in ocipkg_library and in the tag ocipkg.library.
SHARED_ATTRS = {
    "image": attr.string(
        doc = "The library: `registry/name:tag@sha256:...`. Without a digest the tag is looked up at every fetch, and the line that pins it is printed; `OCIPKG_REQUIRE_DIGEST=1` makes that an error.",
        mandatory = True,
    ),
    "linkage": attr.string(
        doc = """What the library's targets link, of a library that is there static and shared: `"static"`, `"shared"`, or `"auto"` for what `linkstatic` says. Without it the flag `--@rules_ocipkg//rules:linkage` decides, whose default is `auto`. Example: `linkage = "shared"`.""",
        values = ["", "auto", "shared", "static"],
    ),
}

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

def fetch_arguments(name, image, prefixes, target = "", linkage = "", spokes = {}):
    """Assembles the arguments of `ocipkg fetch`.

    Args:
      name: apparent name of the repository, and name of its main target.
      image: reference of the library.
      prefixes: dict from a repository's name in this module to what its labels begin with.
      target: target triple, or an empty string for the host's.
      linkage: "auto", "shared" or "static", or an empty string for what the flag says.
      spokes: dict from the target triples that the repository serves to the names of the repositories for these, or to
        an empty string for a folder.

    Returns:
      A list of strings.
    """
    args = ["fetch", image, "--quiet", "--name", name, "--output", "."]
    if target:
        args += ["--target", target]
    if linkage:
        args += ["--linkage", linkage]
    for triple in sorted(spokes):
        args += ["--spoke", triple + "=" + spokes[triple] if spokes[triple] else triple]
    for repository in sorted(prefixes):
        args += ["--repository", repository + "=" + prefixes[repository]]
    return args

def fetch_library(rctx, name, declared, target = "", spokes = {}, or_nothing = False):
    """Fills the repository of a repository rule that has SHARED_ATTRS, by running the tool.

    Args:
      rctx: the context of the repository rule.
      name: name of the library: of its main target, and in messages.
      declared: how it is declared, for messages, such as `ocipkg_library`; an empty string where somebody else says that
        an image is not pinned.
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

    rctx.report_progress("Fetching " + image)
    result = rctx.execute(
        [tool_path(rctx)] + fetch_arguments(
            name,
            image,
            {
                "platforms": label_prefix(Label("@platforms//os:os")),
                "rules_cc": label_prefix(Label("@rules_cc//cc:defs.bzl")),
                "rules_ocipkg": label_prefix(Label("//rules:defs.bzl")),
            },
            target = target,
            linkage = rctx.attr.linkage,
            spokes = spokes,
        ),
        timeout = _TIMEOUT_SECONDS,
    )
    if result.return_code == _MISMATCH and or_nothing:
        rctx.file("BUILD.bazel", "# The image has nothing for this platform.\n", executable = False)
        return None
    told = "{}(name = \"{}\")".format(declared or "ocipkg.library", name)
    if result.return_code != 0:
        fail("\n{}: {}".format(told, result.stderr.strip().removeprefix("ocipkg: ") or "exit status {}".format(result.return_code)))
    if result.stderr.strip():
        # buildifier: disable=print
        print(result.stderr.strip())
    fetched = json.decode(result.stdout)
    if declared and not fetched["wasPinned"]:
        # buildifier: disable=print
        print("\n{} is not pinned: its tag may point elsewhere tomorrow. In MODULE.bazel write\n    image = \"{}\",\nor run `ocipkg pin`.".format(told, fetched["image"]))
    if hasattr(rctx, "repo_metadata"):
        return rctx.repo_metadata(reproducible = fetched["wasPinned"])
    return None

def _ocipkg_library_impl(rctx):
    name = rctx.original_name
    error = platforms_error(rctx.attr.platforms)
    if rctx.attr.platforms and rctx.attr.target:
        error = "target and platforms: give one of them"
    if error:
        fail("\nocipkg_library(name = \"{}\"): {}".format(name, error))
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
    attrs = SHARED_ATTRS | {
        "platforms": attr.string_list(
            doc = """Target triples of several platforms to fetch the library for; the one that is built for is linked. The image must have all of them. Example: `platforms = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]`.""",
        ),
        "target": attr.string(
            doc = "Target triple of the library, such as `aarch64-unknown-linux-gnu`. The default is the machine that runs Bazel.",
        ),
    },
)
