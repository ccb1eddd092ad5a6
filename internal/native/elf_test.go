package native

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// hashOf is what ExportsHash documents, from lines in order.
func hashOf(lines ...string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(lines, "\n")+"\n")))
}

func TestReadShared(t *testing.T) {
	for _, c := range []struct {
		name string
		lib  library
		want Shared
	}{
		{
			"glibc, with everything",
			library{
				arch: amd64, soname: "libssl.so.3", needed: []string{"libcrypto.so.3", "libc.so.6"},
				runpath: "$ORIGIN:/opt/lib", rpath: "/ignored",
				needs: map[string][]string{
					"libc.so.6":      {"GLIBC_2.4", "GLIBC_2.34", "GLIBC_2.14", "GLIBC_PRIVATE", "[GLIBC_2.99]"},
					"libcrypto.so.3": {"OPENSSL_3.0.3", "OPENSSL_3.0.0", "OPENSSL_1_1_0"},
					"libstdc++.so.6": {"GLIBCXX_3.4.9", "GLIBCXX_3.4.29", "CXXABI_1.3.13", "CXXABI_1.3"},
				},
				versions: []string{"libssl.so.3", "OPENSSL_3.0.9", "OPENSSL_3.0.0"},
				defined:  []string{"SSL_new", "SSL_free"}, wanted: []string{"malloc"},
				buildID: []byte{0xca, 0xfe, 0x00, 0x01},
			},
			Shared{
				Machine: Machine{"linux", "x86_64"}, Libc: "gnu", SONAME: "libssl.so.3", Needed: []string{"libcrypto.so.3", "libc.so.6"},
				RunPath:  []string{"$ORIGIN", "/opt/lib"},
				Floors:   map[string]string{"GLIBC": "2.34", "OPENSSL": "3.0.3", "GLIBCXX": "3.4.29", "CXXABI": "1.3.13"},
				Versions: []string{"OPENSSL_3.0.0", "OPENSSL_3.0.9"},
				BuildID:  "cafe0001", Exports: 2, ExportsHash: hashOf("SSL_free", "SSL_new"),
			},
		},
		{
			"AArch64 with musl",
			library{arch: arm64, soname: "libz.so.1", needed: []string{"libc.musl-aarch64.so.1"}, rpath: "/lib", defined: []string{"inflate"}, gnuHash: true},
			Shared{Machine: Machine{"linux", "aarch64"}, Libc: "musl", SONAME: "libz.so.1", Needed: []string{"libc.musl-aarch64.so.1"},
				RunPath: []string{"/lib"}, Floors: map[string]string{}, Exports: 1, ExportsHash: hashOf("inflate")},
		},
		{
			"musl's libc.so, no exports",
			library{arch: riscv, needed: []string{"libc.so"}, wanted: []string{"puts"}, gnuHash: true},
			Shared{Machine: Machine{"linux", "riscv64"}, Libc: "musl", Needed: []string{"libc.so"}, Floors: map[string]string{}},
		},
		{
			"Android's libc.so has versions",
			library{arch: arm64, needed: []string{"libc.so"}, needs: map[string][]string{"libc.so": {"LIBC"}}},
			Shared{Machine: Machine{"linux", "aarch64"}, Needed: []string{"libc.so"}, Floors: map[string]string{}},
		},
		{
			"glibc by a version alone, with packed relative relocations",
			library{arch: i386, needed: []string{"libm.so.6"}, needs: map[string][]string{"libm.so.6": {"GLIBC_2.29", "GLIBC_ABI_DT_RELR"}}, defined: []string{"f"}},
			Shared{Machine: Machine{"linux", "i686"}, Libc: "gnu", Needed: []string{"libm.so.6"}, Floors: map[string]string{"GLIBC": "2.36"}, Exports: 1, ExportsHash: hashOf("f")},
		},
		{
			"big endian, with 64-bit words in its hash table",
			library{arch: s390x, soname: "libz.so.1", defined: []string{"a", "b", "c"}},
			Shared{Machine: Machine{"linux", "s390x"}, SONAME: "libz.so.1", Floors: map[string]string{}, Exports: 3, ExportsHash: hashOf("a", "b", "c")},
		},
		{
			"x32 is not x86_64",
			library{arch: architecture{elf.EM_X86_64, false, false}, soname: "libz.so.1"},
			Shared{Machine: Machine{"linux", "x86_64-32le"}, SONAME: "libz.so.1", Floors: map[string]string{}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := c.lib.assemble()
			got, err := ReadShared(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got  %+v\nwant %+v", *got, c.want)
			}
		})
	}
}

func TestReadSharedRefuses(t *testing.T) {
	lib := library{arch: amd64, soname: "libx.so.1", needs: map[string][]string{"libc.so.6": {"GLIBC_2.34"}}, defined: []string{"f"}}.assemble()
	changed := func(old, new string) []byte {
		b := bytes.Replace(lib, []byte(old), []byte(new), 1)
		if bytes.Equal(b, lib) {
			t.Fatalf("%q is not in the file", old)
		}
		return b
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "a file of another format"},
		{"text", []byte("GROUP ( libc.so.6 )\n"), "text file"},
		{"archive", arGNU(), "an ar archive"},
		{"object", object{arch: amd64}.assemble(), "an object file"},
		{"executable", library{arch: amd64, interp: true}.assemble(), "an executable"},
		{"cut short", lib[:len(lib)-8], "beyond the end"},
		{"header alone", lib[:64], "beyond the end"},
		{"no dynamic table", append(bytes.Clone(lib[:56]), append([]byte{0, 0}, lib[58:64]...)...), "dynamic table"},
		{"a name without end", changed("GLIBC_2.34\x00", "GLIBC_2.34x"), "no end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadShared(bytes.NewReader(c.data), int64(len(c.data)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// Tables that overlap must not multiply the work: here every needed library has one name nearly as long as the file.
func TestReadSharedIsBounded(t *testing.T) {
	lib := library{arch: amd64, soname: strings.Repeat("x", 1<<20)}
	for range 1 << 10 {
		lib.needed = append(lib.needed, "")
	}
	data := lib.assemble()
	at := bytes.Index(data, bytes.Repeat([]byte("x"), 100))
	start := bytes.LastIndexByte(data[:at], 0) // where the string table begins
	for off := 0; off < len(data)-16; off += 8 {
		e := data[off : off+16]
		if off > start+1<<20 && e[0] == byte(elf.DT_NEEDED) && bytes.Equal(e[1:], make([]byte, 15)) {
			e[8] = 1
		}
	}
	_, err := ReadShared(bytes.NewReader(data), int64(len(data)))
	if err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("got %v, want the overlap refused", err)
	}
}

// The standard library reads the same facts through section headers; on well-formed files both must agree.
func TestReadSharedAgreesWithDebugELF(t *testing.T) {
	var libs []string
	if cc, err := exec.LookPath("cc"); err == nil {
		for _, name := range []string{"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1"} {
			out, err := exec.Command(cc, "-print-file-name="+name).Output()
			if path := strings.TrimSpace(string(out)); err == nil && filepath.IsAbs(path) {
				libs = append(libs, path)
			}
		}
		libs = append(libs, compileShared(t, cc))
	}
	if len(libs) == 0 {
		t.Skip("no cc on PATH, so no shared libraries to compare on")
	}
	for _, path := range libs {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			got, err := ReadShared(f, info.Size())
			if err != nil {
				t.Fatal(err)
			}
			e, err := elf.NewFile(f)
			if err != nil {
				t.Fatal(err)
			}
			needed, err := e.ImportedLibraries()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Needed, needed) {
				t.Errorf("needed: got %q, want %q", got.Needed, needed)
			}
			soname, err := e.DynString(elf.DT_SONAME)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Join(soname, ""); got.SONAME != want {
				t.Errorf("SONAME: got %q, want %q", got.SONAME, want)
			}
			definitions, err := e.DynamicVersions()
			if err != nil {
				t.Fatal(err)
			}
			var versions []string
			for _, v := range definitions {
				if v.Flags&elf.VER_FLG_BASE == 0 {
					versions = append(versions, v.Name)
				}
			}
			slices.Sort(versions)
			if !slices.Equal(got.Versions, versions) {
				t.Errorf("versions: got %q, want %q", got.Versions, versions)
			}
			symbols, err := e.DynamicSymbols()
			if err != nil {
				t.Fatal(err)
			}
			exports := 0
			for _, s := range symbols {
				ofVersion := s.Section == elf.SHN_ABS && s.HasVersion && s.Name == s.Version // not a symbol of the library
				if s.Section != elf.SHN_UNDEF && elf.ST_BIND(s.Info) != elf.STB_LOCAL && !ofVersion {
					exports++
				}
			}
			if got.Exports != exports {
				t.Errorf("exports: got %d, want %d", got.Exports, exports)
			}
			if s := e.Section(".note.gnu.build-id"); s != nil {
				note, err := s.Data()
				if err != nil {
					t.Fatal(err)
				}
				if want := hex.EncodeToString(note[16:]); got.BuildID != want {
					t.Errorf("build ID: got %s, want %s", got.BuildID, want)
				}
			}
		})
	}
}

// compileShared makes a library with versions of its own, a run path and both an exported and a hidden symbol.
func compileShared(t *testing.T, cc string) string {
	dir := t.TempDir()
	write(t, dir, "a.c", `#include <stdio.h>
int shown(void) { return puts("shown"); }
__attribute__((visibility("hidden"))) int hidden(void) { return 1; }
`)
	write(t, dir, "a.map", "A_1.0 { global: shown; local: *; };\n")
	run(t, dir, cc, "-shared", "-fPIC", "-Wl,-soname,liba.so.1,--version-script=a.map,-rpath,/opt/a:$ORIGIN,--build-id", "a.c", "-o", "liba.so")
	return filepath.Join(dir, "liba.so")
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
}
