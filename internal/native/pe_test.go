package native

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/native/nativetest"
)

func TestParseDirectives(t *testing.T) {
	for in, want := range map[string]directives{
		"": {},
		` /DEFAULTLIB:"LIBCMT" /DEFAULTLIB:"OLDNAMES" `:                                               {defaultLibs: []string{"LIBCMT", "OLDNAMES"}},
		"/defaultlib:uuid.lib -DefaultLib:m\x00\x00":                                                  {defaultLibs: []string{"uuid.lib", "m"}},
		`/FAILIFMISMATCH:"_MSC_VER=1900" /FAILIFMISMATCH:"RuntimeLibrary=MT_StaticRelease"`:           {mismatch: map[string]string{"_MSC_VER": "1900", "RuntimeLibrary": "MT_StaticRelease"}},
		`/DEFAULTLIB:"a folder\x.lib" /EXPORT:f`:                                                      {defaultLibs: []string{`a folder\x.lib`}},
		"\xef\xbb\xbf/DEFAULTLIB:x":                                                                   {defaultLibs: []string{"x"}},
		` -aligncomm:"counter",2 -export:"z_open"`:                                                    {gnu: true},
		`/DEFAULTLIB: /FAILIFMISMATCH:novalue /ENTRY /DEFAULTLIB:"no end /DEFAULTLIB:x -nodefaultlib`: {defaultLibs: []string{"no end /DEFAULTLIB:x -nodefaultlib"}},
	} {
		if want.mismatch == nil {
			want.mismatch = map[string]string{}
		}
		if got := parseDirectives([]byte(in)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, want %+v", in, got, want)
		}
	}
}

// shortImport is one member of a library that Microsoft's lib.exe makes of a .def file.
func shortImport(machine uint16, symbol, dll string) []byte {
	b := le.AppendUint16(nil, 0)
	b = le.AppendUint16(b, 0xffff)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(len(symbol)+len(dll)+2))
	return append(append(b, 0, 0, 4, 0), symbol+"\x00"+dll+"\x00"...)
}

// coff assembles an object file with one section, or none, and external symbols; of a name in brackets it has no
// definition.
func coff(big bool, section string, body []byte, symbols ...string) []byte {
	machine, header, count := uint16(0x8664), coffHeader, 0
	if big {
		header = bigHeader
	}
	if section != "" {
		count = 1
	}
	at := header + count*sectionHeader
	symoff := uint32(at + len(body))
	var b []byte
	if big {
		b = append(machoWords(0xffff0000, 2|uint32(machine)<<16, 0), bigObject...)
		b = append(b, machoWords(0, 0, 0, 0, uint32(count), symoff, uint32(len(symbols)))...)
	} else {
		b = le.AppendUint16(nil, machine)
		b = le.AppendUint16(b, uint16(count))
		b = append(b, machoWords(0, symoff, uint32(len(symbols)), 0)...)
	}
	if count == 1 {
		b = append(b, (section + "\x00\x00\x00\x00\x00\x00\x00\x00")[:8]...)
		b = append(b, machoWords(0, 0, uint32(len(body)), uint32(at), 0, 0, 0, 0)...)
	}
	b = append(b, body...)
	names := make([]byte, 4)
	for _, s := range symbols {
		number := uint32(1)
		if strings.HasPrefix(s, "[") {
			s, number = s[1:len(s)-1], 0
		}
		b = append(b, machoWords(0, uint32(len(names)), 0)...)
		names = append(names, s+"\x00"...)
		if big {
			b = le.AppendUint32(b, number)
		} else {
			b = le.AppendUint16(b, uint16(number))
		}
		b = append(b, 0x20, 0, 2, 0)
	}
	le.PutUint32(names, uint32(len(names)))
	return append(b, names...)
}

// arMicrosoft writes an archive as lib.exe does: two linker members, and long names that end in NUL.
func arMicrosoft(files ...arFile) []byte {
	var b, long bytes.Buffer
	b.WriteString(magicArchive)
	arAppend(&b, "/", make([]byte, 4))
	arAppend(&b, "/", make([]byte, 8))
	for _, f := range files {
		long.WriteString(f.name + "\x00")
	}
	arAppend(&b, "//", long.Bytes())
	at := 0
	for _, f := range files {
		arAppend(&b, fmt.Sprintf("/%d", at), f.body)
		at += len(f.name) + 1
	}
	return b.Bytes()
}

func TestReadArchiveOfCOFF(t *testing.T) {
	code := []byte{0xc3}
	for _, c := range []struct {
		name string
		data []byte
		want Archive
	}{
		{
			"objects of both kinds",
			arMicrosoft(arFile{`d:\a\one.obj`, coff(false, ".text", code, "f", "[g]", "[h]")}, arFile{`d:\a\two.obj`, coff(true, ".text", code, "g")}),
			Archive{Machine: Machine{"windows", "x86_64"}, Members: 2, PIC: PICFull, Defined: []string{"f", "g"}, Undefined: []string{"h"}},
		},
		{
			"import library of two DLLs",
			arMicrosoft(arFile{"a.dll", shortImport(0x8664, "f", "a.dll")}, arFile{"B.dll", shortImport(0x8664, "g", "B.dll")}, arFile{"a.dll", shortImport(0x8664, "h", "a.dll")}),
			Archive{Machine: Machine{"windows", "x86_64"}, Members: 3, PIC: PICFull, Import: true, DLLs: []string{"B.dll", "a.dll"},
				Defined: []string{"__imp_f", "__imp_g", "__imp_h", "f", "g", "h"}},
		},
		{
			"static library with its imports",
			arMicrosoft(arFile{"one.obj", coff(false, ".text", code, "f", "[__imp_g]")}, arFile{"a.dll", shortImport(0x8664, "g", "a.dll")}),
			Archive{Machine: Machine{"windows", "x86_64"}, Members: 2, PIC: PICFull, DLLs: []string{"a.dll"}, Defined: []string{"__imp_g", "f", "g"}},
		},
		{
			"32-bit names lose their underscore",
			arMicrosoft(arFile{"a.dll", shortImport(0x014c, "_f", "a.dll")}),
			Archive{Machine: Machine{"windows", "i686"}, Members: 1, PIC: PICFull, Import: true, DLLs: []string{"a.dll"}, Defined: []string{"_imp__f", "f"}},
		},
		{
			"C++ of Microsoft's compiler",
			arMicrosoft(arFile{"a.obj", coff(false, ".text", code, "?f@@YAXXZ", "[??2@YAPEAX_K@Z]")}),
			Archive{Machine: Machine{"windows", "x86_64"}, Libc: "msvc", Members: 1, PIC: PICFull, CXX: true, CXXFlavour: CXXMicrosoft,
				Defined: []string{"?f@@YAXXZ"}, Undefined: []string{"??2@YAPEAX_K@Z"}},
		},
		{
			"marks of both compilers cancel out",
			arMicrosoft(arFile{"a.obj", coff(false, ".text", code, "f", "[__security_cookie]")}, arFile{"b.obj", coff(false, ".text", code, "g", "[___chkstk_ms]")}),
			Archive{Machine: Machine{"windows", "x86_64"}, Members: 2, PIC: PICFull, Defined: []string{"f", "g"}, Undefined: []string{"___chkstk_ms", "__security_cookie"}},
		},
		{
			"intermediate code of cl /GL",
			arMicrosoft(arFile{"a.obj", append(append(machoWords(0xffff0000, 1|0x8664<<16, 0), ltcgObject...), make([]byte, 40)...)}),
			Archive{Members: 1, LTOOnly: true, PIC: PICPie, PICReason: "a.obj: LTO bytecode has no relocations yet"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := readArchive(t, c.data); !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got  %+v\nwant %+v", *got, c.want)
			}
		})
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"two machines", arMicrosoft(arFile{"a.obj", coff(false, ".text", code)}, arFile{"a.dll", shortImport(0xaa64, "f", "a.dll")}), "an object for windows aarch64, where a.obj is for windows x86_64"},
		{"two systems", arMicrosoft(arFile{"a.obj", coff(false, ".text", code)}, arFile{"b.o", object{arch: amd64}.assemble()}), "an object for linux x86_64, where a.obj is for windows x86_64"},
		{"import of nothing", arMicrosoft(arFile{"a.dll", shortImport(0x8664, "f", "")}), "names no symbol and DLL"},
		{"import cut short", arMicrosoft(arFile{"a.dll", shortImport(0x8664, "f", "a.dll")[:24]}), "import header: 8 bytes at offset 20"},
		{"names that are not there", arMicrosoft(arFile{"a.obj", bytes.Replace(coff(false, ".text", code, "f"), []byte{4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x20}, []byte{99, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x20}, 1)}), "a name at offset 99"},
	} {
		if _, err := ReadArchive(bytes.NewReader(c.data), int64(len(c.data))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestReadDLLRefuses(t *testing.T) {
	dll := nativetest.File("pe-msvc-z.dll")
	at := int(le.Uint32(dll[60:]))
	changed := func(off int, v uint32) []byte {
		b := slices.Clone(dll)
		le.PutUint32(b[off:], v)
		return b
	}
	program := slices.Clone(dll)
	program[at+4+19] &^= 0x20
	exports, imports := at+24+112, at+24+112+8
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"program", program, "an executable"},
		{"program of DOS", append([]byte("MZ"), make([]byte, 100)...), "not a PE file"},
		{"header outside", changed(60, 1<<30), "PE header: 24 bytes at offset 1073741824"},
		{"exports in no section", changed(exports, 1<<30), "exports: address 0x40000000 is in no part of the file"},
		{"imports in no section", changed(imports, 1<<30), "imports: address 0x40000000"},
		{"kind of optional header", changed(at+24, 0x107), "an optional header of the kind 0x107"},
		{"cut in the sections", dll[:at+24+240+10], "PE header"},
	} {
		if _, err := ReadShared(bytes.NewReader(c.data), int64(len(c.data))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// dllOf assembles a 64-bit DLL whose last section, at address 0x10000, is body, and begins with the directory of exports.
func dllOf(sections int, body []byte) []byte {
	b := make([]byte, 64)
	copy(b, "MZ")
	le.PutUint32(b[60:], 64)
	b = append(b, "PE\x00\x00"...)
	b = le.AppendUint16(b, 0x8664)
	b = le.AppendUint16(b, uint16(sections))
	b = append(b, machoWords(0, 0, 0)...)
	b = le.AppendUint16(b, 112+8)
	b = le.AppendUint16(b, peDLL)
	optional := make([]byte, 112+8)
	le.PutUint16(optional, 0x20b)
	le.PutUint32(optional[112:], 0x10000)
	b = append(b, optional...)
	for range sections - 1 {
		b = append(b, make([]byte, sectionHeader)...)
	}
	header := make([]byte, sectionHeader)
	for i, v := range []int{len(body), 0x10000, len(body), len(b) + sectionHeader} {
		le.PutUint32(header[8+4*i:], uint32(v))
	}
	return append(append(b, header...), body...)
}

// A name for every four bytes, to be found among as many sections as there can be.
func TestReadDLLIsBounded(t *testing.T) {
	const names = 100000
	const base, ordinals, text = 0x10000, 40 + 4*names, 40 + 6*names
	body := machoWords(0, 0, 0, 0, 0, 0, names, 0, base+40, base+ordinals)
	for range names {
		body = append(body, machoWords(base+text)...)
	}
	body = append(append(body, make([]byte, 2*names)...), "x\x00"...)
	for _, c := range []struct {
		sections int
		want     string // of an error
	}{{1, ""}, {0xffff, "overlap"}} {
		data := dllOf(c.sections, body)
		bounded(t, len(data), func() {
			s, err := ReadShared(bytes.NewReader(data), int64(len(data)))
			if c.want == "" && (err != nil || s.Exports != 1 || s.ExportsHash != hashOf("x")) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%d sections: got %+v, %v", c.sections, s, err)
			}
		})
	}
}

func TestRuntimeOf(t *testing.T) {
	for _, c := range []struct {
		imports  string
		rich     bool
		linker   byte
		crt, env string
	}{
		{"KERNEL32.dll VCRUNTIME140.dll api-ms-win-crt-heap-l1-1-0.dll", true, 14, "ucrt", "msvc"},
		{"ucrtbased.dll vcruntime140d.dll", false, 14, "ucrt", "msvc"},
		{"MSVCR120.dll", false, 12, "msvcr120", "msvc"},
		{"msvcrt.dll KERNEL32.dll", false, 2, "msvcrt", "gnu"},
		{"api-ms-win-crt-heap-l1-1-0.dll libgcc_s_seh-1.dll", false, 2, "ucrt", "gnu"},
		{"api-ms-win-crt-heap-l1-1-0.dll", false, 14, "ucrt", ""}, // LLVM's linker, for either
		{"KERNEL32.dll", true, 14, "", "msvc"},
		{"KERNEL32.dll", false, 2, "", "gnu"},
		{"KERNEL32.dll", false, 14, "", ""},
		{"msvcrt.dll VCRUNTIME140.dll", false, 14, "msvcrt", ""},
		{"msvcrypto.dll", false, 14, "", ""},
	} {
		crt, env := runtimeOf(&peFile{rich: c.rich, linkerMajor: c.linker}, strings.Fields(c.imports))
		if crt != c.crt || env != c.env {
			t.Errorf("%s (Rich %t, linker %d): got %q, %q", c.imports, c.rich, c.linker, crt, env)
		}
	}
}

func TestCXXFlavour(t *testing.T) {
	for _, c := range []struct {
		names string
		want  CXXFlavour
	}{
		{"inflate printf _ZSt9terminatev _ZNSt9exceptionD2Ev _ZTISt9exception", CXXNone},
		{"_ZN4core9panicking5panic17h0123456789abcdefE", CXXNone},
		{"_Z1fNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE", CXXLibstdcxxNew},
		{"_Z1fB5cxx11v", CXXLibstdcxxNew},
		{"_ZNSs6appendEPKc", CXXLibstdcxxOld},
		{"_ZNKSs4sizeEv _ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEC1Ev", CXXLibstdcxx},
		{"_ZSt20__throw_length_errorPKc", CXXLibstdcxx},
		{"_ZNSt6vectorIiSaIiEED1Ev", CXXLibstdcxx},
		{"_ZNKSt3__112basic_stringIcNS_11char_traitsIcEENS_9allocatorIcEEE4sizeEv", CXXLibcxx},
		{"_ZNSt4__Cr6vectorIiED1Ev", CXXLibcxx},
		{"_Z1fRNSt6__ndk16vectorIiEE", CXXLibcxxAndroid},
		{"?f@@YAXXZ", CXXMicrosoft},
		{"_ZSt4cout _ZNSt3__14coutE", CXXMixed},
		{"St3__1 XSt7__cxx11", CXXNone},
	} {
		var e cxxEvidence
		for name := range strings.FieldsSeq(c.names) {
			e.see(name)
		}
		if got := e.flavour(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.names, got, c.want)
		}
	}
}
