package cgo

import (
	"slices"
	"strings"
)

// What the go command takes for an operating system or a processor in the name of a file (internal/syslist in Go's
// sources). "osx" and "qnx" are in Gazelle's list of platforms only.
var (
	systems = words("aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris wasip1 windows zos")
	unix    = words("aix android darwin dragonfly freebsd hurd illumos ios linux netbsd openbsd solaris")
	archs   = words("386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm")
)

func words(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(s) {
		set[w] = true
	}
	return set
}

// platformOf finds the system and processor that the name of a file restricts it to: zlib_linux_arm64.go.
func platformOf(name string) (os, arch string) {
	name, _, _ = strings.Cut(name, ".")
	_, rest, ok := strings.Cut(name, "_") // a file that is called linux.go is for every system
	if !ok {
		return "", ""
	}
	parts := strings.Split(rest, "_")
	if n := len(parts); parts[n-1] == "test" {
		parts = parts[:n-1]
	}
	n := len(parts)
	switch {
	case n >= 2 && systems[parts[n-2]] && archs[parts[n-1]]:
		return parts[n-2], parts[n-1]
	case n >= 1 && systems[parts[n-1]]:
		return parts[n-1], ""
	case n >= 1 && archs[parts[n-1]]:
		return "", parts[n-1]
	}
	return "", ""
}

// is reports whether a platform is of a system; Android is Linux too, iOS Darwin and illumos Solaris.
func (p Platform) is(os string) bool {
	return p.OS == os || p.OS == "android" && os == "linux" || p.OS == "ios" && os == "darwin" || p.OS == "illumos" && os == "solaris"
}

// has reports whether a build tag is set on a platform without anyone's asking for it. Of Go versions all are: which one
// will compile the file is not known here.
func (p Platform) has(tag string) bool {
	return p.is(tag) || p.Arch == tag || tag == "unix" && unix[p.OS] || tag == "cgo" || tag == "gc" || strings.HasPrefix(tag, "go1.")
}

// The macros by which C code asks for a system or a processor.
var (
	systemMacros = map[string][]string{
		"_WIN32": {"windows"}, "__MINGW32__": {"windows"}, "WIN32": {"windows"},
		"__linux__": {"linux", "android"}, "__linux": {"linux", "android"}, "linux": {"linux", "android"}, "__ANDROID__": {"android"},
		"__APPLE__": {"darwin", "ios"}, "__MACH__": {"darwin", "ios"},
		"__FreeBSD__": {"freebsd"}, "__NetBSD__": {"netbsd"}, "__OpenBSD__": {"openbsd"}, "__DragonFly__": {"dragonfly"},
		"__sun": {"solaris", "illumos"}, "_AIX": {"aix"},
		"__unix__": {"aix", "android", "dragonfly", "freebsd", "illumos", "linux", "netbsd", "openbsd", "solaris"},
	}
	archMacros = map[string][]string{
		"__x86_64__": {"amd64"}, "__amd64__": {"amd64"}, "__i386__": {"386"}, "__aarch64__": {"arm64"}, "__arm__": {"arm"},
		"__s390x__": {"s390x"}, "__riscv": {"riscv64"}, "__powerpc64__": {"ppc64", "ppc64le"},
	}
)

// macros are those that a compiler for the platform defines, as far as they tell the platform. Those of other platforms
// are known to be undefined.
func macros(p Platform) definitions {
	d := definitions{}
	for name, systems := range systemMacros {
		d[name] = definition{defined: slices.Contains(systems, p.OS), value: "1"}
	}
	for name, archs := range archMacros {
		d[name] = definition{defined: slices.Contains(archs, p.Arch), value: "1"}
	}
	d["__cplusplus"] = definition{}
	return d
}
