// Package modulefile reads and edits the libraries that a MODULE.bazel file declares.
//
// Invariant: an edit puts other text in the place of image strings, adds elements to lists and calls, and adds
// statements, and nothing else: every other byte of the file, comments and odd formatting included, stays as its author
// left it.
package modulefile

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bazelbuild/buildtools/build"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// The places that declare libraries; the repository before "//" may have any apparent name.
const (
	ruleFile      = "//rules:defs.bzl"
	ruleName      = "ocipkg_library"
	extensionFile = "//rules:extensions.bzl"
	extensionName = "ocipkg"
	tagName       = "library"
)

// Library is one declaration. Image is the value of its image attribute. Repository is the name by which labels in this
// file's module know it, which use_repo may make another one than Name.
type Library struct {
	Name  string
	Image string
	Line  int // from 1

	Repository string

	start, end int // of the string's token in the file, in bytes
	call       *build.CallExpr
	wrong      error // why the image cannot be read or changed
}

// File is a MODULE.bazel file.
type File struct {
	path      string
	data      []byte
	Libraries []Library // in the order of the file
	Includes  []string  // files that it includes, slash-separated and relative to the root of the repository

	declared declarations
}

// Path is what the file was called when it was parsed.
func (f *File) Path() string { return f.path }

// Read reads the MODULE.bazel file at path and the files that it includes, each once: it comes first, and an included
// file behind the one that includes it. Of kind NotFound is a file that cannot be read; other errors are those of Parse.
// do is what to do where the one at path cannot: how it is named is the caller's to know.
func Read(path, do string) ([]*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &diagnostic.Error{Kind: diagnostic.NotFound, What: "read " + path, Err: err, Do: do}
	}
	f, err := Parse(path, data)
	if err != nil {
		return nil, err
	}
	files := []*File{f}
	root, seen := filepath.Dir(path), map[string]bool{filepath.Base(path): true}
	for i := 0; i < len(files); i++ {
		for _, name := range files[i].Includes {
			if seen[name] {
				continue
			}
			seen[name] = true
			at := filepath.Join(root, filepath.FromSlash(name))
			data, err := os.ReadFile(at)
			if err != nil {
				return nil, &diagnostic.Error{Kind: diagnostic.NotFound, What: "read " + at, Why: files[i].path + " includes it", Err: err, Do: "correct the include()"}
			}
			f, err := Parse(at, data)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
	}
	return files, nil
}

// Parse reads a MODULE.bazel file; path is for messages alone. A file that does not parse is an error of kind Usage that
// names the line; a declaration whose image is not a plain string is one where it is to be pinned.
func Parse(path string, data []byte) (*File, error) {
	tree, err := build.ParseModule(path, data)
	if err != nil {
		return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "read " + path, Why: "it does not parse: " + strings.TrimPrefix(err.Error(), path+":"), Do: "correct it; nothing was changed", Err: err}
	}
	f := &File{path: path, data: data}
	rules, extensions := map[string]bool{}, map[string]bool{}
	f.declared = declarations{taken: map[string]bool{}, uses: map[string]string{}, after: map[string]build.Expr{}}
	for _, stmt := range tree.Stmt {
		if name, call := assignedCall(stmt); call != nil {
			switch {
			case isCall(call, "use_repo_rule", ruleFile, ruleName):
				rules[name] = true
				f.declared.rule = cmp.Or(f.declared.rule, name)
				f.declared.after[name] = stmt
			case isCall(call, "use_extension", extensionFile, extensionName):
				extensions[name] = true
				if f.declared.extension == "" || f.declared.dev {
					f.declared.extension, f.declared.dev = name, isTrue(argument(call, "dev_dependency"))
				}
				f.declared.after[name] = stmt
			}
			continue
		}
		call, ok := stmt.(*build.CallExpr)
		if !ok {
			continue
		}
		if !declares(call, rules, extensions) {
			if name := included(call); name != "" {
				f.Includes = append(f.Includes, name)
			}
			f.declared.other(call, extensions)
			continue
		}
		start := call.X
		if dot, ok := start.(*build.DotExpr); ok {
			start = dot.X
		}
		f.declared.after[identName(start)] = stmt
		f.Libraries = append(f.Libraries, f.library(call))
	}
	for i, l := range f.Libraries {
		f.Libraries[i].Repository = l.Name
		if _, tag := l.call.X.(*build.DotExpr); tag {
			f.Libraries[i].Repository = cmp.Or(f.declared.uses[l.Name], l.Name)
		}
	}
	return f, nil
}

// Strings is an attribute of the declaration besides name and image, as far as it is written as one plain string or a list
// of some.
func (l Library) Strings(attribute string) []string {
	switch value := argument(l.call, attribute).(type) {
	case *build.StringExpr:
		return []string{value.Value}
	case *build.ListExpr:
		return build.Strings(value)
	}
	return nil
}

func assignedCall(stmt build.Expr) (string, *build.CallExpr) {
	assign, ok := stmt.(*build.AssignExpr)
	if !ok {
		return "", nil
	}
	name, ok := assign.LHS.(*build.Ident)
	if !ok {
		return "", nil
	}
	call, _ := assign.RHS.(*build.CallExpr)
	return name.Name, call
}

// isCall reports whether call is function(label ending in file, symbol).
func isCall(call *build.CallExpr, function, file, symbol string) bool {
	id, ok := call.X.(*build.Ident)
	if !ok || id.Name != function || len(call.List) < 2 {
		return false
	}
	from, ok1 := call.List[0].(*build.StringExpr)
	what, ok2 := call.List[1].(*build.StringExpr)
	return ok1 && ok2 && strings.HasSuffix(from.Value, file) && what.Value == symbol
}

// included is the file that a call of include() names; "" for other calls, and for labels that Bazel refuses there.
func included(call *build.CallExpr) string {
	id, ok := call.X.(*build.Ident)
	if !ok || id.Name != "include" || len(call.List) != 1 {
		return ""
	}
	label, ok := call.List[0].(*build.StringExpr)
	if !ok {
		return ""
	}
	rest, absolute := strings.CutPrefix(strings.TrimPrefix(label.Value, "@"), "//")
	pkg, name, ok := strings.Cut(rest, ":")
	if !absolute || !ok {
		return ""
	}
	if name = path.Join(pkg, name); !filepath.IsLocal(filepath.FromSlash(name)) {
		return ""
	}
	return name
}

func declares(call *build.CallExpr, rules, extensions map[string]bool) bool {
	switch x := call.X.(type) {
	case *build.Ident:
		return rules[x.Name]
	case *build.DotExpr:
		id, ok := x.X.(*build.Ident)
		return ok && extensions[id.Name] && x.Name == tagName
	}
	return false
}

func (f *File) library(call *build.CallExpr) Library {
	start, _ := call.Span()
	l := Library{Line: start.Line, call: call}
	wrong := func(line int, why string) error {
		return &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("read %s:%d", f.path, line), Why: why, Do: `write image = "registry/name:tag@sha256:…" as one plain string`}
	}
	for _, arg := range call.List {
		assign, ok := arg.(*build.AssignExpr)
		if !ok {
			continue
		}
		key, ok := assign.LHS.(*build.Ident)
		if !ok {
			continue
		}
		text, isString := assign.RHS.(*build.StringExpr)
		switch key.Name {
		case "name":
			if isString {
				l.Name = text.Value
			}
		case "image":
			from, to := assign.RHS.Span()
			if !isString {
				l.wrong = wrong(from.Line, "the image is not a plain string, so it cannot be changed in place")
				continue
			}
			l.Image, l.start, l.end = text.Value, from.Byte, to.Byte
		}
	}
	if l.end == 0 && l.wrong == nil {
		l.wrong = wrong(l.Line, fmt.Sprintf("the library %q has no image", l.Name))
	}
	return l
}

// Replace is the change that gives some libraries other images; images is keyed by the index of a library in Libraries.
// The quotes stay what they were.
func (f *File) Replace(images map[int]string) *Change {
	var edits []edit
	for i, image := range images {
		edits = append(edits, f.imageEdit(i, image))
	}
	return f.change(edits)
}

func (f *File) imageEdit(i int, image string) edit {
	l := f.Libraries[i]
	quoted := strconv.Quote(image)
	if f.data[l.start] == '\'' {
		quoted = "'" + image + "'"
	}
	return edit{l.start, l.end, quoted}
}
