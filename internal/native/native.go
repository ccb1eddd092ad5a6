// Package native reads facts about native libraries from their bytes: which machine a file is for, what it needs at
// run time, whether its code may go into a shared object, which symbols it gives and wants.
//
// Invariant: a fact is measured from bytes, never taken from a file name or from what somebody declared. The bytes are
// hostile: no input panics, and none makes a reader allocate more than a small multiple of the input's size or work
// longer than that size justifies. Every read of an ELF file is checked against the size and charged to a budget
// (elf.go), because sections that overlap would otherwise let a small file be read a million times; that is also why
// debug/elf serves here for its constants only (its documentation disclaims hostile input, and it cannot read a shared
// library whose section headers were stripped).
//
// Strings that come from a file (SONAME, symbols, member names) may hold any byte but NUL; whoever prints or renders
// them quotes them.
//
// The package knows nothing of OCI or Bazel. It is handed files by internal/artifact, which turns the facts into the
// metadata of a package.
package native

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Machine is what a binary was built for. The zero Machine is that of an archive without an ELF object in it.
type Machine struct {
	// OS is "linux" for ELF that names no other system, or "freebsd", "netbsd", "openbsd", "solaris"; "" for any
	// other.
	OS string
	// Arch is spelt as in GNU and LLVM triples: "x86_64", "aarch64", "i686", "armv7" (any 32-bit little-endian Arm),
	// "riscv64", "powerpc64le", "s390x". A machine outside that list has a name of its own, which is none of these.
	Arch string
}

// Shared is a shared library.
type Shared struct {
	Machine Machine
	// Libc is "gnu" when the library NEEDs libc.so.6 or has GLIBC_ versions, "musl" when it NEEDs libc.musl-*.so.1, or
	// libc.so without symbol versions, which musl does not have; "" when neither can be told (also on Android).
	Libc string
	// SONAME is DT_SONAME or "".
	SONAME string
	// Needed is DT_NEEDED in file order.
	Needed []string
	// RunPath is DT_RUNPATH, or DT_RPATH where there is none (ld.so ignores the latter beside the former), split at
	// ':'; an empty element means the current directory.
	RunPath []string
	// Floors is the highest version needed by family, from .gnu.version_r: "GLIBC" to "2.34", "GLIBCXX" to "3.4.29".
	// Only versions of digits and dots count, so GLIBC_PRIVATE does not; nor do weak needs, without which ld.so loads
	// the library all the same. GLIBC_ABI_DT_RELR counts as GLIBC 2.36, the first that has it.
	Floors map[string]string
	// Versions are the symbol versions it defines, sorted, without the base version: "OPENSSL_3.0.0".
	Versions []string
	// BuildID is the GNU build-id note in hex or "".
	BuildID string
	// Exports counts its defined global, weak and unique dynamic symbols.
	Exports int
}

// PIC says how position independent an archive's code is.
type PIC string

const (
	PICNone PIC = "none" // absolute relocations: fits only an executable that is not position independent
	PICPie  PIC = "pie"  // fits executables, not shared objects
	PICFull PIC = "pic"  // fits everything
)

// Archive is a static library.
type Archive struct {
	// Machine is that of its ELF objects, which all agree.
	Machine Machine
	// Members counts the objects in it; other files are not counted.
	Members int
	PIC     PIC
	// PICReason says for none and pie why, naming the first relocation found that does not fit:
	// "inflate.o: R_X86_64_PC32 against symbol crc_table". For a machine whose relocations this package does not know,
	// and for LTO bytecode, which has none yet, PIC is pie and the reason says that it was not measured: an archive
	// wrongly kept out of shared objects costs less than a link that fails.
	PICReason string
	// LTOOnly is set when every object holds only a compiler's intermediate code (GCC's slim LTO objects, LLVM
	// bitcode). Symbols of such objects are not in Defined and Undefined.
	LTOOnly bool
	// CXX is set when it needs a C++ run-time: among Undefined are an Itanium-mangled name, a personality routine of
	// C++, or a function of the C++ ABI that no C library has.
	CXX bool
	// Defined are its global and weak defined symbols, hidden ones too, sorted and unique.
	Defined []string
	// Undefined are the symbols that it wants and no member defines, sorted and unique; without those wanted only
	// weakly and without those that every linker makes (_GLOBAL_OFFSET_TABLE_).
	Undefined []string
}

// Type is what kind of file something is.
type Type string

const (
	TypeShared     Type = "shared"
	TypeArchive    Type = "archive" // a thin one too
	TypeObject     Type = "object"  // LLVM bitcode too
	TypeExecutable Type = "executable"
	TypeText       Type = "text" // for example a GNU ld script that stands in for libfoo.so
	TypeUnknown    Type = "unknown"
)

const (
	magicELF            = "\x7fELF"
	magicArchive        = "!<arch>\n"
	magicThinArchive    = "!<thin>\n"
	magicBitcode        = "BC\xc0\xde"
	magicBitcodeWrapper = "\xde\xc0\x17\x0b"
)

// sniffed is how much of a file that has no magic number Sniff looks at to tell text from other bytes.
const sniffed = 1024

// Sniff tells from the first bytes, and for ELF from the headers, what a file of size bytes is. A position independent
// executable is told from a shared library as ld.so tells them: by DF_1_PIE; older ones by having an interpreter and
// no SONAME. An ELF file that is broken past its header is what its header says, so that the reader for that type
// reports the damage. The error is one of reading r, never one about what the file holds.
func Sniff(r io.ReaderAt, size int64) (Type, error) {
	head := make([]byte, max(0, min(size, sniffed)))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		if err != nil && !errors.Is(err, io.EOF) {
			return TypeUnknown, err
		}
		head = head[:n]
	}
	switch has := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }; {
	case has(magicELF):
		return sniffELF(r, size), nil
	case has(magicArchive), has(magicThinArchive):
		return TypeArchive, nil
	case has(magicBitcode), has(magicBitcodeWrapper):
		return TypeObject, nil
	case isText(head):
		return TypeText, nil
	}
	return TypeUnknown, nil
}

func sniffELF(r io.ReaderAt, size int64) Type {
	f, err := openELF(r, size)
	if err != nil {
		return TypeUnknown
	}
	switch f.typ {
	case elf.ET_REL:
		return TypeObject
	case elf.ET_EXEC:
		return TypeExecutable
	case elf.ET_DYN:
		if d, err := f.dynamic(); err == nil && d.executable() {
			return TypeExecutable
		}
		return TypeShared
	}
	return TypeUnknown
}

func isText(head []byte) bool {
	if len(head) == 0 {
		return false
	}
	for i := 0; i < len(head); {
		r, n := utf8.DecodeRune(head[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			// The last character may go on past what was read.
			return i > 0 && len(head) == sniffed && !utf8.FullRune(head[i:])
		case r < ' ' && !strings.ContainsRune("\t\n\v\f\r\x1b", r), r == 0x7f:
			return false
		}
		i += n
	}
	return true
}

// CompareVersions compares dotted numeric versions as for GLIBC_2.34 against GLIBC_2.4: part by part, as numbers of
// any length, a part that is missing being 0. It returns -1, 0 or +1. A part that is no number sorts before one that
// is, and two such parts as text.
func CompareVersions(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		if c := comparePart(x, y); c != 0 {
			return c
		}
	}
	return 0
}

func comparePart(x, y string) int {
	nx, ny := isNumber(x), isNumber(y)
	switch {
	case nx && ny:
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
	case nx:
		return 1
	case ny:
		return -1
	}
	return strings.Compare(x, y)
}

// isNumber reports whether s is digits only. The empty part, which is a missing one, is the number 0.
func isNumber(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// notA is the error of a reader that was given another kind of file.
func notA(want string, r io.ReaderAt, size int64) error {
	kind, err := Sniff(r, size)
	if err != nil {
		return err
	}
	what := map[Type]string{
		TypeShared:     "an ELF shared library",
		TypeArchive:    "an ar archive",
		TypeObject:     "an object file",
		TypeExecutable: "an ELF executable",
		TypeText:       "a text file (a GNU ld script, if it is called like a library)",
		TypeUnknown:    "a file of another format, or a broken one",
	}[kind]
	return fmt.Errorf("not %s but %s", want, what)
}
