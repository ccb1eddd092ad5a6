package ccplan

import (
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
)

// Where the settings are that a plan asks; rules/private/platforms.bzl makes those of the platforms, one called as each
// triple that it knows.
const (
	platformSetting = "@rules_ocipkg//rules/private/platforms:"
	linkageSetting  = "@rules_ocipkg//rules:linkage_"
)

var constraints = map[string]string{
	"x86_64": "x86_64", "aarch64": "aarch64", "i686": "x86_32", "armv7": "armv7", "riscv64": "riscv64",
	"powerpc64le": "ppc64le", "s390x": "s390x",
	"linux": "linux", "darwin": "macos", "windows": "windows",
}

// Constraints are the labels of the constraint values that a platform has which a library for t can be linked for. Of a
// C library that is not known there is none.
func Constraints(t artifact.Triple) []string {
	values := []string{"@platforms//cpu:" + constraints[t.Arch], "@platforms//os:" + constraints[t.OS]}
	switch {
	case t.OS == "linux" && strings.HasPrefix(t.Env, "gnu"):
		values = append(values, "@rules_ocipkg//rules/libc:glibc")
	case t.OS == "linux" && strings.HasPrefix(t.Env, "musl"):
		values = append(values, "@rules_ocipkg//rules/libc:musl")
	case t.OS == "windows" && t.Env == "msvc":
		values = append(values, "@rules_ocipkg//rules/windows_abi:msvc")
	case t.OS == "windows" && strings.HasPrefix(t.Env, "gnu"):
		values = append(values, "@rules_ocipkg//rules/windows_abi:mingw")
	}
	return values
}
