#!/usr/bin/env bash
# release_prep.sh TAG [PLATFORM…]: makes rules_ocipkg-TAG.tar.gz, rules_ocipkg-TAG.docs.tar.gz and for each platform
# ocipkg-TAG-PLATFORM in the folder it is called in, from the commit that TAG names, and prints the notes of the release. A platform
# is GOOS-GOARCH.
set -euo pipefail
tag=$1 version=${1#v}
shift
platforms=${*:-darwin-amd64 darwin-arm64 linux-amd64 linux-arm64 windows-amd64 windows-arm64}
repository=$(git rev-parse --show-toplevel)
out=$PWD
name=rules_ocipkg
releases=https://github.com/ocipkg/rules_ocipkg/releases/download

said() {
    [[ $2 == "$version" ]] || { echo "release_prep.sh: the tag is $tag, and $1 says version $2" >&2 && exit 1; }
}
for module in MODULE.bazel gazelle_plugin/MODULE.bazel; do
    said "$module" "$(git show "$tag:$module" | sed -n 's/^    version = "\(.*\)",$/\1/p' | head -1)"
done
said "gazelle_plugin/MODULE.bazel of rules_ocipkg" "$(git show "$tag:gazelle_plugin/MODULE.bazel" | sed -n 's/^bazel_dep(name = "rules_ocipkg", version = "\(.*\)")$/\1/p')"
said fetcher/version.go "$(git show "$tag:fetcher/version.go" | sed -n 's/^const release = "\(.*\)"$/\1/p')"

# What a repository rule runs on each platform, compiled as that rule itself does it (rules/private/tool.bzl), from nothing but the
# commit, so that anybody can see whether they are what the sources say.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git -C "$repository" archive --format=tar "$tag" | tar -C "$work" -xf -
tools=
for platform in $platforms; do
    file=ocipkg-$tag-$platform
    [[ $platform != windows-* ]] || file+=.exe
    (cd "$work" && GOENV=off GOFLAGS='' GOWORK=off GOEXPERIMENT='' GOAMD64='' GOARM64='' GOFIPS140='' GODEBUG='' \
        GOOS=${platform%-*} GOARCH=${platform#*-} CGO_ENABLED=0 \
        go build -mod=readonly -trimpath -buildvcs=false -ldflags='-s -w' -o "$out/$file" ./fetcher)
    sum=$(sha256sum <"$file")
    tools+=$(printf '    "%s": struct(\n        sha256 = "%s",\n        url = "%s",\n    ),' "$platform" "${sum%% *}" "$releases/$tag/$file")$'\n'
done
released=$(git -C "$repository" show "$tag:rules/private/released.bzl")
filled=${released/RELEASED_TOOLS = \{\}/"RELEASED_TOOLS = {"$'\n'"$tools}"}
[[ $filled != "$released" ]] || { echo "release_prep.sh: rules/private/released.bzl has no RELEASED_TOOLS = {}" >&2 && exit 1; }

# Without the time, so that the same commit gives the same archive. What is left out, .gitattributes says.
git -C "$repository" archive --format=tar --prefix="$name-$version/" \
    --add-virtual-file="$name-$version/rules/private/released.bzl:$filled"$'\n' "$tag" -- . ':(exclude)rules/private/released.bzl' | gzip --no-name >"$name-$tag.tar.gz"

# What the pages of the Bazel Central Registry show.
bazel=${BAZEL:-bazel}
cd "$repository"
"$bazel" build //rules:docs >&2
tar -C "$("$bazel" info bazel-bin)/rules" -czf "$out/$name-$tag.docs.tar.gz" defs.doc.binaryproto extensions.doc.binaryproto

cat <<NOTES
\`\`\`starlark
bazel_dep(name = "$name", version = "$version")
bazel_dep(name = "${name}_gazelle_plugin", version = "$version") # with Gazelle

ocipkg_library = use_repo_rule("@$name//rules:defs.bzl", "ocipkg_library")

ocipkg_library(
    name = "zlib",
    image = "ghcr.io/acme/zlib:1.3.1@sha256:…",
)
\`\`\`

$(git show "$tag:CHANGELOG.md" | awk -v version="$version" '/^## /{shown = index($0, version) > 0; next} shown')
NOTES
