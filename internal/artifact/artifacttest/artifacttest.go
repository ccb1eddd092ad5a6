// Package artifacttest assembles small native libraries byte by byte, so that tests need neither a compiler nor the
// libraries of the machine they run on, and have other machines' libraries too. What comes out is ELF for 64-bit
// little-endian machines; it holds facts and no code.
package artifacttest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// Shared describes a shared library. A Machine of 0 is x86-64.
type Shared struct {
	Machine elf.Machine
	SONAME  string
	Needed  []string
	RunPath string
}

// Object describes a member of an archive. With Absolute its code fits only executables that are not position
// independent. Compiled with LTO it holds only a compiler's intermediate code.
type Object struct {
	Machine  elf.Machine
	Defines  []string
	Wants    []string
	Absolute bool
	LTO      bool
}

var le = binary.LittleEndian

func words(v ...uint64) []byte {
	var b []byte
	for _, v := range v {
		b = le.AppendUint64(b, v)
	}
	return b
}

func halves(v ...uint32) []byte {
	var b []byte
	for _, v := range v {
		b = le.AppendUint32(b, v)
	}
	return b
}

// names is a string table in the making; the empty string is at 0.
type names []byte

func (n *names) add(s string) uint32 {
	if len(*n) == 0 {
		*n = append(*n, 0)
	}
	if s == "" {
		return 0
	}
	at := len(*n)
	*n = append(append(*n, s...), 0)
	return uint32(at)
}

func header(kind elf.Type, machine elf.Machine, segments int, sections uint64, count, strings int) []byte {
	if machine == 0 {
		machine = elf.EM_X86_64
	}
	b := []byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = le.AppendUint16(b, uint16(kind))
	b = le.AppendUint16(b, uint16(machine))
	b = append(b, halves(1)...)
	var at uint64
	if segments > 0 {
		at = 64
	}
	b = append(b, words(0, at, sections)...)
	b = append(b, halves(0)...)
	for _, v := range []int{64, 56, segments, 64, count, strings} {
		b = le.AppendUint16(b, uint16(v))
	}
	return b
}

func symbol(name uint32, section uint16) []byte {
	b := append(halves(name), byte(elf.STB_GLOBAL)<<4, 0)
	return append(le.AppendUint16(b, section), words(0, 0)...)
}

// Bytes is the file. As after sstrip it has no section headers, which the run-time linker does not read either.
func (s Shared) Bytes() []byte {
	var table names
	var dynamic []byte
	for _, n := range s.Needed {
		dynamic = append(dynamic, words(uint64(elf.DT_NEEDED), uint64(table.add(n)))...)
	}
	if s.SONAME != "" {
		dynamic = append(dynamic, words(uint64(elf.DT_SONAME), uint64(table.add(s.SONAME)))...)
	}
	if s.RunPath != "" {
		dynamic = append(dynamic, words(uint64(elf.DT_RUNPATH), uint64(table.add(s.RunPath)))...)
	}
	symbols := append(make([]byte, 24), symbol(table.add("entry"), 1)...)
	hash := halves(1, 2, 1, 0, 0)
	hash = append(hash, make([]byte, 4)...) // to a multiple of 8

	const start = 64 + 2*56
	atSymbols := uint64(start)
	atHash := atSymbols + uint64(len(symbols))
	atTable := atHash + uint64(len(hash))
	for len(table)%8 != 0 {
		table = append(table, 0)
	}
	atDynamic := atTable + uint64(len(table))
	dynamic = append(dynamic, words(uint64(elf.DT_SYMTAB), atSymbols, uint64(elf.DT_SYMENT), 24, uint64(elf.DT_HASH), atHash,
		uint64(elf.DT_STRTAB), atTable, uint64(elf.DT_STRSZ), uint64(len(table)), 0, 0)...)
	size := atDynamic + uint64(len(dynamic))

	b := header(elf.ET_DYN, s.Machine, 2, 0, 0, 0)
	b = append(append(b, halves(uint32(elf.PT_LOAD), 4)...), words(0, 0, 0, size, size, 0x1000)...)
	b = append(append(b, halves(uint32(elf.PT_DYNAMIC), 4)...), words(atDynamic, atDynamic, atDynamic, uint64(len(dynamic)), uint64(len(dynamic)), 8)...)
	return append(append(append(append(b, symbols...), hash...), table...), dynamic...)
}

// Bytes is the object file.
func (o Object) Bytes() []byte {
	var table, sectionNames names
	symbols := make([]byte, 24)
	for _, name := range o.Defines {
		symbols = append(symbols, symbol(table.add(name), 1)...)
	}
	for _, name := range o.Wants {
		symbols = append(symbols, symbol(table.add(name), 0)...)
	}
	if len(table) == 0 {
		table.add("")
	}
	type section struct {
		name                string
		kind                elf.SectionType
		flags               elf.SectionFlag
		body                []byte
		link, info          uint32
		align, sizeOfMember uint64
	}
	code := section{name: ".text", kind: elf.SHT_PROGBITS, flags: elf.SHF_ALLOC | elf.SHF_EXECINSTR, body: make([]byte, 16), align: 16}
	if o.LTO {
		code = section{name: ".gnu.lto_.decls", kind: elf.SHT_PROGBITS, flags: 0x80000000, body: make([]byte, 16), align: 1}
		symbols = append(symbols, symbol(table.add("__gnu_lto_slim"), 0xfff2)...)
	}
	sections := []section{
		{}, code,
		{name: ".symtab", kind: elf.SHT_SYMTAB, body: symbols, link: 3, info: 1, align: 8, sizeOfMember: 24},
		{name: ".strtab", kind: elf.SHT_STRTAB, body: table, align: 1},
	}
	if o.Absolute {
		body := append(words(0), words(1<<32|uint64(elf.R_X86_64_32), 0)...)
		sections = append(sections, section{name: ".rela.text", kind: elf.SHT_RELA, flags: elf.SHF_INFO_LINK, body: body, link: 2, info: 1, align: 8, sizeOfMember: 24})
	}
	sections = append(sections, section{name: ".shstrtab", kind: elf.SHT_STRTAB, align: 1})
	for _, s := range sections {
		sectionNames.add(s.name)
	}
	sections[len(sections)-1].body = sectionNames

	b := make([]byte, 64)
	var headers []byte
	for _, s := range sections {
		for len(b)%16 != 0 {
			b = append(b, 0)
		}
		name := 0
		if s.name != "" {
			name = bytes.Index(sectionNames, []byte(s.name+"\x00"))
		}
		headers = append(headers, halves(uint32(name), uint32(s.kind))...)
		headers = append(headers, words(uint64(s.flags), 0, uint64(len(b)), uint64(len(s.body)))...)
		headers = append(headers, halves(s.link, s.info)...)
		headers = append(headers, words(s.align, s.sizeOfMember)...)
		b = append(b, s.body...)
	}
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	copy(b, header(elf.ET_REL, o.Machine, 0, uint64(len(b)), len(sections), len(sections)-1))
	return append(b, headers...)
}

// Archive is a static library of the objects, as `ar rcD` writes it, without an index.
func Archive(objects ...Object) []byte {
	b := []byte("!<arch>\n")
	for i, o := range objects {
		body := o.Bytes()
		b = append(b, fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n", fmt.Sprintf("o%d.o/", i), 0, 0, 0, "644", len(body))...)
		b = append(b, body...)
		if len(body)%2 != 0 {
			b = append(b, '\n')
		}
	}
	return b
}
