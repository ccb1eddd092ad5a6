#!/usr/bin/env bash
# release_prep.sh TAG: makes rules_ocipkg-TAG.tar.gz and rules_ocipkg-TAG.docs.tar.gz in the folder it is called in, from
# the commit that TAG names, and prints the notes of the release.
set -euo pipefail
tag=$1 version=${1#v}
repository=$(git rev-parse --show-toplevel)
name=rules_ocipkg

declared=$(git show "$tag:MODULE.bazel" | sed -n 's/^    version = "\(.*\)",$/\1/p' | head -1)
if [[ "$declared" != "$version" ]]; then
    echo "release_prep.sh: the tag is $tag, and MODULE.bazel says version $declared" >&2
    exit 1
fi

# Without the time, so that the same commit gives the same archive. What is left out, .gitattributes says.
git -C "$repository" archive --format=tar --prefix="$name-$version/" "$tag" | gzip --no-name >"$name-$tag.tar.gz"

# What the pages of the Bazel Central Registry show.
bazel=${BAZEL:-bazel} out=$PWD
cd "$repository"
"$bazel" build //rules:docs >&2
tar -C "$("$bazel" info bazel-bin)/rules" -czf "$out/$name-$tag.docs.tar.gz" defs.doc.binaryproto extensions.doc.binaryproto

cat <<NOTES
\`\`\`starlark
bazel_dep(name = "$name", version = "$version")

ocipkg_library = use_repo_rule("@$name//rules:defs.bzl", "ocipkg_library")

ocipkg_library(
    name = "zlib",
    image = "ghcr.io/acme/zlib:1.3.1@sha256:…",
)
\`\`\`

$(git show "$tag:CHANGELOG.md" | awk -v version="$version" '/^## /{shown = index($0, version) > 0; next} shown')
NOTES
