package library

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
)

// summaryWidth is the columns of a summary. Only references with a digest are longer: a digest alone has 71.
const summaryWidth = 80

// Summary tells people what was found.
func (x *Inspection) Summary() string {
	w := &summary{}
	shown := x.shown()
	var p *artifact.Package
	if shown != nil {
		p = shown.Package
	}
	if p != nil {
		w.field("library", strings.TrimSpace(p.Name+" "+p.Version))
		w.field("licence", p.License)
	}
	if x.Image != "" {
		name, _, _ := strings.Cut(x.Image, "@")
		w.field("image", name)
	}
	w.field("layout", x.Layout)
	w.field("digest", x.Digest.String())
	if shown != nil {
		w.field("store", inStore(shown))
	}

	w.section("platforms")
	for _, p := range x.Platforms {
		name := p.Target
		switch {
		case name != "":
		case p.Package != nil:
			name = "any (headers alone)"
		case p.Platform != "":
			name = p.Platform
		default:
			name = "unknown"
		}
		note := Size(p.Compressed)
		switch {
		case p.Problem != "":
			note = p.Problem
		case p.Unpacked > 0:
			note += ", " + Size(p.Unpacked) + " unpacked"
		}
		if p.Stored {
			note += ", in the store"
		}
		if p.Chosen && len(x.Platforms) > 1 {
			note += ", shown here"
		}
		w.wrapped("  "+name+"  ", "    ", note, " ")
		if p.Digest != x.Digest {
			w.line("    " + p.Digest.String())
		}
	}
	if shown == nil {
		w.line("")
		w.line("none of them is for " + x.Target + "; --target shows another")
		return w.String()
	}

	w.section("components")
	w.row("", "compressed", "unpacked")
	for _, c := range shown.Components {
		unpacked := ""
		if c.Unpacked > 0 {
			unpacked = Size(c.Unpacked)
		}
		_, compression, _ := strings.Cut(c.MediaType, "+")
		w.row(c.Name, Size(c.Compressed), unpacked, compression)
	}
	if p == nil {
		return w.String()
	}
	if len(p.Libraries) > 0 {
		w.section("libraries")
	}
	for _, lib := range p.Libraries {
		w.line("  " + lib.Name)
		if s := lib.Static; s != nil {
			facts := []string{s.PIC}
			if s.Reason != "" {
				facts[0] += ": " + s.Reason
			}
			if s.CXXFlavour != "" {
				facts = append(facts, "C++ of "+s.CXXFlavour)
			}
			if s.AlwaysLink {
				facts = append(facts, "always linked")
			}
			w.wrapped("    static  "+s.Path+"  ", "            ", "("+strings.Join(facts, ", ")+")", " ")
			w.fact("floors", floors(s.Floors))
		}
		if s := lib.Shared; s != nil {
			w.line("    shared  " + s.Path)
			w.fact("SONAME", s.SONAME)
			w.fact("install name", s.InstallName)
			w.fact("linked by", s.Interface)
			w.fact("needs", strings.Join(s.Needed, ", "))
			w.fact("floors", floors(s.Floors))
			w.fact("C++ of", s.CXXFlavour)
			if s.Exports > 0 {
				w.fact("exports", fmt.Sprintf("%d names", s.Exports))
			}
		}
	}
	w.dependencies(p)
	if x.Module != "" {
		w.section("MODULE.bazel")
		w.line("  " + x.Module)
	}
	return w.String()
}

// shown is the platform that the summary is about: the one asked for, or the only one.
func (x *Inspection) shown() *Platform {
	for i := range x.Platforms {
		if x.Platforms[i].Chosen {
			return &x.Platforms[i]
		}
	}
	if len(x.Platforms) == 1 && x.Platforms[0].Manifest != nil {
		return &x.Platforms[0]
	}
	return nil
}

func inStore(p *Platform) string {
	n := 0
	for _, c := range p.Components {
		if c.Stored {
			n++
		}
	}
	switch n {
	case 0:
		return "not in the store"
	case len(p.Components):
		return "in the store"
	}
	return fmt.Sprintf("%d of %d components are in the store", n, len(p.Components))
}

// floors are the lowest versions that will do, by family.
func floors(f map[string]string) string {
	var text []string
	for _, family := range slices.Sorted(maps.Keys(f)) {
		text = append(text, family+" "+f[family])
	}
	return strings.Join(text, ", ")
}

type summary struct{ strings.Builder }

func (w *summary) line(text string) { w.WriteString(strings.TrimRight(text, " ") + "\n") }

// field is a line of the head; what is empty is left out.
func (w *summary) field(key, value string) {
	if value != "" {
		w.wrapped(fmt.Sprintf("%-9s", key), "         ", value, " ")
	}
}

// fact is a line below a library; what is empty is left out.
func (w *summary) fact(key, value string) {
	w.wrapped(fmt.Sprintf("            %-7s  ", key), "                     ", value, ", ")
}

func (w *summary) section(name string) {
	if w.Len() > 0 {
		w.line("")
	}
	w.line(name)
}

func (w *summary) row(name, compressed, unpacked string, rest ...string) {
	w.line(fmt.Sprintf("  %-10s %12s %12s  %s", name, compressed, unpacked, strings.Join(rest, " ")))
}

// wrapped writes text behind prefix and, where the line is full, goes on in the next one behind indent. It breaks at
// separator, which stays at the end of the line. Nothing is written for an empty text.
func (w *summary) wrapped(prefix, indent, text, separator string) {
	if text == "" {
		return
	}
	at := prefix
	begun := false
	for _, word := range strings.SplitAfter(text, separator) {
		if begun && utf8.RuneCountInString(at+strings.TrimRight(word, " ")) > summaryWidth {
			w.line(at)
			at = indent
		}
		at += word
		begun = true
	}
	w.line(at)
}

// dependencies draws which libraries need which, what the platform has to bring, and what is missing.
func (w *summary) dependencies(p *artifact.Package) {
	byName := map[string]*artifact.Library{}
	needed := map[string]bool{}
	edges := 0
	for i := range p.Libraries {
		l := &p.Libraries[i]
		byName[l.Name] = l
		edges += len(l.Requires)
		for _, r := range l.Requires {
			needed[r] = needed[r] || r != l.Name
		}
	}
	if edges == 0 && len(p.Missing) == 0 && len(p.SystemLibraries) == 0 && len(p.Dependencies) == 0 {
		return
	}
	w.section("dependencies")
	drawn := map[string]bool{}
	var draw func(name, first, rest string, above []string)
	draw = func(name, first, rest string, above []string) {
		l := byName[name]
		switch {
		case slices.Contains(above, name):
			w.line(first + name + "  (they need each other)")
			return
		case l != nil && drawn[name] && len(l.Requires) > 0:
			w.line(first + name + "  (see above)")
			return
		}
		w.line(first + name)
		drawn[name] = true
		if l == nil {
			return
		}
		for i, r := range l.Requires {
			branch, below := "├─ ", "│  "
			if i == len(l.Requires)-1 {
				branch, below = "└─ ", "   "
			}
			draw(r, rest+branch, rest+below, append(slices.Clone(above), name))
		}
	}
	if edges > 0 {
		for _, l := range p.Libraries {
			if !needed[l.Name] {
				draw(l.Name, "  ", "  ", nil)
			}
		}
		for _, l := range p.Libraries { // those in circles, which nobody outside needs
			if !drawn[l.Name] {
				draw(l.Name, "  ", "  ", nil)
			}
		}
	}
	for _, d := range p.Dependencies {
		needed := strings.Join(d.Needed, ", ")
		if needed == "" {
			needed = "headers or static libraries"
		}
		w.wrapped("  of "+d.Name+"  ", "    ", needed, ", ")
		w.line("    " + d.Image)
	}
	w.wrapped("  of the platform  ", "                   ", strings.Join(p.SystemLibraries, ", "), ", ")
	for _, soname := range p.Missing {
		w.line("  " + soname + "  missing: the consumer has to bring it")
	}
}

// Size writes a number of bytes for people.
func Size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
