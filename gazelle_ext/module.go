package ocipkg

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/buildtools/build"
)

// repositories are those that labels in the main repository can name. Where a file declares some in a way that cannot
// be read, such as a list comprehension, all names are taken for declared.
type repositories struct {
	names  map[string]bool
	unread string // where there may be others, and why; "" where there are none
}

// missing takes down that some repositories may not be among the names.
func (r *repositories) missing(where, why string) {
	if r.unread == "" {
		r.unread = where + " " + why
	}
}

// visible reports whether a label's repository may be declared.
func (r *repositories) visible(l label.Label) bool {
	return l.Repo == "" || l.Repo == "@" || l.Canonical || r.unread != "" || r.names[l.Repo]
}

// readRepositories reads MODULE.bazel and what it includes.
func readRepositories(repoRoot string) *repositories {
	r := &repositories{names: map[string]bool{"bazel_tools": true}}
	for _, name := range []string{"WORKSPACE", "WORKSPACE.bazel", "WORKSPACE.bzlmod"} {
		if info, err := os.Stat(filepath.Join(repoRoot, name)); err == nil && info.Size() > 0 {
			r.missing(name, "may declare more, in macros")
		}
	}
	r.read(repoRoot, "MODULE.bazel", map[string]bool{})
	return r
}

func (r *repositories) read(repoRoot, name string, seen map[string]bool) {
	if seen[name] {
		return
	}
	seen[name] = true
	data, err := os.ReadFile(filepath.Join(repoRoot, filepath.FromSlash(name)))
	if err != nil {
		r.missing(name, "cannot be read")
		return
	}
	f, err := build.ParseModule(name, data)
	if err != nil {
		r.missing(name, "is not understood") // Bazel says what is wrong with it
		return
	}
	const computed = "declares some in a way that is computed"
	rules := map[string]bool{}
	for _, stmt := range f.Stmt {
		switch stmt := stmt.(type) {
		case *build.AssignExpr:
			name, isName := stmt.LHS.(*build.Ident)
			switch value := stmt.RHS.(type) {
			case *build.CallExpr:
				switch kind := called(value); {
				case isName && kind == "use_repo_rule":
					rules[name.Name] = true
				case kind != "use_extension":
					r.missing(f.Path, computed)
				}
			case *build.Ident:
				if isName && rules[value.Name] {
					rules[name.Name] = true
				}
			default:
				if calls(value) {
					r.missing(f.Path, computed)
				}
			}
		case *build.CallExpr:
			switch kind := called(stmt); {
			case kind == "module" || kind == "bazel_dep":
				r.dependency(f.Path, stmt)
			case kind == "use_repo":
				r.used(f.Path, stmt)
			case kind == "include":
				segment, ok := argument(stmt, 0)
				l, err := label.Parse(segment)
				if !ok || err != nil || l.Repo != "" && l.Repo != "@" {
					r.missing(f.Path, "includes what cannot be read here")
					continue
				}
				r.read(repoRoot, path.Join(l.Pkg, l.Name), seen)
			case rules[kind]:
				if name, ok := keyword(stmt, "name"); ok {
					r.names[name] = true
				} else {
					r.missing(f.Path, computed)
				}
			default:
				_, isTag := stmt.X.(*build.DotExpr)
				if !isTag && kind == "" || slices.ContainsFunc(stmt.List, calls) {
					r.missing(f.Path, computed)
				}
			}
		case *build.CommentBlock, *build.StringExpr:
		default:
			r.missing(f.Path, computed)
		}
	}
}

// calls reports whether something is called in an expression.
func calls(e build.Expr) bool {
	found := false
	build.Walk(e, func(e build.Expr, _ []build.Expr) {
		_, isCall := e.(*build.CallExpr)
		found = found || isCall
	})
	return found
}

func called(call *build.CallExpr) string {
	if id, ok := call.X.(*build.Ident); ok {
		return id.Name
	}
	return ""
}

func argument(call *build.CallExpr, i int) (string, bool) {
	if len(call.List) <= i {
		return "", false
	}
	s, ok := call.List[i].(*build.StringExpr)
	if !ok {
		return "", false
	}
	return s.Value, true
}

func keyword(call *build.CallExpr, key string) (string, bool) {
	for _, arg := range call.List {
		if assign, ok := arg.(*build.AssignExpr); ok {
			if id, ok := assign.LHS.(*build.Ident); ok && id.Name == key {
				s, ok := assign.RHS.(*build.StringExpr)
				if !ok {
					return "", false
				}
				return s.Value, true
			}
		}
	}
	return "", false
}

// dependency reads module and bazel_dep, whose repository is called as the module where repo_name says no other name.
func (r *repositories) dependency(file string, call *build.CallExpr) {
	name, ok := keyword(call, "name")
	if !ok {
		name, ok = argument(call, 0)
	}
	if other, given := keyword(call, "repo_name"); given && other != "" {
		name, ok = other, true
	}
	if ok {
		r.names[name] = true
	} else if called(call) == "bazel_dep" {
		r.missing(file, "has a bazel_dep whose name is computed")
	}
}

// used reads use_repo(extension, "a", b = "name there", **{"c.d": "name there"}).
func (r *repositories) used(file string, call *build.CallExpr) {
	for i, arg := range call.List {
		switch arg := arg.(type) {
		case *build.StringExpr:
			r.names[arg.Value] = true
		case *build.AssignExpr:
			if id, ok := arg.LHS.(*build.Ident); ok {
				r.names[id.Name] = true
			}
		case *build.UnaryExpr:
			dict, ok := arg.X.(*build.DictExpr)
			if !ok || strings.TrimSpace(arg.Op) != "**" {
				r.missing(file, "has a use_repo whose names are computed")
				continue
			}
			for _, kv := range dict.List {
				if key, ok := kv.Key.(*build.StringExpr); ok {
					r.names[key.Value] = true
				} else {
					r.missing(file, "has a use_repo whose names are computed")
				}
			}
		default:
			if i > 0 {
				r.missing(file, "has a use_repo whose names are computed")
			}
		}
	}
}
