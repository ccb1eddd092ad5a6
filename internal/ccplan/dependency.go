package ccplan

import (
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
)

// Dependency is a library of another repository.
type Dependency struct {
	Name   string   // of its package; "" for one that the package does not ask for
	Label  string   // of its main target, beside which there are :static and :shared where it has a Name
	Image  string   // that the package was made for
	Needed []string // file names under which its shared libraries are found at run time, of those that ours NEED
}

// sibling is the label of another target beside the dependency's main one.
func (d Dependency) sibling(name string) string {
	repo, rest, ok := strings.Cut(d.Label, "//")
	pkg, _, _ := strings.Cut(rest, ":")
	if !ok {
		pkg = ""
	}
	return repo + "//" + pkg + ":" + name
}

// neededBy reports whether a shared library NEEDs the dependency.
func (p *planner) neededBy(d Dependency, l artifact.Library) bool {
	return l.Shared != nil && slices.ContainsFunc(l.Shared.Needed, func(needed string) bool { return artifact.Finds(p.target.OS, needed, d.Needed) != "" })
}

// needsOther reports whether a shared library NEEDs one of another repository.
func (p *planner) needsOther(l artifact.Library) bool {
	return slices.ContainsFunc(p.Dependencies, func(d Dependency) bool { return p.neededBy(d, l) })
}

// dependsOn reports whether a library is linked with the dependency. What a shared library NEEDs is written in it, and
// its static twin needs the same; of what only static libraries need nothing is written.
func (p *planner) dependsOn(d Dependency, l artifact.Library) bool {
	anyone := slices.ContainsFunc(p.order, func(name string) bool { return p.neededBy(d, p.libraries[name]) })
	return !anyone || l.Shared == nil || p.neededBy(d, l)
}

// dependencies gives the labels of what a library depends on in other repositories, name "" those of all libraries.
func (p *planner) dependencies(name string, as mode, forms map[string]form) []string {
	var labels []string
	for _, d := range p.Dependencies {
		if name != "" && !p.dependsOn(d, p.libraries[name]) {
			continue
		}
		if d.Name == "" {
			labels = append(labels, d.Label)
			continue
		}
		from := map[mode]string{asBoth: d.Label, asStatic: d.sibling("static"), asShared: d.sibling("shared")}[as]
		target := map[mode]string{asBoth: d.Name, asStatic: d.Name + "_static", asShared: d.Name + "_shared"}[as]
		declared := ""
		if as != asBoth {
			declared = d.Label
		}
		var needed []string // by those that are linked as shared libraries, or may be
		for _, other := range p.order {
			l := p.libraries[other]
			if !forms[other].shared || !p.neededBy(d, l) {
				continue
			}
			for _, n := range l.Shared.Needed {
				if found := artifact.Finds(p.target.OS, n, d.Needed); found != "" && !slices.Contains(needed, found) {
					needed = append(needed, found)
				}
			}
			// As among the libraries of one tree: what a shared library NEEDs must not become an archive.
			if !forms[other].static {
				from, target, declared = d.sibling("shared"), d.Name+"_shared", ""
			}
		}
		slices.Sort(needed)
		key := strings.Join(append(needed, from, declared), " ")
		label, made := p.depends[key]
		if !made {
			t := p.add(Needed, p.unique(target+"_dependency"), "", Attr{"dep", from}, Attr{"declared", declared}, Attr{"image", d.Image}, Attr{"needed", needed}, Attr{"needed_by", p.Name},
				Attr{"target_compatible_with", p.compatible})
			label = ":" + t.Name
			p.depends[key] = label
		}
		labels = append(labels, label)
	}
	return labels
}

// dependencyHeaders are the labels of the headers that ours may include.
func (p *planner) dependencyHeaders() []string {
	var labels []string
	for _, d := range p.Dependencies {
		if d.Name != "" {
			t := p.add(Needed, p.unique(d.Name+"_headers_dependency"), "", Attr{"dep", d.Label}, Attr{"headers_only", true}, Attr{"image", d.Image}, Attr{"needed_by", p.Name})
			labels = append(labels, ":"+t.Name)
		}
	}
	return labels
}
