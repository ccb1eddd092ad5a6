package ocipkg

import (
	"log"
	"path"
	"path/filepath"
	"sync"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/bazel-gazelle/rule"
	"github.com/bazelbuild/buildtools/build"
)

// libraryAttributes are where rules name the libraries that they link.
var libraryAttributes = []string{"cdeps", "deps", "implementation_deps"}

// Fix takes out, with `gazelle fix`, the labels of repositories that MODULE.bazel declares no more, as it is left when a
// library is: Bazel stops at such a label. It looks at rules that link C and C++ alone; labels in other rules are the
// business of the languages that wrote them. A folder with a MODULE.bazel of its own is judged by that. Where it cannot be
// told what is declared nothing is taken out, and a message says why.
func (l *ocipkgLang) Fix(c *config.Config, f *rule.File) {
	if !c.ShouldFix {
		return
	}
	buildFile := path.Join(f.Pkg, filepath.Base(f.Path))
	scope := sync.OnceValues(func() (string, *repositories) {
		workspace := workspaceOf(c.RepoRoot, f.Pkg)
		return workspace, l.indexes.declaredIn(c.RepoRoot, workspace)
	})
	var r *rule.Rule
	var attr string
	gone := func(e build.Expr) string {
		s, ok := e.(*build.StringExpr)
		if !ok || rule.ShouldKeep(e) {
			return ""
		}
		at, err := label.Parse(s.Value)
		if err != nil || at.Relative || at.Repo == "" {
			return ""
		}
		workspace, declared := scope()
		switch {
		case declared.named(at):
			return ""
		case declared.unread != "":
			if _, told := l.unjudged.LoadOrStore(workspace, true); !told {
				log.Printf("%s: %s %s: left %s in %s, and all labels of this workspace where they are: which repositories are declared cannot be told, because %s. Take out by hand what is not.",
					buildFile, r.Kind(), r.Name(), s.Value, attr, declared.unread)
			}
			return ""
		}
		return at.Repo
	}
	for _, r = range f.Rules {
		for _, attr = range libraryAttributes {
			value := r.Attr(attr)
			if value == nil || kept(r, attr) || attr != "cdeps" && !linksC(r, c) {
				continue
			}
			changed := false
			build.Walk(value, func(e build.Expr, _ []build.Expr) {
				list, ok := e.(*build.ListExpr)
				if !ok || rule.ShouldKeep(list) {
					return
				}
				var rest []build.Expr
				for _, item := range list.List {
					if repo := gone(item); repo != "" {
						changed = true
						workspace, _ := scope()
						log.Printf("%s: %s %s: took %s out of %s: %s declares no repository %s. If the label is to stay, declare the repository, or mark the label # keep.",
							buildFile, r.Kind(), r.Name(), item.(*build.StringExpr).Value, attr, path.Join(workspace, "MODULE.bazel"), repo)
						continue
					}
					rest = append(rest, item)
				}
				list.List = rest
			})
			if !changed {
				continue
			}
			if value = withoutEmpty(value); value != nil {
				r.SetAttr(attr, value)
			} else {
				r.DelAttr(attr)
			}
		}
	}
}

// linksC reports whether a rule is one of C or C++, by the kind that it has or is mapped from.
func linksC(r *rule.Rule, c *config.Config) bool {
	kind := r.Kind()
	if of, ok := c.AliasMap[kind]; ok {
		kind = of
	}
	for from, to := range c.KindMap {
		if to.KindName == kind {
			kind = from
		}
	}
	return len(kind) > 3 && kind[:3] == "cc_"
}

// withoutEmpty leaves out of a sum the lists that hold nothing, and the select()s that give nothing.
func withoutEmpty(e build.Expr) build.Expr {
	switch e := e.(type) {
	case *build.ListExpr:
		if len(e.List) == 0 {
			return nil
		}
	case *build.BinaryExpr:
		if e.Op != "+" {
			return e
		}
		x, y := withoutEmpty(e.X), withoutEmpty(e.Y)
		switch {
		case x == nil:
			return y
		case y == nil:
			return x
		}
		return &build.BinaryExpr{X: x, Op: "+", Y: y, Comments: e.Comments}
	case *build.CallExpr:
		dict, ok := argumentOf(e, "select")
		if !ok {
			return e
		}
		for _, kv := range dict.List {
			if list, ok := kv.Value.(*build.ListExpr); !ok || len(list.List) > 0 {
				return e
			}
		}
		return nil
	}
	return e
}

func argumentOf(call *build.CallExpr, function string) (*build.DictExpr, bool) {
	if called(call) != function || len(call.List) != 1 {
		return nil, false
	}
	dict, ok := call.List[0].(*build.DictExpr)
	return dict, ok
}
