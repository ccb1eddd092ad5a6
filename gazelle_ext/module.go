package ocipkg

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/buildtools/build"
)

// repositories are those that labels in a workspace can name. Where a file declares some in a way that cannot be read,
// such as a list comprehension, all names are taken for declared.
type repositories struct {
	names  map[string]bool
	unread string // why there may be more than names, for a message; "" where there are none
	// renamed gives the name that use_repo gives to a library of our extension, by that in the extension. Its repository
	// calls itself and its main target by the latter.
	renamed map[string]string
	mains   map[string]string // the other way round: the main target by the name of the repository, where they differ
}

// visible reports whether a label's repository may be declared.
func (r *repositories) visible(l label.Label) bool {
	return r.unread != "" || r.named(l)
}

// named reports whether a label's repository is surely declared, or of the kind that nobody declares.
func (r *repositories) named(l label.Label) bool {
	return l.Repo == "" || l.Repo == "@" || l.Canonical || r.names[l.Repo]
}

// apparent is a label as this workspace names it, of one that a library's repository gives.
func (r *repositories) apparent(l label.Label) label.Label {
	if name := r.renamed[l.Repo]; name != "" && !l.Canonical && !r.names[l.Repo] {
		l.Repo = name
	}
	return l
}

// main is the label of the main target of a repository, which brings all others.
func (r *repositories) main(repo string) label.Label {
	if name := r.mains[repo]; name != "" {
		return label.New(repo, "", name)
	}
	return label.New(repo, "", repo)
}

// incomplete says that a file may declare more than is read.
func (r *repositories) incomplete(format string, args ...any) {
	if r.unread == "" {
		r.unread = fmt.Sprintf(format, args...)
	}
}

var workspaceFiles = []string{"WORKSPACE", "WORKSPACE.bazel", "WORKSPACE.bzlmod"}

// workspaceOf gives the folder of the workspace that a folder belongs to, both relative to the root of the repository: a
// folder below may be one of its own.
func workspaceOf(repoRoot, rel string) string {
	for dir := rel; dir != "" && dir != "."; dir = path.Dir(dir) {
		for _, name := range append([]string{"MODULE.bazel", "REPO.bazel"}, workspaceFiles...) {
			if _, err := os.Stat(filepath.Join(repoRoot, filepath.FromSlash(dir), name)); err == nil {
				return dir
			}
		}
	}
	return ""
}

// readRepositories reads MODULE.bazel of the workspace in a folder of the repository, and what it includes.
func readRepositories(repoRoot, dir string) *repositories {
	root := filepath.Join(repoRoot, filepath.FromSlash(dir))
	r := &repositories{names: map[string]bool{"bazel_tools": true}, renamed: map[string]string{}, mains: map[string]string{}}
	for _, name := range workspaceFiles {
		if info, err := os.Stat(filepath.Join(root, name)); err == nil && info.Size() > 0 {
			r.incomplete("%s may declare repositories in macros", path.Join(dir, name))
		}
	}
	r.read(root, dir, "MODULE.bazel", map[string]bool{})
	return r
}

// declareNothing are the functions of MODULE.bazel that make no repository.
var declareNothing = strings.Fields("register_toolchains register_execution_platforms single_version_override multiple_version_override " +
	"archive_override git_override local_path_override override_repo inject_repo flag_alias print fail")

// moduleFile reads one MODULE.bazel.
type moduleFile struct {
	*repositories
	rules, extensions map[string]bool // variables with what use_repo_rule gives, and with our extension
}

func (r *repositories) read(root, dir, name string, seen map[string]bool) {
	if seen[name] {
		return
	}
	seen[name] = true
	shown := path.Join(dir, name)
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		r.incomplete("%s cannot be read", shown)
		return
	}
	f, err := build.ParseModule(name, data)
	if err != nil {
		r.incomplete("%s is no file that Bazel reads", shown) // Bazel says what is wrong with it
		return
	}
	m := moduleFile{r, map[string]bool{}, map[string]bool{}}
	for _, stmt := range f.Stmt {
		if call, ok := stmt.(*build.CallExpr); ok && called(call) == "include" {
			segment, _ := argument(call, 0)
			if l, err := label.Parse(segment); err == nil && (l.Repo == "" || l.Repo == "@") {
				r.read(root, dir, path.Join(l.Pkg, l.Name), seen)
				continue
			}
		} else if m.statement(stmt) {
			continue
		}
		start, _ := stmt.Span()
		r.incomplete("%s:%d may declare repositories in a way that is not understood here", shown, start.Line)
	}
}

// statement reads a statement. It is false where that may declare repositories that are not among the names now.
func (m moduleFile) statement(stmt build.Expr) bool {
	switch stmt := stmt.(type) {
	case *build.CommentBlock, *build.StringExpr:
		return true
	case *build.AssignExpr:
		return m.assign(stmt)
	case *build.CallExpr:
		kind := called(stmt)
		_, isTag := stmt.X.(*build.DotExpr) // what use_repo takes of it counts
		direct, _ := stmt.X.(*build.CallExpr)
		switch {
		case kind == "module" || kind == "bazel_dep":
			return m.dependency(stmt)
		case kind == "use_repo":
			return m.used(stmt)
		case m.rules[kind] || direct != nil && called(direct) == "use_repo_rule":
			name, ok := keyword(stmt, "name")
			if ok {
				m.names[name] = true
			}
			return ok
		}
		return (isTag || slices.Contains(declareNothing, kind)) && !slices.ContainsFunc(stmt.List, hasCall)
	}
	return false
}

// assign reads an assignment, whose value may be a rule, an extension, or something that declares nothing.
func (m moduleFile) assign(assign *build.AssignExpr) bool {
	to, isName := assign.LHS.(*build.Ident)
	switch value := assign.RHS.(type) {
	case *build.CallExpr:
		switch kind := called(value); {
		case !isName:
			return false
		case kind == "use_repo_rule":
			m.rules[to.Name] = true
			return true
		case kind == "use_extension":
			file, _ := argument(value, 0)
			symbol, _ := argument(value, 1)
			m.extensions[to.Name] = strings.HasSuffix(file, "//rules:extensions.bzl") && symbol == "ocipkg"
			return true
		}
	case *build.Ident:
		if isName {
			m.rules[to.Name], m.extensions[to.Name] = m.rules[value.Name], m.extensions[value.Name]
			return true
		}
	}
	return !hasCall(assign.RHS)
}

// hasCall reports whether anything in an expression is a call, as it is in a list comprehension that declares libraries.
// Those of methods, such as "a b".split(), declare nothing.
func hasCall(e build.Expr) bool {
	has := false
	build.Walk(e, func(e build.Expr, _ []build.Expr) {
		if call, ok := e.(*build.CallExpr); ok {
			if _, isMethod := call.X.(*build.DotExpr); !isMethod {
				has = true
			}
		}
	})
	return has
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

// valueOf is what a call gives to a keyword argument, nil where it has none of that name.
func valueOf(call *build.CallExpr, key string) build.Expr {
	for _, arg := range call.List {
		if assign, ok := arg.(*build.AssignExpr); ok {
			if id, ok := assign.LHS.(*build.Ident); ok && id.Name == key {
				return assign.RHS
			}
		}
	}
	return nil
}

func keyword(call *build.CallExpr, key string) (string, bool) {
	s, ok := valueOf(call, key).(*build.StringExpr)
	if !ok {
		return "", false
	}
	return s.Value, true
}

// dependency reads module and bazel_dep, whose repository is called as the module where repo_name says no other name.
func (m moduleFile) dependency(call *build.CallExpr) bool {
	if has(call, "repo_name") {
		other, ok := keyword(call, "repo_name")
		if other != "" {
			m.names[other] = true
			return true
		} else if !ok && !isNone(call, "repo_name") {
			return false
		}
	}
	name, ok := keyword(call, "name")
	if !ok {
		name, ok = argument(call, 0)
	}
	if ok {
		m.names[name] = true
	}
	return ok || called(call) == "module" && !has(call, "name") && len(call.List) == 0
}

// has reports whether a call has a keyword argument.
func has(call *build.CallExpr, key string) bool { return valueOf(call, key) != nil }

func isNone(call *build.CallExpr, key string) bool {
	id, ok := valueOf(call, key).(*build.Ident)
	return ok && id.Name == "None"
}

// used reads use_repo(extension, "a", b = "name there", **{"c.d": "name there"}).
func (m moduleFile) used(call *build.CallExpr) bool {
	if len(call.List) == 0 {
		return true
	}
	ours := false
	if id, ok := call.List[0].(*build.Ident); ok {
		ours = m.extensions[id.Name]
	}
	use := func(name string, there build.Expr) {
		m.names[name] = true
		if s, ok := there.(*build.StringExpr); ok && ours && s.Value != name {
			m.renamed[s.Value], m.mains[name] = name, s.Value
		}
	}
	all := true
	for i, arg := range call.List {
		switch arg := arg.(type) {
		case *build.StringExpr:
			use(arg.Value, arg)
		case *build.AssignExpr:
			if id, ok := arg.LHS.(*build.Ident); ok {
				use(id.Name, arg.RHS)
			}
		case *build.UnaryExpr:
			dict, ok := arg.X.(*build.DictExpr)
			if !ok || strings.TrimSpace(arg.Op) != "**" {
				all = false
				continue
			}
			for _, kv := range dict.List {
				if key, ok := kv.Key.(*build.StringExpr); ok {
					use(key.Value, kv.Value)
				} else {
					all = false
				}
			}
		default:
			all = all && i == 0
		}
	}
	return all
}
