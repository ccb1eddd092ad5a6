package ccplan

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/headerindex"
)

var update = flag.Bool("update", false, "write the goldens anew")

const linux = "x86_64-unknown-linux-gnu"

func static(path, pic string) *artifact.StaticLibrary {
	s := &artifact.StaticLibrary{Path: path, PIC: pic}
	if pic != "pic" {
		s.Reason = "o.o: R_X86_64_PC32 against symbol table"
	}
	return s
}

func shared(path, soname string, needed ...string) *artifact.SharedLibrary {
	return &artifact.SharedLibrary{Path: path, SONAME: soname, Needed: append(needed, "libc.so.6")}
}

// library is one with both forms, in the usual places.
func library(name string, requires ...string) artifact.Library {
	var needed []string
	for _, r := range requires {
		needed = append(needed, "lib"+r+".so.1")
	}
	return artifact.Library{Name: name, Static: static("lib/lib"+name+".a", "pic"), Shared: shared("lib/lib"+name+".so.1", "lib"+name+".so.1", needed...), Requires: requires}
}

func pkg(libraries ...artifact.Library) *artifact.Package {
	p := &artifact.Package{Schema: 1, Libraries: libraries, Includes: []string{"include"}}
	if len(libraries) > 0 {
		p.Target = linux
	}
	return p
}

// changed changes a value and returns it, so that a case is one expression.
func changed[T any](v T, change func(T)) T {
	change(v)
	return v
}

// input is a repository with the files that the package names, and others.
func input(name string, p *artifact.Package, others ...string) Input {
	files := others
	for _, l := range p.Libraries {
		if l.Static != nil {
			files = append(files, l.Static.Path)
		}
		if l.Shared != nil {
			files = append(files, l.Shared.Path)
			if l.Shared.Interface != "" {
				files = append(files, l.Shared.Interface)
			}
		}
	}
	files = append(files, p.PkgConfig...)
	files = append(files, p.Licenses...)
	slices.Sort(files)
	return Input{Name: name, Package: p, Files: slices.Compact(files)}
}

var (
	onlyStatic = func(name, pic string, requires ...string) artifact.Library {
		return artifact.Library{Name: name, Static: static("lib/lib"+name+".a", pic), Requires: requires}
	}
	onlyShared = func(name string, requires ...string) artifact.Library {
		l := library(name, requires...)
		l.Static = nil
		return l
	}
	withPIC = func(l artifact.Library, pic string) artifact.Library {
		l.Static = static(l.Static.Path, pic)
		return l
	}
	alwaysLinked = func(l artifact.Library) artifact.Library {
		l.Static.AlwaysLink = true
		return l
	}
	withRunPath = func(l artifact.Library, dirs ...string) artifact.Library {
		l.Shared.RunPath = dirs
		return l
	}
	// dll is a DLL with an import library, for which other DLLs have to be there.
	dll = func(name, path, leads string, needed ...string) artifact.Library {
		l := artifact.Library{Name: name, Shared: &artifact.SharedLibrary{Path: path, Interface: leads, Needed: append(needed, "KERNEL32.dll")}}
		for _, n := range needed {
			l.Requires = append(l.Requires, strings.TrimSuffix(strings.ToLower(n), ".dll"))
		}
		return l
	}
	dylib = func(name, path, installName string, needed ...string) artifact.Library {
		l := artifact.Library{Name: name, Shared: &artifact.SharedLibrary{Path: path, InstallName: installName, Needed: append(needed, "/usr/lib/libSystem.B.dylib")}}
		for _, n := range needed {
			l.Requires = append(l.Requires, strings.TrimSuffix(strings.TrimPrefix(n, "@rpath/lib"), ".dylib"))
		}
		return l
	}
	withStatic = func(l artifact.Library, path string) artifact.Library {
		l.Static = static(path, "pic")
		return l
	}
	forTarget = func(target string, libraries ...artifact.Library) *artifact.Package {
		p := pkg(libraries...)
		p.Target = target
		return p
	}
	linked = func(linkage Linkage, in Input) Input {
		in.Linkage = linkage
		return in
	}
	withSystem = func(p *artifact.Package) { p.SystemLibraries = []string{"m"} }
)

// needing gives the first library of a package more that it NEEDs, and the input dependencies.
func needing(in Input, needed []string, dependencies ...Dependency) Input {
	if len(needed) > 0 {
		s := in.Package.Libraries[0].Shared
		s.Needed = append(s.Needed, needed...)
	}
	in.Dependencies = dependencies
	return in
}

// forPeople gives the input the rules that everybody knows.
func forPeople(in Input) Input {
	in.ForPeople = true
	return in
}

// described gives the input a file that says which artifact it is.
func described(in Input) Input {
	in.Artifact = "artifact.json"
	return in
}

var cases = map[string]Input{
	"described": described(input("z", pkg(library("artifact"), library("other")), "include/z.h")),
	"one_library": input("zlib", changed(pkg(library("z")), func(p *artifact.Package) {
		p.SystemLibraries, p.Defines, p.Linkopts = []string{"m", "pthread"}, []string{"Z=1"}, []string{"-Wl,-z,now"}
		p.PkgConfig, p.Licenses = []string{"lib/pkgconfig/zlib.pc"}, []string{"share/licenses/zlib/LICENSE"}
	}), "include/zlib.h", "include/zconf.h", "libz.a", "lib/libz.so"),
	"file_is_not_called_as_its_soname": input("odd", pkg(artifact.Library{Name: "odd", Shared: shared("lib/libodd.so", "libodd.so.7")})),
	"no_soname":                        input("odd", pkg(artifact.Library{Name: "odd", Shared: shared("lib/libodd.so", "")})),
	"one_needs_the_other":              input("ab", pkg(library("a", "b"), library("b"))),
	"one_finds_the_other_by_origin":    input("ab", pkg(withRunPath(library("a", "b"), "/opt/lib", "$ORIGIN/."), library("b"))),
	"needs_another_repository": needing(input("curl", pkg(library("curl", "cares"), library("cares"), onlyStatic("extra", "pic")), "include/curl.h"), []string{"libz.so.1", "libssl.so.3"},
		Dependency{Name: "openssl", Label: "@openssl//:openssl", Image: "x.io/openssl@sha256:00", Needed: []string{"libssl.so.3"}},
		Dependency{Name: "z", Label: "@my_z//:z", Image: "x.io/z@sha256:00", Needed: []string{"libz.so.1"}},
		Dependency{Name: "headers_of_another", Label: "@@canonical~other//:headers_of_another", Image: "x.io/h@sha256:00"},
		Dependency{Label: "@more//lib:more"}),
	"shared_alone_needs_another_repository": needing(input("curl", pkg(onlyShared("curl"))), []string{"libz.so.1"},
		Dependency{Name: "z", Label: "@z//:z", Image: "x.io/z@sha256:00", Needed: []string{"libz.so.1"}}),
	"static_alone_needs_another_repository": needing(input("s", pkg(onlyStatic("s", "pic"))), nil,
		Dependency{Name: "z", Label: "@z//:z", Image: "x.io/z@sha256:00", Needed: []string{"libz.so.1"}}),
	"headers_need_another_repository":    needing(input("h", pkg(), "include/h.h"), nil, Dependency{Name: "z", Label: "@z//:z", Image: "x.io/z@sha256:00"}),
	"package_of_another_name":            input("my_zlib", changed(pkg(library("z")), func(p *artifact.Package) { p.Name = "zlib" })),
	"static_only":                        input("s", changed(pkg(onlyStatic("s", "pic")), withSystem), "include/s.h"),
	"shared_only":                        input("s", changed(pkg(onlyShared("s")), withSystem), "include/s.h"),
	"linkage_static":                     linked(Static, input("ab", pkg(library("a", "b"), onlyShared("b")))),
	"linkage_shared":                     linked(Shared, input("ab", pkg(library("a", "b"), onlyStatic("b", "pic")))),
	"linkage_auto":                       linked(Auto, input("ab", pkg(library("a", "b"), library("b")))),
	"headers_only":                       input("h", pkg(), "include/h/a.h", "include/h/b"),
	"static_a_and_shared_b":              input("ab", changed(pkg(onlyStatic("a", "pic", "b"), onlyShared("b")), withSystem)),
	"shared_a_needs_b_which_is_both":     input("ab", pkg(onlyShared("a", "b"), library("b"))),
	"pic_none_with_shared":               input("z", pkg(withPIC(library("z"), "none"))),
	"pic_none_alone":                     input("z", pkg(onlyStatic("z", "none"))),
	"pic_pie":                            input("z", pkg(withPIC(library("z"), "pie"))),
	"static_of_cxx":                      input("z", pkg(changed(library("z"), func(l artifact.Library) { l.Static.CXX = true }))),
	"always_linked":                      input("ab", pkg(alwaysLinked(library("a", "b")), library("b"), alwaysLinked(onlyStatic("c", "pic")))),
	"archives_in_a_circle":               input("mkl", changed(pkg(onlyStatic("a", "pic", "b"), onlyStatic("b", "pic", "c"), onlyStatic("c", "pic", "a", "d"), onlyStatic("d", "pic")), withSystem)),
	"archives_in_two_circles":            input("mkl", pkg(onlyStatic("a", "pic", "a-b"), onlyStatic("a-b", "pic", "a"), onlyStatic("c", "pic", "d"), onlyStatic("d", "pic", "c"))),
	"archives_in_two_circles_for_people": forPeople(input("mkl", pkg(onlyStatic("a", "pic", "a-b"), onlyStatic("a-b", "pic", "a"), onlyStatic("c", "pic", "d"), onlyStatic("d", "pic", "c")))),
	"always_linked_alone":                input("a", pkg(alwaysLinked(library("a")))),
	"linkage_static_needs_another_repository": linked(Static, needing(input("curl", pkg(library("curl"))), []string{"libz.so.1"},
		Dependency{Name: "z", Label: "@z//:z", Image: "x.io/z@sha256:00", Needed: []string{"libz.so.1"}})),
	"called_as_the_repository": input("a", pkg(library("a"), library("b"))),
	"called_as_our_targets":    input("static", pkg(library("headers"), library("static"), library("files"), library("z"), library("z_static"), library("z_import"))),
	"flat_and_foreign": input("f", changed(pkg(artifact.Library{Name: "f", Static: static("libf.a", "pic"), Shared: shared("libf.so", "")}), func(p *artifact.Package) { p.Includes = []string{"."} }),
		"README", "f", "f.h", "f.hpp", "f_import", "files", "index.html", "license", "sub/deep.h"),
	"windows_msvc": input("ab", changed(forTarget("x86_64-pc-windows-msvc", dll("a", "lib/a.dll", "lib/a.lib", "B.dll"), dll("b", "lib/b.dll", "lib/b.lib"), artifact.Library{Name: "as", Static: static("lib/as.lib", "pic")}), func(p *artifact.Package) {
		p.SystemLibraries = []string{"ws2_32"}
	}), "include/a.h"),
	"windows_mingw": input("z", changed(forTarget("x86_64-pc-windows-gnu", withStatic(dll("z", "lib/libz-1.dll", "lib/libz.dll.a"), "lib/libz.a")), func(p *artifact.Package) {
		p.SystemLibraries = []string{"ws2_32"}
	})),
	"macos": input("z", changed(forTarget("aarch64-apple-darwin", withStatic(dylib("z", "lib/libz.1.dylib", "@rpath/libz.1.dylib"), "lib/libz.a")), func(p *artifact.Package) {
		p.SystemLibraries, p.Frameworks = []string{"iconv"}, []string{"CoreFoundation"}
	})),
	"macos_siblings": input("ab", forTarget("aarch64-apple-darwin", dylib("a", "lib/liba.dylib", "@rpath/liba.1.dylib", "@rpath/libb.dylib"), dylib("b", "lib/libb.dylib", "@rpath/libb.dylib"))),
	"words_for_the_shell": input("h", changed(pkg(onlyStatic("s", "pic")), func(p *artifact.Package) {
		p.Defines, p.Linkopts, p.Includes = []string{`GREETING="it's $5"`, "PLAIN=1"}, []string{"-Wl,-rpath,$ORIGIN/x y"}, []string{"include", "include/$sub"}
	}), "include/$sub/a.h"),
}

func text(p Plan) string {
	var b strings.Builder
	for _, t := range p.Targets {
		if t.Doc != "" {
			fmt.Fprintf(&b, "# %s\n", t.Doc)
		}
		fmt.Fprintf(&b, "%s %s\n", t.Kind, t.Name)
		for _, a := range t.Attrs {
			verb := "%q"
			if _, ok := a.Value.(bool); ok {
				verb = "%v"
			}
			value := a.Value
			if l, ok := value.(List); ok {
				value = l.Values
			}
			fmt.Fprintf(&b, "    %s = "+verb+"\n", a.Name, value)
		}
	}
	fmt.Fprintf(&b, "public = %q\n", p.Public)
	fmt.Fprintf(&b, "files = %q\n", p.Files)
	for _, include := range slices.Sorted(maps.Keys(p.Index)) {
		asked := include
		if headerindex.IsHeader(include) {
			asked = "#include <" + include + ">"
		}
		fmt.Fprintf(&b, "%s is :%s\n", asked, p.Index[include])
	}
	return b.String()
}

func TestPlans(t *testing.T) {
	for name, in := range cases {
		t.Run(name, func(t *testing.T) {
			got := text(New(in))
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// attr returns a list attribute, or a string one as a list of one.
func (t Target) attr(name string) []string {
	for _, a := range t.Attrs {
		if a.Name == name {
			switch v := a.Value.(type) {
			case string:
				return []string{v}
			case List:
				return v.Values
			case Select:
				var labels []string
				for _, c := range v {
					labels = append(labels, c.Label)
				}
				return labels
			}
			return a.Value.([]string)
		}
	}
	return nil
}

// sound checks what must hold of every plan.
func sound(t *testing.T, in Input, p Plan) {
	t.Helper()
	targets := map[string]Target{}
	for _, target := range p.Targets {
		if _, twice := targets[target.Name]; twice {
			t.Errorf("two targets are called %s", target.Name)
		}
		targets[target.Name] = target
	}
	for _, f := range p.Files {
		if _, clash := targets[f]; clash {
			t.Errorf("a file and a target are called %s", f)
		}
		if !slices.Contains(in.Files, f) {
			t.Errorf("%s is no file", f)
		}
	}
	for i, name := range append([]string{in.Name}, p.Public...) {
		if _, ok := targets[name]; !ok || i > 0 && slices.Index(p.Public, name) != i-1 {
			t.Errorf("no target :%s, or it is public twice", name)
		}
	}
	for _, target := range p.Targets {
		for _, name := range []string{"srcs", "hdrs", "static_library", "shared_library", "interface_library", "additional_linker_inputs"} {
			files := target.attr(name)
			for i, f := range files {
				if !slices.Contains(p.Files, f) || slices.Index(files, f) != i {
					t.Errorf("%s of :%s has %s, which is no file, or has it twice", name, target.Name, f)
				}
			}
		}
	}
	// No circle among targets, and what a target depends on is there, once.
	state := map[string]int{}
	var visit func(name string)
	visit = func(name string) {
		if state[name] == 1 {
			t.Errorf(":%s depends on itself", name)
		}
		if state[name] != 0 {
			return
		}
		state[name] = 1
		deps := slices.Concat(targets[name].attr("deps"), targets[name].attr("actual"))
		for i, d := range deps {
			if _, ok := targets[strings.TrimPrefix(d, ":")]; !ok && !strings.HasPrefix(d, "@") || slices.Index(deps, d) != i {
				t.Errorf(":%s depends on %s, which is not there, or does so twice", name, d)
			}
			visit(strings.TrimPrefix(d, ":"))
		}
		state[name] = 2
	}
	for name := range targets {
		visit(name)
	}
	// Whatever people depend on brings each library in one form, with everything that it needs; and a shared library
	// that nothing replaces brings shared what it NEEDs, or that is missing at run time.
	byFile, bySONAME := map[string]artifact.Library{}, map[string]string{}
	for _, l := range in.Package.Libraries {
		if l.Static != nil {
			byFile[l.Static.Path] = l
		}
		if l.Shared != nil {
			byFile[l.Shared.Path] = l
			bySONAME[l.Shared.SONAME] = l.Name
		}
	}
	for _, target := range p.Targets {
		if target.Kind != Library {
			continue
		}
		imports := map[string]Target{} // library name to the target that brings it
		seen := map[string]bool{}
		var collect func(name string)
		collect = func(name string) {
			if seen[name] {
				return
			}
			seen[name] = true
			for _, f := range slices.Concat(targets[name].attr("static_library"), targets[name].attr("shared_library")) {
				l := byFile[f].Name
				if other, ok := imports[l]; ok && other.Name != name {
					t.Errorf(":%s brings %s by %s and %s", target.Name, l, other.Name, name)
				}
				imports[l] = targets[name]
			}
			for _, d := range targets[name].attr("deps") {
				collect(strings.TrimPrefix(d, ":"))
			}
		}
		collect(target.Name)
		for _, l := range in.Package.Libraries {
			by, ok := imports[l.Name]
			if !ok {
				continue
			}
			for _, other := range l.Requires {
				if _, ok := imports[other]; !ok && slices.ContainsFunc(in.Package.Libraries, func(o artifact.Library) bool { return o.Name == other }) {
					t.Errorf(":%s brings %s without the %s that it needs", target.Name, l.Name, other)
				}
			}
			if len(by.attr("shared_library")) == 0 {
				continue
			}
			for _, needed := range l.Shared.Needed {
				sibling, ok := bySONAME[needed]
				if !ok || sibling == l.Name {
					continue
				}
				o := imports[sibling]
				if len(o.attr("shared_library")) == 0 || len(by.attr("static_library")) == 0 && len(o.attr("static_library")) > 0 {
					t.Errorf(":%s brings the shared %s, and %s by %s is not there when it runs", target.Name, l.Name, sibling, o.Name)
				}
			}
		}
	}
	for _, l := range in.Package.Libraries {
		if p.Index[headerindex.Library(l.Name)] == "" {
			t.Errorf("nothing answers -l%s", l.Name)
		}
	}
	for include, target := range p.Index {
		if _, ok := targets[target]; !ok || include == "" {
			t.Errorf("<%s> is :%s, which is not there", include, target)
		}
	}
}

// Which target a name for pkg-config stands for.
func TestLookups(t *testing.T) {
	in := Input{Name: "openssl", Files: []string{"include/-lx", "include/pkg-config:x", "include/ssl.h", "lib/libcrypto.a", "lib/libssl.a"}, Package: &artifact.Package{
		Target: "x86_64-unknown-linux-gnu", Includes: []string{"include"},
		Libraries: []artifact.Library{{Name: "crypto", Static: &artifact.StaticLibrary{Path: "lib/libcrypto.a", PIC: "pic"}}, {Name: "ssl", Static: &artifact.StaticLibrary{Path: "lib/libssl.a", PIC: "pic"}}},
		PkgConfig: []string{"lib/pkgconfig/libcrypto.pc", "lib/pkgconfig/ssl.pc", "share/pkgconfig/openssl.pc", "lib/pkgconfig/.pc", "lib/pkgconfig/README"},
	}}
	want := map[string]string{
		"ssl.h": "openssl", "-lssl": "ssl", "-lcrypto": "crypto",
		"pkg-config:libcrypto": "crypto", "pkg-config:ssl": "ssl", "pkg-config:openssl": "openssl",
	}
	if got := New(in).Index; !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestPlansAreSound(t *testing.T) {
	for name, in := range cases {
		t.Run(name, func(t *testing.T) {
			files := slices.Clone(in.Files)
			p := New(in)
			sound(t, in, p)
			if again := New(in); !reflect.DeepEqual(p, again) {
				t.Error("a second plan of the same is another")
			}
			if !slices.Equal(files, in.Files) {
				t.Error("it changed its input")
			}
		})
	}
}

// Every way in which three libraries can need each other, static, shared and both, under names that clash.
func TestEveryPlanOfThreeLibrariesIsSound(t *testing.T) {
	names := []string{"a", "headers", "a_import"}
	n := 0
	for forms := range 27 {
		for edges := range 64 {
			var libraries []artifact.Library
			form, edge := forms, edges
			for i, name := range names {
				var requires []string
				for k, other := range names {
					if i != k {
						if edge&1 == 1 {
							requires = append(requires, other)
						}
						edge >>= 1
					}
				}
				l := library(name, requires...)
				switch form % 3 {
				case 0:
					l.Static = nil
				case 1:
					l.Shared = nil
				}
				form /= 3
				libraries = append(libraries, l)
			}
			for _, repository := range []string{"a", "other"} {
				for _, linkage := range []Linkage{ByFlag, Static, Shared} {
					in := input(repository, pkg(libraries...), "include/a.h")
					in.Linkage = linkage
					sound(t, in, New(in))
					n++
				}
			}
		}
	}
	if n != 27*64*2*3 {
		t.Errorf("%d plans", n)
	}
}

// A description may come from anywhere: what it says must neither hang nor crash whoever plans with it. Work that grows
// faster than the square of the circle would outlive the test's own time limit.
func TestHostileDescriptions(t *testing.T) {
	self := library("a", "a", "a", "nobody")
	var chain []artifact.Library
	for i := range 1000 {
		chain = append(chain, library(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", (i+1)%1000), fmt.Sprintf("l%d", (i+7)%1000)))
	}
	for name, in := range map[string]Input{
		"needs itself":      input("r", pkg(self)),
		"twice":             input("r", pkg(library("a"), library("a"))),
		"a circle of 1,000": input("r", pkg(chain...)),
		"include folders in each other": input("r", changed(pkg(), func(p *artifact.Package) {
			p.Includes = []string{"include", "include/a", "include"}
		}), "include/a/b.h"),
		"files that are not there": input("r", changed(pkg(), func(p *artifact.Package) { p.Target = "none" }), "x"),
	} {
		t.Run(name, func(t *testing.T) {
			p := New(in)
			if len(in.Package.Libraries) < 100 {
				sound(t, in, p)
			}
		})
	}
}
