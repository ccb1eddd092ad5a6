// Package modulefile reads and edits the libraries that a MODULE.bazel file declares.
//
// Invariant: an edit replaces the text of image strings and nothing else: every other byte of the file, comments and
// odd formatting included, stays as its author left it.
package modulefile

import (
	"bytes"
	"fmt"
	"slices"
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

	tag        bool  // declared by a tag of the extension, not by the rule
	start, end int   // of the string's token in the file, in bytes
	wrong      error // why the image cannot be read or changed
}

// File is a MODULE.bazel file.
type File struct {
	path      string
	data      []byte
	Libraries []Library // in the order of the file
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
	renamed := map[string]string{} // of what extensions make
	for _, stmt := range tree.Stmt {
		if name, call := assignedCall(stmt); call != nil {
			switch {
			case isCall(call, "use_repo_rule", ruleFile, ruleName):
				rules[name] = true
			case isCall(call, "use_extension", extensionFile, extensionName):
				extensions[name] = true
			}
			continue
		}
		call, ok := stmt.(*build.CallExpr)
		if ok {
			renames(call, extensions, renamed)
		}
		if !ok || !declares(call, rules, extensions) {
			continue
		}
		l := f.library(call)
		l.Repository = l.Name
		_, l.tag = call.X.(*build.DotExpr)
		f.Libraries = append(f.Libraries, l)
	}
	for i, l := range f.Libraries {
		if name := renamed[l.Name]; l.tag && name != "" {
			f.Libraries[i].Repository = name
		}
	}
	return f, nil
}

// renames reads use_repo(ocipkg, "zlib", mine = "ssl", **{"my.own": "z"}): into renamed go the names on the left, by those
// on the right.
func renames(call *build.CallExpr, extensions map[string]bool, renamed map[string]string) {
	if id, ok := call.X.(*build.Ident); !ok || id.Name != "use_repo" || len(call.List) == 0 {
		return
	}
	if id, ok := call.List[0].(*build.Ident); !ok || !extensions[id.Name] {
		return
	}
	add := func(apparent string, of build.Expr) {
		if name, ok := of.(*build.StringExpr); ok {
			renamed[name.Value] = apparent
		}
	}
	for _, arg := range call.List[1:] {
		switch arg := arg.(type) {
		case *build.AssignExpr:
			if id, ok := arg.LHS.(*build.Ident); ok {
				add(id.Name, arg.RHS)
			}
		case *build.UnaryExpr:
			if dict, ok := arg.X.(*build.DictExpr); ok {
				for _, kv := range dict.List {
					if key, ok := kv.Key.(*build.StringExpr); ok {
						add(key.Value, kv.Value)
					}
				}
			}
		}
	}
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
	l := Library{Line: start.Line}
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

// Replace returns the file's bytes with the images of some libraries replaced; images is keyed by the index of a
// library in Libraries. The quotes stay what they were.
func (f *File) Replace(images map[int]string) []byte {
	indices := []int{}
	for i := range images {
		indices = append(indices, i)
	}
	slices.Sort(indices)
	var out bytes.Buffer
	at := 0
	for _, i := range indices {
		l := f.Libraries[i]
		out.Write(f.data[at:l.start])
		quoted := strconv.Quote(images[i])
		if f.data[l.start] == '\'' {
			quoted = "'" + images[i] + "'"
		}
		out.WriteString(quoted)
		at = l.end
	}
	out.Write(f.data[at:])
	return out.Bytes()
}
