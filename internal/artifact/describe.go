package artifact

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
	"github.com/ocipkg/rules_ocipkg/internal/native"
)

// Claims is what an author says of a library. What can be measured is measured; a claim that contradicts it is refused.
type Claims struct {
	Name     string // default: the name of the only .pc file
	Version  string // default: the version that all .pc files agree on
	License  string // SPDX expression
	Target   string // target triple; default: measured
	Defines  []string
	Linkopts []string

	Selection       Selection           // where the files are that Arrange would not find
	Includes        []string            // folders of the artifact to search for headers; default: include
	SystemLibraries []string            // besides the measured ones, without "-l"
	Requires        map[string][]string // by library, further ones of the same artifact that it needs
	AlwaysLink      []string            // libraries of the artifact whose archive is linked whole, because objects of it do their work by being there
	Dependencies    map[string]string   // by name, pinned references of other artifacts that it needs

	// Dependency describes the artifact behind a reference of Dependencies, for a platform. It is called only where
	// there are libraries, whose needs it is to meet.
	Dependency func(image string, target Triple) (*Package, error)

	RefuseMissing bool     // whether a NEEDED library that nobody brings is an error
	AllowMissing  []string // SONAMEs that are no error all the same, because the consumer brings them
	PIC           bool     // whether static libraries are said to fit shared objects
}

// Describe measures the libraries of a tree. fsys is where the tree's sources are. The error is of kind Refused, and
// names the file, where two files contradict each other or a claim contradicts a file.
func Describe(fsys fs.FS, tree Tree, claims Claims) (*Package, error) {
	p := &Package{Schema: Schema, Name: claims.Name, Version: claims.Version, License: claims.License,
		Defines: claims.Defines, Linkopts: claims.Linkopts}
	m := &measuring{fsys: fsys, tree: maps.Clone(tree), claims: claims, libraries: map[string]*Library{}, archives: map[string]*native.Archive{}, sharedFile: map[string]string{},
		dlls: map[string]dll{}, interfaces: map[string]*native.Archive{}}
	if err := m.linkCopies(); err != nil {
		return nil, err
	}
	m.calling = callingOf(m.tree)
	for _, place := range tree.paths() {
		if err := m.library(place); err != nil {
			return nil, err
		}
	}
	if err := m.pairDLLs(); err != nil {
		return nil, err
	}
	if err := m.alike(); err != nil {
		return nil, err
	}
	if err := m.siblingsByName(); err != nil {
		return nil, err
	}
	if err := m.platform(p, claims); err != nil {
		return nil, err
	}
	p.texts = m.texts
	m.requires(p, claims)
	if err := m.dependencies(p, claims); err != nil {
		return nil, err
	}
	if err := m.pkgConfig(p); err != nil {
		return nil, err
	}
	if len(p.Missing) > 0 {
		var not []string
		for _, soname := range p.Missing {
			if !slices.Contains(claims.AllowMissing, soname) {
				not = append(not, soname)
			}
		}
		if len(not) > 0 && claims.RefuseMissing {
			return nil, &diagnostic.Error{Kind: diagnostic.Refused, What: "pack " + p.Name,
				Why: fmt.Sprintf("its libraries need %s, which are neither in the folder, nor in a dependency, nor part of every such system", strings.Join(not, ", ")),
				Do:  "name the artifact that has them with --dependency NAME=IMAGE, in Bazel in `dependencies`, add them to the folder, or allow each with --allow-missing where the consumer brings it"}
		}
	}
	for _, place := range tree.paths() {
		if strings.HasPrefix(place, "include/") && !slices.Contains(p.Includes, "include") {
			p.Includes = append(p.Includes, "include")
		} else if !strings.Contains(place, "/") && IsHeader(place) && !slices.Contains(p.Includes, ".") {
			p.Includes = append(p.Includes, ".")
		}
		if strings.HasPrefix(place, "share/licenses/") {
			p.Licenses = append(p.Licenses, place)
		}
	}
	return p, nil
}

type measuring struct {
	fsys      fs.FS
	tree      Tree // copies of libraries are links in it
	claims    Claims
	calling   calling
	libraries map[string]*Library
	order     []string
	machine   native.Machine
	machineOf string // the file that machine was read from
	libc      string
	libcOf    string
	abi       string // of 32-bit Arm
	abiOf     string
	archives  map[string]*native.Archive // by library name
	// sharedFile gives, by library name, the file that was measured; SharedLibrary.Path may be a link to it.
	sharedFile map[string]string
	// of Windows
	imports    []importLibrary
	dlls       map[string]dll             // by lower-case file name
	interfaces map[string]*native.Archive // import libraries, by library name
	// compiler is what the DLLs were made with where it does not bind those who use them; see sameMachine.
	compiler string
	texts    []string // called like libraries, and text
}

func (m *measuring) resolve(place string) (string, Entry, bool) {
	real, ok := m.tree.resolve(place)
	return real, m.tree[real], ok
}

// linkCopies takes copies of a shared library for what they were before something followed the links: a packer of the ocipkg
// project's, an archive, COPY in a Dockerfile. Else libpng.so and libpng16.so.16 would be two libraries of one SONAME,
// which no program can be linked with. A library without a SONAME is another one under each name, as programs that are
// linked with it look for that name.
func (m *measuring) linkCopies() error {
	bySize := map[int64][]string{}
	for _, place := range m.tree.paths() {
		e, base := m.tree[place], path.Base(place)
		if e.Link != "" || e.Data != nil || libraryOf(sharedName(), base) == "" || strings.HasSuffix(base, ".dll") {
			continue
		}
		info, err := fs.Stat(m.fsys, e.Source)
		if err != nil {
			return err
		}
		bySize[info.Size()] = append(bySize[info.Size()], place)
	}
	bySONAME := map[string][]string{}
	for _, size := range slices.Sorted(maps.Keys(bySize)) {
		if len(bySize[size]) == 1 {
			continue
		}
		for _, place := range bySize[size] {
			if run := m.soname(place); run != "" {
				bySONAME[run] = append(bySONAME[run], place)
			}
		}
	}
	for _, run := range slices.Sorted(maps.Keys(bySONAME)) {
		if err := m.linkCopiesOf(run, bySONAME[run]); err != nil {
			return err
		}
	}
	return nil
}

// linkCopiesOf makes links of the copies among files of one SONAME: to the one that is called so, as what programs load,
// and where none is, to the one of the longest name.
func (m *measuring) linkCopiesOf(soname string, places []string) error {
	called := map[string]string{} // by folder
	first := ""
	for _, place := range places {
		if path.Base(place) == soname {
			called[path.Dir(place)] = place
			first = cmp.Or(first, place)
		}
	}
	if first == "" {
		first = slices.MaxFunc(places, func(a, b string) int { return cmp.Compare(len(path.Base(a)), len(path.Base(b))) })
	}
	merged := map[string][]string{} // by folder, the names of libraries that are one
	for _, place := range places {
		target := cmp.Or(called[path.Dir(place)], first)
		if place == target || path.Base(place) == soname {
			continue
		}
		same, err := m.same(place, target)
		if err != nil {
			return err
		}
		if !same {
			continue
		}
		m.tree[place] = Entry{Link: relative(path.Dir(place), target)}
		if dir := path.Dir(place); dir == path.Dir(target) {
			if merged[dir] == nil {
				merged[dir] = []string{libraryOf(sharedName(), path.Base(target))}
			}
			merged[dir] = append(merged[dir], libraryOf(sharedName(), path.Base(place)))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(merged)) {
		if err := m.linkArchives(dir, merged[dir]); err != nil {
			return err
		}
	}
	return nil
}

// linkArchives makes links of the archives in dir that are copies of one that has another name of the same library: the
// first of names, else the longest.
func (m *measuring) linkArchives(dir string, names []string) error {
	slices.SortFunc(names[1:], func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	target := ""
	for _, name := range names {
		place := path.Join(dir, "lib"+name+".a")
		if e, ok := m.tree[place]; !ok || e.Link != "" || place == target {
			continue
		}
		if target == "" {
			target = place
			continue
		}
		same, err := m.same(place, target)
		if err != nil {
			return err
		}
		if same {
			m.tree[place] = Entry{Link: path.Base(target)}
		}
	}
	return nil
}

// soname is the name that programs load a shared library by, "" where it says none, or is none: that is told in its turn.
func (m *measuring) soname(place string) string {
	r, size, done, err := m.open(m.tree[place])
	if err != nil {
		return ""
	}
	defer done()
	s, err := native.ReadShared(r, size)
	if err != nil || s.SONAME == "" {
		return ""
	}
	return sharedLibrary(place, s).RunName()
}

// same reports whether two files of the tree hold the same bytes.
func (m *measuring) same(a, b string) (bool, error) {
	x, n, done, err := m.open(m.tree[a])
	if err != nil {
		return false, err
	}
	defer done()
	y, k, done, err := m.open(m.tree[b])
	if err != nil {
		return false, err
	}
	defer done()
	if n != k {
		return false, nil
	}
	p, q := make([]byte, 1<<16), make([]byte, 1<<16)
	for at := int64(0); at < n; at += int64(len(p)) {
		part := min(int64(len(p)), n-at)
		if _, err := x.ReadAt(p[:part], at); err != nil && err != io.EOF {
			return false, err
		}
		if _, err := y.ReadAt(q[:part], at); err != nil && err != io.EOF {
			return false, err
		}
		if !bytes.Equal(p[:part], q[:part]) {
			return false, nil
		}
	}
	return true, nil
}

// libraryName is what a library or a SONAME may be called: words that mean themselves in labels, in shells and to linkers.
var libraryName = lazyregexp.New(`^[A-Za-z0-9_+-][A-Za-z0-9_.+-]*$`)

// ValidLibraryName reports whether a library, or a SONAME, may be called so.
func ValidLibraryName(name string) bool { return libraryName().MatchString(name) }

// open gives a file's bytes for random reading; what a file system cannot give so is read whole.
func (m *measuring) open(e Entry) (io.ReaderAt, int64, func() error, error) {
	if e.Data != nil {
		return bytes.NewReader(e.Data), int64(len(e.Data)), func() error { return nil }, nil
	}
	f, err := m.fsys.Open(e.Source)
	if err != nil {
		return nil, 0, nil, err
	}
	if file, ok := f.(*os.File); ok {
		info, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, 0, nil, err
		}
		return file, info.Size(), file.Close, nil
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	return bytes.NewReader(data), int64(len(data)), func() error { return nil }, err
}

func (m *measuring) named(name string) *Library {
	l := m.libraries[name]
	if l == nil {
		l = &Library{Name: name}
		m.libraries[name] = l
		m.order = append(m.order, name)
	}
	return l
}

func (m *measuring) library(place string) error {
	base := path.Base(place)
	static, shared := libraryOf(staticName(), base), libraryOf(sharedName(), base)
	if static == "" && shared == "" {
		return nil
	}
	real, entry, ok := m.resolve(place)
	if !ok || real != place {
		return nil // a link is another name for a file that has its own turn
	}
	r, size, done, err := m.open(entry)
	if err != nil {
		return err
	}
	defer done()
	refuse := func(why, do string) error {
		return &diagnostic.Error{Kind: diagnostic.Refused, What: "library " + place, Why: why, Do: do}
	}
	if name := static + shared; !ValidLibraryName(name) {
		return refuse(fmt.Sprintf("a library cannot be called %q: its name becomes part of labels and of linker options", name), "rename it, or leave it out")
	}
	kind, err := native.Sniff(r, size)
	if err != nil {
		return refuse(err.Error(), "")
	}
	if kind == native.TypeUniversal {
		return refuse("it is a universal file, with code for several processors, and an artifact is for one",
			fmt.Sprintf("take it apart (`lipo -thin arm64 -output NEW %s`, and -thin x86_64) and pack an artifact of each", base))
	}
	switch {
	case static != "" && kind == native.TypeArchive:
		a, err := native.ReadArchive(r, size)
		if err != nil {
			return refuse(err.Error(), "")
		}
		if err := m.sameMachine(place, a.Machine, a.Libc); err != nil {
			return err
		}
		words := slices.Concat(a.DLLs, a.DefaultLibs)
		for key, value := range a.Mismatch {
			words = append(words, key, value)
		}
		for _, word := range words {
			if hasControl(word) {
				return refuse(fmt.Sprintf("it says %q, with a control character", word), "it is damaged, or made to do harm")
			}
		}
		if a.Import {
			m.imports = append(m.imports, importLibrary{place, static, a})
			return nil
		}
		if a.LTOOnly {
			return refuse("its objects hold only a compiler's intermediate code (LTO), which only that very compiler can link", "build it with -ffat-lto-objects or without LTO")
		}
		if m.claims.PIC && a.PIC != native.PICFull {
			return refuse(fmt.Sprintf("it was said to be position independent and fits no shared object (%s)", a.PICReason), "build it with -fPIC, or leave the claim out")
		}
		l := m.named(static)
		if l.Static != nil {
			if same, err := m.same(place, l.Static.Path); err != nil || same {
				return err
			}
			return refuse("it and "+l.Static.Path+" are two static libraries of one name", "keep one of them")
		}
		l.Static = &StaticLibrary{Path: place, PIC: string(a.PIC), Reason: a.PICReason, CXX: a.CXX, CXXFlavour: string(a.CXXFlavour),
			Floors: a.Floors, DefaultLibs: a.DefaultLibs, Mismatch: a.Mismatch}
		m.archives[l.Name] = a
		return nil
	case shared != "" && kind == native.TypeShared:
		s, err := native.ReadShared(r, size)
		if err != nil {
			return refuse(err.Error(), "")
		}
		for _, name := range slices.Concat(s.Needed, s.Weak, s.Reexports, s.RunPath, s.Versions) {
			if hasControl(name) {
				return refuse(fmt.Sprintf("it names %q, with a control character", name), "it is damaged, or made to do harm")
			}
		}
		libc := s.Libc
		if s.Machine.OS == "windows" && !s.CXXExports {
			// A DLL brings its C run-time library, and functions of C are called alike by all compilers.
			libc, m.compiler = "", cmp.Or(m.compiler, s.Libc)
		}
		if err := m.sameMachine(place, s.Machine, libc); err != nil {
			return err
		}
		if s.ABI != "" {
			if m.abi != "" && m.abi != s.ABI {
				return refuse(fmt.Sprintf("it is for the calling convention %s, and %s is for %s", s.ABI, m.abiOf, m.abi), "pack one artifact for each platform")
			}
			m.abi, m.abiOf = s.ABI, place
		}
		switch s.Machine.OS {
		case "windows":
			if other, twice := m.dlls[dllName(place)]; twice {
				if same, err := m.same(place, other.place); err != nil || same {
					return err
				}
				return refuse("it and "+other.place+" are two DLLs of one name", "keep one of them")
			}
			m.dlls[dllName(place)] = dll{place, s}
			return nil
		case "darwin":
			if err := installName(place, s.SONAME); err != nil {
				return err
			}
		}
		if s.Machine.OS != "darwin" && s.SONAME != "" && !ValidLibraryName(s.SONAME) {
			return refuse(fmt.Sprintf("its SONAME is %q, by which no run-time linker finds it in another place", s.SONAME), "link it with -Wl,-soname and a plain file name")
		}
		l := m.named(m.calling.linkName(shared))
		if l.Shared != nil {
			same, err := m.same(place, m.sharedFile[l.Name])
			if err != nil {
				return err
			}
			if !same {
				return refuse(fmt.Sprintf("it (SONAME %q) and %s (SONAME %q) are two shared libraries of one name", s.SONAME, l.Shared.Path, cmp.Or(l.Shared.SONAME, l.Shared.InstallName)), "keep one of them")
			}
			return nil
		}
		m.sharedFile[l.Name] = place
		l.Shared = sharedLibrary(place, s)
		dir := path.Dir(place)
		named := path.Join(dir, l.Shared.RunName())
		if target, _, ok := m.resolve(named); ok && target == place {
			l.Shared.Path = named
		}
		link := path.Join(dir, "lib"+l.Name+sharedEnding(place))
		if target, _, ok := m.resolve(link); ok && target == place {
			l.Shared.Link = link
		}
		return nil
	case kind == native.TypeText:
		m.texts = append(m.texts, place) // a linker script in place of a library names files of the machine it was made on
		return nil
	default:
		return refuse(fmt.Sprintf("it is called like a library but holds something else (%s)", kind), "leave it out")
	}
}

// calling is what the shared libraries of a tree are called by.
type calling struct {
	links    map[string][]string // by the name of the file, those by which -l finds it
	files    map[string]bool     // the names of the files
	archives map[string]bool     // the names of the archives
}

func callingOf(tree Tree) calling {
	c := calling{links: map[string][]string{}, files: map[string]bool{}, archives: map[string]bool{}}
	for _, place := range tree.paths() {
		base := path.Base(place)
		static, shared := libraryOf(staticName(), base), libraryOf(sharedName(), base)
		if static == "" && shared == "" {
			continue
		}
		real, ok := tree.resolve(place)
		switch {
		case !ok:
		case static != "":
			// A link's name is another one's archive.
			c.archives[static] = c.archives[static] || real == place
		case path.Dir(real) == path.Dir(place):
			own := libraryOf(sharedName(), path.Base(real))
			if real == place {
				c.files[own] = true
			}
			if base == "lib"+shared+sharedEnding(place) && !slices.Contains(c.links[own], shared) {
				c.links[own] = append(c.links[own], shared)
			}
		}
	}
	return c
}

// linkName is the name of a shared library whose file is called own. A version in it is none of the name where a link does
// without: libyaml-0.so.2 is -lyaml by the link libyaml.so, and one library with libyaml.a. It stays where an archive or a
// link has it too, unless an archive has the link's name alone; and where another file is called as the link is.
func (c calling) linkName(own string) string {
	if c.archives[own] {
		return own
	}
	for _, archived := range []bool{true, false} {
		if !archived && slices.Contains(c.links[own], own) {
			return own
		}
		for _, name := range c.links[own] {
			version, ok := strings.CutPrefix(own, name)
			if ok && version != "" && !letter(version[0]) && ValidLibraryName(name) && !c.files[name] && (c.archives[name] || !archived) {
				return name
			}
		}
	}
	return own
}

func letter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

// sharedLibrary puts facts into the words of a description.
func sharedLibrary(place string, s *native.Shared) *SharedLibrary {
	l := &SharedLibrary{Path: place, Needed: s.Needed, Weak: s.Weak, Reexports: s.Reexports, RunPath: s.RunPath, Floors: s.Floors, Versions: s.Versions,
		BuildID: s.BuildID, Exports: s.Exports, ExportsHash: s.ExportsHash, CXXFlavour: string(s.CXXFlavour), CRT: s.CRT}
	switch s.Machine.OS {
	case "darwin":
		l.InstallName = s.SONAME
	case "windows": // it is called as its file is
	default:
		l.SONAME = s.SONAME
	}
	return l
}

// sameMachine notes what a file is for; all must agree. libc is whose C library, or on Windows whose compilers, it needs
// its users to have, "" where any will do.
func (m *measuring) sameMachine(place string, machine native.Machine, libc string) error {
	contradiction := func(a, of, b string) error {
		return &diagnostic.Error{Kind: diagnostic.Refused, What: "library " + place, Why: fmt.Sprintf("it is for %s, and %s is for %s", b, of, a),
			Do: "pack one artifact for each platform"}
	}
	if machine == (native.Machine{}) {
		return nil // an archive without objects, as glibc's libdl.a, is for every machine
	}
	if m.machineOf == "" {
		m.machine, m.machineOf = machine, place
	} else if m.machine != machine {
		return contradiction(m.machine.Arch+"-"+m.machine.OS, m.machineOf, machine.Arch+"-"+machine.OS)
	}
	if libc != "" {
		if m.libc == "" {
			m.libc, m.libcOf = libc, place
		} else if m.libc != libc {
			return contradiction("the C library "+m.libc, m.libcOf, "the C library "+libc)
		}
	}
	return nil
}

// platform settles the target: measured from the libraries, completed and checked by the claim.
func (m *measuring) platform(p *Package, claims Claims) error {
	var claimed Triple
	if claims.Target != "" {
		var err error
		if claimed, err = ParseTriple(claims.Target); err != nil {
			return err
		}
	}
	if m.machineOf == "" {
		if claims.Target != "" {
			p.Target = claimed.String()
		}
		return nil
	}
	t := Triple{Arch: m.machine.Arch, Vendor: vendorOf(m.machine.OS), OS: m.machine.OS, Env: m.libc + m.abi}
	if _, err := ParseTriple(t.String()); err != nil {
		return &diagnostic.Error{Kind: diagnostic.Refused, What: "library " + m.machineOf, Why: fmt.Sprintf("it is for %s-%s, a platform that is not supported", t.Arch, cmp.Or(t.OS, "unknown")),
			Do: "leave it out: which platforms there are is in docs/consuming.md", Err: err}
	}
	if claims.Target != "" {
		if !t.Fits(claimed) {
			return &diagnostic.Error{Kind: diagnostic.Refused, What: "library " + m.machineOf,
				Why: fmt.Sprintf("it is for %s and was said to be for %s", t, claimed), Do: "leave --target out, it is read from the files, or give the files for that platform"}
		}
		if claimed.Env != "" {
			p.Target = claimed.String()
			return nil
		}
		// What the claim leaves open is measured.
		t.Vendor = claimed.Vendor
	}
	switch {
	case m.libc != "":
	case t.OS == "linux":
		// An archive alone does not say which C library its headers were; glibc is what nearly all are built with.
		t.Env = "gnu" + m.abi
	case t.OS == "windows":
		t.Env = cmp.Or(m.compiler, "msvc")
	}
	p.Target = t.String()
	return nil
}

// requires finds which libraries of the tree need which, and what the platform has to bring.
func (m *measuring) requires(p *Package, claims Claims) {
	bySONAME := map[string]string{}
	for _, name := range slices.Backward(m.order) {
		if l := m.libraries[name]; l.Shared != nil {
			bySONAME[m.runName(l.Shared.RunName())] = name
		}
	}
	definedBy := map[string]string{}
	for _, name := range m.order {
		if a := m.archives[name]; a != nil {
			for _, symbol := range a.Defined {
				if _, taken := definedBy[symbol]; !taken {
					definedBy[symbol] = name
				}
			}
		}
	}
	for _, name := range m.order {
		if a := m.interfaces[name]; a != nil {
			for _, symbol := range a.Defined {
				if _, taken := definedBy[symbol]; !taken {
					definedBy[symbol] = name
				}
			}
		}
	}
	add := func(list *[]string, s string) {
		if s != "" && !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	for _, name := range m.order {
		l := m.libraries[name]
		needs := func(list []string, must bool) {
			for _, needed := range list {
				if sibling, ok := bySONAME[m.runName(needed)]; ok {
					if sibling != name {
						add(&l.Requires, sibling)
					}
				} else if flag, framework, ok := platformLibrary(m.machine.OS, needed); ok {
					add(&p.SystemLibraries, flag)
					add(&p.Frameworks, framework)
				} else if must {
					add(&p.Missing, needed)
				}
			}
		}
		if l.Shared != nil {
			needs(l.Shared.Needed, true)
			needs(l.Shared.Weak, false)
		}
		if a := m.archives[name]; a != nil {
			needs(a.DLLs, true)
			for _, symbol := range a.Undefined {
				if other, ok := definedBy[symbol]; ok && other != name {
					add(&l.Requires, other)
				}
			}
		}
		slices.Sort(l.Requires)
	}
	for _, name := range slices.Sorted(slices.Values(m.order)) {
		p.Libraries = append(p.Libraries, *m.libraries[name])
	}
}

// dependencies looks up which of the needed libraries the declared dependencies have.
func (m *measuring) dependencies(p *Package, claims Claims) error {
	by := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(claims.Dependencies)) {
		d := Dependency{Name: name, Image: claims.Dependencies[name]}
		if p.Target != "" {
			target, err := ParseTriple(p.Target)
			if err != nil {
				return err
			}
			has, err := claims.Dependency(d.Image, target)
			if err != nil {
				return diagnostic.Wrap(err, "dependency %s", name)
			}
			if has.Name != name {
				return &diagnostic.Error{Kind: diagnostic.Refused, What: "dependency " + name, Why: fmt.Sprintf("%s is called %s", d.Image, has.Name), Do: fmt.Sprintf("write --dependency %s=%s", has.Name, d.Image)}
			}
			for _, l := range has.Libraries {
				if l.Shared == nil {
					continue
				}
				found := l.Shared.RunName()
				for _, needed := range p.Missing {
					if Finds(m.machine.OS, needed, []string{found}) == "" {
						continue
					}
					if other := by[needed]; other != "" && other != name {
						return &diagnostic.Error{Kind: diagnostic.Refused, What: "dependency " + name, Why: fmt.Sprintf("it and the dependency %s both have %s", other, found), Do: "name one of them"}
					}
					by[needed] = name
					if !slices.Contains(d.Needed, found) {
						d.Needed = append(d.Needed, found)
					}
				}
			}
			slices.Sort(d.Needed)
		}
		p.Dependencies = append(p.Dependencies, d)
	}
	p.Missing = slices.DeleteFunc(p.Missing, func(needed string) bool { return by[needed] != "" })
	if len(p.Missing) == 0 {
		p.Missing = nil
	}
	return nil
}

func (m *measuring) runName(needed string) string { return runName(m.machine.OS, needed) }

// runName is what the names by which a library is needed and the one by which it is found have in common.
func runName(os, needed string) string {
	switch os {
	case "darwin":
		if file, ok := strings.CutPrefix(needed, "@loader_path/"); ok {
			return file
		}
		return strings.TrimPrefix(needed, "@rpath/")
	case "windows":
		return strings.ToLower(needed)
	}
	return needed
}

// pkgConfig reads name, version and the private libraries of static linking from the .pc files.
func (m *measuring) pkgConfig(p *Package) error {
	var versions []string
	for _, place := range m.tree.paths() {
		if path.Ext(place) != ".pc" {
			continue
		}
		_, entry, ok := m.resolve(place)
		if !ok {
			continue
		}
		r, size, done, err := m.open(entry)
		if err != nil {
			return err
		}
		pc, err := native.ParsePkgConfig(io.NewSectionReader(r, 0, size), map[string]string{"pcfiledir": path.Dir(place)})
		done()
		if err != nil {
			return &diagnostic.Error{Kind: diagnostic.Refused, What: "library description " + place, Why: err.Error(), Do: "correct it, or leave it out", Err: err}
		}
		p.PkgConfig = append(p.PkgConfig, place)
		flags := append(pc.Libs, pc.LibsPrivate...)
		for i, flag := range flags {
			name, ok := strings.CutPrefix(flag, "-l")
			if flag == "-pthread" {
				name, ok = "pthread", true
			}
			if flag == "-framework" && i+1 < len(flags) && ValidLibraryName(flags[i+1]) && !slices.Contains(p.Frameworks, flags[i+1]) {
				p.Frameworks = append(p.Frameworks, flags[i+1])
			}
			if _, ours := m.libraries[name]; !ok || ours || slices.Contains(p.SystemLibraries, name) {
				continue
			}
			if systemLibrary(m.machine.OS, name) {
				p.SystemLibraries = append(p.SystemLibraries, name)
			}
		}
		if !slices.Contains(versions, pc.Version) {
			versions = append(versions, pc.Version)
		}
	}
	if p.Name == "" && len(p.PkgConfig) == 1 {
		p.Name = strings.TrimSuffix(path.Base(p.PkgConfig[0]), ".pc")
	}
	if p.Version == "" && len(versions) == 1 {
		p.Version = versions[0]
	}
	slices.Sort(p.SystemLibraries)
	slices.Sort(p.Frameworks)
	return nil
}
