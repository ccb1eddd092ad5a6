// Package ccplan decides which C++ targets a library's tree becomes, and which label answers an #include.
//
// Invariant: a plan is a pure function of the library's description and the names of its files; the same input gives
// the same plan, in the same order. A plan names a target only for files that are there, and whatever it links is
// found again at run time.
//
// It takes a description from internal/artifact, and hands a Plan to internal/buildfile (which renders it) and to
// gazelle_ext (which answers from its index). It knows neither registries nor Bazel's API.
package ccplan

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
)

// Kind is the kind of a target.
type Kind string

const (
	Library   Kind = "cc_library"
	Import    Kind = "cc_import"
	Prebuilt  Kind = "prebuilt_library" // our own rule, for what cc_import gets wrong at run time
	FileGroup Kind = "filegroup"
)

// Attr is an attribute of a target. Value is a string, a bool or a []string.
type Attr struct {
	Name  string
	Value any
}

// Target is one rule of the plan. Doc, where not empty, is a comment to stand above it.
type Target struct {
	Kind  Kind
	Name  string
	Doc   string
	Attrs []Attr
}

// Plan is what a tree becomes. Index gives for each header, as people write it in an #include, the target that has it.
type Plan struct {
	Targets []Target
	Index   map[string]string // include path -> target name
}

// Input is what a plan is made from. Name is the name of the repository and of its main target. Files are the paths
// of all files and links of the tree, sorted.
type Input struct {
	Name    string
	Package *artifact.Package
	Files   []string
}

var constraints = map[string]string{
	"x86_64": "x86_64", "aarch64": "aarch64", "i686": "x86_32", "armv7": "armv7", "riscv64": "riscv64",
	"powerpc64le": "ppc64le", "s390x": "s390x",
	"linux": "linux", "darwin": "macos", "windows": "windows",
}

// New makes the plan:
//
//	:<name>      everything: headers, and each library static and shared under one label, so that linkstatic chooses
//	:<library>   one of several libraries, with the headers
//	:headers     the headers alone
//	:static      everything, linked statically whatever linkstatic says
//	:shared      everything, linked dynamically whatever linkstatic says
//	:files       every file, :pkgconfig the .pc files, :license the licence texts
func New(in Input) Plan {
	p := planner{Input: in, linked: map[string]bool{}}
	if t, err := artifact.ParseTriple(in.Package.Target); err == nil {
		p.linux = t.OS == "linux"
		p.compatible = []string{"@platforms//cpu:" + constraints[t.Arch], "@platforms//os:" + constraints[t.OS]}
	}
	for _, l := range in.Package.Libraries {
		if l.Shared == nil {
			continue
		}
		for _, other := range l.Requires {
			p.linked[l.Name], p.linked[other] = true, true
		}
	}
	p.headers()
	p.libraries()
	p.groups()
	return p.plan
}

type planner struct {
	Input
	plan       Plan
	linux      bool
	compatible []string        // constraint values of the library's platform; targets that depend on one that has them share them
	linked     map[string]bool // shared libraries that need a sibling or are needed by one
}

func (p *planner) add(kind Kind, name, doc string, attrs ...Attr) {
	kept := slices.DeleteFunc(attrs, func(a Attr) bool {
		list, isList := a.Value.([]string)
		return a.Value == nil || a.Value == "" || isList && len(list) == 0
	})
	p.plan.Targets = append(p.plan.Targets, Target{Kind: kind, Name: name, Doc: doc, Attrs: kept})
}

func (p *planner) headers() {
	var hdrs []string
	p.plan.Index = map[string]string{}
	for _, f := range p.Files {
		for _, dir := range p.Package.Includes {
			rel, ok := strings.CutPrefix(f, dir+"/")
			if dir == "." {
				rel, ok = f, !strings.Contains(f, "/") && isHeader(f)
			}
			if ok {
				hdrs = append(hdrs, f)
				p.plan.Index[rel] = p.Name
			}
		}
	}
	p.add(Library, "headers", "The headers alone.",
		Attr{"hdrs", hdrs}, Attr{"defines", p.Package.Defines}, Attr{"includes", p.Package.Includes}, Attr{"target_compatible_with", p.compatible})
}

func isHeader(name string) bool { return strings.HasPrefix(path.Ext(name), ".h") }

func (p *planner) libraries() {
	libs := p.Package.Libraries
	var systemLibs []string
	for _, l := range p.Package.SystemLibraries {
		systemLibs = append(systemLibs, "-l"+l)
	}
	linkopts := slices.Concat(systemLibs, p.Package.Linkopts)
	all, static, shared := []string{":headers"}, []string{":headers"}, []string{":headers"}
	for _, l := range libs {
		main := p.imported(l, asBoth)
		all = append(all, main)
		static = append(static, p.imported(l, asStatic))
		shared = append(shared, p.imported(l, asShared))
		if len(libs) > 1 && l.Name != p.Name {
			p.add(Library, l.Name, "", Attr{"linkopts", linkopts}, Attr{"deps", []string{":headers", main}})
		}
	}
	p.add(Library, p.Name, "What to depend on: linkstatic chooses between the static and the shared library.",
		Attr{"linkopts", linkopts}, Attr{"deps", all})
	if len(libs) > 0 {
		p.add(Library, "static", "The static library where there is one, whatever linkstatic says.", Attr{"linkopts", linkopts}, Attr{"deps", static})
		p.add(Library, "shared", "The shared library where there is one, whatever linkstatic says.", Attr{"linkopts", p.Package.Linkopts}, Attr{"deps", shared})
	}
}

// How a library is imported; the value is the end of the target's name.
const (
	asBoth   = "import"
	asStatic = "static_import"
	asShared = "shared_import"
)

// imported makes the target that imports one library and returns its label; made once, whoever asks. A library that
// is not there in the form asked for is imported in the form there is.
func (p *planner) imported(l artifact.Library, as string) string {
	if as == asStatic && l.Static == nil {
		as = asShared
	} else if as == asShared && l.Shared == nil {
		as = asStatic
	}
	// Code that is not even position independent enough for an executable breaks most links: where there is a shared
	// library too, that one serves, and the archive is had by asking for :static.
	static := l.Static != nil && (as == asStatic || as == asBoth && (l.Static.PIC != "none" || l.Shared == nil))
	shared := l.Shared != nil && as != asStatic

	name := l.Name + "_" + as
	if slices.ContainsFunc(p.plan.Targets, func(t Target) bool { return t.Name == name }) {
		return ":" + name
	}
	var deps []string
	for _, other := range l.Requires {
		i := slices.IndexFunc(p.Package.Libraries, func(o artifact.Library) bool { return o.Name == other })
		if i >= 0 && !p.circular(l.Name, other) {
			deps = append(deps, p.imported(p.Package.Libraries[i], as))
		}
	}
	var attrs []Attr
	var doc string
	if static {
		attrs = append(attrs, Attr{"static_library", l.Static.Path})
		switch l.Static.PIC {
		case "pie":
			doc = fmt.Sprintf("%s fits executables, not shared objects: %s.", l.Static.Path, l.Static.Reason)
		case "none":
			doc = fmt.Sprintf("%s fits only executables linked with -no-pie: %s.", l.Static.Path, l.Static.Reason)
		}
	}
	kind := Import
	if shared {
		attrs = append(attrs, Attr{"shared_library", l.Shared.Path})
		if why := p.notForImport(l); why != "" {
			kind = Prebuilt
			attrs = append(attrs, Attr{"soname", l.Shared.SONAME})
			doc = strings.TrimSpace(doc + " " + why)
		}
		if p.linux && p.needsSibling(l) && !slices.Contains(l.Shared.RunPath, "$ORIGIN") {
			// The run-time linker looks for what this library needs along the library's own RUNPATH, which it has
			// not got, and never along a program's RUNPATH; along a program's RPATH it does look. Without this the
			// program works only as long as it happens to name the sibling itself, which --as-needed ends.
			attrs = append(attrs, Attr{"linkopts", []string{"-Wl,--disable-new-dtags"}})
		}
	}
	attrs = append(attrs, Attr{"target_compatible_with", p.compatible}, Attr{"deps", deps})
	p.add(kind, name, doc, attrs...)
	return ":" + name
}

// needsSibling reports whether the shared library NEEDs another shared library of the tree.
func (p *planner) needsSibling(l artifact.Library) bool {
	return slices.ContainsFunc(p.Package.Libraries, func(o artifact.Library) bool {
		return o.Name != l.Name && o.Shared != nil && slices.Contains(l.Shared.Needed, cmp.Or(o.Shared.SONAME, path.Base(o.Shared.Path)))
	})
}

// circular reports whether other needs l in turn. Archives that need each other are linked in the order of the names;
// the edge that would close the circle is left out, because targets cannot depend on each other.
func (p *planner) circular(name, other string) bool {
	seen := map[string]bool{}
	var reaches func(from string) bool
	reaches = func(from string) bool {
		if from == name {
			return true
		}
		if seen[from] {
			return false
		}
		seen[from] = true
		for _, l := range p.Package.Libraries {
			if l.Name == from {
				return slices.ContainsFunc(l.Requires, reaches)
			}
		}
		return false
	}
	return name < other && reaches(other)
}

// notForImport says why cc_import would be wrong at run time, "" where it is right. cc_import gives each library a
// folder of its own and finds it there under its file's name.
func (p *planner) notForImport(l artifact.Library) string {
	base := path.Base(l.Shared.Path)
	switch {
	case l.Shared.SONAME != "" && l.Shared.SONAME != base:
		return fmt.Sprintf("The run-time linker looks for %s, and the file is called %s.", l.Shared.SONAME, base)
	case p.linked[l.Name]:
		return "It and its siblings find each other at run time only when they lie in one folder."
	}
	return ""
}

func (p *planner) groups() {
	p.add(FileGroup, "files", "Every file of the library.", Attr{"srcs", p.Files})
	p.add(FileGroup, "pkgconfig", "The descriptions for pkg-config.", Attr{"srcs", p.existing(p.Package.PkgConfig)})
	p.add(FileGroup, "license", "The licence texts.", Attr{"srcs", p.existing(p.Package.Licenses)})
}

func (p *planner) existing(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(f string) bool { return !slices.Contains(p.Files, f) })
}
