// Package cgo reads what Go files ask for above import "C": #cgo lines, and the headers that their preambles include; and
// what the C and C++ files beside them include.
//
// Invariant: #cgo lines are read as go/build reads them, for any platform and any set of build tags, and no input makes
// this package panic. Of what the go command takes it reads the same.
//
// It knows nothing of Gazelle or Bazel; gazelle_ext turns what it finds into labels.
package cgo

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Platform is a GOOS and a GOARCH.
type Platform struct{ OS, Arch string }

// Tags are build tags that are set beside those of the platform. A file's own constraint holds whether it asks for one
// of them or for its absence, which is how Gazelle decides on srcs; the condition of a #cgo line takes them as they are.
type Tags map[string]bool

// The verbs of #cgo lines that there are.
const (
	CFlags    = "CFLAGS"
	CPPFlags  = "CPPFLAGS"
	CXXFlags  = "CXXFLAGS"
	FFlags    = "FFLAGS"
	LDFlags   = "LDFLAGS"
	PkgConfig = "pkg-config"
)

// Line is a #cgo line. Args are its words, with ${SRCDIR} in them as it was written.
type Line struct {
	Verb string
	Args []string
	// AfterPkgConfig is whether a pkg-config line precedes this one in the same comment. Gazelle's language for Go reads
	// a comment up to there.
	AfterPkgConfig bool

	conditions []constraint.Expr // one of them has to hold; none: the line always counts
}

// File is a Go file that imports "C", or a file of C or C++ beside it.
type File struct {
	Name  string
	Lines []Line
	Wrong []error // lines that mean nothing; the go command refuses those whose conditions hold

	os, arch   string // of the file's name
	constraint constraint.Expr
	preamble   []directive
}

// Package are the cgo files that are compiled together. Flags of one count for all.
type Package []*File

// spellings are the ways of writing the import path, as go/build reads it.
var spellings = [][]byte{[]byte(`"C"`), []byte("`C`"), []byte(`"\x43"`), []byte(`"\103"`), []byte(`"\u0043"`), []byte(`"\U00000043"`)}

// Parse reads a Go file; name is its base name, whose end may name a platform. A file that does not import "C" is nil, and
// may be anything.
func Parse(name string, src []byte) (*File, error) {
	if !slices.ContainsFunc(spellings, func(c []byte) bool { return bytes.Contains(src, c) }) {
		return nil, nil // most files of a package, and to parse them takes a while
	}
	tree, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly|parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &File{Name: name}
	imports := false
	for _, decl := range tree.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range d.Specs {
			s, ok := spec.(*ast.ImportSpec)
			if !ok {
				continue
			}
			if path, err := strconv.Unquote(s.Path.Value); err != nil || path != "C" {
				continue
			}
			imports = true
			doc := s.Doc
			if doc == nil && len(d.Specs) == 1 {
				doc = d.Doc
			}
			if doc == nil {
				continue
			}
			f.comment(doc.Text())
		}
	}
	if !imports {
		return nil, nil
	}
	f.os, f.arch = platformOf(name)
	return f, f.constraints(tree)
}

// ParseC reads a C, C++ or Objective-C source or header that is compiled with a package; name is a path with slashes. Its
// base name and the //go:build line
// at its top restrict it to platforms as they do a Go file; of its text only the #includes and conditions count.
func ParseC(name string, src []byte) *File {
	f := &File{Name: name, preamble: directives(string(src))}
	f.os, f.arch = platformOf(path.Base(name))
	for rest := strings.TrimSpace(string(src)); ; rest = strings.TrimSpace(rest) {
		var line string
		switch {
		case strings.HasPrefix(rest, "/*"): // a licence
			_, rest, _ = strings.Cut(rest[2:], "*/")
			continue
		case strings.HasPrefix(rest, "//"):
			line, rest, _ = strings.Cut(rest, "\n")
		default:
			return f
		}
		if line = strings.TrimSpace(line); constraint.IsGoBuild(line) {
			if x, err := constraint.Parse(line); err == nil {
				f.constraint = x
			}
			return f
		}
	}
}

// Includes are all headers that the file names, whether or not the conditions around them hold.
func (f *File) Includes() []Need {
	var unconditional []directive
	for _, d := range f.preamble {
		switch d.name {
		case "include", "include_next", "import":
			unconditional = append(unconditional, d)
		}
	}
	return included(unconditional, nil)
}

// constraints reads the build constraints above the package clause.
func (f *File) constraints(tree *ast.File) error {
	var plus constraint.Expr
	for _, group := range tree.Comments {
		if group.Pos() >= tree.Package {
			break
		}
		for _, c := range group.List {
			switch {
			case constraint.IsGoBuild(c.Text):
				x, err := constraint.Parse(c.Text)
				if err != nil {
					return fmt.Errorf("%s: %w", f.Name, err)
				}
				f.constraint = x
				return nil
			case constraint.IsPlusBuild(c.Text):
				x, err := constraint.Parse(c.Text)
				if err != nil {
					continue // as go/build does
				}
				if plus != nil {
					x = &constraint.AndExpr{X: plus, Y: x}
				}
				plus = x
			}
		}
	}
	f.constraint = plus
	return nil
}

// comment reads the comment above one import "C".
func (f *File) comment(text string) {
	after := false
	wrong := func(format string, args ...any) {
		f.Wrong = append(f.Wrong, fmt.Errorf("%s: "+format, append([]any{f.Name}, args...)...))
	}
	for raw := range strings.SplitSeq(text, "\n") {
		line := strings.TrimSpace(raw)
		if len(line) < 5 || line[:4] != "#cgo" || line[4] != ' ' && line[4] != '\t' {
			continue
		}
		if words := strings.Fields(line); len(words) == 3 && (words[1] == "nocallback" || words[1] == "noescape") {
			continue
		}
		head, rest, ok := strings.Cut(strings.TrimSpace(line[4:]), ":")
		words := strings.Fields(head)
		if !ok || len(words) == 0 {
			wrong("#cgo line without a verb and a colon: %s", raw)
			continue
		}
		args, err := split(rest)
		if err != nil {
			wrong("%w: %s", err, raw)
			continue
		}
		l := Line{Verb: words[len(words)-1], Args: args, AfterPkgConfig: after}
		switch l.Verb {
		case CFlags, CPPFlags, CXXFlags, FFlags, LDFlags:
		case PkgConfig:
			after = true
		default:
			wrong("#cgo line with the verb %s, which there is not: %s", l.Verb, raw)
			continue
		}
		for _, word := range words[:len(words)-1] {
			prefix := "// +build "
			if strings.ContainsAny(word, "&|()") {
				prefix = "//go:build "
			}
			x, err := constraint.Parse(prefix + word)
			if err != nil {
				x = never // go/build takes such a condition for one that does not hold
			}
			l.conditions = append(l.conditions, x)
		}
		f.Lines = append(f.Lines, l)
	}
	f.preamble = append(f.preamble, directives(text)...)
}

// never is a condition that does not hold.
var never = &constraint.AndExpr{X: &constraint.TagExpr{Tag: "never"}, Y: &constraint.NotExpr{X: &constraint.TagExpr{Tag: "never"}}}

var (
	errQuote  = errors.New("#cgo line with a quote that is not closed")
	errEscape = errors.New("#cgo line with nothing behind its last backslash")
)

// split splits what stands behind the colon into words. Quotes keep words together, a backslash takes the meaning from
// what follows it.
func split(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	escaped, begun := false, false
	quote := rune(0)
	for _, r := range s {
		switch {
		case escaped:
			escaped = false
		case r == '\\':
			escaped = true
			continue
		case quote != 0:
			if r == quote {
				quote = 0
				continue
			}
		case r == '"' || r == '\'':
			quote, begun = r, true
			continue
		case unicode.IsSpace(r):
			if begun || word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
			continue
		}
		word.WriteRune(r)
	}
	if begun || word.Len() > 0 {
		words = append(words, word.String())
	}
	switch {
	case quote != 0:
		return nil, errQuote
	case escaped:
		return nil, errEscape
	}
	return words, nil
}

// On reports whether the file is compiled on a platform.
func (f *File) On(p Platform, tags Tags) bool {
	if f.os != "" && !p.is(f.os) || f.arch != "" && f.arch != p.Arch {
		return false
	}
	return f.constraint == nil || holds(f.constraint, p, tags, false)
}

// holds evaluates a file's constraint; a tag of tags is as true as its opposite.
func holds(x constraint.Expr, p Platform, tags Tags, negated bool) bool {
	switch x := x.(type) {
	case *constraint.NotExpr:
		return holds(x.X, p, tags, !negated)
	case *constraint.AndExpr:
		if negated { // !(a && b) is !a || !b
			return holds(x.X, p, tags, true) || holds(x.Y, p, tags, true)
		}
		return holds(x.X, p, tags, false) && holds(x.Y, p, tags, false)
	case *constraint.OrExpr:
		if negated {
			return holds(x.X, p, tags, true) && holds(x.Y, p, tags, true)
		}
		return holds(x.X, p, tags, false) || holds(x.Y, p, tags, false)
	case *constraint.TagExpr:
		return tags[x.Tag] || p.has(x.Tag) != negated
	}
	return false
}

// On reports whether the line counts on a platform.
func (l Line) On(p Platform, tags Tags) bool {
	for _, x := range l.conditions {
		if x.Eval(func(tag string) bool { return tags[tag] || p.has(tag) }) {
			return true
		}
	}
	return len(l.conditions) == 0
}

// Conditional reports whether anything of the package is there on some platforms only. Where it is not, all answers are
// the same for every platform, whatever tags and macros that tell no platform are asked for.
func (p Package) Conditional() bool {
	for _, f := range p {
		if f.os != "" || f.arch != "" || f.constraint != nil && tells(f.constraint) {
			return true
		}
		for _, l := range f.Lines {
			if slices.ContainsFunc(l.conditions, tells) {
				return true
			}
		}
		if slices.ContainsFunc(f.preamble, directive.tells) {
			return true
		}
	}
	return false
}

// tells reports whether a condition is true on some platforms and false on others.
func tells(x constraint.Expr) bool {
	switch x := x.(type) {
	case *constraint.NotExpr:
		return tells(x.X)
	case *constraint.AndExpr:
		return tells(x.X) || tells(x.Y)
	case *constraint.OrExpr:
		return tells(x.X) || tells(x.Y)
	case *constraint.TagExpr:
		return systems[x.Tag] || archs[x.Tag] || x.Tag == "unix" || x.Tag == "osx" || x.Tag == "qnx"
	}
	return false
}

// asks reports whether the preamble has conditions.
func (f *File) asks() bool {
	return slices.ContainsFunc(f.preamble, func(d directive) bool { return d.name == "if" || d.name == "ifdef" || d.name == "ifndef" })
}

// Folder is one in which headers are searched for: as it was written, and so relative to the package.
type Folder struct {
	Path   string
	Quoted bool // for #include "..." alone
}

// Folders are those that the options of a line for the compilers name.
func (l Line) Folders() []Folder {
	if l.Verb != CFlags && l.Verb != CPPFlags && l.Verb != CXXFlags {
		return nil
	}
	var folders []Folder
	for i := 0; i < len(l.Args); i++ {
		for _, option := range []string{"-iquote", "-isystem", "-idirafter", "-I"} {
			dir, ok := strings.CutPrefix(l.Args[i], option)
			if !ok {
				continue
			}
			if dir == "" && i+1 < len(l.Args) {
				i++
				dir = l.Args[i]
			}
			if dir != "" {
				folders = append(folders, Folder{dir, option == "-iquote"})
			}
			break
		}
	}
	return folders
}

// AllLines are the #cgo lines of all platforms.
func (p Package) AllLines() []Line {
	var lines []Line
	for _, f := range p {
		lines = append(lines, f.Lines...)
	}
	return lines
}

// Lines are the #cgo lines that count on a platform, in the order of the files.
func (p Package) Lines(on Platform, tags Tags) []Line {
	var lines []Line
	for _, f := range p {
		if !f.On(on, tags) {
			continue
		}
		for _, l := range f.Lines {
			if l.On(on, tags) {
				lines = append(lines, l)
			}
		}
	}
	return lines
}

// Kind is the kind of a Need.
type Kind int

const (
	Pkg     Kind = iota // a name that pkg-config knows
	Header              // a header, in angle brackets
	Quoted              // a header in quotes, which may be a file of the package
	Library             // what follows -l
)

// Need is something from outside that a package asks for.
type Need struct {
	Kind Kind
	Name string
}

// Needs is what a package asks for on a platform: each once, names for pkg-config first, then headers, then libraries.
func (p Package) Needs(on Platform, tags Tags) []Need {
	var byKind [Library + 1][]Need
	seen := map[Need]bool{}
	add := func(kind Kind, name string) {
		need := Need{kind, name}
		if name != "" && !seen[need] {
			seen[need] = true
			byKind[kind] = append(byKind[kind], need)
		}
	}
	lines := p.Lines(on, tags)
	var defined definitions // only where a preamble asks
	for _, f := range p {
		if defined == nil && f.asks() {
			defined = macros(on)
		}
	}
	for _, l := range lines {
		switch l.Verb {
		case PkgConfig:
			for _, arg := range l.Args {
				if !strings.HasPrefix(arg, "-") { // options, such as --static
					name, _, _ := strings.Cut(arg, " ") // "zlib >= 1.2" in quotes
					add(Pkg, name)
				}
			}
		case LDFlags:
			for _, name := range Libraries(l.Args) {
				add(Library, name)
			}
		case CFlags, CPPFlags, CXXFlags:
			if defined != nil {
				defined.options(l.Args)
			}
		}
	}
	for _, f := range p {
		if !f.On(on, tags) {
			continue
		}
		for _, i := range included(f.preamble, defined) {
			add(i.Kind, i.Name)
		}
	}
	var needs []Need
	for _, kind := range byKind {
		needs = append(needs, kind...)
	}
	return needs
}

// Libraries are the names that -l gives in linker options, as one word or two.
func Libraries(args []string) []string {
	var names []string
	for i, arg := range args {
		name, ok := strings.CutPrefix(arg, "-l")
		if !ok {
			continue
		}
		if name == "" && i+1 < len(args) {
			name = args[i+1]
		}
		if name != "" && !strings.HasPrefix(name, ":") { // -l:libz.a asks for a file, not for a library
			names = append(names, name)
		}
	}
	return names
}
