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
	if isFat(magic) {
		return universal(r, size)
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

// archiveReader gathers what the members of one archive say.
type archiveReader struct {
	archive   *Archive
	first     string          // the member that gave the machine
	others    int             // members that are no object
	lto       int             // objects that are only LTO bytecode
	imports   int             // objects that only lead to a DLL
	code      int             // objects with machine code or data of their own
	defined   map[string]bool // whether another object may take the symbol's place
	undefined map[string]struct{}
	dlls      map[string]struct{}
	libs      map[string]struct{}
	saidBy    map[string]string // key of Mismatch to the member that said it
	cxx       cxxEvidence
	gnu, msvc bool // on Windows, what compilers left
	apple     bool // objects are Mach-O
	pic       picJudge
}

// ReadArchive reads a static library, or the import library of a DLL, of size bytes. Errors name the member. An archive
// of no member at all, as glibc's libpthread.a has been since 2.34, is fine and fits everything; one with members of
// which none is an object or LLVM bitcode is an error, as is one with objects for several machines. A universal file is
// an error of type *Universal.
func ReadArchive(r io.ReaderAt, size int64) (*Archive, error) {
	a := &archiveReader{
		archive:   &Archive{},
		defined:   map[string]bool{},
		undefined: map[string]struct{}{},
		dlls:      map[string]struct{}{},
		libs:      map[string]struct{}{},
		saidBy:    map[string]string{},
		pic:       picJudge{pending: map[string]misfit{}},
	}
	if err := eachMember(r, size, a.member); err != nil {
		return nil, err
	}
	result := a.archive
	if result.Members == 0 && a.others > 0 {
		return nil, fmt.Errorf("none of its %d members is an object or LLVM bitcode", a.others)
	}
	if a.apple && result.Machine.OS == "" {
		result.Machine.OS = "darwin" // compilers have named the platform since there is more than one
	}
	result.LTOOnly = result.Members > 0 && a.lto == result.Members
	result.Import = a.imports > 0 && a.code == 0 && a.lto == 0
	result.PIC, result.PICReason = a.pic.verdict(a.defined)
	for name := range a.undefined {
		if _, ok := a.defined[name]; ok {
			delete(a.undefined, name)
			continue
		}
		result.CXX = result.CXX || wantsCXX(name)
		if result.Machine.OS == "linux" && onlyInGlibc(name) {
			result.Libc = "gnu"
		}
	}
	if a.gnu != a.msvc {
		result.Libc = map[bool]string{true: "gnu", false: "msvc"}[a.gnu]
	}
	result.CXXFlavour = a.cxx.flavour()
	result.DLLs, result.DefaultLibs = sortedKeys(a.dlls), sortedKeys(a.libs)
	result.Defined, result.Undefined = sortedKeys(a.defined), sortedKeys(a.undefined)
	return result, nil
}

// onlyInGlibc are the functions that -D_FORTIFY_SOURCE calls, and others that musl does not have.
func onlyInGlibc(undefined string) bool {
	return strings.HasPrefix(undefined, "__") && strings.HasSuffix(undefined, "_chk") ||
		strings.HasPrefix(undefined, "__isoc23_") || undefined == "__libc_single_threaded"
}

func (a *archiveReader) member(m arMember) error {
	head := make([]byte, min(m.size, bigHeader))
	if n, err := m.ReadAt(head, 0); n < len(head) && err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	has := func(magic string) bool { return strings.HasPrefix(string(head), magic) }
	switch {
	case has(magicBitcode), has(magicBitcodeWrapper):
		a.bytecode(m.name)
		return nil
	case has(magicELF):
		f, err := openELF(m, m.size)
		if err != nil {
			return err
		}
		if f.typ == elf.ET_REL {
			if err := a.machine(m.name, f.machine()); err != nil {
				return err
			}
			return a.object(m.name, f)
		}
	case isMachO(head):
		f, err := openMachO(m, m.size)
		if err != nil {
			return err
		}
		if f.typ == machoObject {
			return a.macho(m.name, f)
		}
	case has(magicArchive), has("MZ"), has("Microsoft C/C++"):
		// what no linker takes out of an archive
	default:
		switch kind := coffKindOf(head, m.size); kind {
		case coffObject, coffBigObject:
			return a.coff(m, kind)
		case coffBytecode:
			a.bytecode(m.name)
			return nil
		case coffImport:
			return a.importObject(m)
		}
	}
	a.others++ // a linker takes no library and no program out of an archive
	return nil
}

// machine notes which machine an object is for; all must agree.
func (a *archiveReader) machine(member string, machine Machine) error {
	a.archive.Members++
	have := &a.archive.Machine
	switch {
	case a.first == "":
		a.first, *have = member, machine
	case machine.Arch == have.Arch && have.OS == "":
		have.OS = machine.OS
	case machine.Arch == have.Arch && (machine.OS == "" || machine.OS == have.OS):
	default:
		return fmt.Errorf("an object for %s %s, where %s is for %s %s", machine.OS, machine.Arch, a.first, have.OS, have.Arch)
	}
	return nil
}

func (a *archiveReader) bytecode(member string) {
	a.archive.Members++
	a.lto++
	a.pic.unmeasured(member + ": LTO bytecode has no relocations yet")
}

// see takes a symbol that other objects see.
func (a *archiveReader) see(name string, defined, preemptible, weak bool) {
	if name == "" || name == slimLTO || name == fatLTO {
		return
	}
	a.cxx.see(name)
	switch {
	case defined:
		// Where two members define one symbol, either may be the one linked; the one that binds less decides.
		a.defined[name] = a.defined[name] || preemptible
	case !weak && !linkerMade[name]:
		a.undefined[name] = struct{}{}
	}
}

func (a *archiveReader) macho(member string, f *machoFile) error {
	machine := f.machine()
	if err := a.machine(member, machine); err != nil {
		return err
	}
	a.code++
	a.apple = true
	for family, version := range f.floors() {
		if have := a.archive.Floors[family]; have == "" || CompareVersions(have, version) < 0 {
			if a.archive.Floors == nil {
				a.archive.Floors = map[string]string{}
			}
			a.archive.Floors[family] = version
		}
	}
	return f.symbols(func(s machoSymbol) { a.see(s.name, s.defined, !s.hidden, s.weak) })
}

func (a *archiveReader) importObject(m arMember) error {
	o, err := readImportObject(m, m.size)
	if err != nil {
		return err
	}
	if err := a.machine(m.name, coffMachine(o.machine)); err != nil {
		return err
	}
	a.imports++
	a.dlls[o.dll] = struct{}{}
	// The linker makes of it a pointer, and for a function a stub that jumps through the pointer.
	for _, name := range []string{o.symbol, "__imp_" + o.symbol} {
		a.see(undecorated(name, o.machine), true, false, false)
	}
	return nil
}

// Of COFF objects it is to be told whether they have code or data of their own, or make up, piece by piece, the table
// of imports from one DLL. Its pieces are the sections .idata$2 to .idata$7; the stub that jumps through it lies in
// .text beside them.
const (
	idata       = ".idata$"
	idataHead   = ".idata$2" // the DLL's entry in the directory of imports
	idataNames  = ".idata$6" // Microsoft's tools put the DLL's name here
	idataGNU    = ".idata$7" // GNU's here
	drectve     = ".drectve"
	gccIdent    = ".rdata$zzz"
	gnuMadeHead = "_head_"
	gnuMadeName = "_iname"
)

func (a *archiveReader) coff(m arMember, kind coffKind) error {
	f, err := openCOFF(m, m.size, kind)
	if err != nil {
		return err
	}
	if err := a.machine(m.name, coffMachine(f.machine)); err != nil {
		return err
	}
	sections, err := f.sections()
	if err != nil {
		return err
	}
	var lto, code, imports bool
	named := map[string]coffSection{}
	for _, s := range sections {
		switch {
		case strings.HasPrefix(s.name, ".gnu.lto_"):
			lto = true
		case strings.HasPrefix(s.name, idata):
			imports = true
			named[s.name] = s
		case s.name == drectve:
			named[s.name] = s
		case s.name == gccIdent:
			a.gnu = true
		case s.size > 0 && !strings.HasPrefix(s.name, ".debug"):
			code = true
		}
	}
	if s, ok := named[drectve]; ok {
		b, err := f.contents(s)
		if err != nil {
			return err
		}
		if err := a.directives(m.name, parseDirectives(b)); err != nil {
			return err
		}
	}
	if lto && !code {
		a.archive.Members--
		a.bytecode(m.name)
		return nil
	}
	gnuName := false
	err = f.symbols(func(s coffSymbol) {
		if s.local {
			a.msvc = a.msvc || s.name == "@comp.id" // Microsoft's mark of the compiler
			return
		}
		a.see(s.name, s.defined, false, s.weak)
		gnuName = gnuName || imports && s.defined && strings.HasSuffix(s.name, gnuMadeName)
		// What the run-time libraries of the two have, and compilers call without being asked to.
		switch name := s.name; {
		case strings.HasPrefix(name, "?"), name == "__security_cookie", name == "__security_check_cookie", name == "_fltused",
			strings.HasPrefix(name, "__CxxFrameHandler"), strings.HasPrefix(name, "__GSHandlerCheck"):
			a.msvc = true
		case name == "___chkstk_ms", strings.HasPrefix(name, "__mingw_"), strings.HasPrefix(name, "__gxx_personality_"), strings.HasPrefix(name, gnuMadeHead):
			a.gnu = true
		}
	})
	if err != nil {
		return err
	}
	switch {
	case imports:
		a.imports++
	case code:
		a.code++
	}
	if dll, ok := named[idataGNU]; ok && gnuName {
		return a.dll(f, dll)
	}
	if dll, ok := named[idataNames]; ok && named[idataHead].size > 0 {
		return a.dll(f, dll)
	}
	return nil
}

// dll takes the name of a DLL from the section that holds it and nothing else.
func (a *archiveReader) dll(f *coffFile, s coffSection) error {
	b, err := f.contents(s)
	if err != nil {
		return err
	}
	if name, _, ok := strings.Cut(string(b), "\x00"); ok && name != "" {
		a.dlls[name] = struct{}{}
	}
	return nil
}

func (a *archiveReader) directives(member string, d directives) error {
	a.gnu = a.gnu || d.gnu
	for _, lib := range d.defaultLibs {
		lib = strings.TrimSuffix(strings.ToLower(lib), ".lib")
		a.libs[lib] = struct{}{}
		switch lib {
		case "libcmt", "libcmtd", "msvcrt", "msvcrtd":
			a.msvc = true
		}
	}
	for key, value := range d.mismatch {
		a.msvc = true
		if a.archive.Mismatch == nil {
			a.archive.Mismatch = map[string]string{}
		}
		have, said := a.archive.Mismatch[key]
		if said && have != value {
			return fmt.Errorf("it was compiled with %s=%s and %s with %s, which Microsoft's linker does not put into one program", key, value, a.saidBy[key], have)
		}
		a.archive.Mismatch[key], a.saidBy[key] = value, member
	}
	return nil
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
		a.archive.Members--
		a.bytecode(member)
		return nil
	}
	a.code++
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
		default:
			a.see(name, s.defined(), s.vis == elf.STV_DEFAULT, s.bind == elf.STB_WEAK)
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
	case isCXX(undefined):
		return true
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
