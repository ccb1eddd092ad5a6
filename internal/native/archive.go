package native

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxMemberName bounds the name of a member, as PATH_MAX bounds that of the file it was.
const maxMemberName = 4096

// arMember is one file of an archive.
type arMember struct {
	name string
	io.ReaderAt
	size int64
}

// eachMember walks an ar archive and hands over its files in order, without the symbol table and the table of long
// names. It reads what GNU, the BSDs and macOS, and Microsoft's tools write. A member that claims more bytes than
// there are is an error, so the walk takes at most size/60 steps.
func eachMember(r io.ReaderAt, size int64, each func(arMember) error) error {
	magic := make([]byte, len(magicArchive))
	if _, err := r.ReadAt(magic, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch string(magic) {
	case magicArchive:
	case magicThinArchive:
		return errors.New(`a thin archive: it names object files that lie elsewhere instead of holding them; make it without "ar T"`)
	default:
		return notA("an ar archive", r, size)
	}
	const header = 60
	var longNames string
	for off := int64(len(magicArchive)); off < size; {
		at := off
		fail := func(format string, args ...any) error {
			return fmt.Errorf("archive member at offset %d: %w", at, fmt.Errorf(format, args...))
		}
		if size-off < header {
			return fail("%d bytes are left, too few for a header", size-off)
		}
		var h [header]byte
		if n, err := r.ReadAt(h[:], off); n < header {
			return fail("%w", cutShort(err))
		}
		if string(h[58:60]) != "`\n" {
			return fail("no header is here")
		}
		off += header
		n, err := strconv.ParseUint(strings.TrimRight(string(h[48:58]), " "), 10, 62)
		if err != nil {
			return fail("its size %q is no number", h[48:58])
		}
		raw, bytes := strings.TrimRight(string(h[:16]), " "), int64(n)
		if bytes > size-off {
			return fail("member %s: its %d bytes go beyond the end of the archive", strings.TrimSuffix(raw, "/"), bytes)
		}
		m := arMember{name: raw, size: bytes}
		body := off
		// Members begin at even offsets; some writers leave out the padding of the last.
		off += bytes + bytes&1
		switch {
		case raw == "/", raw == "/SYM64/", strings.HasPrefix(raw, "/<"):
			continue // symbol tables: GNU's and Microsoft's
		case raw == "//":
			b := make([]byte, bytes)
			if n, err := r.ReadAt(b, body); n < len(b) {
				return fail("table of long names: %w", cutShort(err))
			}
			longNames = string(b)
			continue
		case strings.HasPrefix(raw, "/"):
			if m.name, err = longName(longNames, raw[1:]); err != nil {
				return fail("%w", err)
			}
		case strings.HasPrefix(raw, "#1/"):
			n, err := strconv.ParseUint(raw[3:], 10, 62)
			if err != nil || int64(n) > bytes || n > maxMemberName {
				return fail("the length %q of its name is no number, or too large", raw[3:])
			}
			b := make([]byte, n)
			if got, err := r.ReadAt(b, body); got < len(b) {
				return fail("name: %w", cutShort(err))
			}
			m.name = strings.TrimRight(string(b), "\x00")
			m.size -= int64(n)
			body += int64(n)
		default:
			m.name = strings.TrimSuffix(raw, "/")
		}
		if strings.HasPrefix(m.name, "__.SYMDEF") {
			continue // the BSDs' symbol table
		}
		m.ReaderAt = io.NewSectionReader(r, body, m.size)
		if err := each(m); err != nil {
			return fmt.Errorf("member %s: %w", m.name, err)
		}
	}
	return nil
}

// longName looks a name up in GNU's table, where it ends in "/\n", or Microsoft's, where it ends in NUL.
func longName(table, offset string) (string, error) {
	n, err := strconv.ParseUint(offset, 10, 62)
	if err != nil || n >= uint64(len(table)) {
		return "", fmt.Errorf("its name is at %q in a table of long names of %d bytes", offset, len(table))
	}
	rest := table[n:]
	rest = rest[:min(len(rest), maxMemberName+1)]
	end := strings.IndexAny(rest, "\n\x00")
	if end < 0 {
		return "", fmt.Errorf("its name at %q in the table of long names has no end", offset)
	}
	return strings.TrimSuffix(rest[:end], "/"), nil
}

func cutShort(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// archiveReader gathers what the members of one archive say.
type archiveReader struct {
	archive   *Archive
	first     string          // the member that gave the machine
	others    int             // members that are no object
	lto       int             // objects that are only LTO bytecode
	defined   map[string]bool // whether another object may take the symbol's place
	undefined map[string]struct{}
	pic       picJudge
}

// ReadArchive reads a static library of size bytes. Errors name the member. An archive of no member at all, as
// glibc's libpthread.a has been since 2.34, is fine and fits everything; one with members of which none is an ELF
// object or LLVM bitcode is an error, as is one with objects for several machines.
func ReadArchive(r io.ReaderAt, size int64) (*Archive, error) {
	a := &archiveReader{
		archive:   &Archive{},
		defined:   map[string]bool{},
		undefined: map[string]struct{}{},
		pic:       picJudge{pending: map[string]misfit{}},
	}
	if err := eachMember(r, size, a.member); err != nil {
		return nil, err
	}
	result := a.archive
	if result.Members == 0 && a.others > 0 {
		return nil, fmt.Errorf("none of its %d members is an ELF object or LLVM bitcode", a.others)
	}
	result.LTOOnly = result.Members > 0 && a.lto == result.Members
	result.PIC, result.PICReason = a.pic.verdict(a.defined)
	for name := range a.undefined {
		if _, ok := a.defined[name]; ok {
			delete(a.undefined, name)
			continue
		}
		result.CXX = result.CXX || wantsCXX(name)
	}
	result.Defined, result.Undefined = sortedKeys(a.defined), sortedKeys(a.undefined)
	return result, nil
}

func (a *archiveReader) member(m arMember) error {
	var magic [4]byte
	if n, err := m.ReadAt(magic[:], 0); n < len(magic) && err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch string(magic[:]) {
	case magicBitcode, magicBitcodeWrapper:
		a.archive.Members++
		a.bytecode(m.name)
		return nil
	case magicELF:
	default:
		a.others++
		return nil
	}
	f, err := openELF(m, m.size)
	if err != nil {
		return err
	}
	if f.typ != elf.ET_REL {
		a.others++ // a linker takes no library and no program out of an archive
		return nil
	}
	a.archive.Members++
	if machine := f.machine(); a.first == "" {
		a.first, a.archive.Machine = m.name, machine
	} else if machine != a.archive.Machine {
		return fmt.Errorf("an object for %s %s, where %s is for %s %s", machine.OS, machine.Arch, a.first, a.archive.Machine.OS, a.archive.Machine.Arch)
	}
	return a.object(m.name, f)
}

func (a *archiveReader) bytecode(member string) {
	a.lto++
	a.pic.unmeasured(member + ": LTO bytecode has no relocations yet")
}

const (
	slimLTO = "__gnu_lto_slim" // GCC's mark of an object without machine code
	fatLTO  = "__gnu_lto_v1"   // older GCC's mark of one with both
)

func (a *archiveReader) object(member string, f *elfFile) error {
	sections, err := f.sections(true)
	if err != nil {
		return err
	}
	symtab := 0
	hasLTO, hasCode := false, false
	for i, s := range sections {
		switch {
		case s.typ == elf.SHT_SYMTAB && symtab == 0:
			symtab = i
		case strings.HasPrefix(s.name, ".gnu.lto_"):
			hasLTO = true
		case s.flags&elf.SHF_ALLOC != 0 && s.size > 0 && !strings.HasPrefix(s.name, ".note."):
			hasCode = true
		}
	}
	symbols := symbolTable{f: f}
	slim := hasLTO && !hasCode
	if symtab != 0 {
		table := sections[symtab]
		if symbols.b, err = f.contents(table); err != nil {
			return fmt.Errorf("symbol table: %w", err)
		}
		if int(table.link) >= len(sections) {
			return fmt.Errorf("symbol table: its names are in section %d of %d", table.link, len(sections))
		}
		names := sections[table.link]
		if symbols.names, err = f.stringTable(names.off, names.size); err != nil {
			return fmt.Errorf("names of symbols: %w", err)
		}
		if err := a.symbols(symbols, &slim); err != nil {
			return fmt.Errorf("symbol table: %w", err)
		}
	}
	if slim {
		a.bytecode(member)
		return nil
	}
	return a.pic.member(member, f, sections, symtab, symbols)
}

func (a *archiveReader) symbols(t symbolTable, slim *bool) error {
	for i := range t.len() {
		s := t.at(i)
		if !s.global() {
			continue
		}
		name, err := t.names.at(s.name)
		if err != nil {
			return err
		}
		switch {
		case name == slimLTO:
			*slim = true
		case name == "", name == fatLTO:
		case s.defined():
			// Where two members define one symbol, either may be the one linked; the one that binds less decides.
			a.defined[name] = a.defined[name] || s.vis == elf.STV_DEFAULT
		case s.bind != elf.STB_WEAK && !linkerMade[name]:
			a.undefined[name] = struct{}{}
		}
	}
	return nil
}

// cxxInC are the functions of the C++ ABI that C libraries provide, for C has use for them too.
var cxxInC = map[string]bool{
	"__cxa_atexit":             true,
	"__cxa_at_quick_exit":      true,
	"__cxa_finalize":           true,
	"__cxa_thread_atexit_impl": true,
}

func wantsCXX(undefined string) bool {
	switch {
	case strings.HasPrefix(undefined, "_Z"):
		return !mangledByRust(undefined)
	case strings.HasPrefix(undefined, "__cxa_"):
		return !cxxInC[undefined]
	}
	return strings.HasPrefix(undefined, "__gxx_personality_")
}

// mangledByRust tells the names of Rust's legacy mangling, which looks like C++'s but for the hash it ends in:
// _ZN4core9panicking5panic17h0123456789abcdefE.
func mangledByRust(name string) bool {
	const tail = len("17h0123456789abcdefE")
	if len(name) < tail || !strings.HasSuffix(name, "E") {
		return false
	}
	hash, ok := strings.CutPrefix(name[len(name)-tail:len(name)-1], "17h")
	return ok && strings.Trim(hash, "0123456789abcdef") == ""
}
