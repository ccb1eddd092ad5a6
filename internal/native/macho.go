package native

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The formats of this file are in Apple's <mach-o/loader.h>, <mach-o/fat.h>, <mach-o/nlist.h> and, for the trie of
// exports, <mach-o/loader.h> under dyld_info_command. debug/macho disclaims hostile input and does not know the trie.

const (
	machoMagic32 = 0xfeedface
	machoMagic64 = 0xfeedfacf
	fatMagic     = 0xcafebabe // always big endian; a Java class begins so too
	fatMagic64   = 0xcafebabf

	// maxFatSlices tells a universal file from a Java class, whose version, 45 or more, stands where the number of
	// slices does (file(1) tells them so too).
	maxFatSlices = 40
)

const (
	machoObject  = 1
	machoExecute = 2
	machoDylib   = 6
	machoBundle  = 8
	machoStub    = 9
)

const (
	lcReqDyld       = 0x80000000
	lcSymtab        = 0x2
	lcLoadDylib     = 0xc
	lcIDDylib       = 0xd
	lcLoadWeakDylib = 0x18 | lcReqDyld
	lcUUID          = 0x1b
	lcRPath         = 0x1c | lcReqDyld
	lcReexportDylib = 0x1f | lcReqDyld
	lcLazyDylib     = 0x20
	lcDyldInfo      = 0x22
	lcDyldInfoOnly  = 0x22 | lcReqDyld
	lcUpwardDylib   = 0x23 | lcReqDyld
	lcVersionMacOS  = 0x24
	lcVersionIOS    = 0x25
	lcVersionTVOS   = 0x2f
	lcVersionWatch  = 0x30
	lcBuildVersion  = 0x32
	lcExportsTrie   = 0x33 | lcReqDyld
)

// machoPlatforms spells LC_BUILD_VERSION's platforms.
var machoPlatforms = map[uint32]string{
	1: "darwin", 2: "ios", 3: "tvos", 4: "watchos", 5: "bridgeos", 6: "maccatalyst", 7: "ios-simulator", 8: "tvos-simulator",
	9: "watchos-simulator", 10: "driverkit", 11: "visionos", 12: "visionos-simulator",
}

// machoFile is one Mach-O file that is not universal, as its load commands describe it.
type machoFile struct {
	input
	order       binary.ByteOrder
	is64        bool
	cpu, subcpu uint32
	typ         uint32

	id        string
	needed    []string
	weak      []string
	reexports []string
	rpaths    []string
	platform  string
	minimum   string // of the platform
	uuid      string

	symoff, nsyms    uint64
	stroff, strsize  uint64
	trieoff, trielen uint64
}

// slice is one part of a universal file.
type slice struct {
	machine   Machine
	off, size uint64
}

func isFat(head []byte) bool {
	if len(head) < 8 {
		return false
	}
	magic, n := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
	return (magic == fatMagic || magic == fatMagic64) && n > 0 && n <= maxFatSlices
}

// fatSlices reads the header of a universal file.
func fatSlices(r io.ReaderAt, size int64) ([]slice, error) {
	f := newInput(r, size)
	h, err := f.read(0, 8)
	if err != nil {
		return nil, fmt.Errorf("universal header: %w", err)
	}
	wide := binary.BigEndian.Uint32(h) == fatMagic64
	entry := uint64(20)
	if wide {
		entry = 32
	}
	b, err := f.table(8, uint64(binary.BigEndian.Uint32(h[4:])), entry, entry)
	if err != nil {
		return nil, fmt.Errorf("universal header: %w", err)
	}
	var list []slice
	for ; len(b) > 0; b = b[entry:] {
		s := slice{machine: Machine{Arch: machoArch(binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]))}}
		if wide {
			s.off, s.size = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
		} else {
			s.off, s.size = uint64(binary.BigEndian.Uint32(b[8:])), uint64(binary.BigEndian.Uint32(b[12:]))
		}
		if s.size > uint64(f.size) || s.off > uint64(f.size)-s.size {
			return nil, fmt.Errorf("universal header: the %d bytes for %s at offset %d go beyond the end of the file (%d bytes)", s.size, s.machine.Arch, s.off, f.size)
		}
		list = append(list, s)
	}
	return list, nil
}

// Universal is the error of a reader that was given a universal file of macOS, which holds one library for each of
// several processors.
type Universal struct {
	Archs []string // as in Machine, in file order
}

func (e *Universal) Error() string {
	return "a universal file, which holds one library for each of " + strings.Join(e.Archs, ", ")
}

// universal makes the error, or one about the header.
func universal(r io.ReaderAt, size int64) error {
	slices, err := fatSlices(r, size)
	if err != nil {
		return err
	}
	e := &Universal{}
	for _, s := range slices {
		e.Archs = append(e.Archs, s.machine.Arch)
	}
	return e
}

func machoArch(cpu, subcpu uint32) string {
	const abi64, abi64_32 = 0x01000000, 0x02000000
	switch subcpu &= 0x00ffffff; cpu { // the high byte holds capabilities
	case 7:
		return "i686"
	case 7 | abi64:
		if subcpu == 8 {
			return "x86_64h" // with instructions that not every such Mac has
		}
		return "x86_64"
	case 12:
		return "armv7"
	case 12 | abi64:
		if subcpu == 2 {
			return "arm64e" // signed pointers: an ABI of its own
		}
		return "aarch64"
	case 12 | abi64_32:
		return "arm64_32"
	case 18:
		return "powerpc"
	case 18 | abi64:
		return "powerpc64"
	}
	return fmt.Sprintf("macho-%#x", cpu)
}

func isMachO(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if m := order.Uint32(head); m == machoMagic32 || m == machoMagic64 {
			return true
		}
	}
	return false
}

func openMachO(r io.ReaderAt, size int64) (*machoFile, error) {
	f := &machoFile{input: newInput(r, size), order: binary.LittleEndian}
	h, err := f.read(0, 28)
	if err != nil {
		return nil, fmt.Errorf("Mach-O header: %w", err)
	}
	if m := binary.BigEndian.Uint32(h); m == machoMagic32 || m == machoMagic64 {
		f.order = binary.BigEndian
	}
	switch f.order.Uint32(h) {
	case machoMagic32:
	case machoMagic64:
		f.is64 = true
	default:
		return nil, errors.New("not a Mach-O file")
	}
	f.cpu, f.subcpu, f.typ = f.order.Uint32(h[4:]), f.order.Uint32(h[8:]), f.order.Uint32(h[12:])
	header := uint64(28)
	if f.is64 {
		header = 32
	}
	count := f.order.Uint32(h[16:])
	b, err := f.read(header, uint64(f.order.Uint32(h[20:])))
	if err != nil {
		return nil, fmt.Errorf("load commands: %w", err)
	}
	for i := range count {
		if len(b) < 8 {
			return nil, fmt.Errorf("load command %d of %d: %d bytes are left, too few for one", i, count, len(b))
		}
		n := uint64(f.order.Uint32(b[4:]))
		if n < 8 || n > uint64(len(b)) {
			return nil, fmt.Errorf("load command %d of %d: its size is %d, and %d bytes are left", i, count, n, len(b))
		}
		if err := f.command(b[:n]); err != nil {
			return nil, fmt.Errorf("load command %d of %d (%#x): %w", i, count, f.order.Uint32(b), err)
		}
		b = b[n:]
	}
	return f, nil
}

func (f *machoFile) command(b []byte) error {
	word := func(i int) uint32 { return f.order.Uint32(b[4*i:]) }
	need := func(words int) error {
		if len(b) < 4*words {
			return fmt.Errorf("%d bytes, %d are needed", len(b), 4*words)
		}
		return nil
	}
	text := func() (string, error) {
		if err := need(3); err != nil {
			return "", err
		}
		at := uint64(word(2))
		if at < 12 || at > uint64(len(b)) {
			return "", fmt.Errorf("its name is at %d of %d bytes", at, len(b))
		}
		s, _, _ := strings.Cut(string(b[at:]), "\x00")
		return s, nil
	}
	var err error
	list := func(to *[]string) error {
		s, err := text()
		*to = append(*to, s)
		return err
	}
	switch cmd := word(0); cmd {
	case lcIDDylib:
		f.id, err = text()
	case lcLoadDylib, lcLazyDylib, lcUpwardDylib:
		err = list(&f.needed)
	case lcReexportDylib:
		if err = list(&f.needed); err == nil {
			f.reexports = append(f.reexports, f.needed[len(f.needed)-1])
		}
	case lcLoadWeakDylib:
		err = list(&f.weak)
	case lcRPath:
		err = list(&f.rpaths)
	case lcUUID:
		if err = need(6); err == nil {
			f.uuid = hex.EncodeToString(b[8:24])
		}
	case lcVersionMacOS, lcVersionIOS, lcVersionTVOS, lcVersionWatch:
		if err = need(3); err == nil {
			f.platform = map[uint32]string{lcVersionMacOS: "darwin", lcVersionIOS: "ios", lcVersionTVOS: "tvos", lcVersionWatch: "watchos"}[cmd]
			f.minimum = machoVersion(word(2))
		}
	case lcBuildVersion:
		if err = need(4); err == nil {
			name, known := machoPlatforms[word(2)]
			if !known {
				name = fmt.Sprintf("apple-platform-%d", word(2))
			}
			// A library of a "zippered" kind is built for macOS and for Catalyst at once; the former comes first.
			if f.platform == "" || f.platform == "maccatalyst" {
				f.platform, f.minimum = name, machoVersion(word(3))
			}
		}
	case lcSymtab:
		if err = need(6); err == nil {
			f.symoff, f.nsyms, f.stroff, f.strsize = uint64(word(2)), uint64(word(3)), uint64(word(4)), uint64(word(5))
		}
	case lcDyldInfo, lcDyldInfoOnly:
		if err = need(12); err == nil {
			f.trieoff, f.trielen = uint64(word(10)), uint64(word(11))
		}
	case lcExportsTrie:
		if err = need(4); err == nil {
			f.trieoff, f.trielen = uint64(word(2)), uint64(word(3))
		}
	}
	return err
}

// machoVersion writes X.Y.Z packed as xxxx.yy.zz, without a Z of 0.
func machoVersion(v uint32) string {
	s := fmt.Sprintf("%d.%d", v>>16, v>>8&0xff)
	if v&0xff != 0 {
		s += fmt.Sprintf(".%d", v&0xff)
	}
	return s
}

// machine of an object that names no platform, as one made from assembly may, has no OS.
func (f *machoFile) machine() Machine {
	return Machine{OS: f.platform, Arch: machoArch(f.cpu, f.subcpu)}
}

func (f *machoFile) floors() map[string]string {
	floors := map[string]string{}
	if f.platform == "darwin" && f.minimum != "" {
		floors["macOS"] = f.minimum
	}
	return floors
}

// machoSymbol is an entry of the symbol table that other files see.
type machoSymbol struct {
	name    string // without the underscore that Mach-O puts before every name of C
	defined bool
	hidden  bool // "private extern": seen when linking statically, not outside the result
	weak    bool // not insisted on, where it is undefined
}

func (f *machoFile) symbols(each func(machoSymbol)) error {
	if f.nsyms == 0 {
		return nil
	}
	entry := 12
	if f.is64 {
		entry = 16
	}
	b, err := f.table(f.symoff, f.nsyms, uint64(entry), uint64(entry))
	if err != nil {
		return fmt.Errorf("symbol table: %w", err)
	}
	names, err := f.stringTable(f.stroff, f.strsize)
	if err != nil {
		return fmt.Errorf("names of symbols: %w", err)
	}
	const (
		stab    = 0xe0
		private = 0x10
		kind    = 0x0e // 0 is undefined, 0xc prebound and undefined
		extern  = 0x01
		weakRef = 0x40
	)
	for ; len(b) > 0; b = b[entry:] {
		typ := b[4]
		if typ&stab != 0 || typ&extern == 0 {
			continue
		}
		name, err := names.at(uint64(f.order.Uint32(b)))
		if err != nil {
			return fmt.Errorf("symbol table: %w", err)
		}
		value := uint64(f.order.Uint32(b[8:]))
		if f.is64 {
			value = f.order.Uint64(b[8:])
		}
		undefined := (typ&kind == 0 || typ&kind == 0xc) && value == 0 // with a value it is a common symbol
		each(machoSymbol{
			name:    strings.TrimPrefix(name, "_"),
			defined: !undefined,
			hidden:  typ&private != 0,
			weak:    undefined && f.order.Uint16(b[6:])&weakRef != 0,
		})
	}
	return nil
}

// exports walks the trie in which dyld looks names up. Every node is visited once, so a trie that leads in a circle is
// an error and not an endless walk; prefixes are charged, for a small trie can spell very long names.
func (f *machoFile) exports(each func(name string)) error {
	if f.trielen == 0 {
		return nil
	}
	trie, err := f.read(f.trieoff, f.trielen)
	if err != nil {
		return fmt.Errorf("trie of exports: %w", err)
	}
	type node struct {
		at     uint64
		prefix string
	}
	visited := make([]bool, len(trie))
	visited[0] = true
	for todo := []node{{}}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		fail := func(what string) error { return fmt.Errorf("trie of exports: the node at %d %s", n.at, what) }
		b := trie[n.at:]
		terminal, w := binary.Uvarint(b)
		if w <= 0 || terminal >= uint64(len(b)-w) {
			return fail("goes beyond its end")
		}
		if terminal > 0 {
			each(n.prefix)
		}
		b = b[w+int(terminal):]
		children := b[0]
		b = b[1:]
		for range children {
			end := bytes.IndexByte(b, 0)
			if end < 0 {
				return fail("has an edge without end")
			}
			if err := f.charge(uint64(len(n.prefix) + end + 1)); err != nil {
				return fmt.Errorf("trie of exports: %w", err)
			}
			edge := string(b[:end])
			b = b[end+1:]
			at, w := binary.Uvarint(b)
			if w <= 0 || at >= uint64(len(trie)) {
				return fail("leads beyond its end")
			}
			if visited[at] {
				return fail("leads to one that was reached before")
			}
			visited[at] = true
			b = b[w:]
			todo = append(todo, node{at, n.prefix + edge})
		}
	}
	return nil
}

func readDylib(r io.ReaderAt, size int64) (*Shared, error) {
	f, err := openMachO(r, size)
	if err != nil {
		return nil, err
	}
	if f.typ == machoStub {
		return nil, errors.New("a stub of a dylib, to link with and not to run with")
	}
	if f.typ != machoDylib {
		return nil, notA("a shared library", r, size)
	}
	s := &Shared{Machine: f.machine(), SONAME: f.id, Needed: f.needed, Weak: f.weak, Reexports: f.reexports, RunPath: f.rpaths, Floors: f.floors(), BuildID: f.uuid}
	if s.Machine.OS == "" {
		s.Machine.OS = "darwin" // linkers have named the platform since there is more than one
	}
	var cxx cxxEvidence
	var exports []export
	offer := func(name string) {
		exports = append(exports, export{name: name})
		name = strings.TrimPrefix(name, "_")
		cxx.see(name)
		s.CXXExports = s.CXXExports || isCXX(name)
	}
	if f.trielen > 0 {
		err = f.exports(offer)
	}
	if err == nil {
		err = f.symbols(func(symbol machoSymbol) {
			switch {
			case !symbol.defined:
				cxx.see(symbol.name)
			case f.trielen == 0 && !symbol.hidden:
				offer("_" + symbol.name)
			}
		})
	}
	if err != nil {
		return nil, err
	}
	for _, name := range f.needed {
		cxx.needs(name)
	}
	s.CXXFlavour = cxx.flavour()
	s.Exports, s.ExportsHash = hashExports(exports)
	return s, nil
}
