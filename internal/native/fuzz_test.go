package native

import (
	"bytes"
	"debug/elf"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/native/nativetest"
)

// bounded fails if f allocates more than the package promises of an input of that size.
func bounded(t *testing.T, size int, f func()) {
	allocated := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	before := allocated()
	f()
	if got, limit := allocated()-before, uint64(64*size+1<<20); got > limit {
		t.Errorf("%d bytes of input made it allocate %d", size, got)
	}
}

func seeds(f *testing.F) {
	f.Add(library{arch: amd64, soname: "libx.so.1", needed: []string{"libc.so.6"}, runpath: "a:b", needs: map[string][]string{"libc.so.6": {"GLIBC_2.34"}},
		versions: []string{"libx.so.1", "X_1.0"}, defined: []string{"f", "g"}, wanted: []string{"puts"}, buildID: []byte{1, 2, 3, 4}, gnuHash: true}.assemble())
	f.Add(library{arch: s390x, soname: "libx.so.1", defined: []string{"f"}}.assemble())
	f.Add(library{arch: i386, interp: true}.assemble())
	f.Add(arGNU(arFile{"a.o", object{arch: i386, symbols: []objectSymbol{{name: "g", bind: elf.STB_GLOBAL}}, relocs: []reloc{{uint32(elf.R_386_GOT32X), 1}, {2, 1}}}.assemble()}))
	f.Add(arGNU(arFile{"a_name_that_is_longer_than_sixteen.o", object{arch: amd64, symbols: []objectSymbol{{name: "g", bind: elf.STB_GLOBAL}}, relocs: []reloc{{2, 1}}}.assemble()}))
	f.Add(arBSD(arFile{"a.o", object{arch: arm64}.assemble()}))
	f.Add([]byte("GROUP ( libc.so.6 )\n"))
	for _, name := range nativetest.Names() {
		if data := nativetest.File(name); len(data) <= 17<<10 {
			f.Add(data)
		}
	}
}

func FuzzSniff(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		bounded(t, len(data), func() {
			kind, err := Sniff(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Errorf("nothing failed to be read: %v", err)
			}
			switch kind {
			case TypeShared, TypeArchive, TypeObject, TypeExecutable, TypeBundle, TypeUniversal, TypeText, TypeUnknown:
			default:
				t.Errorf("type %q", kind)
			}
		})
	})
}

func FuzzReadShared(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		bounded(t, len(data), func() {
			s, err := ReadShared(bytes.NewReader(data), int64(len(data)))
			if (s == nil) == (err == nil) {
				t.Errorf("got %v and %v", s, err)
			}
			if kind, _ := Sniff(bytes.NewReader(data), int64(len(data))); err == nil && kind != TypeShared {
				t.Errorf("read a file as a shared library that is %s", kind)
			}
		})
	})
}

func FuzzReadArchive(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		bounded(t, len(data), func() {
			a, err := ReadArchive(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				return
			}
			if (a.PIC == PICFull) != (a.PICReason == "") {
				t.Errorf("verdict %s with the reason %q", a.PIC, a.PICReason)
			}
			for _, list := range [][]string{a.Defined, a.Undefined} {
				if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
					t.Errorf("not sorted and unique: %q", list)
				}
			}
			for _, name := range a.Undefined {
				if _, ok := slices.BinarySearch(a.Defined, name); ok {
					t.Errorf("%q is both defined and undefined", name)
				}
			}
		})
	})
}

func FuzzParseDirectives(f *testing.F) {
	f.Add([]byte(` /DEFAULTLIB:"LIBCMT" /FAILIFMISMATCH:"_MSC_VER=1900" -export:"z" -aligncomm:"c",2`))
	f.Add([]byte("\xef\xbb\xbf/defaultlib:a b\" \"c\x00\x00"))
	f.Fuzz(func(t *testing.T, section []byte) {
		bounded(t, len(section), func() {
			d := parseDirectives(section)
			if len(d.defaultLibs)+len(d.mismatch) > len(section)/10 {
				t.Errorf("more options than there is room for: %+v", d)
			}
		})
	})
}

func FuzzParsePkgConfig(f *testing.F) {
	f.Add("prefix=/usr\nlibdir=${prefix}/lib\nName: x\nRequires: a >= 1, b\nLibs: \"-L${libdir}\" -lx \\\n -ly\nCflags: -DX='1 2' # c\n")
	f.Add("a=$${b}\nb=${a}${a}\nLibs: \\# \\\"\n")
	f.Add(strings.Repeat("a:b\n", 30000))
	f.Add(strings.Repeat("libs:a a a a\n", 5000))
	f.Add("a=x x x x \n" + strings.Repeat("a=${a}${a}\n", 11) + "libs:${a}\n")
	f.Add("a=x x x x \n" + strings.Repeat("a=${a}${a}\n", 17) + "libs:${a}\n")
	f.Fuzz(func(t *testing.T, text string) {
		bounded(t, len(text)+maxExpanded, func() {
			pc, err := ParsePkgConfig(strings.NewReader(text), map[string]string{"pcfiledir": "/p"})
			if (pc == nil) == (err == nil) {
				t.Errorf("got %v and %v", pc, err)
			}
		})
	})
}

// Every cut and every byte turned over, of files that reach all of the readers' code: what a fuzzer finds with luck
// this finds on each run of the tests.
func TestDamagedFiles(t *testing.T) {
	lib := library{arch: amd64, soname: "libx.so.1", needed: []string{"libc.so.6"}, needs: map[string][]string{"libc.so.6": {"GLIBC_2.34", "GLIBC_2.2.5"}},
		versions: []string{"libx.so.1", "X_1.0"}, defined: []string{"f"}, buildID: []byte{1, 2, 3, 4}}
	hashed := lib
	hashed.gnuHash = true
	obj := object{arch: i386, symbols: []objectSymbol{{name: "g", bind: elf.STB_GLOBAL}}, relocs: []reloc{{uint32(elf.R_386_GOT32X), 1}, {uint32(elf.R_386_PC32), 1}}}
	files := [][]byte{
		lib.assemble(), hashed.assemble(),
		arGNU(arFile{"a_name_that_is_longer_than_sixteen.o", obj.assemble()}), arBSD(arFile{"a.o", obj.assemble()}),
	}
	for _, name := range []string{"macho-libz.1-x86_64.dylib", "macho-x86_64.a", "macho-universal.dylib", "pe-mingw-libshout.dll", "pe-mingw-libz.dll.a", "pe-msvc-z.dll", "pe-msvc-z.lib", "pe-msvc-zs.lib"} {
		files = append(files, nativetest.File(name))
	}
	for _, whole := range files {
		read := func(data []byte) {
			bounded(t, len(data), func() {
				r, size := bytes.NewReader(data), int64(len(data))
				Sniff(r, size)
				ReadShared(r, size)
				ReadArchive(r, size)
			})
		}
		for n := range whole {
			if whole[n] == 0 && n > 4096 || len(whole) > 16<<10 && n > 256 {
				continue // padding, or far behind the header that this file is here for
			}
			read(whole[:n])
			for _, value := range []byte{0, 1, 0x7f, 0x80, 0xff} {
				damaged := bytes.Clone(whole)
				damaged[n] = value
				read(damaged)
			}
		}
	}
}
