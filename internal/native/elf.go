package native

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// elfFile is one ELF file.
type elfFile struct {
	input
	order binary.ByteOrder
	is64  bool
	typ   elf.Type
	mach  elf.Machine
	osabi elf.OSABI
	flags uint32

	phoff, shoff         uint64
	phentsize, shentsize uint64
	phnum, shnum         uint64
	shstrndx             uint64
}

type segment struct {
	typ                        elf.ProgType
	off, vaddr, filesz, palign uint64
}

type section struct {
	name              string
	typ               elf.SectionType
	flags             elf.SectionFlag
	off, size         uint64
	link, info        uint32
	entsize, nameOffs uint64
}

func openELF(r io.ReaderAt, size int64) (*elfFile, error) {
	f := &elfFile{input: newInput(r, size)}
	ident, err := f.read(0, elf.EI_NIDENT)
	if err != nil {
		return nil, fmt.Errorf("ELF header: %w", err)
	}
	if string(ident[:4]) != magicELF {
		return nil, errors.New("not an ELF file")
	}
	switch elf.Data(ident[elf.EI_DATA]) {
	case elf.ELFDATA2LSB:
		f.order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		f.order = binary.BigEndian
	default:
		return nil, fmt.Errorf("ELF header: byte order %d is neither little (1) nor big (2)", ident[elf.EI_DATA])
	}
	switch elf.Class(ident[elf.EI_CLASS]) {
	case elf.ELFCLASS32:
	case elf.ELFCLASS64:
		f.is64 = true
	default:
		return nil, fmt.Errorf("ELF header: class %d is neither 32 (1) nor 64 bit (2)", ident[elf.EI_CLASS])
	}
	f.osabi = elf.OSABI(ident[elf.EI_OSABI])
	h, err := f.read(0, f.sized(52, 64))
	if err != nil {
		return nil, fmt.Errorf("ELF header: %w", err)
	}
	f.typ = elf.Type(f.order.Uint16(h[16:]))
	f.mach = elf.Machine(f.order.Uint16(h[18:]))
	f.flags = f.order.Uint32(h[f.sized(36, 48):])
	f.phoff = f.word(h[f.sized(28, 32):])
	f.shoff = f.word(h[f.sized(32, 40):])
	counts := h[f.sized(42, 54):]
	f.phentsize = uint64(f.order.Uint16(counts))
	f.phnum = uint64(f.order.Uint16(counts[2:]))
	f.shentsize = uint64(f.order.Uint16(counts[4:]))
	f.shnum = uint64(f.order.Uint16(counts[6:]))
	f.shstrndx = uint64(f.order.Uint16(counts[8:]))
	return f, nil
}

// sized chooses by the file's class.
func (f *elfFile) sized(class32, class64 uint64) uint64 {
	if f.is64 {
		return class64
	}
	return class32
}

// word reads an address-sized number.
func (f *elfFile) word(b []byte) uint64 {
	if f.is64 {
		return f.order.Uint64(b)
	}
	return uint64(f.order.Uint32(b))
}

func (f *elfFile) segments() ([]segment, error) {
	if f.phnum == 0 {
		return nil, nil
	}
	b, err := f.table(f.phoff, f.phnum, f.phentsize, f.sized(32, 56))
	if err != nil {
		return nil, fmt.Errorf("program headers: %w", err)
	}
	list := make([]segment, 0, f.phnum)
	for e := range slices.Chunk(b, int(f.phentsize)) {
		list = append(list, segment{
			typ:    elf.ProgType(f.order.Uint32(e)),
			off:    f.word(e[f.sized(4, 8):]),
			vaddr:  f.word(e[f.sized(8, 16):]),
			filesz: f.word(e[f.sized(16, 32):]),
			palign: f.word(e[f.sized(28, 48):]),
		})
	}
	return list, nil
}

// sections reads the section headers, with names if named is set.
func (f *elfFile) sections(named bool) ([]section, error) {
	fail := func(err error) ([]section, error) { return nil, fmt.Errorf("section headers: %w", err) }
	if f.shoff == 0 {
		return nil, nil
	}
	want := f.sized(40, 64)
	count, shstrndx := f.shnum, f.shstrndx
	// With 0xff00 sections and more, as C++ has, the true numbers are in the first header (gABI, 4-2).
	if count == 0 || shstrndx == uint64(elf.SHN_XINDEX) {
		b, err := f.table(f.shoff, 1, f.shentsize, want)
		if err != nil {
			return fail(err)
		}
		first := f.section(b)
		if count == 0 {
			count = first.size
		}
		if shstrndx == uint64(elf.SHN_XINDEX) {
			shstrndx = uint64(first.link)
		}
	}
	if count == 0 {
		return nil, nil
	}
	b, err := f.table(f.shoff, count, f.shentsize, want)
	if err != nil {
		return fail(err)
	}
	list := make([]section, 0, count)
	for e := range slices.Chunk(b, int(f.shentsize)) {
		list = append(list, f.section(e))
	}
	if !named || shstrndx == 0 {
		return list, nil
	}
	if shstrndx >= count {
		return fail(fmt.Errorf("the table of names is section %d of %d", shstrndx, count))
	}
	names, err := f.stringTable(list[shstrndx].off, list[shstrndx].size)
	if err != nil {
		return fail(fmt.Errorf("names: %w", err))
	}
	for i := range list {
		if list[i].name, err = names.at(list[i].nameOffs); err != nil {
			return fail(fmt.Errorf("name of section %d: %w", i, err))
		}
	}
	return list, nil
}

func (f *elfFile) section(e []byte) section {
	at := func(class32, class64 uint64) uint64 { return f.word(e[f.sized(class32, class64):]) }
	return section{
		nameOffs: uint64(f.order.Uint32(e)),
		typ:      elf.SectionType(f.order.Uint32(e[4:])),
		flags:    elf.SectionFlag(at(8, 8)),
		off:      at(16, 24),
		size:     at(20, 32),
		link:     f.order.Uint32(e[f.sized(24, 40):]),
		info:     f.order.Uint32(e[f.sized(28, 44):]),
		entsize:  at(36, 56),
	}
}

// contents reads what a section holds. A compressed section is refused, for nothing this package reads may be one
// (gABI: SHF_COMPRESSED is for sections that are not loaded) and inflating it would let its size grow without bound.
func (f *elfFile) contents(s section) ([]byte, error) {
	if s.flags&elf.SHF_COMPRESSED != 0 {
		return nil, errors.New("the section is compressed")
	}
	if s.typ == elf.SHT_NOBITS {
		return nil, errors.New("the section has no bytes in this file (it is the debugging half of another)")
	}
	return f.read(s.off, s.size)
}

// symbolTable decodes a symbol table entry by entry, so that the local symbols of a large object cost nothing.
type symbolTable struct {
	f     *elfFile
	b     []byte
	names stringTable
}

type symbol struct {
	name  uint64 // offset in the string table
	bind  elf.SymBind
	typ   elf.SymType
	vis   elf.SymVis
	shndx elf.SectionIndex
}

func (t symbolTable) len() int { return len(t.b) / int(t.f.sized(16, 24)) }

func (t symbolTable) at(i int) symbol {
	f := t.f
	e := t.b[uint64(i)*f.sized(16, 24):]
	info := e[f.sized(12, 4)]
	return symbol{
		name:  uint64(f.order.Uint32(e)),
		bind:  elf.ST_BIND(info),
		typ:   elf.ST_TYPE(info),
		vis:   elf.ST_VISIBILITY(e[f.sized(13, 5)]),
		shndx: elf.SectionIndex(f.order.Uint16(e[f.sized(14, 6):])),
	}
}

const stbGNUUnique elf.SymBind = 10 // GNU's extension; one definition for the whole process

// global reports whether other files see the symbol.
func (s symbol) global() bool {
	return s.bind == elf.STB_GLOBAL || s.bind == elf.STB_WEAK || s.bind == stbGNUUnique
}

func (s symbol) defined() bool { return s.shndx != elf.SHN_UNDEF }

// osNames spells the systems that mark their ELF files. Linux's are marked 0 (System V), or 3 (GNU) if they use a GNU
// extension.
var osNames = map[elf.OSABI]string{
	elf.ELFOSABI_NONE:    "linux",
	elf.ELFOSABI_LINUX:   "linux",
	elf.ELFOSABI_NETBSD:  "netbsd",
	elf.ELFOSABI_SOLARIS: "solaris",
	elf.ELFOSABI_FREEBSD: "freebsd",
	elf.ELFOSABI_OPENBSD: "openbsd",
}

type architecture struct {
	machine elf.Machine
	is64    bool
	big     bool
}

var archNames = map[architecture]string{
	{elf.EM_X86_64, true, false}:  "x86_64",
	{elf.EM_AARCH64, true, false}: "aarch64",
	{elf.EM_386, false, false}:    "i686",
	{elf.EM_ARM, false, false}:    "armv7",
	{elf.EM_RISCV, true, false}:   "riscv64",
	{elf.EM_PPC64, true, false}:   "powerpc64le",
	{elf.EM_S390, true, true}:     "s390x",
}

func (f *elfFile) architecture() architecture {
	return architecture{f.mach, f.is64, f.order == binary.ByteOrder(binary.BigEndian)}
}

func (f *elfFile) machine() Machine {
	a := f.architecture()
	name, ok := archNames[a]
	if !ok {
		// One processor has several ABIs that do not link with each other (x32 is EM_X86_64 in 32 bits), so all that
		// tells them apart is in the name.
		order := "le"
		if a.big {
			order = "be"
		}
		name = fmt.Sprintf("%s-%d%s", strings.ToLower(strings.TrimPrefix(f.mach.String(), "EM_")), f.sized(32, 64), order)
	}
	return Machine{OS: osNames[f.osabi], Arch: name}
}

// armABI tells how floating-point arguments are passed on 32-bit Arm, which linkers note in libraries of the fifth EABI
// ("ELF for the Arm Architecture", 5.2.1).
func (f *elfFile) armABI() string {
	const version, version5, soft, hard = 0xff000000, 0x05000000, 0x200, 0x400
	if f.mach != elf.EM_ARM || f.flags&version != version5 {
		return ""
	}
	switch f.flags & (soft | hard) {
	case soft:
		return "eabi"
	case hard:
		return "eabihf"
	}
	return ""
}

// dynamic is what ld.so sees of a file: its segments and the dynamic table. Section headers are not consulted, for
// ld.so does not either, and sstrip takes them away.
type dynamic struct {
	f        *elfFile
	segs     []segment
	value    map[elf.DynTag]uint64 // the last of each tag, as ld.so takes it
	needed   []uint64              // offsets in the string table
	names    stringTable
	hasTable bool
	versions map[uint16]string // the symbol versions that it defines, by index, but for the base version
}

func (f *elfFile) dynamic() (*dynamic, error) {
	segs, err := f.segments()
	if err != nil {
		return nil, err
	}
	d := &dynamic{f: f, segs: segs, value: map[elf.DynTag]uint64{}}
	i := slices.IndexFunc(segs, func(s segment) bool { return s.typ == elf.PT_DYNAMIC })
	if i < 0 || segs[i].filesz == 0 {
		return d, nil
	}
	b, err := f.read(segs[i].off, segs[i].filesz)
	if err != nil {
		return nil, fmt.Errorf("dynamic table: %w", err)
	}
	d.hasTable = true
	entry := int(f.sized(8, 16))
	for ; len(b) >= entry; b = b[entry:] {
		tag, value := elf.DynTag(f.word(b)), f.word(b[entry/2:])
		if tag == elf.DT_NULL {
			break
		}
		if tag == elf.DT_NEEDED {
			d.needed = append(d.needed, value)
		}
		d.value[tag] = value
	}
	if at, ok := d.value[elf.DT_STRTAB]; ok {
		off, err := d.offset(at)
		if err == nil {
			d.names, err = f.stringTable(off, d.value[elf.DT_STRSZ])
		}
		if err != nil {
			return nil, fmt.Errorf("dynamic string table: %w", err)
		}
	}
	return d, nil
}

// offset turns an address of the loaded image into an offset of the file.
func (d *dynamic) offset(addr uint64) (uint64, error) {
	for _, s := range d.segs {
		if s.typ == elf.PT_LOAD && addr >= s.vaddr && addr-s.vaddr < s.filesz {
			if off := s.off + (addr - s.vaddr); off >= s.off {
				return off, nil
			}
		}
	}
	return 0, fmt.Errorf("address %#x is in no loaded part of the file", addr)
}

func (d *dynamic) name(tag elf.DynTag) (string, error) {
	off, ok := d.value[tag]
	if !ok {
		return "", nil
	}
	s, err := d.names.at(off)
	if err != nil {
		return "", fmt.Errorf("%s: %w", tag, err)
	}
	return s, nil
}

// executable reports whether an ET_DYN file is a program.
func (d *dynamic) executable() bool {
	if elf.DynFlag1(d.value[elf.DT_FLAGS_1])&elf.DF_1_PIE != 0 {
		return true
	}
	_, soname := d.value[elf.DT_SONAME]
	interpreted := slices.ContainsFunc(d.segs, func(s segment) bool { return s.typ == elf.PT_INTERP })
	return interpreted && !soname
}

func readELFShared(r io.ReaderAt, size int64) (*Shared, error) {
	f, err := openELF(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", notA("a shared library", r, size), err)
	}
	if f.typ != elf.ET_DYN {
		return nil, notA("a shared library", r, size)
	}
	d, err := f.dynamic()
	if err != nil {
		return nil, err
	}
	if !d.hasTable {
		return nil, errors.New("an ELF shared library without a dynamic table (a file of separate debugging information?)")
	}
	if d.executable() {
		return nil, notA("a shared library", r, size)
	}
	s := &Shared{Machine: f.machine(), ABI: f.armABI(), Floors: map[string]string{}}
	if s.SONAME, err = d.name(elf.DT_SONAME); err != nil {
		return nil, err
	}
	for _, off := range d.needed {
		name, err := d.names.at(off)
		if err != nil {
			return nil, fmt.Errorf("DT_NEEDED: %w", err)
		}
		s.Needed = append(s.Needed, name)
	}
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		if _, ok := d.value[tag]; !ok {
			continue
		}
		path, err := d.name(tag)
		if err != nil {
			return nil, err
		}
		if path != "" {
			s.RunPath = strings.Split(path, ":")
		}
		break
	}
	needs, err := d.versionNeeds()
	if err != nil {
		return nil, fmt.Errorf("version needs: %w", err)
	}
	for _, n := range needs {
		if family, version, ok := versionFamily(n.version); ok && !n.weak {
			if have, seen := s.Floors[family]; !seen || CompareVersions(have, version) < 0 {
				s.Floors[family] = version
			}
		}
	}
	if err := d.versionDefinitions(); err != nil {
		return nil, fmt.Errorf("version definitions: %w", err)
	}
	s.Versions = slices.Compact(slices.Sorted(maps.Values(d.versions)))
	notes, err := d.notes()
	if err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	s.BuildID = notes.buildID
	if s.Machine.OS == "linux" && !notes.android {
		s.Libc = libcOf(s, needs)
	}
	if err := d.symbols(s); err != nil {
		return nil, fmt.Errorf("dynamic symbols: %w", err)
	}
	return s, nil
}

func libcOf(s *Shared, needs []versionNeed) string {
	glibc := func(version string) bool { return strings.HasPrefix(version, "GLIBC_") }
	if slices.Contains(s.Needed, "libc.so.6") || slices.ContainsFunc(s.Versions, glibc) ||
		slices.ContainsFunc(needs, func(n versionNeed) bool { return glibc(n.version) }) {
		return "gnu"
	}
	for _, name := range s.Needed {
		if strings.HasPrefix(name, "libc.musl-") && strings.HasSuffix(name, ".so.1") {
			return "musl"
		}
		// Android's libc.so has symbol versions, musl's never.
		if name == "libc.so" && !slices.ContainsFunc(needs, func(n versionNeed) bool { return n.file == name }) {
			return "musl"
		}
	}
	return ""
}

// versionNeed is one version that the library wants another file to have.
type versionNeed struct {
	file, version string
	weak          bool
}

const (
	versionBase = 0x1 // VER_FLG_BASE: the version that names the file itself
	versionWeak = 0x2 // VER_FLG_WEAK: ld.so does not insist on it

	versionIndex  = 0x7fff // of a word of DT_VERSYM
	versionHidden = 0x8000 // not the default version of its symbol
)

// versionNeeds walks DT_VERNEED (gABI's Linux extension, "Symbol Versioning", in the LSB): a list of files, each with
// a list of versions. Links point forward and every entry is charged, so the walk ends.
func (d *dynamic) versionNeeds() ([]versionNeed, error) {
	var needs []versionNeed
	err := d.versionList(elf.DT_VERNEED, elf.DT_VERNEEDNUM, 16, func(e []byte, off uint64) (uint64, error) {
		order := d.f.order
		count, at := order.Uint16(e[2:]), off+uint64(order.Uint32(e[8:]))
		file, err := d.names.at(uint64(order.Uint32(e[4:])))
		if err != nil {
			return 0, err
		}
		for range count {
			aux, err := d.f.read(at, 16)
			if err != nil {
				return 0, err
			}
			version, err := d.names.at(uint64(order.Uint32(aux[8:])))
			if err != nil {
				return 0, err
			}
			needs = append(needs, versionNeed{file, version, order.Uint16(aux[4:])&versionWeak != 0})
			next := uint64(order.Uint32(aux[12:]))
			if next == 0 {
				break
			}
			at += next
		}
		return uint64(order.Uint32(e[12:])), nil
	})
	return needs, err
}

// versionDefinitions walks DT_VERDEF and notes each version by its index; of its names only the first is its own, the
// others are its parents'.
func (d *dynamic) versionDefinitions() error {
	d.versions = map[uint16]string{}
	return d.versionList(elf.DT_VERDEF, elf.DT_VERDEFNUM, 20, func(e []byte, off uint64) (uint64, error) {
		order := d.f.order
		next := uint64(order.Uint32(e[16:]))
		if order.Uint16(e[2:])&versionBase != 0 {
			return next, nil
		}
		aux, err := d.f.read(off+uint64(order.Uint32(e[12:])), 8)
		if err != nil {
			return 0, err
		}
		name, err := d.names.at(uint64(order.Uint32(aux)))
		if err != nil {
			return 0, err
		}
		d.versions[order.Uint16(e[4:])&versionIndex] = name
		return next, nil
	})
}

// versionList follows one chain of entries of n bytes; each returns how far the next is, 0 for the last.
func (d *dynamic) versionList(tag, count elf.DynTag, n uint64, each func(e []byte, off uint64) (uint64, error)) error {
	addr, ok := d.value[tag]
	if !ok {
		return nil
	}
	off, err := d.offset(addr)
	if err != nil {
		return err
	}
	for range d.value[count] {
		e, err := d.f.read(off, n)
		if err != nil {
			return err
		}
		next, err := each(e, off)
		if err != nil || next == 0 {
			return err
		}
		off += next
	}
	return nil
}

// versionFamily takes GLIBC_2.34 apart. The version begins at the first digit after an underscore, so that
// GLIBCXX_LDBL_3.4 is of the family GLIBCXX_LDBL and OPENSSL_1_1_0, whose parts are not dotted, of none.
func versionFamily(name string) (family, version string, ok bool) {
	if name == "GLIBC_ABI_DT_RELR" {
		return "GLIBC", "2.36", true
	}
	for i := 1; i < len(name)-1; i++ {
		if name[i] != '_' || name[i+1] < '0' || name[i+1] > '9' {
			continue
		}
		version = name[i+1:]
		for part := range strings.SplitSeq(version, ".") {
			if part == "" || !isNumber(part) {
				return "", "", false
			}
		}
		return name[:i], version, true
	}
	return "", "", false
}

type noteFacts struct {
	buildID string
	android bool
}

const noteGNUBuildID = 3 // NT_GNU_BUILD_ID

func (d *dynamic) notes() (noteFacts, error) {
	var facts noteFacts
	for _, s := range d.segs {
		if s.typ != elf.PT_NOTE {
			continue
		}
		b, err := d.f.read(s.off, s.filesz)
		if err != nil {
			return facts, err
		}
		// The GNU property note pads to 8 bytes in 64-bit files and says so by its segment's alignment; all others pad
		// to 4 whatever the gABI says.
		align := uint64(4)
		if s.palign == 8 {
			align = 8
		}
		for len(b) >= 12 {
			namesz, descsz := uint64(d.f.order.Uint32(b)), uint64(d.f.order.Uint32(b[4:]))
			descOff := roundUp(12+namesz, align)
			if descOff > uint64(len(b)) || descsz > uint64(len(b))-descOff {
				return facts, fmt.Errorf("a note of %d and %d bytes in %d", namesz, descsz, len(b))
			}
			name, desc := bytes.TrimRight(b[12:12+namesz], "\x00"), b[descOff:descOff+descsz]
			switch {
			case string(name) == "GNU" && d.f.order.Uint32(b[8:]) == noteGNUBuildID:
				facts.buildID = hex.EncodeToString(desc)
			case string(name) == "Android":
				facts.android = true
			}
			b = b[min(uint64(len(b)), roundUp(descOff+descsz, align)):]
		}
	}
	return facts, nil
}

func roundUp(n, align uint64) uint64 { return (n + align - 1) / align * align }

// symbols reads the dynamic symbol table: what the library exports, and what the names say of C++. How long that table
// is only the hash tables say; where there is neither (MIPS has one of its own), the section header does.
func (d *dynamic) symbols(s *Shared) error {
	var cxx cxxEvidence
	for _, name := range s.Needed {
		cxx.needs(name)
	}
	defer func() { s.CXXFlavour = cxx.flavour() }()
	addr, ok := d.value[elf.DT_SYMTAB]
	if !ok {
		return nil
	}
	off, err := d.offset(addr)
	if err != nil {
		return err
	}
	count, err := d.symbolCount()
	if err != nil {
		return err
	}
	entry := d.f.sized(16, 24)
	b, err := d.f.table(off, count, entry, entry)
	if err != nil {
		return err
	}
	var versions []byte // of each symbol, a half-word
	if addr, ok := d.value[elf.DT_VERSYM]; ok && len(d.versions) > 0 {
		off, err := d.offset(addr)
		if err != nil {
			return fmt.Errorf("versions: %w", err)
		}
		if versions, err = d.f.table(off, count, 2, 2); err != nil {
			return fmt.Errorf("versions: %w", err)
		}
	}
	var exports []export
	t := symbolTable{f: d.f, b: b}
	for i := range t.len() {
		symbol := t.at(i)
		if !symbol.global() {
			continue
		}
		name, err := d.names.at(symbol.name)
		if err != nil {
			return err
		}
		cxx.see(name)
		if !symbol.defined() {
			continue
		}
		e := export{name: name}
		if versions != nil {
			v := d.f.order.Uint16(versions[2*i:])
			if version := d.versions[v&versionIndex]; version != "" {
				at := "@@"
				if v&versionHidden != 0 {
					at = "@"
				}
				if version == name && symbol.shndx == elf.SHN_ABS {
					continue // GNU ld's symbol for the version itself
				}
				e.version = at + version
				if err := d.f.charge(uint64(len(e.version))); err != nil {
					return err
				}
			}
		}
		s.CXXExports = s.CXXExports || isCXX(name)
		exports = append(exports, e)
	}
	s.Exports, s.ExportsHash = hashExports(exports)
	return nil
}

func (d *dynamic) symbolCount() (uint64, error) {
	if addr, ok := d.value[elf.DT_HASH]; ok {
		off, err := d.offset(addr)
		if err != nil {
			return 0, err
		}
		// The table's words have 32 bits everywhere but on these two.
		if d.f.is64 && (d.f.mach == elf.EM_S390 || d.f.mach == elf.EM_ALPHA) {
			b, err := d.f.read(off, 16)
			if err != nil {
				return 0, err
			}
			return d.f.order.Uint64(b[8:]), nil
		}
		b, err := d.f.read(off, 8)
		if err != nil {
			return 0, err
		}
		return uint64(d.f.order.Uint32(b[4:])), nil
	}
	if addr, ok := d.value[elf.DT_GNU_HASH]; ok {
		off, err := d.offset(addr)
		if err != nil {
			return 0, err
		}
		return d.gnuHashCount(off)
	}
	sections, err := d.f.sections(false)
	if err != nil {
		return 0, err
	}
	for _, s := range sections {
		if s.typ == elf.SHT_DYNSYM {
			return s.size / d.f.sized(16, 24), nil
		}
	}
	return 0, nil
}

// gnuHashCount finds the last symbol that DT_GNU_HASH reaches. Symbols before the first hashed one are the undefined
// ones, and none follows the last: its chain is the one that starts highest, and ends at the first odd hash.
func (d *dynamic) gnuHashCount(off uint64) (uint64, error) {
	const word = 4
	h, err := d.f.read(off, 4*word)
	if err != nil {
		return 0, err
	}
	buckets, first, bloom := uint64(d.f.order.Uint32(h)), uint64(d.f.order.Uint32(h[4:])), uint64(d.f.order.Uint32(h[8:]))
	off += 4*word + bloom*d.f.sized(4, 8)
	b, err := d.f.table(off, buckets, word, word)
	if err != nil {
		return 0, err
	}
	var last uint64
	for e := range slices.Chunk(b, word) {
		last = max(last, uint64(d.f.order.Uint32(e)))
	}
	if last < first || last == 0 {
		return first, nil // nothing hashed
	}
	off += buckets*word + (last-first)*word
	for {
		n := min(256, (uint64(d.f.size)-min(uint64(d.f.size), off))/word*word)
		b, err := d.f.read(off, max(n, word))
		if err != nil {
			return 0, err
		}
		for e := range slices.Chunk(b, word) {
			last++
			if d.f.order.Uint32(e)&1 != 0 {
				return last, nil
			}
		}
		off += n
	}
}

// sortedKeys is for sets of symbols, whose order must not depend on the map.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
