// Package ccplan decides which C++ targets a library's tree becomes, and which label answers an #include, a name for
// pkg-config, or a -l.
//
// Invariant: a plan is a pure function of the library's description and the names of its files; the same input gives
// the same plan, in the same order. A plan names a target only for files that are there, no two things of it have one
// name, and whatever it links is found again at run time.
//
// It takes a description from internal/artifact, and hands a Plan to internal/buildfile (which renders it) and to
// gazelle_ext (which answers from its index). It knows neither registries nor Bazel's API.
package ccplan

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/headerindex"
	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
)

// Kind is the kind of a target.
type Kind string

const (
	Library   Kind = "cc_library"
	Import    Kind = "cc_import"
	Prebuilt  Kind = "prebuilt_library" // our own rule, for what cc_import gets wrong and cc_library takes long for
	FileGroup Kind = "filegroup"
	Needed    Kind = "dependency" // our own rule, which checks what a library of another repository brings
	Alias     Kind = "alias"
	// Unsupported is our own rule, which says what platforms there are to whoever builds for another one.
	Unsupported Kind = "unsupported_platform"
)

// Attr is an attribute of a target. Value is a string, a bool, a []string, a List or a Select, and means what Bazel makes of it:
// where an attribute is subject to "Make" variables and to the shell's quoting, as linkopts of a cc_library is and that
// of an import is not, the value is written so that it comes out right.
type Attr struct {
	Name  string
	Value any
}

// List is a list that several targets have. What has one Name in a plan has the same Values.
type List struct {
	Name   string
	Values []string
}

// Select is a label that the configuration chooses. Of its cases one at most holds; the last may have no condition, and
// is for when none does.
type Select []Case

// Case is the label that is chosen where Condition, the label of a config_setting, holds.
type Case struct{ Condition, Label string }

// Linkage says which form of a library its targets link.
type Linkage string

const (
	ByFlag Linkage = ""       // what the flag //rules:linkage says, which is Auto where nobody sets it
	Auto   Linkage = "auto"   // what linkstatic says
	Static Linkage = "static" // the static one where there is one
	Shared Linkage = "shared" // the shared one where there is one
)

// linkageDeclared is the tag of a target whose linkage its library's declaration has settled; rules/private/dependency.bzl
// reads it.
const linkageDeclared = "ocipkg_linkage_declared"

// linkableMoreThanOnce is Bazel's tag for what several cc_shared_library targets of one program may each link a copy of.
const linkableMoreThanOnce = "LINKABLE_MORE_THAN_ONCE"

// Target is one rule of the plan. Doc, where not empty, is a comment to stand above it.
type Target struct {
	Kind  Kind
	Name  string
	Doc   string
	Attrs []Attr
}

// Plan is what a tree becomes. Public are the names of the targets that people depend on; the others serve these. Files
// are the files that labels can name. Index gives for each header, as people write it in an #include, the target that
// has it, and the target for each name of pkg-config and each -l: the keys are those of internal/headerindex.
type Plan struct {
	Targets []Target
	Public  []string
	Files   []string
	Index   map[string]string // include path, or another key of headerindex -> target name
}

// Input is what a plan is made from. Name is the name of the repository and of its main target. Files are the paths
// of all files and links of the tree, sorted. Linkage is for :<name> and :<library>.
type Input struct {
	Name    string
	Package *artifact.Package
	Files   []string
	// Dependencies are linked with the libraries, in this order.
	Dependencies []Dependency
	Linkage      Linkage
	// ForPeople says everything once, in the targets that others here depend on, and by the rules that everybody knows, because a person
	// will read it. Where it is not set, targets are of our own rule as far as that knows how, the main one names the headers and a
	// library that is the only one, and a platform is named where people meet it: Bazel has less to analyse.
	ForPeople bool
	// Artifact is the file beside these that says which artifact the library is; "" where there is none.
	Artifact string
}

// New makes the plan:
//
//	:<name>      everything: headers, and each library static and shared under one label, so that the flag for the
//	             linkage and linkstatic choose
//	:<library>   one of several libraries, with the headers
//	:headers     the headers alone
//	:<package>   the same as :<name>, where the package is not called as the repository is
//	:static      everything, linked statically whatever linkstatic says
//	:shared      everything, linked dynamically whatever linkstatic says
//	:files       every file, :pkgconfig the .pc files, :license the licence texts
//
// Where two of these would be one name (a library called "headers", say), the one further up has it, and the other gets
// as many underscores behind its name as it takes. A file at the root that is called like one of the names in this list
// but :<library> is left out of the lists of files, because no label can name it.
func New(in Input) Plan {
	p := planner{Input: in, libraries: map[string]artifact.Library{}, made: map[string][]Target{}, depends: map[string]string{}, labels: map[mode]map[string]string{}, taken: map[string]bool{in.Name: true}, fixed: map[string]string{}}
	if t, err := artifact.ParseTriple(in.Package.Target); err == nil {
		p.target = t
		p.compatible = Constraints(t)
	}
	for _, name := range []string{"headers", "static", "shared", "files", "pkgconfig", "license"} {
		p.fixed[name] = p.unique(name)
	}
	p.Files = slices.DeleteFunc(slices.Clone(in.Files), func(f string) bool { return p.taken[f] })
	for _, f := range p.Files {
		p.taken[f] = true
	}
	if in.Artifact != "" {
		p.taken[in.Artifact] = true
	}
	p.plan.Files = p.Files
	for _, l := range in.Package.Libraries {
		if _, twice := p.libraries[l.Name]; !twice {
			p.libraries[l.Name] = l
			p.order = append(p.order, l.Name)
		}
	}
	p.findSiblings()
	p.findCircles()
	p.headers()
	p.linking()
	p.groups()
	p.plan.Public = p.public
	return p.plan
}

type planner struct {
	Input
	plan       Plan
	target     artifact.Triple
	compatible []string          // constraint values of the library's platform; targets that depend on one that has them share them
	taken      map[string]bool   // names of targets and files
	fixed      map[string]string // "headers", "static", … to the name of that target
	libraries  map[string]artifact.Library
	order      []string            // names of the libraries
	siblings   map[string][]string // shared library to the shared libraries that it NEEDs
	needed     map[string]bool     // shared libraries that another NEEDs
	circle     map[string]int      // library to the number of the circle of libraries that need each other; 0: in none
	members    map[int][]string    // number of a circle to the libraries in it, sorted
	made       map[string][]Target // library to the targets that import it
	depends    map[string]string   // label of a dependency, and what is needed of it, to the target that stands for it
	labels     map[mode]map[string]string
	public     []string
	ofHeaders  []Attr   // what :headers is, without its deps,
	headerDeps []string // and these
}

// unique gives a name that nothing else has, and takes it.
func (p *planner) unique(name string) string {
	for p.taken[name] {
		name += "_"
	}
	p.taken[name] = true
	return name
}

func (p *planner) add(kind Kind, name, doc string, attrs ...Attr) Target {
	t := Target{Kind: kind, Name: name, Doc: doc, Attrs: said(attrs)}
	p.plan.Targets = append(p.plan.Targets, t)
	return t
}

// said are the attributes that say anything.
func said(attrs []Attr) []Attr {
	return slices.DeleteFunc(slices.Clone(attrs), func(a Attr) bool {
		switch v := a.Value.(type) {
		case string:
			return v == ""
		case []string:
			return len(v) == 0
		case List:
			return len(v.Values) == 0
		}
		return false
	})
}

// plain is what neither "Make" variables nor the shell change.
var plain = lazyregexp.New(`^[A-Za-z0-9_@%+=:,./-]+$`)

// word writes a value for an attribute that Bazel expands and then splits like a shell.
func word(value string) string {
	if plain().MatchString(value) {
		return value
	}
	value = strings.ReplaceAll(value, "$", "$$")
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

func words(values []string) []string {
	var out []string
	for _, v := range values {
		out = append(out, word(v))
	}
	return out
}

func (p *planner) headers() {
	var hdrs, includes []string
	p.plan.Index = map[string]string{}
	for _, f := range p.Files {
		for _, dir := range p.Package.Includes {
			rel, ok := strings.CutPrefix(f, dir+"/")
			if dir == "." {
				rel, ok = f, !strings.Contains(f, "/") && artifact.IsHeader(f)
			}
			if !ok {
				continue
			}
			if len(hdrs) == 0 || hdrs[len(hdrs)-1] != f {
				hdrs = append(hdrs, f)
			}
			if headerindex.IsHeader(rel) {
				p.plan.Index[rel] = p.Name
			}
		}
	}
	p.public = []string{p.Name, p.fixed["headers"]}
	p.headerDeps = p.dependencyHeaders()
	if p.ForPeople {
		for _, dir := range p.Package.Includes {
			includes = append(includes, strings.ReplaceAll(dir, "$", "$$"))
		}
		p.ofHeaders = []Attr{
			{"hdrs", List{"HEADERS", hdrs}}, {"defines", words(p.Package.Defines)},
			// Without it, rules_cc on Bazel 9 passes includes with -I, and the warnings in a library's headers become the consumer's.
			{"features", []string{"system_include_paths"}}, {"includes", includes}, {"target_compatible_with", p.compatible},
		}
	} else {
		p.ofHeaders = []Attr{
			{"hdrs", List{"HEADERS", hdrs}}, {"defines", p.Package.Defines}, {"includes", p.Package.Includes}, {"target_compatible_with", p.compatible}, {"inspected", p.Artifact},
		}
	}
	p.add(p.library(), p.fixed["headers"], "The headers alone.", append(p.ofHeaders, Attr{"deps", p.headerDeps})...)
}

// library is the kind of a target that puts headers and libraries together.
func (p *planner) library() Kind {
	if p.ForPeople {
		return Library
	}
	return Prebuilt
}

// How a library is imported; the value is the end of the target's name.
type mode string

const (
	asBoth   mode = "import"
	asStatic mode = "static_import"
	asShared mode = "shared_import"
)

// form says which files of a library a target imports.
type form struct{ static, shared bool }

// forms settles for every library what stands for it in a mode. A library that is not there in the form asked for is
// imported in the form there is.
func (p *planner) forms(as mode) map[string]form {
	forms := map[string]form{}
	var onlyShared []string
	for name, l := range p.libraries {
		// Code that is not even position independent enough for an executable breaks most links: where there is a
		// shared library too, that one serves, and the archive is had by asking for :static.
		f := form{
			static: l.Static != nil && (as == asStatic || l.Shared == nil || as == asBoth && l.Static.PIC != "none"),
			shared: l.Shared != nil && (as != asStatic || l.Static == nil),
		}
		forms[name] = f
		if !f.static {
			onlyShared = append(onlyShared, name)
		}
	}
	// What a shared library NEEDs has to be there at run time, so it cannot be the archive that is linked.
	for len(onlyShared) > 0 {
		name := onlyShared[0]
		onlyShared = onlyShared[1:]
		for _, sibling := range p.siblings[name] {
			if forms[sibling].static {
				forms[sibling] = form{shared: true}
				onlyShared = append(onlyShared, sibling)
			}
		}
	}
	return forms
}

// linking makes what people depend on.
func (p *planner) linking() {
	// The main target and how it imports the only library of a package, which it does by itself.
	var within string
	var only importing
	// together makes a target of the headers and some of the libraries, for people who ask for the label of.
	together := func(name, of, doc string, as mode, forms map[string]form, libraries []string, tags ...string) {
		deps := []string{":" + p.fixed["headers"]}
		var attrs []Attr
		switch {
		case p.ForPeople:
		case of == p.Name:
			attrs, deps = slices.Clone(p.ofHeaders), slices.Clone(p.headerDeps)
			// One that is shared alone stays behind: a cc_shared_library refuses to be made of that.
			if len(p.order) != 1 || !forms[p.order[0]].static {
				break
			}
			if i := p.importing(p.order[0], as, forms); i.kind == Prebuilt {
				within, only = name, i
				doc = strings.TrimSpace(doc + "\n" + i.doc)
				p.add(Prebuilt, name, doc, slices.Concat(attrs, i.attrs, []Attr{{"linkopts", i.linkopts}, {"tags", append(tags, i.tags...)}, {"deps", append(deps, i.deps...)}})...)
				return
			}
		case within != "" && reflect.DeepEqual(p.importing(p.order[0], as, forms), only):
			// Not a second target with the same files, which a program that depends on both would be linked with twice.
			p.add(Alias, name, doc, Attr{"actual", ":" + within})
			return
		default:
			attrs = []Attr{{"target_compatible_with", p.compatible}}
		}
		for _, l := range libraries {
			deps = append(deps, p.imported(l, as, forms))
		}
		if len(libraries) == 0 {
			deps = append(deps, p.dependencies("", as, forms)...)
		}
		circles := p.again(forms, libraries)
		archives := slices.Concat(circles...)
		slices.Sort(archives)
		var linkopts []string
		if len(libraries) == 0 {
			linkopts = p.linkopts(form{static: true})
		}
		if p.ForPeople {
			linkopts = words(linkopts)
			for _, circle := range circles {
				linkopts = append(linkopts, "-Wl,--start-group")
				for _, archive := range circle {
					linkopts = append(linkopts, "$(execpath "+archive+")")
				}
				linkopts = append(linkopts, "-Wl,--end-group")
			}
			attrs = append(attrs, Attr{"additional_linker_inputs", archives})
		} else {
			attrs = append(attrs, Attr{"circle", archives}) // in one group, which is no less
		}
		p.add(p.library(), name, doc, append(attrs, Attr{"linkopts", linkopts}, Attr{"tags", tags}, Attr{"deps", deps})...)
	}
	both, static, shared := p.forms(asBoth), p.forms(asStatic), p.forms(asShared)
	// chosen makes what people depend on, from targets for each linkage: those called static and shared, which are made
	// where they are not there yet, or one where all are the same.
	chosen := func(name, doc string, libraries []string, staticName, sharedName func() string) {
		same := true
		for l := range p.reached(libraries) {
			same = same && both[l] == static[l] && both[l] == shared[l]
		}
		switch {
		case same && len(libraries) == 0:
			together(name, name, strings.TrimSpace(doc), asBoth, both, libraries)
		case same:
			together(name, name, doc+"It is linked in the one form that there is.", asBoth, both, libraries)
		case p.Linkage == Auto:
			together(name, name, doc+"linkstatic chooses between the static and the shared library.", asBoth, both, libraries, linkageDeclared)
		case p.Linkage == Static:
			together(name, name, doc+"It is linked statically, as was asked for.", asStatic, static, libraries, linkageDeclared)
		case p.Linkage == Shared:
			together(name, name, doc+"It is linked dynamically, as was asked for.", asShared, shared, libraries, linkageDeclared)
		default:
			auto := p.unique(name + "_auto")
			together(auto, name, "", asBoth, both, libraries)
			p.add(Alias, name, doc+"The flag for the linkage chooses, or linkstatic where that is auto.", Attr{"actual", Select{
				{linkageSetting + string(Static), ":" + staticName()},
				{linkageSetting + string(Shared), ":" + sharedName()},
				{"", ":" + auto},
			}})
		}
	}
	if len(p.order) > 1 {
		names := map[string]string{} // all of them before the names of imports, which nobody needs to know
		for _, l := range p.order {
			if l != p.Name {
				names[l] = p.unique(l)
				p.public = append(p.public, names[l])
			}
		}
		ofCircle := map[int]string{} // what stands for all of its libraries, since each brings the others
		for _, l := range p.order {
			if l == p.Name {
				continue
			}
			if n := p.circle[l]; n != 0 && ofCircle[n] != "" {
				p.add(Alias, names[l], "They need each other.", Attr{"actual", ":" + ofCircle[n]})
				continue
			} else if n != 0 {
				ofCircle[n] = names[l]
			}
			one := func(as mode, forms map[string]form, linkage Linkage) func() string {
				return func() string {
					name := p.unique(names[l] + "_" + string(linkage))
					together(name, name, "", as, forms, p.with(l))
					return name
				}
			}
			chosen(names[l], "", p.with(l), one(asStatic, static, Static), one(asShared, shared, Shared))
		}
		p.lookups(names)
	} else {
		p.lookups(nil)
	}
	called := ""
	if name := p.Package.Name; artifact.ValidLibraryName(name) && !p.taken[name] {
		called = p.unique(name)
	}
	fixed := func(name string) func() string { return func() string { return p.fixed[name] } }
	chosen(p.Name, "What to depend on. ", p.order, fixed("static"), fixed("shared"))
	if called != "" {
		p.add(Alias, called, "By this name other libraries need it.", Attr{"actual", ":" + p.Name})
		p.public = append(p.public, called)
	}
	// Headers alone have them too: who needs them as :static does not know that there is no more.
	together(p.fixed["static"], p.fixed["static"], "The static library where there is one, whatever linkstatic and the flag say.", asStatic, static, p.order)
	together(p.fixed["shared"], p.fixed["shared"], "The shared library where there is one, whatever linkstatic and the flag say.", asShared, shared, p.order)
	p.public = append(p.public, p.fixed["static"], p.fixed["shared"])
}

// lookups puts into the index which target serves a -l, and which a name of pkg-config. targets gives the target of one
// library of several; what it lacks is served by the main target.
func (p *planner) lookups(targets map[string]string) {
	target := func(library string) string {
		if t := targets[library]; t != "" {
			return t
		}
		return p.Name
	}
	for _, l := range p.order {
		p.plan.Index[headerindex.Library(l)] = target(l)
	}
	for _, file := range p.Package.PkgConfig {
		name, ok := strings.CutSuffix(path.Base(file), ".pc")
		if !ok || name == "" {
			continue
		}
		// libssl.pc speaks of the library ssl; openssl.pc, of no single one, speaks of all.
		library := name
		if _, one := p.libraries[name]; !one {
			library = strings.TrimPrefix(name, "lib")
		}
		p.plan.Index[headerindex.PkgConfig(name)] = target(library)
	}
}

// linkopts are the linker options that go with a library. They belong to the target that imports it: cc_shared_library
// leaves out those of a target that has no library of its own (bazel#19920).
func (p *planner) linkopts(f form) []string {
	var options []string
	if f.static { // a shared library names by itself what it needs
		for _, l := range p.Package.SystemLibraries {
			if p.target.OS == "windows" && p.target.Env == "msvc" {
				options = append(options, "-DEFAULTLIB:"+l+".lib") // Microsoft's linker knows no -l
			} else {
				options = append(options, "-l"+l)
			}
		}
		for _, f := range p.Package.Frameworks {
			options = append(options, "-Wl,-framework,"+f)
		}
	}
	return slices.Concat(options, p.Package.Linkopts)
}

// imported makes the target that imports one library and returns its label. Of targets that would be alike, one is made.
func (p *planner) imported(name string, as mode, forms map[string]form) string {
	if label := p.labels[as][name]; label != "" {
		return label
	}
	label := p.importedAnew(name, as, forms)
	if p.labels[as] == nil {
		p.labels[as] = map[string]string{}
	}
	p.labels[as][name] = label
	return label
}

func (p *planner) importedAnew(name string, as mode, forms map[string]form) string {
	i := p.importing(name, as, forms)
	attrs := append(i.attrs, Attr{"linkopts", i.linkopts}, Attr{"tags", i.tags}, Attr{"deps", i.deps})
	if p.ForPeople {
		attrs = append(attrs, Attr{"target_compatible_with", p.compatible})
	}
	for _, t := range p.made[name] {
		if reflect.DeepEqual(t, Target{Kind: i.kind, Name: t.Name, Doc: i.doc, Attrs: said(attrs)}) {
			return ":" + t.Name
		}
	}
	t := p.add(i.kind, p.unique(name+"_"+string(as)), i.doc, attrs...)
	p.made[name] = append(p.made[name], t)
	return ":" + t.Name
}

// An importing is what a target needs to import one library.
type importing struct {
	kind                 Kind
	doc                  string
	attrs                []Attr
	linkopts, tags, deps []string
}

func (p *planner) importing(name string, as mode, forms map[string]form) importing {
	l, f := p.libraries[name], forms[name]
	i := importing{kind: Prebuilt}
	for _, other := range l.Requires {
		if _, ok := p.libraries[other]; !ok || other == name || p.closes(name, other) {
			continue
		}
		needed := []string{other}
		if p.circle[other] != p.circle[name] {
			needed = p.with(other)
		}
		for _, n := range needed {
			if label := p.imported(n, as, forms); !slices.Contains(i.deps, label) {
				i.deps = append(i.deps, label)
			}
		}
	}
	i.deps = append(i.deps, p.dependencies(name, as, forms)...)
	if p.ForPeople || f.shared {
		i.kind = Import
	}
	if f.static {
		i.attrs = append(i.attrs, Attr{"static_library", l.Static.Path})
		if l.Static.AlwaysLink {
			i.attrs = append(i.attrs, Attr{"alwayslink", true})
			i.kind = Prebuilt
			i.doc = "rules_go links all of an archive by the ending of its name, which cc_import leaves."
		} else if p.target.OS == "linux" && !l.Static.CXX {
			// ELF's run-time linker takes the first copy for all, so that there is one state. But what does its work by being
			// there does it once a copy, and so do C++'s constructors and destructors, on the one object; and on other systems
			// each copy has a state of its own. There Bazel's refusal stands.
			i.tags = []string{linkableMoreThanOnce}
		}
		switch l.Static.PIC {
		case "pie":
			i.doc += fmt.Sprintf(" %s fits executables, not shared objects: %s.", l.Static.Path, l.Static.Reason)
		case "none":
			i.doc += fmt.Sprintf(" %s fits only executables linked with -no-pie: %s.", l.Static.Path, l.Static.Reason)
		}
	}
	i.linkopts = p.linkopts(f)
	if f.shared {
		i.attrs = append(i.attrs, Attr{"shared_library", l.Shared.Path}, Attr{"interface_library", l.Shared.Interface})
		if why := p.notForImport(l); why != "" {
			i.kind = Prebuilt
			if l.Shared.SONAME != "" || l.Shared.InstallName != "" {
				i.attrs = append(i.attrs, Attr{"soname", l.Shared.RunName()})
			}
			if link := "lib" + name + ".so"; p.target.OS == "linux" && !f.static && l.Shared.RunName() != link {
				i.attrs = append(i.attrs, Attr{"link_name", link})
			}
			i.doc = strings.TrimSpace(i.doc + " " + why)
			if p.target.OS == "linux" && (len(p.siblings[name]) > 0 && !slices.ContainsFunc(l.Shared.RunPath, isOrigin) || p.needsOther(l)) {
				// The run-time linker looks for what this library needs along the library's own RUNPATH, which it has
				// not got, and never along a program's RUNPATH; along a program's RPATH it does look. Without this the
				// program works only as long as it happens to name the sibling itself, which --as-needed ends.
				i.linkopts = append([]string{"-Wl,--disable-new-dtags"}, i.linkopts...)
			}
		}
	}
	i.doc = strings.TrimSpace(i.doc)
	return i
}

// isOrigin recognises the ways of writing the library's own folder in a RUNPATH.
func isOrigin(dir string) bool {
	dir = path.Clean(dir)
	return dir == "$ORIGIN" || dir == "${ORIGIN}"
}

// runName gives the names by which a library is needed, and the one by which it is found, one spelling.
func (p *planner) runName(name string) string {
	switch p.target.OS {
	case "windows":
		return strings.ToLower(name) // as its loader compares them
	case "darwin":
		for _, anchor := range []string{"@rpath/", "@loader_path/"} {
			name = strings.TrimPrefix(name, anchor)
		}
	}
	return name
}

// findSiblings finds which libraries of the tree each shared library NEEDs.
func (p *planner) findSiblings() {
	p.siblings, p.needed = map[string][]string{}, map[string]bool{}
	bySONAME := map[string][]string{}
	for _, name := range p.order {
		if s := p.libraries[name].Shared; s != nil {
			found := p.runName(s.RunName())
			bySONAME[found] = append(bySONAME[found], name)
		}
	}
	for _, name := range p.order {
		s := p.libraries[name].Shared
		if s == nil {
			continue
		}
		for _, wanted := range s.Needed {
			for _, sibling := range bySONAME[p.runName(wanted)] {
				if sibling != name {
					p.siblings[name] = append(p.siblings[name], sibling)
					p.needed[sibling] = true
				}
			}
		}
	}
}

// findCircles numbers the libraries that need each other (Tarjan's strongly connected components of more than one).
func (p *planner) findCircles() {
	p.circle, p.members = map[string]int{}, map[int][]string{}
	number, low, onStack := map[string]int{}, map[string]int{}, map[string]bool{}
	var stack []string
	circles := 0
	var visit func(name string)
	visit = func(name string) {
		number[name] = len(number) + 1
		low[name] = number[name]
		stack, onStack[name] = append(stack, name), true
		for _, other := range p.libraries[name].Requires {
			if _, ok := p.libraries[other]; !ok {
				continue
			}
			if number[other] == 0 {
				visit(other)
				low[name] = min(low[name], low[other])
			} else if onStack[other] {
				low[name] = min(low[name], number[other])
			}
		}
		if low[name] != number[name] {
			return
		}
		at := slices.Index(stack, name)
		members := stack[at:]
		stack = stack[:at]
		if len(members) > 1 {
			circles++
			p.members[circles] = slices.Sorted(slices.Values(members))
		}
		for _, m := range members {
			onStack[m] = false
			if len(members) > 1 {
				p.circle[m] = circles
			}
		}
	}
	for _, name := range p.order {
		if number[name] == 0 {
			visit(name)
		}
	}
}

// closes reports whether the dependency of name on other is left out so that targets do not depend on each other in a
// circle: every circle has an edge from a lesser name to a greater one.
func (p *planner) closes(name, other string) bool {
	return p.circle[name] != 0 && p.circle[name] == p.circle[other] && name < other
}

// with gives a library and those that it is in a circle with: the dependencies among them lead to some of them only, so
// whoever needs one from outside has to name all.
func (p *planner) with(name string) []string {
	if p.circle[name] == 0 {
		return []string{name}
	}
	return p.members[p.circle[name]]
}

// again gives circles of archives that need each other, which have to be searched until nothing is missing any more. Linkers of the
// GNU kind search each archive once, in the order of the dependencies, which no order of a circle satisfies. Bazel puts
// linker options behind the libraries, so that a group of these there finds what is missing after them.
func (p *planner) again(forms map[string]form, libraries []string) [][]string {
	if gnu := p.target.OS == "linux" || p.target.OS == "windows" && p.target.Env == "gnu"; !gnu {
		return nil
	}
	circles := map[int][]string{}
	for _, name := range slices.Sorted(maps.Keys(p.reached(libraries))) {
		n := p.circle[name]
		if n == 0 || !forms[name].static {
			continue
		}
		if path := p.libraries[name].Static.Path; !p.ForPeople || plain().MatchString(path) { // $(execpath) of another is several words
			circles[n] = append(circles[n], path)
		}
	}
	var needed [][]string
	for _, n := range slices.Sorted(maps.Keys(circles)) {
		if len(circles[n]) > 1 {
			needed = append(needed, circles[n])
		}
	}
	return needed
}

// reached are the libraries, and all that they need.
func (p *planner) reached(libraries []string) map[string]bool {
	reached := map[string]bool{}
	var reach func(name string)
	reach = func(name string) {
		if _, ok := p.libraries[name]; !ok || reached[name] {
			return
		}
		reached[name] = true
		for _, other := range p.libraries[name].Requires {
			reach(other)
		}
	}
	for _, l := range libraries {
		reach(l)
	}
	return reached
}

// notForImport says why cc_import would be wrong at run time, "" where it is right. cc_import gives each library a
// folder of its own and finds it there under its file's name.
func (p *planner) notForImport(l artifact.Library) string {
	base, found := path.Base(l.Shared.Path), l.Shared.RunName()
	switch {
	case p.target.OS == "windows":
		// All DLLs are put into the program's own folder, where they find each other.
		if strings.HasSuffix(l.Shared.Interface, ".dll.a") {
			return "cc_import takes no import library that is called .dll.a."
		}
		return ""
	case found != base:
		return fmt.Sprintf("The run-time linker looks for %s, and the file is called %s.", found, base)
	case p.target.OS == "linux" && p.needsOther(l):
		return "What it needs lies in other repositories, where the program's RPATH leads it."
	case len(p.siblings[l.Name]) > 0 || p.needed[l.Name]:
		return "It and its siblings find each other at run time only when they lie in one folder."
	case p.target.OS == "linux":
		return "Another repository may have a library of its file's name, which cc_import lets no program link besides."
	}
	return ""
}

func (p *planner) groups() {
	p.public = append(p.public, p.fixed["files"], p.fixed["pkgconfig"], p.fixed["license"])
	p.add(FileGroup, p.fixed["files"], "Every file of the library.", Attr{"srcs", List{"FILES", p.Files}})
	p.add(FileGroup, p.fixed["pkgconfig"], "The descriptions for pkg-config.", Attr{"srcs", p.existing(p.Package.PkgConfig)})
	p.add(FileGroup, p.fixed["license"], "The licence texts.", Attr{"srcs", p.existing(p.Package.Licenses)})
}

// existing are those of the paths that are files, each once.
func (p *planner) existing(paths []string) []string {
	var there []string
	for _, f := range paths {
		if _, ok := slices.BinarySearch(p.Files, f); ok && !slices.Contains(there, f) {
			there = append(there, f)
		}
	}
	return there
}
