package modulefile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bazelbuild/buildtools/build"
	"github.com/bazelbuild/buildtools/labels"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// declarations is what a file has besides libraries that matters to one who adds some.
type declarations struct {
	rule      string                // the variable that is ocipkg_library, "" for none
	extension string                // the variable that is the module extension, "" for none
	dev       bool                  // whether that is for development alone
	useRepo   *build.CallExpr       // the last use_repo of the extension, nil for none
	uses      map[string]string     // name of a library of the extension to what the module calls its repository
	dependsOn string                // what the file calls the repository of rules_ocipkg, "" where it does not depend on it
	taken     map[string]bool       // names of repositories that are no libraries
	after     map[string]build.Expr // by rule or extension, the last statement that declares a library with it or makes it
}

// other looks at a call that declares no library.
func (d *declarations) other(call *build.CallExpr, extensions map[string]bool) {
	take := func(name string) {
		if name != "" {
			d.taken[name] = true
		}
	}
	function, ok := call.X.(*build.Ident)
	if !ok {
		return
	}
	name := stringValue(argument(call, "name"))
	switch function.Name {
	case "module":
		take(name)
	case "bazel_dep":
		apparent := name
		if as := argument(call, "repo_name"); as != nil {
			apparent = stringValue(as)
		}
		if name == "rules_ocipkg" {
			d.dependsOn = apparent
		}
		take(apparent)
	case "use_repo":
		if len(call.List) == 0 {
			return
		}
		of, ok := call.List[0].(*build.Ident)
		if ok && extensions[of.Name] {
			if of.Name == d.extension {
				d.useRepo = call
			}
			for _, arg := range call.List[1:] {
				if assign, ok := arg.(*build.AssignExpr); ok {
					d.uses[stringValue(assign.RHS)] = identName(assign.LHS)
					take(identName(assign.LHS))
				} else {
					d.uses[stringValue(arg)] = stringValue(arg)
				}
			}
			return
		}
		for _, arg := range call.List[1:] {
			take(stringValue(arg))
			if assign, ok := arg.(*build.AssignExpr); ok {
				take(identName(assign.LHS))
			}
		}
	default: // perhaps another repository rule
		take(name)
	}
}

// argument is the value of a call's named argument, nil where it has none.
func argument(call *build.CallExpr, name string) build.Expr {
	for _, arg := range call.List {
		if assign, ok := arg.(*build.AssignExpr); ok {
			if key, ok := assign.LHS.(*build.Ident); ok && key.Name == name {
				return assign.RHS
			}
		}
	}
	return nil
}

func stringValue(x build.Expr) string {
	if s, ok := x.(*build.StringExpr); ok {
		return s.Value
	}
	return ""
}

func isTrue(x build.Expr) bool {
	id, ok := x.(*build.Ident)
	return ok && id.Name == "True"
}

// Wanted is a library that a file is to declare, with what it needs.
type Wanted struct {
	// Name is what its repository is to be called; "" for the name of its package, or that of an equal one in the file.
	Name  string
	Image registry.Reference // pinned
}

// Describe tells, of a pinned image, which others it needs, and what its package is called.
type Describe func(image registry.Reference) (name string, needs []artifact.Dependency, err error)

// Added is a library that Add saw to.
type Added struct {
	Name  string `json:"name"`
	Image string `json:"image"`
	Done  string `json:"done"` // what was done: added, pinned, deps, or kept, where it was there
}

// Add is the change by which the file declares a library and all that it needs, pinned, each with its deps. A library
// that the file declares already, by its digest, is taken as it is there and gets what its deps lack. Where it declares
// one of the same name and other content, that is an error of kind Refused; with keep, one that another needs is left.
func (f *File) Add(wanted Wanted, keep bool, describe Describe) (*Change, []Added, error) {
	a := &adding{File: f, keep: keep, describe: describe, names: map[string]string{}, images: map[string]string{}}
	if _, err := a.add(wanted, ""); err != nil {
		return nil, nil, err
	}
	edits, err := a.write()
	if err != nil {
		return nil, nil, err
	}
	return f.change(edits), a.done, nil
}

type adding struct {
	*File
	keep     bool
	describe Describe
	names    map[string]string // digest of an image to the name of its repository
	images   map[string]string // name of a new repository to its image
	edits    []edit
	new      []newLibrary
	use      []string // libraries of the extension that are there and that the module does not use yet
	done     []Added
}

type newLibrary struct {
	name, image string
	deps        []string
}

// add sees to a library and what it needs, and returns its repository's name. called is the name under which another
// library needs it, "" for the one that was asked for.
func (a *adding) add(wanted Wanted, called string) (string, error) {
	digest := wanted.Image.Digest.String()
	if name, ok := a.names[digest]; ok {
		return name, nil
	}
	pkg, needs, err := a.describe(wanted.Image)
	if err != nil {
		return "", err
	}
	name := wanted.Name
	if name == "" {
		name = RepositoryName(pkg)
	}
	at, is, err := a.find(wanted, name, called)
	if err != nil {
		return "", err
	}
	if is == absent && called != "" && a.declared.taken[name] {
		name = "ocipkg_" + name // bazel_dep(name = "zlib"), say
		if at, is, err = a.find(wanted, name, called); err != nil {
			return "", err
		}
	}
	if is != absent {
		name = a.Libraries[at].Name
	} else if a.declared.taken[name] {
		return "", a.conflict(name, "a repository of that name is there already, and is no library", "give another with --name")
	} else if other := a.images[name]; other != "" && a.keep && called != "" {
		a.names[digest] = name
		return name, nil
	} else if other != "" {
		return "", a.conflict(name, fmt.Sprintf("both %s and %s want to be called so", other, wanted.Image), "declare one of them under another name first: `ocipkg add --name NAME IMAGE`")
	}
	a.names[digest] = name
	if is == otherKept {
		a.done = append(a.done, Added{Name: name, Image: a.Libraries[at].Image, Done: "kept"})
		return name, nil
	}
	if is == absent {
		a.images[name] = wanted.Image.String()
	}
	slot := len(a.done)
	a.done = append(a.done, Added{Name: name, Image: wanted.Image.String(), Done: "added"})
	place := len(a.new)
	if is == absent {
		a.new = append(a.new, newLibrary{name: name, image: wanted.Image.String()})
	}
	var deps []string
	for _, d := range needs {
		ref, err := registry.ParseReference(d.Image)
		if err != nil {
			return "", diagnostic.Wrap(err, "dependency %s of %s", d.Name, wanted.Image)
		}
		repo, err := a.add(Wanted{Image: ref}, d.Name)
		if err != nil {
			return "", err
		}
		deps = append(deps, labels.Label{Repository: a.apparent(repo), Target: d.Name}.Format())
	}
	if is == absent {
		a.new[place].deps = deps
		return name, nil
	}
	a.done[slot] = Added{Name: name, Image: a.Libraries[at].Image, Done: "kept"}
	if is == untilNowTagged {
		a.edits = append(a.edits, a.imageEdit(at, wanted.Image.String()))
		a.done[slot].Done, a.done[slot].Image = "pinned", wanted.Image.String()
	}
	edits, err := a.completeDeps(at, deps)
	if err != nil {
		return "", err
	}
	if len(edits) > 0 && is == there {
		a.done[slot].Done = "deps"
	}
	a.edits = append(a.edits, edits...)
	return name, nil
}

// apparent is what the module calls the repository of a library. One that a tag declares it knows by its use_repo alone,
// to which it is added where it is not there.
func (a *adding) apparent(name string) string {
	i := slices.IndexFunc(a.Libraries, func(l Library) bool { return l.Name == name })
	if i < 0 {
		return name
	}
	if _, tag := a.Libraries[i].call.X.(*build.DotExpr); !tag {
		return name
	}
	if as := a.declared.uses[name]; as != "" {
		return as
	}
	if !slices.Contains(a.use, name) {
		a.use = append(a.use, name)
	}
	return name
}

// state is how a file declares a library that is wanted.
type state int

const (
	absent         state = iota
	there                // with its digest
	untilNowTagged       // with its tag alone, which gets the digest
	otherKept            // with other content, which is left
)

// find looks for the library among those that the file declares; at is its index where it is not absent.
func (a *adding) find(wanted Wanted, name, called string) (at int, is state, err error) {
	for i, l := range a.Libraries {
		ref, err := registry.ParseReference(l.Image)
		if err != nil || l.wrong != nil || wanted.Name != "" && wanted.Name != l.Name {
			continue
		}
		if ref.Pinned() && ref.Digest == wanted.Image.Digest {
			return i, there, nil
		}
	}
	i := slices.IndexFunc(a.Libraries, func(l Library) bool { return l.Name == name })
	if i < 0 {
		return 0, absent, nil
	}
	l := a.Libraries[i]
	if l.wrong != nil {
		return 0, absent, l.wrong
	}
	ref, err := registry.ParseReference(l.Image)
	if err != nil {
		return 0, absent, diagnostic.Wrap(err, "%s:%d", a.path, l.Line)
	}
	if !ref.Pinned() && ref.WithDigest(wanted.Image.Digest).String() == wanted.Image.String() {
		return i, untilNowTagged, nil
	}
	if a.keep && called != "" {
		return i, otherKept, nil
	}
	do := "edit it, or declare this one under another name with --name"
	if called != "" {
		do = "edit it, or keep it with --keep: it serves as long as it has the SONAMEs that are needed"
	}
	return 0, absent, a.conflict(name, fmt.Sprintf("%s:%d declares it as %s, and %s is wanted", a.path, l.Line, l.Image, wanted.Image), do)
}

func (a *adding) conflict(name, why, do string) error {
	return &diagnostic.Error{Kind: diagnostic.Refused, What: "add " + name, Why: why, Do: do}
}

// completeDeps adds to a library that is there the deps that it lacks.
func (a *adding) completeDeps(at int, deps []string) ([]edit, error) {
	l := a.Libraries[at]
	value := argument(l.call, "deps")
	if value == nil {
		if len(deps) == 0 {
			return nil, nil
		}
		image := slices.IndexFunc(l.call.List, func(arg build.Expr) bool {
			assign, ok := arg.(*build.AssignExpr)
			return ok && stringValue(assign.LHS) == "" && identName(assign.LHS) == "image"
		})
		return a.insert(l.call.List, l.call.End.Pos.Byte, image, "deps = "+list(deps)), nil
	}
	there, ok := value.(*build.ListExpr)
	if !ok {
		start, _ := value.Span()
		return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("read %s:%d", a.path, start.Line), Why: "deps is not a plain list, so it cannot be changed in place", Do: fmt.Sprintf("see that it has %s", list(deps))}
	}
	names := map[string]bool{}
	for _, x := range there.List {
		names[labels.Parse(stringValue(x)).Target] = true
	}
	var lacking []string
	for _, d := range deps {
		if !names[labels.Parse(d).Target] {
			lacking = append(lacking, strconv.Quote(d))
		}
	}
	if len(lacking) == 0 {
		return nil, nil
	}
	if len(there.List) == 0 {
		return []edit{{there.Start.Byte + 1, there.Start.Byte + 1, strings.Join(lacking, ", ")}}, nil
	}
	return a.insert(there.List, there.End.Pos.Byte, len(there.List)-1, lacking...), nil
}

func identName(x build.Expr) string {
	id, _ := x.(*build.Ident)
	if id == nil {
		return ""
	}
	return id.Name
}

// insert puts elements behind the one at index of a call's or a list's, whose bracket closes at the byte end: on lines of
// their own where the others are, behind what stands on the line of the one at index.
func (a *adding) insert(elements []build.Expr, end, index int, texts ...string) []edit {
	start, stop := elements[index].Span()
	next := end
	if index+1 < len(elements) {
		from, _ := elements[index+1].Span()
		next = from.Byte
	}
	rest := a.data[stop.Byte:next]
	line := strings.IndexByte(string(rest), '\n')
	if line < 0 {
		return []edit{{stop.Byte, stop.Byte, ", " + strings.Join(texts, ", ")}}
	}
	var edits []edit
	if !strings.HasPrefix(strings.TrimLeft(string(rest[:line]), " \t"), ",") {
		edits = append(edits, edit{stop.Byte, stop.Byte, ","})
	}
	begin := strings.LastIndexByte(string(a.data[:start.Byte]), '\n') + 1
	indent := string(a.data[begin:start.Byte])
	if at := strings.TrimLeft(indent, " \t"); at != "" {
		indent = indent[:len(indent)-len(at)] + "    " // the first element stands behind the opening bracket
	}
	at := stop.Byte + line + 1
	for _, text := range texts {
		edits = append(edits, edit{at, at, indent + text + ",\n"})
	}
	return edits
}

// write declares the new libraries behind those that are there.
func (a *adding) write() ([]edit, error) {
	d := a.declared
	if len(a.new) == 0 && len(a.use) == 0 {
		return a.edits, nil
	}
	with := cmp.Or(d.rule, d.extension)
	if n := len(a.Libraries); n > 0 {
		with = d.extension // as the last one
		if function, ok := a.Libraries[n-1].call.X.(*build.Ident); ok {
			with = function.Name
		}
	}
	function, first := with, ""
	if with != "" && with == d.extension {
		function += "." + tagName
	}
	if with == "" {
		if d.dependsOn == "" {
			return nil, &diagnostic.Error{Kind: diagnostic.NotFound, What: "add to " + a.path, Why: "it does not depend on rules_ocipkg", Do: `add bazel_dep(name = "rules_ocipkg", version = "…")`}
		}
		function = ruleName
		first = fmt.Sprintf("\n%s = use_repo_rule(\"@%s%s\", %q)\n", ruleName, d.dependsOn, ruleFile, ruleName)
	}
	var text strings.Builder
	text.WriteString(first)
	for _, l := range a.new {
		fmt.Fprintf(&text, "\n%s(\n    name = %q,\n    image = %q,\n", function, l.name, l.image)
		if len(l.deps) > 0 {
			fmt.Fprintf(&text, "    deps = %s,\n", list(l.deps))
		}
		text.WriteString(")\n")
	}
	edits := a.edits
	names := slices.Clone(a.use)
	if with != "" && with == d.extension {
		for _, l := range a.new {
			names = append(names, l.name)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		use, more := a.useRepos(names)
		edits = append(edits, use...)
		text.WriteString(more)
	}
	at := len(a.data)
	if after := d.after[with]; after != nil {
		_, end := after.Span()
		if line := strings.IndexByte(string(a.data[end.Byte:]), '\n'); line >= 0 {
			at = end.Byte + line + 1
		}
	}
	body := text.String()
	if body == "" {
		return edits, nil
	}
	if at == 0 {
		body = strings.TrimPrefix(body, "\n")
	} else if a.data[at-1] != '\n' {
		body = "\n" + body
	}
	return append(edits, edit{at, at, body}), nil
}

// useRepos brings repositories of the extension, sorted by their names, into the use_repo that is there, in that order; more
// is a statement to add where there is none.
func (a *adding) useRepos(names []string) (edits []edit, more string) {
	call := a.declared.useRepo
	if call == nil {
		var quoted strings.Builder
		for _, n := range names {
			fmt.Fprintf(&quoted, ", %q", n)
		}
		return nil, fmt.Sprintf("\nuse_repo(%s%s)\n", a.declared.extension, quoted.String())
	}
	places := make([][]string, len(call.List)) // by index of an element, what comes behind it
	for _, n := range names {
		behind := 0
		for i, arg := range call.List {
			if s := stringValue(arg); s != "" && s < n {
				behind = i
			}
		}
		places[behind] = append(places[behind], strconv.Quote(n))
	}
	for i, texts := range places {
		if len(texts) > 0 {
			edits = append(edits, a.insert(call.List, call.End.Pos.Byte, i, texts...)...)
		}
	}
	return edits, ""
}

// list writes a list of strings: one line for one, else a line for each.
func list(values []string) string {
	if len(values) == 1 {
		return fmt.Sprintf("[%q]", values[0])
	}
	var b strings.Builder
	b.WriteString("[\n")
	for _, v := range values {
		fmt.Fprintf(&b, "        %q,\n", v)
	}
	b.WriteString("    ]")
	return b.String()
}

// RepositoryName makes of a library's name one that a repository can have.
func RepositoryName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, name)
	if name == "" || !(name[0] >= 'a' && name[0] <= 'z' || name[0] >= 'A' && name[0] <= 'Z') {
		name = "lib" + name
	}
	return name
}
