package native

import (
	"debug/elf"
	"fmt"
)

// effect is what one kind of relocation asks of the output it goes into.
type effect int

const (
	fits effect = iota // resolved by the linker, or by ld.so in the global offset table
	// relative reaches the symbol at a fixed distance. An executable always has one; a shared object only for a symbol
	// whose place no other object can take, for else the distance is known at run time only, too late for code.
	relative
	// shortBranch is a branch too short for the linker to lead through a stub: it needs a definition in the same
	// output, and is then bound to it.
	shortBranch
	executableTLS // an offset in the executable's own thread-local block
	// address is a full-width address. ld.so can write it into data; in what is read-only it would need a text
	// relocation, which lld and "ld -z text" refuse and hardened systems do not load.
	address
	// truncated is an address in fewer bits than ld.so relocates, so it must be known when linking.
	truncated
	unmeasured // not in this package's tables
)

// relocations names the effect of every relocation type a compiler or an assembler writes for one machine. Each table
// was checked against GNU ld 2.40 (its check_relocs and relocate_section are where the rules live) with -z text, type by
// type, against undefined, default, hidden and local symbols. These rules are stricter than that linker's:
//   - relative in writable data: ld leaves R_X86_64_PC32 to ld.so, where it overflows once the libraries are 2 GiB
//     apart; lld refuses it.
//   - R_386_GOTOFF and R_X86_64_GOTOFF64 against a symbol that may be preempted: ld binds them silently to its own
//     definition, which differs from the executable's after a copy relocation.
//   - TLSLE_* of AArch64 against a symbol defined in a shared object: ld 2.40 lets it pass, and the offset is then one
//     in another module's block.
//   - Sizes of symbols in read-only sections, which ld fills in where the symbol cannot be preempted.
//   - Addresses in 16 bits and in MOVW_UABS_*, which that linker sometimes resolves as though the output were never moved.
type relocations struct {
	effect map[uint32]effect
	last   uint32 // types up to this one and not in the map are of the kind fits
	name   func(uint32) string
}

var relocationsOf = map[architecture]relocations{
	{elf.EM_X86_64, true, false}: {
		last: 51, // R_X86_64_CODE_6_GOTPC32_TLSDESC; 43 to 51 are APX's ways to the global offset table
		name: func(t uint32) string { return elf.R_X86_64(t).String() },
		effect: map[uint32]effect{
			uint32(elf.R_X86_64_64):       address,
			uint32(elf.R_X86_64_SIZE32):   address, // ld.so fills sizes in too
			uint32(elf.R_X86_64_SIZE64):   address,
			uint32(elf.R_X86_64_PC8):      relative,
			uint32(elf.R_X86_64_PC16):     relative,
			uint32(elf.R_X86_64_PC32):     relative,
			uint32(elf.R_X86_64_PC64):     relative,
			uint32(elf.R_X86_64_PC32_BND): relative,
			uint32(elf.R_X86_64_GOTOFF64): relative,
			uint32(elf.R_X86_64_8):        truncated,
			uint32(elf.R_X86_64_16):       truncated,
			uint32(elf.R_X86_64_32):       truncated,
			uint32(elf.R_X86_64_32S):      truncated,
			uint32(elf.R_X86_64_TPOFF32):  executableTLS,
			uint32(elf.R_X86_64_TPOFF64):  executableTLS,
		},
	},
	{elf.EM_386, false, false}: {
		last: uint32(elf.R_386_GOT32X),
		name: func(t uint32) string { return elf.R_386(t).String() },
		effect: map[uint32]effect{
			uint32(elf.R_386_32):        address,
			uint32(elf.R_386_SIZE32):    address,
			uint32(elf.R_386_PC8):       relative,
			uint32(elf.R_386_PC16):      relative,
			uint32(elf.R_386_PC32):      relative,
			uint32(elf.R_386_GOTOFF):    relative,
			uint32(elf.R_386_8):         truncated,
			uint32(elf.R_386_16):        truncated,
			uint32(elf.R_386_TLS_IE):    truncated, // the absolute address of a slot in the global offset table
			uint32(elf.R_386_TLS_LE):    executableTLS,
			uint32(elf.R_386_TLS_LE_32): executableTLS,
		},
	},
	{elf.EM_AARCH64, true, false}: {
		last: 573, // R_AARCH64_TLSLD_LDST128_DTPREL_LO12_NC
		name: func(t uint32) string { return elf.R_AARCH64(t).String() },
		effect: merge(
			types(address, 257),            // ABS64
			types(truncated, 258, 259),     // ABS32, ABS16
			span(relative, 260, 262),       // PREL64 to PREL16
			span(truncated, 263, 272),      // MOVW_UABS_* and MOVW_SABS_*
			span(relative, 273, 276),       // LD_PREL_LO19, ADR_PREL_LO21, ADR_PREL_PG_HI21 and _NC; the low 12 bits accompany
			types(shortBranch, 279, 280),   // TSTBR14, CONDBR19
			span(relative, 287, 293),       // MOVW_PREL_*
			span(relative, 300, 308),       // MOVW_GOTOFF_*, GOTREL64, GOTREL32
			span(executableTLS, 544, 559),  // TLSLE_*
			types(executableTLS, 570, 571), // TLSLE_LDST128_*
		),
	},
}

func types(e effect, list ...uint32) map[uint32]effect {
	m := map[uint32]effect{}
	for _, t := range list {
		m[t] = e
	}
	return m
}

func span(e effect, first, last uint32) map[uint32]effect {
	m := map[uint32]effect{}
	for t := first; t <= last; t++ {
		m[t] = e
	}
	return m
}

func merge(parts ...map[uint32]effect) map[uint32]effect {
	m := map[uint32]effect{}
	for _, part := range parts {
		for t, e := range part {
			m[t] = e
		}
	}
	return m
}

func (r relocations) of(t uint32) effect {
	if e, ok := r.effect[t]; ok {
		return e
	}
	if t <= r.last {
		return fits
	}
	return unmeasured
}

// linkerMade are the symbols that a linker defines hidden in every output, whatever the visibility of the reference;
// checked with ld 2.40. Others that it makes (_end, etext, __bss_start) are refused in a shared object.
var linkerMade = map[string]bool{
	"_GLOBAL_OFFSET_TABLE_": true,
	"_DYNAMIC":              true,
	"__ehdr_start":          true,
	"_TLS_MODULE_BASE_":     true,
	".TOC.":                 true,
}

const shtCREL elf.SectionType = 0x40000014 // LLVM's compact relocations, still an experiment

// misfit is a relocation that keeps an archive out of some output.
type misfit struct {
	order   int // the first one found is the one to tell of
	member  string
	machine architecture
	typ     uint32
	against string
}

func (m misfit) String() string {
	return fmt.Sprintf("%s: %s against %s", m.member, relocationsOf[m.machine].name(m.typ), m.against)
}

// picJudge collects the relocations of an archive's members and, when all are seen, says how position independent it
// is. It has to wait for the last member because the linker merges visibility: code may reach a symbol that its own
// object takes for a default one but that another member defines hidden.
type picJudge struct {
	found   int
	none    *misfit
	pie     *misfit
	pending map[string]misfit // by undefined symbol: the first relocation that needs it in the same output
	excuse  string            // why something could not be measured
}

func (j *picJudge) unmeasured(reason string) {
	if j.excuse == "" {
		j.excuse = reason
	}
}

// member judges the relocations of one object.
func (j *picJudge) member(name string, f *elfFile, sections []section, symtab int, symbols symbolTable) error {
	if j.none != nil {
		return nil // nothing worse can come
	}
	machine := f.architecture()
	table, known := relocationsOf[machine]
	if !known {
		j.unmeasured(fmt.Sprintf("not measured for %s", f.machine().Arch))
		return nil
	}
	waiting := map[uint32]bool{} // symbols of this member that are pending already
	for _, s := range sections {
		if s.typ == shtCREL {
			j.unmeasured(name + ": relocations in CREL's form are not measured")
			continue
		}
		if s.typ != elf.SHT_RELA && s.typ != elf.SHT_REL {
			continue
		}
		if int(s.info) >= len(sections) {
			return fmt.Errorf("section %s relocates section %d of %d", s.name, s.info, len(sections))
		}
		target := sections[s.info]
		// What is not loaded, debugging information above all, is not relocated at run time.
		if target.flags&elf.SHF_ALLOC == 0 || s.size == 0 {
			continue
		}
		if int(s.link) != symtab {
			return fmt.Errorf("section %s refers to symbols in section %d, which is not the symbol table", s.name, s.link)
		}
		b, err := f.contents(s)
		if err != nil {
			return fmt.Errorf("section %s: %w", s.name, err)
		}
		entry := int(f.sized(8, 16))
		if s.typ == elf.SHT_RELA {
			entry = int(f.sized(12, 24))
		}
		var code []byte // of target, where the instruction decides
		for ; len(b) >= entry; b = b[entry:] {
			info := f.word(b[f.sized(4, 8):])
			typ, index := uint32(info), uint32(info>>32)
			if !f.is64 {
				typ, index = uint32(info&0xff), uint32(info>>8)
			}
			if int(index) >= symbols.len() {
				return fmt.Errorf("section %s: a relocation against symbol %d of %d", s.name, index, symbols.len())
			}
			e := table.of(typ)
			if machine.machine == elf.EM_386 && (typ == uint32(elf.R_386_GOT32) || typ == uint32(elf.R_386_GOT32X)) {
				if code == nil {
					if code, err = f.contents(target); err != nil {
						return fmt.Errorf("section %s: %w", target.name, err)
					}
				}
				if at := f.word(b); at > 0 && at <= uint64(len(code)) && code[at-1]&0xc7 == 0x05 {
					// No base register: the slot's absolute address. ld refuses it in what is position independent.
					e = truncated
				}
			}
			if e == fits {
				continue
			}
			if err := j.relocation(name, machine, typ, e, target, sections, symbols, index, waiting); err != nil {
				return fmt.Errorf("section %s: %w", s.name, err)
			}
			if j.none != nil {
				return nil
			}
		}
	}
	return nil
}

func (j *picJudge) relocation(member string, machine architecture, typ uint32, e effect, target section, sections []section, symbols symbolTable, index uint32, waiting map[uint32]bool) error {
	sym := symbols.at(int(index))
	preemptible := sym.global() && sym.vis == elf.STV_DEFAULT
	switch e {
	case unmeasured:
		j.unmeasured(fmt.Sprintf("%s: relocation type %d is not measured", member, typ))
		return nil
	case address:
		if target.flags&elf.SHF_WRITE != 0 {
			return nil
		}
	case relative:
		if !preemptible || waiting[index] || j.pie != nil {
			return nil
		}
	case shortBranch:
		if sym.defined() || waiting[index] || j.pie != nil {
			return nil
		}
	case executableTLS:
		if j.pie != nil {
			return nil
		}
	}
	name, err := symbols.names.at(sym.name)
	if err != nil {
		return err
	}
	if e == relative && linkerMade[name] {
		return nil
	}
	against := "symbol " + name
	switch {
	case sym.typ == elf.STT_SECTION && int(sym.shndx) < len(sections):
		against = "section " + sections[sym.shndx].name
	case index == 0:
		against = "an absolute address"
	}
	j.found++
	m := misfit{j.found, member, machine, typ, against}
	switch {
	case e == address || e == truncated:
		j.none = &m
	case e != executableTLS && !sym.defined():
		waiting[index] = true
		if _, seen := j.pending[name]; !seen {
			j.pending[name] = m
		}
	default:
		j.pie = &m
	}
	return nil
}

// verdict is given the symbols that the archive defines, with whether each may be preempted.
func (j *picJudge) verdict(defined map[string]bool) (PIC, string) {
	if j.none != nil {
		return PICNone, j.none.String()
	}
	first := j.pie
	for name, m := range j.pending {
		if preemptible, ok := defined[name]; (!ok || preemptible) && (first == nil || m.order < first.order) {
			first = &m
		}
	}
	if first != nil {
		return PICPie, first.String()
	}
	if j.excuse != "" {
		return PICPie, j.excuse
	}
	return PICFull, ""
}
