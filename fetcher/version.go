package main

import (
	"runtime/debug"
	"strings"
)

// release is the version of the source tree, for builds that know no other: Bazel compiles the module from a folder.
const release = "0.1.0-dev"

// version is the module's: of `go install …@version` that version, of a checkout the commit as Go writes it.
var version = versionOf(debug.ReadBuildInfo())

func versionOf(info *debug.BuildInfo, ok bool) string {
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return release
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}
