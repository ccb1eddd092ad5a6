// Package native reads facts about native libraries from their bytes: which machine a file is for, what it needs at
// run time, whether its code may go into a shared object, which symbols it gives and wants. It reads ELF, Mach-O, PE and
// COFF, the ar archives of their objects, and .pc files.
//
// Invariant: a fact is measured from bytes, never taken from a file name or from what somebody declared. The bytes are
// hostile: no input panics, and none makes a reader allocate more than a multiple of the input's size or work longer
// than that size justifies. Every read is checked against the size and charged to a budget (input.go), because
// tables that overlap would otherwise let a small file be read a million times; that is also why debug/elf serves here
// for its constants only, and debug/macho and debug/pe not at all (their documentation disclaims hostile input, and
// debug/elf cannot read a shared library whose section headers were stripped).
//
// The multiple is 64, and 1 MiB beside it, of everything that is allocated on the way, not of what there is at one time; the
// fuzz targets hold the readers to it. The size itself cannot be the bound: a symbol of one byte is a string in a list and in a
// map, which take many times that. What counts is that no number in the file decides. A .pc file counts with 64 KiB more
// than it has, to which its variables may expand.
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
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Machine is what a binary was built for. The zero Machine is that of an archive without an object in it.
type Machine struct {
	// OS is "linux" for ELF that names no other system, or "freebsd", "netbsd", "openbsd", "solaris"; "darwin" for
	// macOS, and "ios", "ios-simulator" and so on for Apple's others; "windows"; "" for any other, and for Mach-O
	// objects that do not say.
	OS string
	// Arch is spelt as in GNU and LLVM triples: "x86_64", "aarch64", "i686", "armv7" (any 32-bit little-endian Arm),
	// "riscv64", "powerpc64le", "s390x". A machine outside that list has a name of its own, which is none of these.
	Arch string
}

// Shared is a shared library: an ELF shared object, a dylib of macOS, a DLL.
type Shared struct {
	Machine Machine
	// Libc says whose C library it is linked with. On Linux it is "gnu" when the library NEEDs libc.so.6 or has GLIBC_
	// versions, "musl" when it NEEDs libc.musl-*.so.1, or libc.so without symbol versions, which musl does not have. On
	// Windows it is "msvc" or "gnu" (MinGW) by the run-time DLLs that it imports, else by the mark of the linker that
	// made it. "" when it cannot be told (also on Android), and for macOS, which has one.
	Libc string
	// ABI tells the two calling conventions of 32-bit Arm apart, as triples spell them: "eabihf" passes floating-point
	// numbers in registers for such, "eabi" does not. "" for other processors, and where the file does not say.
	ABI string
	// SONAME is the name it gives itself: DT_SONAME, the install name of a dylib (LC_ID_DYLIB), the name in a DLL's
	// table of exports. "" for none.
	SONAME string
	// Needed are the libraries that it is not loaded without, in file order, as the file spells them: DT_NEEDED, the
	// install names of a dylib's dependencies, the DLLs that a DLL imports from.
	Needed []string
	// Weak are those that it is loaded without too: a dylib's weak dependencies, a DLL's delayed imports.
	Weak []string
	// Reexports are those of Needed whose symbols it offers as its own (LC_REEXPORT_DYLIB).
	Reexports []string
	// RunPath is DT_RUNPATH, or DT_RPATH where there is none (ld.so ignores the latter beside the former), split at
	// ':', where an empty element means the current directory; or LC_RPATH.
	RunPath []string
	// Floors is the lowest version by family that it is content with. Of ELF the families are those of
	// .gnu.version_r: "GLIBC" to "2.34", "GLIBCXX" to "3.4.29". Only versions of digits and dots count, so
	// GLIBC_PRIVATE does not; nor do weak needs, without which ld.so loads the library all the same.
	// GLIBC_ABI_DT_RELR counts as GLIBC 2.36, the first that has it. Of Mach-O it is "macOS" to "11.0".
	Floors map[string]string
	// Versions are the symbol versions it defines, sorted, without the base version: "OPENSSL_3.0.0".
	Versions []string
	// BuildID is the GNU build-id note, or LC_UUID, in hex; "" for none.
	BuildID string
	// Exports counts what it offers: the defined global, weak and unique dynamic symbols of ELF, a dylib's trie of
	// exports, a DLL's functions with and without a name. Names that are there twice count once.
	Exports int
	// ExportsHash is the SHA-256 of these names in hex, "" for none. Each name is followed by its version, if it has
	// one ("@@OPENSSL_3.0.0" for a default version, "@OPENSSL_1.1" for another), and a newline; the lines are sorted by
	// bytes. A Mach-O name has its underscore, a nameless function of a DLL is "#" and its ordinal.
	ExportsHash string
	// CXXFlavour says whose C++ standard library its symbols and dependencies speak of.
	CXXFlavour CXXFlavour
	// CXXExports is set when what it offers has names of C++, so that its users need a compiler of its kind.
	CXXExports bool
	// CRT is the C run-time library that a DLL imports from: "ucrt", "msvcrt", or an old one with a number
	// ("msvcr120"). "" for none, which is a DLL with the run-time library inside, and for other systems.
	CRT string
}

// PIC says how position independent an archive's code is.
type PIC string

const (
	PICNone PIC = "none" // absolute relocations: fits only an executable that is not position independent
	PICPie  PIC = "pie"  // fits executables, not shared objects
	PICFull PIC = "pic"  // fits everything
)

// Archive is a static library, or the import library of a DLL.
type Archive struct {
	// Machine is that of its objects, which all agree.
	Machine Machine
	// Libc says whose C library its objects were compiled against, where symbols that only one has, or marks of the
	// compiler, tell: "gnu" on Linux (glibc's checked functions), "msvc" or "gnu" (MinGW) on Windows. Mostly "".
	Libc string
	// Members counts the objects in it, import objects too; other files are not counted.
	Members int
	// PIC is measured from the relocations of ELF. Code for macOS and Windows always fits everything.
	PIC PIC
	// PICReason says for none and pie why, naming the first relocation found that does not fit:
	// "inflate.o: R_X86_64_PC32 against symbol crc_table". For a machine whose relocations this package does not know,
	// and for LTO bytecode, which has none yet, PIC is pie and the reason says that it was not measured: an archive
	// wrongly kept out of shared objects costs less than a link that fails.
	PICReason string
	// LTOOnly is set when every object holds only a compiler's intermediate code (GCC's slim LTO objects, LLVM
	// bitcode, those of cl /GL). Symbols of such objects are not in Defined and Undefined.
	LTOOnly bool
	// CXX is set when it needs a C++ run-time: among Undefined are an Itanium-mangled name, a personality routine of
	// C++, a function of the C++ ABI that no C library has, or a name of Microsoft's C++.
	CXX bool
	// CXXFlavour says whose C++ standard library its symbols speak of.
	CXXFlavour CXXFlavour
	// Import is set when it is an import library: all it holds leads to the functions of DLLs.
	Import bool
	// DLLs are the DLLs that its import objects lead to, sorted, each once, as spelt there. A static library that
	// brings its imports with it has some too.
	DLLs []string
	// Floors is the lowest version by family that all its objects are content with: "macOS" to "11.0".
	Floors map[string]string
	// DefaultLibs are the libraries that its objects tell Microsoft's linkers to add (/DEFAULTLIB in .drectve), sorted,
	// in lower case.
	DefaultLibs []string
	// Mismatch is what its objects want to be the same in a whole program (/FAILIFMISMATCH in .drectve): "RuntimeLibrary"
	// to "MD_DynamicRelease", "_ITERATOR_DEBUG_LEVEL" to "0".
	Mismatch map[string]string
	// Defined are its global and weak defined symbols, hidden ones too, sorted and unique, without the underscore that
	// Mach-O and 32-bit Windows put before every name of C.
	Defined []string
	// Undefined are the symbols that it wants and no member defines, sorted and unique, spelt as in Defined; without
	// those wanted only weakly and without those that every linker makes (_GLOBAL_OFFSET_TABLE_).
	Undefined []string
}

// Type is what kind of file something is.
type Type string

const (
	TypeShared     Type = "shared"
	TypeArchive    Type = "archive" // a thin one too
	TypeObject     Type = "object"  // LLVM bitcode too
	TypeExecutable Type = "executable"
	TypeBundle     Type = "bundle"    // a plug-in of macOS, which is loaded and cannot be linked with
	TypeUniversal  Type = "universal" // several Mach-O files, or archives of such, in one
	TypeText       Type = "text"      // for example a GNU ld script that stands in for libfoo.so
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

// Sniff tells from the first bytes and the headers what a file of size bytes is. A position independent
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
	case isMachO(head):
		return sniffMachO(r, size), nil
	case isFat(head):
		return TypeUniversal, nil
	case has("MZ"):
		return sniffPE(r, size), nil
	case has(magicArchive), has(magicThinArchive):
		return TypeArchive, nil
	case has(magicBitcode), has(magicBitcodeWrapper):
		return TypeObject, nil
	case isText(head):
		return TypeText, nil
	case coffKindOf(head, size) != notCOFF:
		return TypeObject, nil
	}
	return TypeUnknown, nil
}

func sniffMachO(r io.ReaderAt, size int64) Type {
	// Only the header: a file that is broken past it is what its header says.
	f := newInput(r, size)
	h, err := f.read(0, 16)
	if err != nil {
		return TypeUnknown
	}
	typ := le.Uint32(h[12:])
	if m := le.Uint32(h); m != machoMagic32 && m != machoMagic64 {
		typ = binary.BigEndian.Uint32(h[12:])
	}
	switch typ {
	case machoObject:
		return TypeObject
	case machoExecute:
		return TypeExecutable
	case machoDylib:
		return TypeShared
	case machoBundle:
		return TypeBundle
	}
	return TypeUnknown
}

func sniffPE(r io.ReaderAt, size int64) Type {
	f, err := openPE(r, size)
	switch {
	case err != nil:
		return TypeUnknown
	case f.characteristics&peDLL != 0:
		return TypeShared
	}
	return TypeExecutable
}

// ReadShared reads a shared library of size bytes. Anything else is an error that says what it is instead, as is a table
// that contradicts the file's size or structure. A universal file is an error of type *Universal.
func ReadShared(r io.ReaderAt, size int64) (*Shared, error) {
	var head [8]byte
	if n, err := r.ReadAt(head[:max(0, min(size, 8))], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if isFat(head[:n]) {
		return nil, universal(r, size)
	} else if isMachO(head[:n]) {
		return readDylib(r, size)
	} else if string(head[:2]) == "MZ" {
		return readPE(r, size)
	}
	return readELFShared(r, size)
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
		TypeShared:     "a shared library",
		TypeArchive:    "an ar archive",
		TypeObject:     "an object file",
		TypeExecutable: "an executable",
		TypeBundle:     "a plug-in of macOS (a bundle), which nothing can be linked with",
		TypeUniversal:  "a universal file",
		TypeText:       "a text file (a GNU ld script, if it is called like a library)",
		TypeUnknown:    "a file of another format, or a broken one",
	}[kind]
	return fmt.Errorf("not %s but %s", want, what)
}
