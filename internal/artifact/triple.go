package artifact

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
)

// Triple is a target triple as compilers spell it: arch-vendor-os[-env], for example x86_64-unknown-linux-gnu.
type Triple struct {
	Arch, Vendor, OS, Env string
}

// knownArch maps an architecture of a triple to Go's (and so OCI's) name and variant for it.
var knownArch = map[string]v1.Platform{
	"x86_64":      {Architecture: "amd64"},
	"aarch64":     {Architecture: "arm64"},
	"i686":        {Architecture: "386"},
	"armv7":       {Architecture: "arm", Variant: "v7"},
	"riscv64":     {Architecture: "riscv64"},
	"powerpc64le": {Architecture: "ppc64le"},
	"s390x":       {Architecture: "s390x"},
}

// triplePart keeps out of labels and messages whatever a config from elsewhere may call a target.
var triplePart = lazyregexp.New(`^[a-z0-9_.]+$`)

// ParseTriple reads a triple of three or four parts. Its architecture and system must be known ones; a common synonym
// (amd64, arm64, i386) is an error that names the right spelling, so that one platform has one name everywhere.
func ParseTriple(s string) (Triple, error) {
	fail := func(why string) (Triple, error) {
		return Triple{}, &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("target %q", s), Why: why,
			Do: "write it as arch-vendor-os-env, for example x86_64-unknown-linux-gnu or aarch64-apple-darwin"}
	}
	part := strings.Split(s, "-")
	switch {
	case len(part) == 3 && (part[1] == "linux" || part[1] == "windows"):
		// x86_64-linux-gnu, Debian's multiarch spelling.
		part = []string{part[0], vendorOf(part[1]), part[1], part[2]}
	case len(part) == 3 && part[2] == "mingw32":
		// x86_64-w64-mingw32, GNU's spelling of what LLVM and Rust call x86_64-pc-windows-gnu.
		part = []string{part[0], vendorOf("windows"), "windows", "gnu"}
	}
	if len(part) < 3 || len(part) > 4 {
		return fail("a target triple has three or four parts")
	}
	for _, p := range part {
		if !triplePart().MatchString(p) {
			return fail(fmt.Sprintf("%q is no part of a target triple", p))
		}
	}
	t := Triple{Arch: part[0], Vendor: part[1], OS: part[2]}
	if len(part) == 4 {
		t.Env = part[3]
	}
	if _, ok := knownArch[t.Arch]; !ok {
		for arch, p := range knownArch {
			if p.Architecture == t.Arch {
				return fail(fmt.Sprintf("the architecture is spelt %s here", arch))
			}
		}
		return fail(fmt.Sprintf("architecture %q is not a known one", t.Arch))
	}
	if !slices.Contains([]string{"linux", "darwin", "windows"}, t.OS) {
		return fail(fmt.Sprintf("system %q is not a known one", t.OS))
	}
	return t, nil
}

// vendorOf is the part of a triple that says nothing and is yet spelt differently for each system.
func vendorOf(os string) string {
	switch os {
	case "darwin":
		return "apple"
	case "windows":
		return "pc"
	}
	return "unknown"
}

// String spells the triple.
func (t Triple) String() string {
	s := t.Arch + "-" + t.Vendor + "-" + t.OS
	if t.Env != "" {
		s += "-" + t.Env
	}
	return s
}

// Platform is the OCI platform of the triple (image-spec, image-index.md). What OCI cannot say (the C library) is
// said by AnnotationTarget beside it.
func (t Triple) Platform() v1.Platform {
	p := knownArch[t.Arch]
	p.OS = t.OS
	return p
}

// HostTriple is the platform this program runs on. The C library is taken to be glibc on Linux and MSVC's on Windows.
func HostTriple() Triple {
	t := Triple{Arch: runtime.GOARCH, Vendor: vendorOf(runtime.GOOS), OS: runtime.GOOS}
	for arch, p := range knownArch {
		if p.Architecture == runtime.GOARCH {
			t.Arch = arch
		}
	}
	switch t.OS {
	case "linux":
		t.Env = "gnu"
	case "windows":
		t.Env = "msvc"
	}
	return t
}

// Fits reports whether a library for t can be linked into a program for want. A part that t does not know (a C
// library that could not be told from the bytes) fits any.
func (t Triple) Fits(want Triple) bool {
	if t.Arch != want.Arch || t.OS != want.OS {
		return false
	}
	have, haveABI := libcOf(t.Env)
	need, needABI := libcOf(want.Env)
	return (have == "" || need == "" || have == need) && (haveABI == "" || needABI == "" || haveABI == needABI)
}

// libcOf splits the last part of a triple into the C library and the calling convention of 32-bit Arm ("gnueabihf" is
// glibc with hard floats), of which archives tell neither.
func libcOf(env string) (libc, abi string) {
	libc, abi, found := strings.Cut(env, "eabi")
	if found {
		abi = "eabi" + abi
	}
	return libc, abi
}
