package native

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestReadArchive(t *testing.T) {
	const (
		global = elf.STB_GLOBAL
		weak   = elf.STB_WEAK
	)
	long := "a_member_with_a_name_longer_than_sixteen_bytes.o"
	first := object{arch: arm64, symbols: []objectSymbol{
		{name: "local", bind: elf.STB_LOCAL, defined: true},
		{name: "inflate", bind: global, defined: true},
		{name: "helper", bind: global, vis: elf.STV_HIDDEN, defined: true},
		{name: "memcpy", bind: global},
		{name: "crc", bind: global},
		{name: "pthread_create", bind: weak},
		{name: "_GLOBAL_OFFSET_TABLE_", bind: global},
	}}.assemble()
	second := object{arch: arm64, contents: make([]byte, 3), symbols: []objectSymbol{
		{name: "crc", bind: weak, defined: true},
		{name: "inflate", bind: global},
		{name: "abort", bind: global},
		{name: "unique", bind: stbGNUUnique, defined: true},
	}}.assemble()
	want := Archive{
		Machine: Machine{"linux", "aarch64"}, Members: 2, PIC: PICFull,
		Defined:   []string{"crc", "helper", "inflate", "unique"},
		Undefined: []string{"abort", "memcpy"},
	}
	odd := append(bytes.Clone(second), 0) // bodies of odd size are padded
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"GNU", arGNU(arFile{long, first}, arFile{"b.o", second})},
		{"GNU, odd size first", arGNU(arFile{"a.o", odd}, arFile{long, first})},
		{"GNU, odd size last and unpadded", bytes.TrimSuffix(arGNU(arFile{long, first}, arFile{"b.o", odd}), []byte("\n"))},
		{"GNU with other files in it", arGNU(arFile{"README", []byte("read me")}, arFile{"a.o", first}, arFile{"b.o", second})},
		{"BSD", arBSD(arFile{long, first}, arFile{"b.o", second})},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := readArchive(t, c.data); !reflect.DeepEqual(*got, want) {
				t.Errorf("got  %+v\nwant %+v", *got, want)
			}
		})
	}
}

func TestArchiveWithoutMembers(t *testing.T) {
	got := readArchive(t, []byte(magicArchive))
	if want := (Archive{PIC: PICFull}); !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, want %+v", *got, want)
	}
}

func TestArchiveNeedsCXX(t *testing.T) {
	for symbol, want := range map[string]bool{
		"_Znwm":                true,
		"__gxx_personality_v0": true,
		"__cxa_guard_acquire":  true,
		"__cxa_atexit":         false,
		"__cxa_finalize":       false,
		"malloc":               false,
		"_ZN4core9panicking5panic17h0123456789abcdefE": false,
		"_ZN4core9panickingE":                          true,
	} {
		o := object{arch: amd64, symbols: []objectSymbol{{name: symbol, bind: elf.STB_GLOBAL}}}
		if got := readArchive(t, arGNU(arFile{"a.o", o.assemble()})); got.CXX != want {
			t.Errorf("with %s undefined: CXX = %t, want %t", symbol, got.CXX, want)
		}
	}
}

func TestArchiveOfBytecode(t *testing.T) {
	bitcode := arFile{"a.o", []byte(magicBitcode + "\x35\x14\x00\x00")}
	machineCode := arFile{"b.o", object{arch: amd64}.assemble()}
	slim := arFile{"c.o", object{arch: amd64, symbols: []objectSymbol{{name: slimLTO, bind: elf.STB_GLOBAL, defined: true}}}.assemble()}
	for _, c := range []struct {
		name    string
		data    []byte
		only    bool
		reason  string
		members int
	}{
		{"LLVM's", arGNU(bitcode), true, "a.o: LTO bytecode has no relocations yet", 1},
		{"GCC's", arGNU(slim), true, "c.o: LTO bytecode has no relocations yet", 1},
		{"with machine code", arGNU(machineCode, bitcode), false, "a.o: LTO bytecode has no relocations yet", 2},
	} {
		got := readArchive(t, c.data)
		if got.LTOOnly != c.only || got.PIC != PICPie || got.PICReason != c.reason || got.Members != c.members || len(got.Defined) != 0 {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}

func TestReadArchiveRefuses(t *testing.T) {
	amd := object{arch: amd64, symbols: []objectSymbol{{name: "f", bind: elf.STB_GLOBAL, defined: true}}, relocs: []reloc{{1, 7}}}
	good := arGNU(arFile{"a.o", object{arch: amd64}.assemble()})
	sized := func(size string) []byte {
		b := bytes.Clone(good)
		copy(b[8+60+4+48:], size+strings.Repeat(" ", 10-len(size)))
		return b
	}
	broken := object{arch: amd64}.assemble()
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "not an ar archive"},
		{"text", []byte("INPUT ( libm-2.36.a )\n"), "text file"},
		{"shared library", library{arch: amd64}.assemble(), "a shared library"},
		{"thin", []byte(magicThinArchive), "thin archive"},
		{"size beyond the end", sized("9999999999"), "member a.o: its 9999999999 bytes go beyond the end"},
		{"size is no number", sized("-1"), "is no number"},
		{"size with a sign", sized("+1"), "is no number"},
		{"cut in a header", good[:30], "too few for a header"},
		{"garbage in place of a header", []byte(magicArchive + strings.Repeat("x", 60)), "no header"},
		{"long name out of the table", []byte(magicArchive + arHeader("/12", 0)), "table of long names of 0 bytes"},
		{"long name without end", []byte(magicArchive + arHeader("//", 2) + "ab" + arHeader("/0", 0)), "no end"},
		{"BSD name longer than the member", []byte(magicArchive + arHeader("#1/9", 3) + "abc\n"), "length \"9\" of its name"},
		{"two machines", arGNU(arFile{"a.o", object{arch: amd64}.assemble()}, arFile{"b.o", object{arch: arm64}.assemble()}), "member b.o: an object for linux aarch64, where a.o is for linux x86_64"},
		{"nothing a linker reads", arGNU(arFile{"a.o", []byte("\x00\x00\x01\x00")}), "none of its 1 members"},
		{"Mach-O cut short", arGNU(arFile{"a.o", []byte("\xcf\xfa\xed\xfe\x07\x00\x00\x01")}), "member a.o: Mach-O header: 28 bytes"},
		{"ELF cut short", arGNU(arFile{"inflate.o", broken[:len(broken)-10]}), "member inflate.o: section headers: "},
		{"relocation of no symbol", arGNU(arFile{"inflate.o", amd.assemble()}), "member inflate.o: section .rel.text: a relocation against symbol 7 of 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadArchive(bytes.NewReader(c.data), int64(len(c.data)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// What ar, C++ and LTO really write on the host.
func TestReadArchiveOfTheHost(t *testing.T) {
	needTools(t, "cc", "ar")
	build := func(t *testing.T, name, source string, flags ...string) *Archive {
		dir := t.TempDir()
		write(t, dir, name, source)
		object := "an_object_whose_name_ar_puts_into_its_table.o"
		if ok, out := links(dir, append([]string{"cc", "-c", name, "-o", object}, flags...)...); !ok {
			t.Skipf("this cc cannot compile it: %s", out)
		}
		run(t, dir, "ar", "rcs", "libx.a", object)
		data, err := os.ReadFile(filepath.Join(dir, "libx.a"))
		if err != nil {
			t.Fatal(err)
		}
		return readArchive(t, data)
	}
	t.Run("C++", func(t *testing.T) {
		a := build(t, "a.cc", "int *make() { return new int(3); }\nextern \"C\" int plain() { return *make(); }\n", "-fPIC")
		if !a.CXX || a.LTOOnly || !slices.Contains(a.Defined, "plain") || !slices.Contains(a.Defined, "_Z4makev") || !slices.Contains(a.Undefined, "_Znwm") {
			t.Errorf("got %+v", a)
		}
	})
	t.Run("C++ that needs no run-time", func(t *testing.T) {
		a := build(t, "a.cc", "int twice(int i) { return i * 2; }\nint four(int i) { return twice(twice(i)); }\n", "-fno-exceptions", "-fno-asynchronous-unwind-tables")
		if a.CXX {
			t.Errorf("got %+v", a)
		}
	})
	const source = "extern int other(int); int f(int i) { return other(i); }\n"
	t.Run("slim LTO", func(t *testing.T) {
		if a := build(t, "a.c", source, "-flto", "-fno-fat-lto-objects"); !a.LTOOnly || a.PIC != PICPie {
			t.Errorf("got %+v", a)
		}
	})
	t.Run("fat LTO", func(t *testing.T) {
		a := build(t, "a.c", source, "-flto", "-ffat-lto-objects", "-fPIC", "-O1")
		if a.LTOOnly || a.PIC != PICFull || !slices.Equal(a.Defined, []string{"f"}) || !slices.Equal(a.Undefined, []string{"other"}) {
			t.Errorf("got %+v", a)
		}
	})
	t.Run("compressed debugging information", func(t *testing.T) {
		if a := build(t, "a.c", source, "-g", "-gz=zlib", "-fPIC"); a.PIC != PICFull {
			t.Errorf("got %+v", a)
		}
	})
}
