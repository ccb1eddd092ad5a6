package artifact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// ParseDescription reads what an author says of a library from a JSON object (docs/packing.md); each key is a field of
// Claims. A key that is unknown, or there twice, is an error of kind Usage: what is said and not heard would be
// missing from the artifact.
func ParseDescription(data []byte) (Claims, error) {
	var c Claims
	fields := map[string]any{
		"name": &c.Name, "version": &c.Version, "license": &c.License, "target": &c.Target,
		"headers": &c.Selection.Headers, "libraries": &c.Selection.Libraries, "pkgConfig": &c.Selection.PkgConfig, "licenses": &c.Selection.Licenses,
		"includes": &c.Includes, "defines": &c.Defines, "linkopts": &c.Linkopts,
		"systemLibraries": &c.SystemLibraries, "requires": &c.Requires, "alwaysLink": &c.AlwaysLink, "allowMissing": &c.AllowMissing, "dependencies": &c.Dependencies,
	}
	bad := func(format string, args ...any) (Claims, error) {
		return Claims{}, &diagnostic.Error{Kind: diagnostic.Usage, What: "description", Why: fmt.Sprintf(format, args...),
			Do: "it is a JSON object; its keys are " + strings.Join(slices.Sorted(maps.Keys(fields)), ", ")}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return bad("it is no JSON object")
	}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return bad("%v", err)
		}
		key, _ := token.(string)
		field, known := fields[key]
		if !known {
			return bad("the key %q is not known", key)
		}
		if seen[key] {
			return bad("the key %q is there twice", key)
		}
		seen[key] = true
		if err := d.Decode(field); err != nil {
			return bad("%s: %v", key, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return bad("%v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return bad("something follows the object")
	}
	return c, nil
}

// With gives the claims of both: where they say one thing differently, that of more counts, and lists are joined.
func (c Claims) With(more Claims) Claims {
	c.Name, c.Version = cmp.Or(more.Name, c.Name), cmp.Or(more.Version, c.Version)
	c.License, c.Target = cmp.Or(more.License, c.License), cmp.Or(more.Target, c.Target)
	for list, add := range map[*[]string][]string{
		&c.Selection.Headers: more.Selection.Headers, &c.Selection.Libraries: more.Selection.Libraries,
		&c.Selection.PkgConfig: more.Selection.PkgConfig, &c.Selection.Licenses: more.Selection.Licenses,
		&c.Includes: more.Includes, &c.Defines: more.Defines, &c.Linkopts: more.Linkopts,
		&c.SystemLibraries: more.SystemLibraries, &c.AlwaysLink: more.AlwaysLink, &c.AllowMissing: more.AllowMissing,
	} {
		*list = slices.Concat(*list, add)
	}
	requires := maps.Clone(c.Requires)
	for name, needed := range more.Requires {
		if requires == nil {
			requires = map[string][]string{}
		}
		requires[name] = slices.Concat(requires[name], needed)
	}
	c.Requires = requires
	dependencies := maps.Clone(c.Dependencies)
	for name, image := range more.Dependencies {
		if dependencies == nil {
			dependencies = map[string]string{}
		}
		dependencies[name] = image
	}
	c.Dependencies = dependencies
	return c
}

// settle completes what was measured by what the author says and bytes do not tell.
func settle(p *Package, tree Tree, claims Claims) error {
	refuse := func(what, why, do string) error {
		return &diagnostic.Error{Kind: diagnostic.Usage, What: what, Why: why, Do: do}
	}
	if len(claims.Includes) > 0 {
		p.Includes = nil
		for _, dir := range claims.Includes {
			dir = strings.TrimSuffix(dir, "/")
			if !slices.ContainsFunc(tree.paths(), func(place string) bool { return strings.HasPrefix(place, dir+"/") }) {
				return refuse("include folder "+dir, "the artifact holds no file below it", "name a folder of the artifact, such as include or include/SDL2")
			}
			if !slices.Contains(p.Includes, dir) {
				p.Includes = append(p.Includes, dir)
			}
		}
	}
	for _, name := range claims.SystemLibraries {
		if !ValidLibraryName(name) || strings.HasPrefix(name, "-") {
			return refuse(fmt.Sprintf("system library %q", name), "no library can be called so", "write what follows -l, such as m")
		}
		if !slices.Contains(p.SystemLibraries, name) {
			p.SystemLibraries = append(p.SystemLibraries, name)
		}
	}
	slices.Sort(p.SystemLibraries)
	byName := map[string]*Library{}
	for i := range p.Libraries {
		byName[p.Libraries[i].Name] = &p.Libraries[i]
	}
	for _, name := range claims.AlwaysLink {
		l := byName[name]
		if l == nil {
			return refuse(fmt.Sprintf("library %q", name), "the artifact holds no such library", "write what follows -l: z for lib/libz.a")
		}
		if l.Static == nil {
			return refuse(fmt.Sprintf("library %q", name), "it is there as a shared library alone, of which all is linked in any case", "leave it out of what is always linked")
		}
		l.Static.AlwaysLink = true
	}
	for _, name := range slices.Sorted(maps.Keys(claims.Requires)) {
		for _, needed := range claims.Requires[name] {
			for _, n := range []string{name, needed} {
				if byName[n] == nil {
					return refuse(fmt.Sprintf("library %q", n), "the artifact holds no such library", "write what follows -l: z for lib/libz.a")
				}
			}
			if l := byName[name]; needed != name && !slices.Contains(l.Requires, needed) {
				l.Requires = append(l.Requires, needed)
				slices.Sort(l.Requires)
			}
		}
	}
	return nil
}
