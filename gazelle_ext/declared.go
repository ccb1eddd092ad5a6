package ocipkg

import "os"

// headerIndexPath is what $(rlocationpath) makes of the index of all libraries that MODULE.bazel declares. The repository
// that has it is in the data of this library, and so in the runfiles of every gazelle_binary with it: see
// rules/private/header_index.bzl. Bazel's linker sets it; without Bazel it stays empty.
var headerIndexPath string

// moduleIndex stands for that index among the names of others.
const moduleIndex = "the index of MODULE.bazel"

// declares reports whether there is such an index. The file is empty where MODULE.bazel declares no library, and where an
// index is checked in; it is nowhere when the binary was started without its runfiles.
func declares() bool {
	if headerIndexPath == "" {
		return false
	}
	at, err := locate(headerIndexPath)
	if err != nil {
		return false
	}
	info, err := os.Stat(at)
	return err == nil && info.Size() > 0
}
