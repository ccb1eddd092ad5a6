package library

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Declaration is what MODULE.bazel says of a library besides its image. The zero value of a field leaves it to the
// artifact.
type Declaration struct {
	Name string // of the repository, as its user calls it
	// Components are the names of the layers to fetch; the others are as if the artifact had none of them.
	Components []string
	// Deps are the labels of the libraries that it needs.
	Deps []string
	// Includes, Defines and Linkopts replace the artifact's.
	Includes, Defines, Linkopts []string
	// StripIncludePrefix is a folder of the artifact; its headers, and no others, are included by their paths in it.
	StripIncludePrefix string
	// Linkage is what its targets link.
	Linkage ccplan.Linkage
	// BuildFile is a file to take in place of a generated BUILD.bazel. Deps are not checked then: it says them itself.
	BuildFile string
}

// declare makes of the library what its declaration wants, before its layers are fetched; nil wants all that there is.
func (l *Library) declare(decl *Declaration) error {
	if decl == nil {
		return nil
	}
	l.declaration = decl
	if len(decl.Components) > 0 {
		if err := l.leaveOut(decl.Components); err != nil {
			return err
		}
	}
	if l.Package == nil || decl.BuildFile != "" {
		return nil
	}
	_, err := dependencies(l.Package, *decl, l.Reference)
	return err
}

// leaveOut takes away the layers of components that are not wanted, and from the package what only they have.
func (l *Library) leaveOut(wanted []string) error {
	fail := func(kind diagnostic.Kind, why string) error {
		return &diagnostic.Error{Kind: kind, What: fmt.Sprintf("components %s", starlarkList(wanted)), Why: why, Do: "name some of those that it has, or leave components out"}
	}
	if l.Package == nil {
		return fail(diagnostic.Unsupported, "the artifact does not say which of its layers is what, as those of the ocipkg project's tools do not")
	}
	has := map[string]string{} // layer to component
	var names []string
	for _, c := range l.Package.Components {
		has[c.Layer] = c.Name
		names = append(names, c.Name)
	}
	for _, name := range wanted {
		if !slices.Contains(names, name) {
			return fail(diagnostic.NotFound, fmt.Sprintf("the artifact has no component %q; it has %s", name, strings.Join(names, ", ")))
		}
	}
	out := func(layer string) bool { return has[layer] != "" && !slices.Contains(wanted, has[layer]) }
	l.Manifest.Layers = slices.DeleteFunc(slices.Clone(l.Manifest.Layers), func(d artifact.Descriptor) bool { return out(d.Digest.String()) })
	l.whole = l.Package
	p := *l.Package
	p.Components = slices.DeleteFunc(slices.Clone(p.Components), func(c artifact.Component) bool { return out(c.Layer) })
	p.Libraries = nil
	for _, lib := range l.Package.Libraries {
		if !slices.Contains(wanted, artifact.ComponentStatic) {
			lib.Static = nil
		}
		if !slices.Contains(wanted, artifact.ComponentShared) {
			lib.Shared = nil
		}
		if lib.Static != nil || lib.Shared != nil {
			p.Libraries = append(p.Libraries, lib)
		}
	}
	if !slices.Contains(wanted, artifact.ComponentHeaders) {
		p.Includes, p.PkgConfig, p.Licenses = nil, nil, nil
	}
	l.Package = &p
	return nil
}

// override replaces in a package what the declaration says. files are those of the tree, sorted.
func override(p *artifact.Package, decl Declaration, files []string) (*artifact.Package, error) {
	changed := *p
	holds := func(attribute, dir string) error {
		clean := strings.TrimSuffix(dir, "/")
		if clean == path.Clean(clean) && !strings.HasPrefix(clean, "..") && slices.ContainsFunc(files, func(f string) bool { return strings.HasPrefix(f, clean+"/") }) {
			return nil
		}
		folders := map[string]bool{}
		for _, f := range files {
			if top, rest, ok := strings.Cut(f, "/"); ok && top == "include" && strings.Contains(rest, "/") {
				folders["include/"+rest[:strings.Index(rest, "/")]] = true
			} else if ok {
				folders[top] = true
			}
		}
		return &diagnostic.Error{Kind: diagnostic.NotFound, What: fmt.Sprintf("%s %q", attribute, dir), Why: "the library has no such folder", Do: "name one of " + strings.Join(slices.Sorted(maps.Keys(folders)), ", ")}
	}
	if len(decl.Includes) > 0 && decl.StripIncludePrefix != "" {
		return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "strip_include_prefix", Why: "includes says where headers are, too", Do: "keep one of them"}
	}
	if len(decl.Includes) > 0 {
		changed.Includes = nil
		for _, dir := range decl.Includes {
			if err := holds("includes", dir); err != nil {
				return nil, err
			}
			changed.Includes = append(changed.Includes, strings.TrimSuffix(dir, "/"))
		}
	}
	if decl.StripIncludePrefix != "" {
		if err := holds("strip_include_prefix", decl.StripIncludePrefix); err != nil {
			return nil, err
		}
		changed.Includes = []string{strings.TrimSuffix(decl.StripIncludePrefix, "/")}
	}
	if len(decl.Defines) > 0 {
		changed.Defines = decl.Defines
	}
	if len(decl.Linkopts) > 0 {
		changed.Linkopts = decl.Linkopts
	}
	return &changed, nil
}
