"""Bazel's own caches for libraries: --repository_cache and --distdir. See docs/air-gapped.md.

Bazel keeps files, by their digests, that it has downloaded itself. The tool does the downloading here, so both are asked:
Bazel for a file that it must not download, which it answers from its caches alone; and, once the tool has it, to
"download" that file from this machine, by which it gets into the cache.
"""

load(":diagnostic.bzl", "diagnostic", "fail_with")

# Where blobs lie meanwhile, in the repository that is being made.
_FOLDER = ".ocipkg_blobs"

# A manifest names the config, the config what its layers are, and before them there may be an index.
_ROUNDS = 4

def _probe(rctx, digits, distdir):
    # In a distdir, files are looked for by the last part of a URL; the file of this one is nowhere. Bazel warns of that,
    # as it does not of no URL at all.
    for urls in [[]] + ([["file:///ocipkg/" + digits]] if distdir else []):
        found = rctx.download(
            allow_fail = True,
            output = _FOLDER + "/" + digits,
            sha256 = digits,
            url = urls,
        )
        if found.success:
            return True
    return False

def fetch_through_bazel_cache(rctx, told, run):
    """Brings what is pinned into the store, with what Bazel's caches have of it, and adds to them what they lack.

    It does nothing where OCIPKG_BAZEL_CACHE does not ask for it.

    Args:
      rctx: the context of the repository rule.
      told: what is made, for messages.
      run: a function that runs the tool with more arguments, and returns what it prints, decoded, or None where the image
        has nothing for the platform.
    """
    cache = rctx.getenv("OCIPKG_BAZEL_CACHE", "")
    if cache not in ["", "0", "1", "distdir"]:
        fail_with(diagnostic(
            "{}: OCIPKG_BAZEL_CACHE is {}, which means nothing.".format(told, repr(cache)),
            "set it to 1, for the repository cache, to distdir, for that and --distdir, or not at all",
        ))
    if cache in ["", "0"]:
        return
    there = {}
    for _ in range(_ROUNDS):
        lacking = run(["--blobs", _FOLDER, "--lacking"])
        if not lacking:
            break  # the image has nothing for the platform
        found = [digits for digits in lacking["blobs"] if _probe(rctx, digits, cache == "distdir")]
        there |= {digits: True for digits in found}
        if not found:
            break
    kept = run(["--blobs", _FOLDER])
    for digits in kept["blobs"] if kept else []:
        if digits not in there:
            rctx.download(
                output = _FOLDER + "/cached",
                sha256 = digits,
                url = ["file://" + str(rctx.path(_FOLDER + "/" + digits))],
            )
    rctx.delete(_FOLDER)
