package ocipkg

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/buildtools/build"
)

// repositories are those that labels in the main repository can name. Where a file declares some in a way that cannot
// be read, such as a list comprehension, all names are taken for declared.
type repositories struct {
	names    map[string]bool
	complete bool
}

// visible reports whether a label's repository may be declared.
func (r *repositories) visible(l label.Label) bool {
	return l.Repo == "" || l.Repo == "@" || l.Canonical || !r.complete || r.names[l.Repo]
}

// readRepositories reads MODULE.bazel and what it includes.
func readRepositories(repoRoot string) *repositories {
	r := &repositories{names: map[string]bool{"bazel_tools": true}, complete: true}
	for _, name := range []string{"WORKSPACE", "WORKSPACE.bazel", "WORKSPACE.bzlmod"} {
		if info, err := os.Stat(filepath.Join(repoRoot, name)); err == nil && info.Size() > 0 {
			r.complete = false // it may declare more, in macros
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
		r.complete = false
		return
	}
	f, err := build.ParseModule(name, data)
	if err != nil {
		r.complete = false // Bazel says what is wrong with it
		return
	}
	rules := map[string]bool{}
	for _, stmt := range f.Stmt {
		if assign, ok := stmt.(*build.AssignExpr); ok {
			call, isCall := assign.RHS.(*build.CallExpr)
			name, isName := assign.LHS.(*build.Ident)
			if isCall && isName && called(call) == "use_repo_rule" {
				rules[name.Name] = true
			}
			continue
		}
		call, ok := stmt.(*build.CallExpr)
		if !ok {
			if _, isComment := stmt.(*build.CommentBlock); !isComment {
				if _, isString := stmt.(*build.StringExpr); !isString {
					r.complete = false
				}
			}
			continue
		}
		switch kind := called(call); {
		case kind == "module" || kind == "bazel_dep":
			r.dependency(call)
		case kind == "use_repo":
			r.used(call)
		case kind == "include":
			if segment, ok := argument(call, 0); ok {
				l, err := label.Parse(segment)
				if err != nil || l.Repo != "" && l.Repo != "@" {
					r.complete = false
					continue
				}
				r.read(repoRoot, path.Join(l.Pkg, l.Name), seen)
			} else {
				r.complete = false
			}
		case rules[kind]:
			if name, ok := keyword(call, "name"); ok {
				r.names[name] = true
			} else {
				r.complete = false
			}
		}
	}
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
func (r *repositories) dependency(call *build.CallExpr) {
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
		r.complete = false
	}
}

// used reads use_repo(extension, "a", b = "name there", **{"c.d": "name there"}).
func (r *repositories) used(call *build.CallExpr) {
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
				r.complete = false
				continue
			}
			for _, kv := range dict.List {
				if key, ok := kv.Key.(*build.StringExpr); ok {
					r.names[key.Value] = true
				} else {
					r.complete = false
				}
			}
		default:
			if i > 0 {
				r.complete = false
			}
		}
	}
}
