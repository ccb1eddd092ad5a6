package native

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// What is here assembles ELF files and archives byte by byte, so that most tests need neither a compiler nor files of
// somebody else's, and so that other machines' files can be had on any host.

type assembler struct {
	architecture
	buf []byte
}

func (a *assembler) order() binary.AppendByteOrder {
	if a.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func (a *assembler) u16(v ...uint16) {
	for _, v := range v {
		a.buf = a.order().AppendUint16(a.buf, v)
	}
}

func (a *assembler) u32(v ...uint32) {
	for _, v := range v {
		a.buf = a.order().AppendUint32(a.buf, v)
	}
}

// word appends address-sized numbers.
func (a *assembler) word(v ...uint64) {
	for _, v := range v {
		if a.is64 {
			a.buf = a.order().AppendUint64(a.buf, v)
		} else {
			a.u32(uint32(v))
		}
	}
}

func (a *assembler) sized(class32, class64 int) int {
	if a.is64 {
		return class64
	}
	return class32
}

func (a *assembler) header(typ elf.Type, phnum int, shoff uint64, shnum int) {
	class, data := elf.ELFCLASS32, elf.ELFDATA2LSB
	if a.is64 {
		class = elf.ELFCLASS64
	}
	if a.big {
		data = elf.ELFDATA2MSB
	}
	a.buf = append(a.buf, 0x7f, 'E', 'L', 'F', byte(class), byte(data), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	a.u16(uint16(typ), uint16(a.machine))
	a.u32(1)
	phoff := uint64(0)
	if phnum > 0 {
		phoff = uint64(a.sized(52, 64))
	}
	a.word(0, phoff, shoff)
	a.u32(0)
	a.u16(uint16(a.sized(52, 64)), uint16(a.sized(32, 56)), uint16(phnum), uint16(a.sized(40, 64)), uint16(shnum), uint16(max(0, shnum-1)))
}

func (a *assembler) segment(typ elf.ProgType, off, vaddr, size, align uint64) {
	if a.is64 {
		a.u32(uint32(typ), 4)
		a.word(off, vaddr, vaddr, size, size, align)
		return
	}
	a.u32(uint32(typ))
	a.word(off, vaddr, vaddr, size, size)
	a.u32(4)
	a.word(align)
}

func (a *assembler) symbol(name uint32, info, other byte, shndx uint16) {
	if a.is64 {
		a.u32(name)
		a.buf = append(a.buf, info, other)
		a.u16(shndx)
		a.word(0, 0)
		return
	}
	a.u32(name)
	a.word(0, 0)
	a.buf = append(a.buf, info, other)
	a.u16(shndx)
}

// names is a string table in the making.
type names struct{ bytes.Buffer }

func (n *names) add(s string) uint32 {
	if s == "" {
		return 0
	}
	if n.Len() == 0 {
		n.WriteByte(0)
	}
	at := n.Len()
	n.WriteString(s + "\x00")
	return uint32(at)
}

// library describes a shared library without section headers, as sstrip leaves one.
type library struct {
	arch     architecture
	soname   string
	needed   []string
	runpath  string
	rpath    string
	flags1   uint64
	interp   bool
	needs    map[string][]string // file to versions; a version in brackets is a weak need
	versions []string            // the first is the base
	defined  []string            // dynamic symbols
	wanted   []string
	buildID  []byte
	gnuHash  bool // DT_GNU_HASH in place of DT_HASH
}

const libraryBase = 0x10000 // where the file is loaded, so that addresses are not offsets

func (l library) assemble() []byte {
	a := &assembler{architecture: l.arch}
	var strtab names
	type part struct {
		tag  elf.DynTag
		body []byte
	}
	var parts []part
	var dyn [][2]uint64
	sub := func() *assembler { return &assembler{architecture: l.arch} }

	for _, s := range l.needed {
		dyn = append(dyn, [2]uint64{uint64(elf.DT_NEEDED), uint64(strtab.add(s))})
	}
	for tag, s := range map[elf.DynTag]string{elf.DT_SONAME: l.soname, elf.DT_RUNPATH: l.runpath, elf.DT_RPATH: l.rpath} {
		if s != "" {
			dyn = append(dyn, [2]uint64{uint64(tag), uint64(strtab.add(s))})
		}
	}
	if l.flags1 != 0 {
		dyn = append(dyn, [2]uint64{uint64(elf.DT_FLAGS_1), l.flags1})
	}

	syms := sub()
	syms.symbol(0, 0, 0, 0)
	for _, s := range l.wanted {
		syms.symbol(strtab.add(s), byte(elf.STB_GLOBAL)<<4, 0, 0)
	}
	for _, s := range l.defined {
		syms.symbol(strtab.add(s), byte(elf.STB_GLOBAL)<<4, 0, 1)
	}
	parts = append(parts, part{elf.DT_SYMTAB, syms.buf})
	count := uint32(1 + len(l.wanted) + len(l.defined))
	hash := sub()
	if l.gnuHash {
		first := uint32(1 + len(l.wanted))
		hash.u32(1, first, 1, 0)
		hash.word(0)
		if len(l.defined) == 0 {
			first = 0
		}
		hash.u32(first) // the only bucket
		for i := range l.defined {
			end := uint32(0)
			if i == len(l.defined)-1 {
				end = 1
			}
			hash.u32(0x100 | end)
		}
		parts = append(parts, part{elf.DT_GNU_HASH, hash.buf})
	} else {
		if l.arch.machine == elf.EM_S390 {
			hash.word(1, uint64(count))
		} else {
			hash.u32(1, count)
		}
		parts = append(parts, part{elf.DT_HASH, hash.buf})
	}

	if len(l.needs) > 0 {
		need := sub()
		i := 0
		for _, file := range sortedKeys(l.needs) {
			versions := l.needs[file]
			i++
			next := uint32(16 + 16*len(versions))
			if i == len(l.needs) {
				next = 0
			}
			need.u16(1, uint16(len(versions)))
			need.u32(strtab.add(file), 16, next)
			for k, v := range versions {
				flags := uint16(0)
				if v[0] == '[' {
					flags, v = versionWeak, v[1:len(v)-1]
				}
				next := uint32(16)
				if k == len(versions)-1 {
					next = 0
				}
				need.u32(0)
				need.u16(flags, 2)
				need.u32(strtab.add(v), next)
			}
		}
		parts = append(parts, part{elf.DT_VERNEED, need.buf})
		dyn = append(dyn, [2]uint64{uint64(elf.DT_VERNEEDNUM), uint64(len(l.needs))})
	}
	if len(l.versions) > 0 {
		def := sub()
		for i, v := range l.versions {
			flags, next := uint16(0), uint32(28)
			if i == 0 {
				flags = versionBase
			}
			if i == len(l.versions)-1 {
				next = 0
			}
			def.u16(1, flags, uint16(i+1), 1)
			def.u32(0, 20, next)
			def.u32(strtab.add(v), 0)
		}
		parts = append(parts, part{elf.DT_VERDEF, def.buf})
		dyn = append(dyn, [2]uint64{uint64(elf.DT_VERDEFNUM), uint64(len(l.versions))})
	}
	parts = append(parts, part{elf.DT_STRTAB, strtab.Bytes()})
	dyn = append(dyn, [2]uint64{uint64(elf.DT_STRSZ), uint64(strtab.Len())})

	note := sub()
	if l.buildID != nil {
		note.u32(4, uint32(len(l.buildID)), noteGNUBuildID)
		note.buf = append(note.buf, "GNU\x00"...)
		note.buf = append(note.buf, l.buildID...)
	}

	phnum := 3
	if l.interp {
		phnum++
	}
	off := uint64(a.sized(52, 64) + phnum*a.sized(32, 56))
	var body []byte
	for _, p := range parts {
		dyn = append(dyn, [2]uint64{uint64(p.tag), libraryBase + off + uint64(len(body))})
		body = append(body, p.body...)
		body = append(body, make([]byte, -len(body)&7)...)
	}
	noteOff := off + uint64(len(body))
	body = append(body, note.buf...)
	dynOff := off + uint64(len(body))
	dynamic := sub()
	for _, e := range dyn {
		dynamic.word(e[0], e[1])
	}
	dynamic.word(0, 0)
	size := dynOff + uint64(len(dynamic.buf))

	a.header(elf.ET_DYN, phnum, 0, 0)
	a.segment(elf.PT_LOAD, 0, libraryBase, size, 0x1000)
	a.segment(elf.PT_DYNAMIC, dynOff, libraryBase+dynOff, uint64(len(dynamic.buf)), 8)
	a.segment(elf.PT_NOTE, noteOff, libraryBase+noteOff, uint64(len(note.buf)), 4)
	if l.interp {
		a.segment(elf.PT_INTERP, 0, libraryBase, 0, 1)
	}
	return append(append(a.buf, body...), dynamic.buf...)
}

// object describes a relocatable file with one loaded section.
type object struct {
	arch     architecture
	section  string          // default ".text"
	flags    elf.SectionFlag // beside SHF_ALLOC
	symbols  []objectSymbol  // the first is number 1
	relocs   []reloc
	contents []byte
}

type objectSymbol struct {
	name    string
	bind    elf.SymBind
	vis     elf.SymVis
	defined bool
}

type reloc struct{ typ, symbol uint32 }

func (o object) assemble() []byte {
	a := &assembler{architecture: o.arch}
	sub := func() *assembler { return &assembler{architecture: o.arch} }
	var strtab, shstrtab names
	strtab.WriteByte(0)
	syms := sub()
	syms.symbol(0, 0, 0, 0)
	for _, s := range o.symbols {
		shndx := uint16(0)
		if s.defined {
			shndx = 1
		}
		syms.symbol(strtab.add(s.name), byte(s.bind)<<4|byte(elf.STT_OBJECT), byte(s.vis), shndx)
	}
	rel := sub()
	for _, r := range o.relocs {
		if o.arch.is64 {
			rel.word(4, uint64(r.symbol)<<32|uint64(r.typ), 0)
		} else {
			rel.word(4, uint64(r.symbol)<<8|uint64(r.typ))
		}
	}
	relType, relSize := elf.SHT_REL, uint64(8)
	if o.arch.is64 {
		relType, relSize = elf.SHT_RELA, 24
	}
	if o.section == "" {
		o.section = ".text"
	}
	if o.contents == nil {
		o.contents = make([]byte, 16)
	}
	type sec struct {
		name       string
		typ        elf.SectionType
		flags      elf.SectionFlag
		body       []byte
		link, info uint32
		entsize    uint64
	}
	secs := []sec{
		{},
		{name: o.section, typ: elf.SHT_PROGBITS, flags: elf.SHF_ALLOC | o.flags, body: o.contents},
		{name: ".rel" + o.section, typ: relType, body: rel.buf, link: 3, info: 1, entsize: relSize},
		{name: ".symtab", typ: elf.SHT_SYMTAB, body: syms.buf, link: 4, info: 1, entsize: uint64(a.sized(16, 24))},
		{name: ".strtab", typ: elf.SHT_STRTAB, body: strtab.Bytes()},
		{name: ".shstrtab", typ: elf.SHT_STRTAB},
	}
	nameAt := make([]uint32, len(secs))
	for i, s := range secs {
		nameAt[i] = shstrtab.add(s.name)
	}
	secs[5].body = shstrtab.Bytes()
	off := uint64(a.sized(52, 64))
	var body []byte
	table := sub()
	for i, s := range secs {
		table.u32(nameAt[i], uint32(s.typ))
		table.word(uint64(s.flags), 0, off+uint64(len(body)), uint64(len(s.body)))
		table.u32(s.link, s.info)
		table.word(1, s.entsize)
		body = append(body, s.body...)
		body = append(body, make([]byte, -len(body)&7)...)
	}
	a.header(elf.ET_REL, 0, off+uint64(len(body)), len(secs))
	return append(append(a.buf, body...), table.buf...)
}

var (
	amd64 = architecture{elf.EM_X86_64, true, false}
	i386  = architecture{elf.EM_386, false, false}
	arm64 = architecture{elf.EM_AARCH64, true, false}
	riscv = architecture{elf.EM_RISCV, true, false}
	s390x = architecture{elf.EM_S390, true, true}
)

func arHeader(name string, size int) string {
	return fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "644", size)
}

type arFile struct {
	name string
	body []byte
}

// arGNU writes an archive as GNU ar does: a symbol table, a table of long names, names that end in a slash.
func arGNU(files ...arFile) []byte {
	var b, long bytes.Buffer
	b.WriteString(magicArchive)
	b.WriteString(arHeader("/", 4) + "\x00\x00\x00\x00")
	nameOf := make([]string, len(files))
	for i, f := range files {
		nameOf[i] = f.name + "/"
		if len(nameOf[i]) > 16 {
			nameOf[i] = fmt.Sprintf("/%d", long.Len())
			long.WriteString(f.name + "/\n")
		}
	}
	if long.Len() > 0 {
		arAppend(&b, "//", long.Bytes())
	}
	for i, f := range files {
		arAppend(&b, nameOf[i], f.body)
	}
	return b.Bytes()
}

// arBSD writes one as the BSDs and macOS do: names before the bodies, padded with NULs.
func arBSD(files ...arFile) []byte {
	var b bytes.Buffer
	b.WriteString(magicArchive)
	arAppend(&b, "#1/20", append([]byte("__.SYMDEF SORTED\x00\x00\x00\x00"), 0, 0, 0, 0))
	for _, f := range files {
		name := f.name + string(make([]byte, -len(f.name)&3+4))
		arAppend(&b, fmt.Sprintf("#1/%d", len(name)), append([]byte(name), f.body...))
	}
	return b.Bytes()
}

func arAppend(b *bytes.Buffer, name string, body []byte) {
	b.WriteString(arHeader(name, len(body)))
	b.Write(body)
	if len(body)%2 == 1 {
		b.WriteByte('\n')
	}
}
