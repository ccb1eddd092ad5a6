"""Bazel's own caches for libraries: --repository_cache and --distdir. See docs/air-gapped.md.

Bazel keeps files, by their digests, that it has downloaded itself. The tool does the downloading here, so both are asked:
Bazel for a file that it must not download, which it answers from its caches alone; and, once the tool has it, to
"download" that file from this machine, by which it gets into the cache.
"""

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

def fetch_through_bazel_cache(rctx, distdir, run):
    """Brings a pinned library into the store, with what Bazel's caches have of it, and adds to them what they lack.

    Args:
      rctx: the context of the repository rule.
      distdir: whether to look into --distdir, too.
      run: a function that runs `ocipkg fetch` for the library with more arguments, and returns what it prints, decoded,
        or None where the image has nothing for the platform.
    """
    there = {}
    for _ in range(_ROUNDS):
        lacking = run(["--blobs", _FOLDER, "--lacking"])
        if not lacking:
            break  # the image has nothing for the platform
        found = [digits for digits in lacking["blobs"] if _probe(rctx, digits, distdir)]
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
