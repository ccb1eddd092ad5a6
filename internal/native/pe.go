package native

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	peDLL = 0x2000 // IMAGE_FILE_DLL
	// maxPEName bounds the name of a DLL or of an export; MSVC cuts mangled names at 4095 bytes, and other compilers go
	// further.
	maxPEName = 1 << 16
)

// peFile is one image: a program or a DLL.
type peFile struct {
	input
	machine         uint16
	characteristics uint16
	linkerMajor     byte
	rich            bool
	directories     []peDirectory
	sections        []peSection
}

type peDirectory struct{ rva, size uint32 }

type peSection struct {
	rva, virtual, off, size uint32
	body                    []byte // read when something in it is first asked for
}

func openPE(r io.ReaderAt, size int64) (*peFile, error) {
	f := &peFile{input: newInput(r, size)}
	fail := func(err error) (*peFile, error) { return nil, fmt.Errorf("PE header: %w", err) }
	dos, err := f.read(0, 64)
	if err != nil {
		return fail(err)
	}
	at := uint64(le.Uint32(dos[60:]))
	h, err := f.read(at, 4+coffHeader)
	if err != nil {
		return fail(err)
	}
	if string(dos[:2]) != "MZ" || string(h[:4]) != "PE\x00\x00" {
		return nil, errors.New("not a PE file")
	}
	h = h[4:]
	f.machine, f.characteristics = le.Uint16(h), le.Uint16(h[18:])
	nsections, optionalSize := uint64(le.Uint16(h[2:])), uint64(le.Uint16(h[16:]))
	// Microsoft's linker leaves a list of the tools that took part between the DOS program and this header.
	if at > 64 && at <= 4096 {
		stub, err := f.read(64, at-64)
		if err != nil {
			return fail(err)
		}
		f.rich = bytes.Contains(stub, []byte("Rich"))
	}
	at += 4 + coffHeader
	optional, err := f.read(at, optionalSize)
	if err != nil {
		return fail(err)
	}
	directories := 0
	switch {
	case len(optional) < 96:
		return fail(fmt.Errorf("an optional header of %d bytes", len(optional)))
	case le.Uint16(optional) == 0x10b:
		directories = 96
	case le.Uint16(optional) == 0x20b:
		directories = 112
	default:
		return fail(fmt.Errorf("an optional header of the kind %#x", le.Uint16(optional)))
	}
	f.linkerMajor = optional[2]
	for b := optional[min(directories, len(optional)):]; len(b) >= 8 && len(f.directories) < 16; b = b[8:] {
		f.directories = append(f.directories, peDirectory{le.Uint32(b), le.Uint32(b[4:])})
	}
	b, err := f.table(at+optionalSize, nsections, sectionHeader, sectionHeader)
	if err != nil {
		return fail(err)
	}
	for ; len(b) > 0; b = b[sectionHeader:] {
		f.sections = append(f.sections, peSection{virtual: le.Uint32(b[8:]), rva: le.Uint32(b[12:]), size: le.Uint32(b[16:]), off: le.Uint32(b[20:])})
	}
	return f, nil
}

// at gives the bytes from an address of the loaded image to the end of its section.
func (f *peFile) at(rva uint32) ([]byte, error) {
	for i := range f.sections {
		s := &f.sections[i]
		// What a section has on disk beyond its size in memory is padding.
		size := s.size
		if s.virtual != 0 {
			size = min(size, s.virtual)
		}
		if rva < s.rva || rva-s.rva >= size {
			// Charged too: a file may have 65,535 sections, and an address for every four bytes.
			if err := f.charge(1); err != nil {
				return nil, err
			}
			continue
		}
		if s.body == nil {
			b, err := f.read(uint64(s.off), uint64(size))
			if err != nil {
				return nil, err
			}
			s.body = b
		}
		return s.body[rva-s.rva:], nil
	}
	return nil, fmt.Errorf("address %#x is in no part of the file", rva)
}

func (f *peFile) array(rva uint32, count, size uint64) ([]byte, error) {
	if count == 0 {
		return nil, nil
	}
	b, err := f.at(rva)
	if err != nil {
		return nil, err
	}
	if count > uint64(len(b))/size {
		return nil, fmt.Errorf("%d entries of %d bytes at address %#x go beyond the end of the section", count, size, rva)
	}
	if err := f.charge(count * size); err != nil {
		return nil, err
	}
	return b[:count*size], nil
}

func (f *peFile) text(rva uint32) (string, error) {
	b, err := f.at(rva)
	if err != nil {
		return "", err
	}
	end := bytes.IndexByte(b[:min(len(b), maxPEName)], 0)
	if end < 0 {
		return "", fmt.Errorf("the name at address %#x has no end", rva)
	}
	return string(b[:end]), f.charge(uint64(end) + 1)
}

// Entries of the data directory.
const (
	directoryExport      = 0
	directoryImport      = 1
	directoryDelayImport = 13
)

func (f *peFile) directory(i int) (uint32, bool) {
	if i >= len(f.directories) || f.directories[i].rva == 0 {
		return 0, false
	}
	return f.directories[i].rva, true
}

// imports names the DLLs, in file order, those loaded with the image and those loaded at the first call.
func (f *peFile) imports() (names, delayed []string, err error) {
	list := func(directory int, entry, name int) ([]string, error) {
		var names []string
		rva, ok := f.directory(directory)
		if !ok {
			return nil, nil
		}
		for {
			b, err := f.array(rva, 1, uint64(entry))
			if err != nil {
				return nil, err
			}
			at := le.Uint32(b[name:])
			if at == 0 || directory == directoryDelayImport && le.Uint32(b)&1 == 0 {
				return names, nil // the end, or a list of Visual C++ 6, which holds addresses of another kind
			}
			if rva+uint32(entry) < rva {
				return nil, errors.New("the list has no end")
			}
			rva += uint32(entry)
			s, err := f.text(at)
			if err != nil {
				return nil, err
			}
			names = append(names, s)
		}
	}
	if names, err = list(directoryImport, 20, 12); err != nil {
		return nil, nil, fmt.Errorf("imports: %w", err)
	}
	if delayed, err = list(directoryDelayImport, 32, 4); err != nil {
		return nil, nil, fmt.Errorf("delayed imports: %w", err)
	}
	return names, delayed, nil
}

// exports gives the DLL's own name, and what it exports: by name, or as "#<ordinal>" what has only a number.
func (f *peFile) exports() (dll string, list []export, err error) {
	rva, ok := f.directory(directoryExport)
	if !ok {
		return "", nil, nil
	}
	h, err := f.array(rva, 1, 40)
	if err != nil {
		return "", nil, err
	}
	word := func(i int) uint32 { return le.Uint32(h[4*i:]) }
	if word(3) != 0 {
		if dll, err = f.text(word(3)); err != nil {
			return "", nil, err
		}
	}
	functions, err := f.array(word(7), uint64(word(5)), 4)
	if err != nil {
		return "", nil, err
	}
	names, err := f.array(word(8), uint64(word(6)), 4)
	if err != nil {
		return "", nil, err
	}
	ordinals, err := f.array(word(9), uint64(word(6)), 2)
	if err != nil {
		return "", nil, err
	}
	named := make([]bool, len(functions)/4)
	list = make([]export, 0, max(len(names), len(functions))/4)
	for i := range len(names) / 4 {
		name, err := f.text(le.Uint32(names[4*i:]))
		if err != nil {
			return "", nil, err
		}
		list = append(list, export{name: name})
		if o := int(le.Uint16(ordinals[2*i:])); o < len(named) {
			named[o] = true
		}
	}
	for i, has := range named {
		if !has && le.Uint32(functions[4*i:]) != 0 {
			list = append(list, export{name: fmt.Sprintf("#%d", uint64(word(4))+uint64(i))})
		}
	}
	return dll, list, nil
}

// runtimeOf tells which C run-time library an image uses and which compilers' it is.
func runtimeOf(f *peFile, imports []string) (crt, env string) {
	gnu, msvc := false, false
	for _, name := range imports {
		switch name = strings.TrimSuffix(strings.ToLower(name), ".dll"); {
		case name == "ucrtbase", name == "ucrtbased", strings.HasPrefix(name, "api-ms-win-crt-"):
			crt = "ucrt"
		case name == "msvcrt", strings.HasPrefix(name, "msvcr") && isNumber(strings.TrimSuffix(name[len("msvcr"):], "d")):
			crt = name
			// Old compilers of Microsoft's used msvcrt too; those of this century brought one with a number.
			gnu = gnu || name == "msvcrt"
			msvc = msvc || name != "msvcrt"
		case strings.HasPrefix(name, "vcruntime"), strings.HasPrefix(name, "msvcp"), strings.HasPrefix(name, "concrt"):
			msvc = true
		case strings.HasPrefix(name, "libgcc_s_"), strings.HasPrefix(name, "libstdc++-"), strings.HasPrefix(name, "libwinpthread-"):
			gnu = true
		}
	}
	switch {
	case gnu != msvc && gnu:
		return crt, "gnu"
	case gnu != msvc:
		return crt, "msvc"
	case f.rich:
		return crt, "msvc"
	case f.linkerMajor == 2:
		return crt, "gnu" // GNU ld writes its own version; Microsoft's has been above 2 since 1995, and lld says 14
	}
	return crt, ""
}

func readPE(r io.ReaderAt, size int64) (*Shared, error) {
	f, err := openPE(r, size)
	if err != nil {
		return nil, err
	}
	if f.characteristics&peDLL == 0 {
		return nil, notA("a shared library", r, size)
	}
	s := &Shared{Machine: coffMachine(f.machine), Floors: map[string]string{}}
	imports, delayed, err := f.imports()
	if err != nil {
		return nil, err
	}
	s.Needed, s.Weak = imports, delayed
	s.CRT, s.Libc = runtimeOf(f, slices.Concat(imports, delayed))
	dll, exports, err := f.exports()
	if err != nil {
		return nil, fmt.Errorf("exports: %w", err)
	}
	s.SONAME = dll
	var cxx cxxEvidence
	for _, e := range exports {
		cxx.see(e.name)
		s.CXXExports = s.CXXExports || isCXX(e.name)
	}
	for _, name := range imports {
		cxx.needs(strings.ToLower(name))
	}
	s.CXXFlavour = cxx.flavour()
	s.Exports, s.ExportsHash = hashExports(exports)
	return s, nil
}
