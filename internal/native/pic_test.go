package native

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestPICOfAssembledObjects(t *testing.T) {
	const (
		global = elf.STB_GLOBAL
		local  = elf.STB_LOCAL
	)
	one := func(arch architecture, typ uint32, s objectSymbol) object {
		return object{arch: arch, symbols: []objectSymbol{s}, relocs: []reloc{{typ, 1}}}
	}
	writable := func(o object) object { o.flags, o.section = elf.SHF_WRITE, ".data"; return o }
	undef := objectSymbol{name: "g", bind: global}
	def := objectSymbol{name: "g", bind: global, defined: true}
	hidden := objectSymbol{name: "g", bind: global, vis: elf.STV_HIDDEN, defined: true}
	protected := objectSymbol{name: "g", bind: global, vis: elf.STV_PROTECTED, defined: true}
	static := objectSymbol{name: "s", bind: local, defined: true}
	got := objectSymbol{name: "_GLOBAL_OFFSET_TABLE_", bind: global}
	pc32, abs64 := uint32(elf.R_X86_64_PC32), uint32(elf.R_X86_64_64)

	for _, c := range []struct {
		name   string
		obj    object
		want   PIC
		reason string
	}{
		{"no relocations", object{arch: amd64}, PICFull, ""},
		{"PC32 undefined", one(amd64, pc32, undef), PICPie, "a.o: R_X86_64_PC32 against symbol g"},
		{"PC32 defined", one(amd64, pc32, def), PICPie, "a.o: R_X86_64_PC32 against symbol g"},
		{"PC32 hidden", one(amd64, pc32, hidden), PICFull, ""},
		{"PC32 protected", one(amd64, pc32, protected), PICFull, ""},
		{"PC32 local", one(amd64, pc32, static), PICFull, ""},
		{"PC32 to what the linker makes", one(amd64, pc32, got), PICFull, ""},
		{"PLT32", one(amd64, uint32(elf.R_X86_64_PLT32), undef), PICFull, ""},
		{"GOT", one(amd64, uint32(elf.R_X86_64_REX_GOTPCRELX), undef), PICFull, ""},
		{"32S", one(amd64, uint32(elf.R_X86_64_32S), static), PICNone, "a.o: R_X86_64_32S against symbol s"},
		{"32 in data", writable(one(amd64, uint32(elf.R_X86_64_32), static)), PICNone, "a.o: R_X86_64_32 against symbol s"},
		{"32 against no symbol", object{arch: amd64, relocs: []reloc{{uint32(elf.R_X86_64_32), 0}}}, PICNone, "a.o: R_X86_64_32 against an absolute address"},
		{"64 in data", writable(one(amd64, abs64, undef)), PICFull, ""},
		{"64 in code", one(amd64, abs64, static), PICNone, "a.o: R_X86_64_64 against symbol s"},
		{"local-exec TLS", one(amd64, uint32(elf.R_X86_64_TPOFF32), hidden), PICPie, "a.o: R_X86_64_TPOFF32 against symbol g"},
		{"initial-exec TLS", one(amd64, uint32(elf.R_X86_64_GOTTPOFF), undef), PICFull, ""},
		{"a type of the future", one(amd64, 200, undef), PICPie, "a.o: relocation type 200 is not measured"},
		{"i686 32 in data", writable(one(i386, uint32(elf.R_386_32), def)), PICFull, ""},
		{"i686 32 in code", one(i386, uint32(elf.R_386_32), static), PICNone, "a.o: R_386_32 against symbol s"},
		{"i686 PC32", one(i386, uint32(elf.R_386_PC32), undef), PICPie, "a.o: R_386_PC32 against symbol g"},
		{"i686 GOT slot by a base register", object{arch: i386, symbols: []objectSymbol{undef}, relocs: []reloc{{uint32(elf.R_386_GOT32X), 1}},
			contents: []byte{0, 0, 0x8b, 0x83, 0, 0, 0, 0}}, PICFull, ""},
		{"i686 GOT slot by its address", object{arch: i386, symbols: []objectSymbol{undef}, relocs: []reloc{{uint32(elf.R_386_GOT32X), 1}},
			contents: []byte{0, 0, 0x8b, 0x05, 0, 0, 0, 0}}, PICNone, "a.o: R_386_GOT32X against symbol g"},
		{"AArch64 page of an undefined symbol", one(arm64, uint32(elf.R_AARCH64_ADR_PREL_PG_HI21), undef), PICPie, "a.o: R_AARCH64_ADR_PREL_PG_HI21 against symbol g"},
		{"AArch64 page of a local symbol", one(arm64, uint32(elf.R_AARCH64_ADR_PREL_PG_HI21), static), PICFull, ""},
		{"AArch64 low bits", one(arm64, uint32(elf.R_AARCH64_LDST64_ABS_LO12_NC), undef), PICFull, ""},
		{"AArch64 GOT", one(arm64, uint32(elf.R_AARCH64_ADR_GOT_PAGE), undef), PICFull, ""},
		{"AArch64 ABS32", one(arm64, uint32(elf.R_AARCH64_ABS32), static), PICNone, "a.o: R_AARCH64_ABS32 against symbol s"},
		{"AArch64 MOVW", one(arm64, uint32(elf.R_AARCH64_MOVW_UABS_G3), static), PICNone, "a.o: R_AARCH64_MOVW_UABS_G3 against symbol s"},
		{"AArch64 local-exec TLS", one(arm64, uint32(elf.R_AARCH64_TLSLE_ADD_TPREL_HI12), def), PICPie, "a.o: R_AARCH64_TLSLE_ADD_TPREL_HI12 against symbol g"},
		{"AArch64 conditional branch, defined", one(arm64, uint32(elf.R_AARCH64_CONDBR19), def), PICFull, ""},
		{"AArch64 conditional branch, undefined", one(arm64, uint32(elf.R_AARCH64_CONDBR19), undef), PICPie, "a.o: R_AARCH64_CONDBR19 against symbol g"},
		{"RISC-V", one(riscv, 2, undef), PICPie, "not measured for riscv64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := readArchive(t, arGNU(arFile{"a.o", c.obj.assemble()}))
			if a.PIC != c.want || a.PICReason != c.reason {
				t.Errorf("got %s %q, want %s %q", a.PIC, a.PICReason, c.want, c.reason)
			}
		})
	}
}

func TestPICAcrossMembers(t *testing.T) {
	wants := func(name string) object {
		return object{arch: amd64, symbols: []objectSymbol{{name: name, bind: elf.STB_GLOBAL}}, relocs: []reloc{{uint32(elf.R_X86_64_PC32), 1}}}
	}
	gives := func(name string, vis elf.SymVis) object {
		return object{arch: amd64, symbols: []objectSymbol{{name: name, bind: elf.STB_GLOBAL, vis: vis, defined: true}}}
	}
	absolute := object{arch: amd64, symbols: []objectSymbol{{name: "s", defined: true}}, relocs: []reloc{{uint32(elf.R_X86_64_32S), 1}}}
	for _, c := range []struct {
		name    string
		members []object
		want    PIC
		reason  string
	}{
		{"defined hidden later", []object{wants("g"), gives("g", elf.STV_HIDDEN)}, PICFull, ""},
		{"defined hidden before", []object{gives("g", elf.STV_HIDDEN), wants("g")}, PICFull, ""},
		{"defined by default", []object{wants("g"), gives("g", elf.STV_DEFAULT)}, PICPie, "0.o: R_X86_64_PC32 against symbol g"},
		{"defined twice, once by default", []object{wants("g"), gives("g", elf.STV_HIDDEN), gives("g", elf.STV_DEFAULT)}, PICPie, "0.o: R_X86_64_PC32 against symbol g"},
		{"the first that stays is told", []object{wants("h"), wants("g"), wants("f"), gives("h", elf.STV_HIDDEN)}, PICPie, "1.o: R_X86_64_PC32 against symbol g"},
		{"the worst wins", []object{wants("g"), absolute}, PICNone, "1.o: R_X86_64_32S against symbol s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var files []arFile
			for i, m := range c.members {
				files = append(files, arFile{fmt.Sprintf("%d.o", i), m.assemble()})
			}
			a := readArchive(t, arGNU(files...))
			if a.PIC != c.want || a.PICReason != c.reason {
				t.Errorf("got %s %q, want %s %q", a.PIC, a.PICReason, c.want, c.reason)
			}
		})
	}
}

func readArchive(t *testing.T, data []byte) *Archive {
	t.Helper()
	a, err := ReadArchive(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s on PATH, so there is no linker to compare the verdict with", tool)
		}
	}
}

// links reports whether a command succeeds, and what it said.
func links(dir string, command ...string) (bool, string) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return err == nil, string(out)
}

// The judge of the judge: what a compiler makes of C, archived, must be given the verdict that the host's linker gives
// when it is asked to put every member into a shared object and into a position independent executable.
func TestPICAgreesWithTheLinker(t *testing.T) {
	needTools(t, "cc", "ar")
	const (
		calls   = "extern int other(int); extern int table[4]; int f(int i) { return other(i) + table[i & 3]; }\n"
		defines = "int table[4] = {1, 2, 3, 4}; int other(int i) { return i; }\n"
		pointer = "static int x; int *const p = &x; int *get(void) { return p; }\n"
		strings = "const char *const name[] = {\"a\", \"b\"}; const char *f(int i) { return name[i & 1]; }\n"
		tls     = "__thread int counter; int bump(void) { return ++counter; }\n"
		private = "extern int table[4] __attribute__((visibility(\"hidden\"))); int g(int i) { return table[i & 3]; }\n"
	)
	for _, c := range []struct {
		name    string
		flags   []string
		sources []string
	}{
		{"pic", []string{"-fPIC"}, []string{calls, defines}},
		{"pie", []string{"-fPIE"}, []string{calls, defines}},
		{"no-pic", []string{"-fno-pic", "-no-pie"}, []string{calls, defines}},
		{"pie, all hidden", []string{"-fPIE", "-fvisibility=hidden"}, []string{defines, "int alone(void) { return 7; }\n"}},
		{"pie, hidden in another member", []string{"-fPIE"}, []string{
			"extern int table[4]; int f(int i) { return table[i & 3]; }\n",
			"__attribute__((visibility(\"hidden\"))) int table[4] = {1};\n"}},
		{"pic, hidden references", []string{"-fPIC"}, []string{private, "__attribute__((visibility(\"hidden\"))) int table[4];\n"}},
		{"pie, only local data", []string{"-fPIE"}, []string{"static int x[9]; int f(int i) { return x[i] += i; }\n"}},
		{"no-pic, only local data", []string{"-fno-pic"}, []string{"static int x[9]; int f(int i) { return x[i] += i; }\n"}},
		{"no-pic, nothing but registers", []string{"-fno-pic"}, []string{"int f(int i) { return i * 3; }\n"}},
		{"pic, pointers", []string{"-fPIC"}, []string{pointer}},
		{"pie, pointers", []string{"-fPIE"}, []string{pointer}},
		{"no-pic, pointers in read-only data", []string{"-fno-pic"}, []string{strings}},
		{"pie, strings", []string{"-fPIE"}, []string{strings}},
		{"pic, strings", []string{"-fPIC", "-fvisibility=hidden"}, []string{strings}},
		{"pic, tls", []string{"-fPIC"}, []string{tls}},
		{"pie, tls", []string{"-fPIE"}, []string{tls}},
		{"pic, tls initial exec", []string{"-fPIC", "-ftls-model=initial-exec"}, []string{tls}},
		{"pic, tls local exec", []string{"-fPIC", "-ftls-model=local-exec"}, []string{tls}},
		{"pic, unwinding tables and debugging information", []string{"-fPIC", "-g", "-fasynchronous-unwind-tables", "-fexceptions"}, []string{calls, defines}},
		{"pic, sections and cold code", []string{"-fPIC", "-O2", "-ffunction-sections", "-fdata-sections"}, []string{calls, defines, "const char *const name[] = {\"a\", \"b\"}; const char *const *names(void) { return name; }\n"}},
		{"pic, common", []string{"-fPIC", "-fcommon"}, []string{"int shared; int f(void) { return shared; }\n"}},
		{"pie, common", []string{"-fPIE", "-fcommon"}, []string{"int shared; int f(void) { return shared; }\n"}},
		{"pic, large model", []string{"-fPIC", "-mcmodel=large"}, []string{calls, defines}},
		{"no-pic, large model", []string{"-fno-pic", "-mcmodel=large"}, []string{calls, defines}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			command := append([]string{"cc", "-O1", "-c"}, c.flags...)
			archive := []string{"ar", "rcs", "libx.a"}
			for i, source := range c.sources {
				write(t, dir, fmt.Sprintf("m%d.c", i), source)
				command = append(command, fmt.Sprintf("m%d.c", i))
				archive = append(archive, fmt.Sprintf("m%d.o", i))
			}
			if ok, out := links(dir, command...); !ok {
				t.Skipf("this cc cannot compile it: %s", out)
			}
			run(t, dir, archive...)
			data, err := os.ReadFile(filepath.Join(dir, "libx.a"))
			if err != nil {
				t.Fatal(err)
			}
			got := readArchive(t, data)

			write(t, dir, "main.c", "int main(void) { return 0; }\n")
			run(t, dir, "cc", "-fPIC", "-c", "main.c")
			whole := []string{"-Wl,-z,text", "-Wl,--whole-archive", "libx.a", "-Wl,--no-whole-archive", "-o", "out"}
			want := PICNone
			pie, pieSaid := links(dir, append([]string{"cc", "-pie", "main.o"}, whole...)...)
			shared, sharedSaid := links(dir, append([]string{"cc", "-shared"}, whole...)...)
			switch {
			case pie && shared:
				want = PICFull
			case pie:
				want = PICPie
			}
			if got.PIC != want {
				t.Errorf("got %s (%s), the linker says %s\n-pie: %s\n-shared: %s", got.PIC, got.PICReason, want, pieSaid, sharedSaid)
			}
		})
	}
}

// The tables of pic.go, type by type, against GNU binutils: an archive that the verdict lets into an output must be
// one the linker puts there. The other way round the verdict is stricter in the cases that pic.go lists.
func TestRelocationTablesAreNotLaxerThanTheLinker(t *testing.T) {
	if testing.Short() {
		t.Skip("links some hundred small files")
	}
	host := map[string]bool{"amd64": true, "386": true}[runtime.GOARCH]
	for _, c := range []struct {
		arch    string
		as, ld  []string
		prefix  string
		types   string // against data and functions
		threads string // against thread-local variables; only those that a linker does not check the instructions of
	}{
		{"x86_64", []string{"as", "--64"}, []string{"ld", "-m", "elf_x86_64"}, "R_X86_64_",
			"64 32 32S 16 8 PC64 PC32 PC16 PC8 PLT32 GOTPCREL GOTPCRELX REX_GOTPCRELX GOTPC32 GOTOFF64 GOT32 GOT64 GOTPC64 GOTPCREL64 PLTOFF64 SIZE32 SIZE64",
			"TPOFF32 TPOFF64"},
		{"i686", []string{"as", "--32"}, []string{"ld", "-m", "elf_i386"}, "R_386_",
			"32 16 8 PC32 PC16 PC8 PLT32 GOTOFF GOTPC GOT32 GOT32X SIZE32",
			"TLS_LE TLS_LE_32"},
		{"aarch64", []string{"aarch64-linux-gnu-as"}, []string{"aarch64-linux-gnu-ld"}, "R_AARCH64_",
			"ABS64 ABS32 ABS16 PREL64 PREL32 PREL16 MOVW_UABS_G0 MOVW_UABS_G0_NC MOVW_UABS_G1 MOVW_UABS_G3 MOVW_SABS_G0 LD_PREL_LO19 ADR_PREL_LO21 " +
				"ADR_PREL_PG_HI21 ADR_PREL_PG_HI21_NC ADD_ABS_LO12_NC LDST64_ABS_LO12_NC TSTBR14 CONDBR19 JUMP26 CALL26 MOVW_PREL_G0 MOVW_PREL_G3 " +
				"GOT_LD_PREL19 ADR_GOT_PAGE LD64_GOT_LO12_NC",
			"TLSLE_ADD_TPREL_HI12 TLSLE_MOVW_TPREL_G1 TLSLE_LDST64_TPREL_LO12 TLSIE_ADR_GOTTPREL_PAGE21 TLSDESC_ADR_PAGE21 TLSGD_ADR_PAGE21"},
	} {
		t.Run(c.arch, func(t *testing.T) {
			needTools(t, c.as[0], c.ld[0])
			if !host && c.as[0] == "as" {
				t.Skip("the host's binutils are for another machine")
			}
			const data, threadData = ".section .t\n.balign 8\n%sg: .quad 0\n", ".section .tdata,\"awT\"\n.type g,%%tls_object\n%sg: .quad 0\n"
			dir := t.TempDir()
			// What is undefined in the archive, another object of the executable defines.
			// It lies in the same section, so that the shortest relocation reaches it.
			for name, place := range map[string]string{"ax": ".section .t,\"ax\"", "aw": ".section .t,\"aw\"", "thread": ".type g,%tls_object\n.section .tdata,\"awT\""} {
				write(t, dir, name+".s", place+"\n.balign 8\n.globl g\n.size g,8\ng: .quad 0\n")
				run(t, dir, append(c.as, name+".s", "-o", name+".o")...)
			}

			check := func(typ, visibility, definition, flags, elsewhere string) {
				source := fmt.Sprintf(".section .t,%q\n.globl f\nf: .reloc .,%s%s,g\n.quad 0\n.quad 0\n", flags, c.prefix, typ)
				if visibility == "undefined" && elsewhere == "thread.o" {
					source += ".type g,%tls_object\n"
				} else if visibility != "undefined" {
					source += fmt.Sprintf(definition, map[string]string{"default": ".globl g\n", "hidden": ".globl g\n.hidden g\n", "protected": ".globl g\n.protected g\n"}[visibility])
				}
				write(t, dir, "r.s", source)
				if ok, out := links(dir, append(c.as, "r.s", "-o", "r.o")...); !ok {
					t.Logf("%s: this assembler does not know it: %s", typ, out)
					return
				}
				body, err := os.ReadFile(filepath.Join(dir, "r.o"))
				if err != nil {
					t.Fatal(err)
				}
				got := readArchive(t, arGNU(arFile{"r.o", body}))
				shared, sharedSaid := links(dir, append(c.ld, "-shared", "-z", "text", "r.o", "-o", "out")...)
				program := append(c.ld, "-pie", "-z", "text", "-e", "f", "r.o", "-o", "out")
				if visibility == "undefined" {
					program = append(program, elsewhere)
				}
				pie, pieSaid := links(dir, program...)
				where := fmt.Sprintf("%s against a symbol that is %s, section %s", typ, visibility, flags)
				if got.PIC == PICFull && !shared {
					t.Errorf("%s: got pic, but ld -shared says %s", where, sharedSaid)
				}
				if got.PIC != PICNone && !pie {
					t.Errorf("%s: got %s, but ld -pie says %s", where, got.PIC, pieSaid)
				}
				if shared && got.PIC != PICFull || pie && got.PIC == PICNone {
					t.Logf("%s: got %s, stricter than ld (shared %t, pie %t)", where, got.PIC, shared, pie)
				}
			}
			for typ := range strings.FieldsSeq(c.types) {
				for _, visibility := range []string{"undefined", "default", "hidden", "protected", "local"} {
					for _, flags := range []string{"ax", "aw"} {
						check(typ, visibility, data, flags, flags+".o")
					}
				}
			}
			for typ := range strings.FieldsSeq(c.threads) {
				for _, visibility := range []string{"undefined", "default", "hidden"} {
					check(typ, visibility, threadData, "ax", "thread.o")
				}
			}
		})
	}
}
