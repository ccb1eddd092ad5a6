package native

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The formats of this file and of pe.go are in Microsoft's "PE Format" (learn.microsoft.com/windows/win32/debug/pe-format);
// the large object files of /bigobj and the anonymous ones of /GL are in winnt.h alone (ANON_OBJECT_HEADER). All
// numbers are little endian. debug/pe disclaims hostile input, and knows no exports.

var le = binary.LittleEndian

// coffMachines spells IMAGE_FILE_MACHINE_*.
var coffMachines = map[uint16]string{
	0x014c: "i686", 0x8664: "x86_64", 0xaa64: "aarch64", 0x01c4: "armv7", 0xa641: "arm64ec", 0xa64e: "arm64x",
}

func coffMachine(m uint16) Machine {
	arch, known := coffMachines[m]
	if !known {
		arch = fmt.Sprintf("pe-%#x", m)
	}
	return Machine{OS: "windows", Arch: arch}
}

const (
	coffHeader    = 20
	bigHeader     = 56
	importHeader  = 20
	sectionHeader = 40
	// maxSections is where IMAGE_SYM_DEBUG and its kind begin in a 16-bit section number.
	maxSections = 0xfeff
)

// classes of anonymous objects.
const (
	bigObject  = "\xc7\xa1\xba\xd1\xee\xba\xa9\x4b\xaf\x20\xfa\xf6\x6a\xa4\xdc\xb8" // {D1BAA1C7-BAEE-4BA9-AF20-FAF66AA4DCB8}
	ltcgObject = "\x38\xfe\xb3\x0c\xa5\xd9\xab\x4d\xac\x9b\xd6\xb6\x22\x26\x53\xc2" // {0CB3FE38-D9A5-4DAB-AC9B-D6B6222653C2}
)

// coffKind is what a file without a magic number of its own is among COFF's.
type coffKind int

const (
	notCOFF coffKind = iota
	coffObject
	coffBigObject
	coffBytecode // Microsoft's intermediate code, of cl /GL
	coffImport   // a short import object: one function of one DLL
)

// coffKindOf tells from the header what a file of size bytes is.
func coffKindOf(head []byte, size int64) coffKind {
	if len(head) < coffHeader {
		return notCOFF
	}
	if le.Uint16(head) == 0 && le.Uint16(head[2:]) == 0xffff {
		switch version := le.Uint16(head[4:]); {
		case version == 0:
			return coffImport
		case len(head) < 28:
		case version >= 2 && string(head[12:28]) == bigObject && len(head) >= bigHeader:
			return coffBigObject
		case string(head[12:28]) == ltcgObject:
			return coffBytecode
		}
		return notCOFF
	}
	_, known := coffMachines[le.Uint16(head)]
	sections, symbols := int64(le.Uint16(head[2:])), int64(le.Uint32(head[8:]))
	if !known || sections > maxSections || le.Uint16(head[16:]) != 0 || coffHeader+sections*sectionHeader > size || symbols > size {
		return notCOFF
	}
	return coffObject
}

// coffFile is one COFF object file.
type coffFile struct {
	input
	machine          uint16
	big              bool
	nsections        uint64
	symoff, nsymbols uint64
	header           uint64
	names            stringTable
}

type coffSection struct {
	name             string
	off, size, flags uint32
}

func openCOFF(r io.ReaderAt, size int64, kind coffKind) (*coffFile, error) {
	f := &coffFile{input: newInput(r, size), big: kind == coffBigObject, header: coffHeader}
	if f.big {
		f.header = bigHeader
	}
	h, err := f.read(0, f.header)
	if err != nil {
		return nil, fmt.Errorf("COFF header: %w", err)
	}
	if f.big {
		f.machine, f.nsections = le.Uint16(h[6:]), uint64(le.Uint32(h[44:]))
		f.symoff, f.nsymbols = uint64(le.Uint32(h[48:])), uint64(le.Uint32(h[52:]))
	} else {
		f.machine, f.nsections = le.Uint16(h), uint64(le.Uint16(h[2:]))
		f.symoff, f.nsymbols = uint64(le.Uint32(h[8:])), uint64(le.Uint32(h[12:]))
	}
	if f.symoff == 0 {
		f.nsymbols = 0
		return f, nil
	}
	// The table of strings follows the symbols; its first four bytes are its size and count as a part of it.
	at := f.symoff + f.nsymbols*f.symbolSize()
	if at >= uint64(f.size) {
		if at > uint64(f.size) {
			return nil, fmt.Errorf("symbol table: %d symbols at offset %d go beyond the end of the file (%d bytes)", f.nsymbols, f.symoff, f.size)
		}
		return f, nil
	}
	n, err := f.read(at, 4)
	if err != nil {
		return nil, fmt.Errorf("names of symbols: %w", err)
	}
	if f.names, err = f.stringTable(at, uint64(le.Uint32(n))); err != nil {
		return nil, fmt.Errorf("names of symbols: %w", err)
	}
	return f, nil
}

func (f *coffFile) symbolSize() uint64 {
	if f.big {
		return 20
	}
	return 18
}

func (f *coffFile) sections() ([]coffSection, error) {
	b, err := f.table(f.header, f.nsections, sectionHeader, sectionHeader)
	if err != nil {
		return nil, fmt.Errorf("section headers: %w", err)
	}
	var list []coffSection
	for ; len(b) > 0; b = b[sectionHeader:] {
		name := strings.TrimRight(string(b[:8]), "\x00")
		if digits, ok := strings.CutPrefix(name, "/"); ok {
			// What is longer than eight bytes is in the table of strings. In base 64, with two slashes, lie only the
			// names of debugging sections of very large files.
			if at, err := strconv.ParseUint(digits, 10, 32); err == nil {
				if name, err = f.names.at(at); err != nil {
					return nil, fmt.Errorf("section headers: %w", err)
				}
			}
		}
		list = append(list, coffSection{name: name, size: le.Uint32(b[16:]), off: le.Uint32(b[20:]), flags: le.Uint32(b[36:])})
	}
	return list, nil
}

// contents reads what a section holds.
func (f *coffFile) contents(s coffSection) ([]byte, error) {
	b, err := f.read(uint64(s.off), uint64(s.size))
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", s.name, err)
	}
	return b, nil
}

type coffSymbol struct {
	name    string
	defined bool
	weak    bool
	local   bool
	section int // from 1; 0 undefined, -1 absolute, -2 debugging
}

func (f *coffFile) symbols(each func(coffSymbol)) error {
	size := f.symbolSize()
	b, err := f.table(f.symoff, f.nsymbols, size, size)
	if err != nil {
		return fmt.Errorf("symbol table: %w", err)
	}
	const external, static, weakExternal = 2, 3, 105
	for len(b) > 0 {
		e := b[:size]
		number, rest := int(int16(le.Uint16(e[12:]))), e[14:]
		if f.big {
			number, rest = int(int32(le.Uint32(e[12:]))), e[16:]
		}
		class, aux := rest[2], uint64(rest[3])
		b = b[min(uint64(len(b)), size*(1+aux)):]
		if class != external && class != weakExternal && class != static {
			continue
		}
		var name string
		if le.Uint32(e) == 0 {
			if name, err = f.names.at(uint64(le.Uint32(e[4:]))); err != nil {
				return fmt.Errorf("symbol table: %w", err)
			}
		} else {
			name = strings.TrimRight(string(e[:8]), "\x00")
		}
		value := le.Uint32(e[8:])
		each(coffSymbol{
			name:    undecorated(name, f.machine),
			defined: number != 0 || class == external && value != 0, // of section 0 with a value it is a common symbol
			weak:    class == weakExternal,
			local:   class == static,
			section: number,
		})
	}
	return nil
}

// undecorated is the name without the underscore that 32-bit x86 puts before every name of C.
func undecorated(name string, machine uint16) string {
	if machine == 0x014c {
		return strings.TrimPrefix(name, "_")
	}
	return name
}

// importObject is a short import object.
type importObject struct {
	machine     uint16
	symbol, dll string // as they are in the file
}

func readImportObject(r io.ReaderAt, size int64) (importObject, error) {
	f := newInput(r, size)
	h, err := f.read(0, importHeader)
	if err != nil {
		return importObject{}, fmt.Errorf("import header: %w", err)
	}
	b, err := f.read(importHeader, uint64(le.Uint32(h[12:])))
	if err != nil {
		return importObject{}, fmt.Errorf("import header: %w", err)
	}
	symbol, rest, ok := strings.Cut(string(b), "\x00")
	dll, _, ended := strings.Cut(rest, "\x00")
	if !ok || !ended || symbol == "" || dll == "" {
		return importObject{}, errors.New("import header: it names no symbol and DLL")
	}
	return importObject{machine: le.Uint16(h[6:]), symbol: symbol, dll: dll}, nil
}

// directives are the options for the linker that a compiler left in a .drectve section.
type directives struct {
	defaultLibs []string          // as given, without quotes
	mismatch    map[string]string // /FAILIFMISMATCH: what must be the same in all objects of one program
	gnu         bool              // written by GCC
}

// parseDirectives splits a .drectve section: options begin with "/" or "-" and are separated by spaces; quotes hold
// spaces together. An option that means nothing here is passed over.
func parseDirectives(section []byte) directives {
	d := directives{mismatch: map[string]string{}}
	text := strings.TrimPrefix(strings.TrimRight(string(section), "\x00 "), "\xef\xbb\xbf")
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		var word strings.Builder
		quoted, end := false, len(text)
		for i := range len(text) {
			if text[i] == '"' {
				quoted = !quoted
				continue
			}
			if text[i] == ' ' && !quoted {
				end = i
				break
			}
			word.WriteByte(text[i])
		}
		text = text[end:]
		option, value, _ := strings.Cut(word.String(), ":")
		switch strings.ToLower(option) {
		case "/defaultlib", "-defaultlib":
			if value != "" {
				d.defaultLibs = append(d.defaultLibs, value)
			}
		case "/failifmismatch", "-failifmismatch":
			if key, v, ok := strings.Cut(value, "="); ok {
				d.mismatch[key] = v
			}
		case "-aligncomm":
			d.gnu = true // GCC's and LLVM's for MinGW
		}
	}
	return d
}
