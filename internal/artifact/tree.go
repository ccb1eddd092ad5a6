package artifact

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
)

// Entry is one file or link of a tree that is to be packed.
type Entry struct {
	Source string // where its bytes are, a path in the file system given to Pack; empty for links and for Data
	Data   []byte // its bytes where they are not those of a source
	Link   string // the target of a symbolic link, relative to the link's folder
}

// Tree is what goes into an artifact: by slash-separated path, the files and links. Directories follow from them.
type Tree map[string]Entry

func (t Tree) paths() []string {
	var ps []string
	for p := range t {
		ps = append(ps, p)
	}
	slices.Sort(ps)
	return ps
}

// multiarch is the folder that Debian and its kin put between lib/ or include/ and the files.
var multiarch = lazyregexp.New(`^(x86_64|aarch64|i386|i686|arm|armv7l|riscv64|powerpc64le|s390x)-linux-(gnu|musl)(eabi(hf)?)?$`)

// What libraries are called; one of the groups is what follows -l. A name says neither which system a file is for nor,
// of a .lib, whether it is a static library or leads to a DLL: bytes say that.
var (
	staticName = lazyregexp.New(`^lib(.+?)(?:\.dll)?\.a$|^(.+?)(?:\.dll)?\.lib$`)
	sharedName = lazyregexp.New(`^lib(.+?)\.so(?:\.[0-9A-Za-z_.]+)?$|^lib(.+?)(?:\.[0-9]+)*\.dylib$|^(.+)\.dll$`)
)

// Arrange reads an install prefix (include/, lib/, lib64/, lib/<multiarch>/, lib/pkgconfig/, and licences where `make
// install`, Debian, vcpkg and Conan put them) or a flat folder of headers and libraries, and gives the tree of an
// artifact: include/, lib/, lib/pkgconfig/, share/licenses/. leftOut names the files that are neither, for the author to
// see.
//
// Absolute links, links out of the folder, dangling links, two files for one place and names that Unpack would not
// take are errors of kind Refused.
func Arrange(prefix fs.FS) (tree Tree, leftOut []string, err error) {
	return Selection{}.arrange(prefix)
}

// arrange is Arrange where the author says of some files what they are. A word that finds nothing is an error of kind
// Usage.
func (s Selection) arrange(prefix fs.FS) (tree Tree, leftOut []string, err error) {
	places, err := s.places()
	if err != nil {
		return nil, nil, err
	}
	tree = Tree{}
	from := map[string]string{}   // place in the tree -> source, to name both in a clash
	folded := map[string]string{} // place as a case-blind file system reads it -> place
	links := map[string]string{}  // source of a link -> the place that it leads to
	refusal := func(p, why, do string) error {
		return &diagnostic.Error{Kind: diagnostic.Refused, What: "pack " + p, Why: why, Do: do}
	}
	put := func(p, place string, entry Entry) error {
		if why := badName(place); why != "" {
			return refusal(p, why, "rename it, or leave it out")
		}
		if other, clash := folded[fold(place)]; clash && other != place {
			return refusal(p, "it and "+from[other]+" are one file where capital letters do not count", "rename one of them, or leave one out")
		}
		if other, clash := from[place]; clash {
			same, err := sameEntry(prefix, tree[place], entry)
			if err != nil {
				return err
			}
			if !same {
				return refusal(p, "it and "+other+" would both become "+place, "keep one of them")
			}
			return nil
		}
		from[place], tree[place], folded[fold(place)] = p, entry, place
		return nil
	}
	// A folder of two names becomes one folder and a link for each file of it: no label leads through a link to a folder.
	mirror := func(p, folder string) error {
		return fs.WalkDir(prefix, folder, func(q string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			alias := p + strings.TrimPrefix(q, folder)
			if info, err := fs.Stat(prefix, q); err == nil && info.IsDir() {
				return refusal(alias, "it is a link to a folder in a folder that has another name by a link", "put the folder itself here")
			}
			place, target := places.of(alias), places.of(q)
			if place == "" || target == "" || place == target {
				return nil
			}
			links[alias] = target
			return put(alias, place, Entry{Link: relative(path.Dir(place), target)})
		})
	}
	err = fs.WalkDir(prefix, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		refuse := func(why, do string) error { return refusal(p, why, do) }
		place := places.of(p)
		if place == "" {
			leftOut = append(leftOut, p)
			return nil
		}
		entry := Entry{Source: p}
		switch d.Type() {
		case 0:
			// Whether it may be executed is not looked at: nothing in an artifact is a program, and the bit depends on the umask,
			// the file system and the build system that the file went through.
		case fs.ModeSymlink:
			target, err := fs.ReadLink(prefix, p)
			if err != nil {
				return err
			}
			if path.IsAbs(target) {
				return refuse("it is a link to "+target+", an absolute path, which means another file on every machine", "make the link relative, or leave it out")
			}
			resolved := path.Join(path.Dir(p), target)
			if resolved == ".." || strings.HasPrefix(resolved, "../") {
				return refuse("it is a link to "+target+", outside the folder", "put the file itself here")
			}
			info, err := fs.Stat(prefix, resolved)
			if err != nil {
				return refuse("it is a link to "+target+", which is not there", "add the file (a -dev package holds the link, the run-time package the library), or remove the link")
			}
			if info.IsDir() {
				if resolved == "." || strings.HasPrefix(p, resolved+"/") {
					return refuse("it is a link to the folder that it lies in", "leave it out")
				}
				return mirror(p, resolved)
			}
			linkPlace := places.of(resolved)
			if linkPlace == "" {
				return refuse("it is a link to "+target+", which is not part of the library", "put the file itself here")
			}
			links[p] = linkPlace
			if linkPlace == place {
				// lib/x86_64-linux-gnu/libz.so -> ../../lib64/libz.so: both become one place, and the file is there.
				return nil
			}
			entry = Entry{Link: relative(path.Dir(place), linkPlace)}
		default:
			return refuse(fmt.Sprintf("it is neither a file nor a link (%v)", d.Type()), "leave it out")
		}
		return put(p, place, entry)
	})
	if err != nil {
		return nil, nil, err
	}
	if err := places.unused(); err != nil {
		return nil, nil, err
	}
	for _, p := range slices.Sorted(maps.Keys(links)) {
		// The file is there, and yet not in the tree: the way to it leads through a link to a folder.
		if _, ok := tree.resolve(links[p]); !ok {
			return nil, nil, &diagnostic.Error{Kind: diagnostic.Refused, What: "pack " + p, Why: "it is a link by way of a link to a folder", Do: "put the file itself here"}
		}
	}
	return tree, leftOut, nil
}

// resolve follows links within the tree, so that one file is one file whatever it is called.
func (t Tree) resolve(place string) (string, bool) {
	for range 40 {
		e, ok := t[place]
		if !ok {
			return "", false
		}
		if e.Link == "" {
			return place, true
		}
		place = path.Join(path.Dir(place), e.Link)
	}
	return "", false
}

// arrangePath gives the place in an artifact of a file at p in an install prefix, "" for none.
func arrangePath(p string) string {
	part := strings.Split(p, "/")
	base := part[len(part)-1]
	isLib := staticName().MatchString(base) || sharedName().MatchString(base)
	switch {
	case len(part) == 1 && isLib:
		return "lib/" + base
	case len(part) == 1 && IsHeader(base):
		return "include/" + base
	case len(part) == 1 && path.Ext(base) == ".pc":
		return "lib/pkgconfig/" + base
	case len(part) == 1 && isLicense(base):
		return "share/licenses/" + base
	case part[0] == "include" && len(part) > 2 && multiarch().MatchString(part[1]):
		return "include/" + strings.Join(part[2:], "/")
	case part[0] == "include" && len(part) > 1:
		return p
	case part[0] == "bin" && len(part) == 2 && path.Ext(base) == ".dll":
		return "lib/" + base
	case part[0] == "lib" || part[0] == "lib64":
		rest := part[1:]
		if len(rest) > 1 && multiarch().MatchString(rest[0]) {
			rest = rest[1:]
		}
		if len(rest) == 1 && isLib {
			return "lib/" + base
		}
		if len(rest) == 2 && rest[0] == "pkgconfig" && strings.HasSuffix(base, ".pc") {
			return "lib/pkgconfig/" + base
		}
	case part[0] == "share" && len(part) == 3 && part[1] == "pkgconfig" && strings.HasSuffix(base, ".pc"):
		return "lib/pkgconfig/" + base
	case part[0] == "share" && len(part) > 2 && part[1] == "licenses":
		return p
	case part[0] == "share" && len(part) == 4 && part[1] == "doc" && isLicense(base):
		return "share/licenses/" + part[2] + "/" + base
	case part[0] == "share" && len(part) == 3 && base == "copyright": // of vcpkg
		return "share/licenses/" + part[1] + "/copyright"
	case part[0] == "licenses" && len(part) > 1: // of Conan
		return "share/" + p
	}
	return ""
}

func isLicense(base string) bool {
	return base == "copyright" || strings.HasPrefix(base, "LICENSE") || strings.HasPrefix(base, "LICENCE") || strings.HasPrefix(base, "COPYING")
}

// IsHeader tells by its name whether a file in a flat folder is a header. Below include/ everything is one: C++ has
// headers without an ending.
func IsHeader(name string) bool {
	return slices.Contains([]string{".h", ".hh", ".hpp", ".hxx", ".inc", ".inl", ".ipp", ".tcc"}, path.Ext(name))
}

// libraryOf is the name of a library whose file is called base, "" where the pattern does not fit.
func libraryOf(pattern *regexp.Regexp, base string) string {
	m := pattern.FindStringSubmatch(base)
	if m == nil {
		return ""
	}
	return strings.Join(m[1:], "")
}

// relative is the link text by which a link in folder dir reaches target; both are clean paths below one root.
func relative(dir, target string) string {
	d, t := strings.Split(dir, "/"), strings.Split(target, "/")
	if dir == "." {
		d = nil
	}
	for len(d) > 0 && len(t) > 1 && d[0] == t[0] {
		d, t = d[1:], t[1:]
	}
	return strings.Repeat("../", len(d)) + strings.Join(t, "/")
}

func sameEntry(fsys fs.FS, a, b Entry) (bool, error) {
	if a.Link != "" || b.Link != "" || a.Data != nil || b.Data != nil {
		return a.Link == b.Link && string(a.Data) == string(b.Data) && a.Source == b.Source, nil
	}
	x, err := fs.ReadFile(fsys, a.Source)
	if err != nil {
		return false, err
	}
	y, err := fs.ReadFile(fsys, b.Source)
	return string(x) == string(y), err
}

var (
	// pcDefinition is a line of a .pc file that says where the library was installed.
	pcDefinition = lazyregexp.New(`(?m)^(prefix|exec_prefix|libdir|includedir)[ \t]*=[ \t]*(.*?)[ \t\r]*$`)
	// pcFlags is a line with flags, and pcFolder a folder in it that no variable stands for.
	pcFlags  = lazyregexp.New(`(?mi)^(cflags|libs)(\.[a-z]+)?[ \t]*:.*$`)
	pcFolder = lazyregexp.New(`(^|[ \t])(-I|-L)(/[^ \t\r"'\\]*)`)
)

// relocatable rewrites a .pc file so that it is right wherever its tree lies: the prefix is told from the file's own
// place, and the folders are those of an artifact.
func relocatable(pc []byte) []byte {
	defined, used := false, false
	var installed string // the prefix that the library was built for, where the file says it
	out := pcDefinition().ReplaceAllFunc(pc, func(line []byte) []byte {
		part := pcDefinition().FindSubmatch(line)
		value := string(part[2])
		if n := len(value); n > 1 && strings.ContainsRune(`"'`, rune(value[0])) && value[0] == value[n-1] {
			value = value[1 : n-1] // as libpcap writes it
		}
		switch string(part[1]) {
		case "prefix":
			defined, installed = true, value
			return []byte("prefix=${pcfiledir}/../..")
		case "exec_prefix":
			used = true
			return []byte("exec_prefix=${prefix}")
		case "libdir":
			used = true
			return []byte("libdir=${prefix}/lib" + below(value, "lib64", "lib"))
		default:
			used = true
			return []byte("includedir=${prefix}/include" + below(value, "include"))
		}
	})
	out = pcFlags().ReplaceAllFunc(out, func(line []byte) []byte {
		return pcFolder().ReplaceAllFunc(line, func(flag []byte) []byte {
			part := pcFolder().FindSubmatch(flag)
			for _, prefix := range []string{installed, "/usr"} {
				rest, ok := strings.CutPrefix(path.Clean(string(part[3])), prefix+"/")
				if !ok || prefix == "" {
					continue
				}
				for dir, place := range map[string]string{"include": "include", "lib": "lib", "lib64": "lib"} {
					if rest == dir || strings.HasPrefix(rest, dir+"/") {
						used = true
						return slices.Concat(part[1], part[2], []byte("${prefix}/"+place+below("/"+rest, dir)))
					}
				}
			}
			return flag
		})
	})
	if used && !defined {
		out = append([]byte("prefix=${pcfiledir}/../..\n"), out...)
	}
	return out
}

// below is what follows the last folder of one of the names in a path, "" or beginning with a slash, without the
// folder that only Debian and its kin have.
func below(p string, names ...string) string {
	part := strings.Split(path.Clean(p), "/")
	for i, name := range slices.Backward(part) {
		if slices.Contains(names, name) {
			part = part[i+1:]
			if len(part) > 0 && multiarch().MatchString(part[0]) {
				part = part[1:]
			}
			return strings.TrimSuffix("/"+strings.Join(part, "/"), "/")
		}
	}
	return ""
}
