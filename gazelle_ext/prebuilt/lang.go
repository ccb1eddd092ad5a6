// Package prebuilt is the Gazelle language "ocipkg_prebuilt": libraries whose files lie in the workspace become targets,
// by the same plan as those that are fetched.
//
//	# gazelle:ocipkg_prebuilt zlib
//
// in the BUILD file of a folder with include/ and lib/ makes it a library called zlib. It is a language of its own, and not
// a part of gazelle_ext, because it measures libraries: nobody who does not ask for that has to compile it.
//
// Invariant: it generates rules of its own kinds alone, and only in folders with the directive. An extension for C++ would
// take rules of the kinds cc_library and cc_import for its own.
package prebuilt

import (
	"flag"
	"log"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/language"
	"github.com/bazelbuild/bazel-gazelle/resolve"
	"github.com/bazelbuild/bazel-gazelle/rule"

	"github.com/ocipkg/rules_ocipkg/gazelle_ext/system"
	"github.com/ocipkg/rules_ocipkg/gazelle_ext/vendored"
	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
)

const (
	languageName = "ocipkg_prebuilt"
	directive    = "ocipkg_prebuilt"
)

type prebuiltLang struct {
	language.BaseLang
	searched  sync.Once
	trees     []string // once searched: see toIndex
	libraries vendored.Libraries
}

var (
	_ language.Language            = (*prebuiltLang)(nil)
	_ language.ModuleAwareLanguage = (*prebuiltLang)(nil)
	_ resolve.CrossResolver        = (*prebuiltLang)(nil)
)

// NewLanguage returns the language, as gazelle_binary calls it.
func NewLanguage() language.Language { return &prebuiltLang{} }

func (*prebuiltLang) Name() string { return languageName }

func (*prebuiltLang) KnownDirectives() []string { return []string{directive} }

// tree is a folder with the directive, in c.Exts.
type tree struct {
	rel, name string
	plan      func() (ccplan.Plan, error) // measures the library, once, and logs why it cannot
}

// treeOf returns the library in a folder, one without a name where there is none: the directive does not reach below.
func treeOf(c *config.Config, rel string) tree {
	if t, ok := c.Exts[languageName].(tree); ok && t.rel == rel {
		return t
	}
	return tree{}
}

// CheckFlags tells the language "ocipkg" where the libraries will be.
func (l *prebuiltLang) CheckFlags(_ *flag.FlagSet, c *config.Config) error {
	l.libraries.ToIndex = l.search
	l.libraries.Put(c)
	return nil
}

func (l *prebuiltLang) Configure(c *config.Config, rel string, f *rule.File) {
	if f == nil {
		return
	}
	for _, d := range f.Directives {
		if d.Key != directive {
			continue
		}
		name := strings.TrimSpace(d.Value)
		if !artifact.ValidLibraryName(name) {
			log.Printf("%s: # gazelle:%s %s: this is no name for a target. Write one of letters, digits and underscores.", path.Join(rel, path.Base(f.Path)), directive, d.Value)
			continue
		}
		dir := os.DirFS(filepath.Join(c.RepoRoot, filepath.FromSlash(rel)))
		plan := sync.OnceValues(func() (ccplan.Plan, error) {
			p, err := planOf(dir, name, c.ValidBuildFileNames)
			if err != nil {
				log.Printf("//%s: # gazelle:%s %s: %v", rel, directive, name, err)
			}
			return p, err
		})
		c.Exts[languageName] = tree{rel, name, plan}
		l.libraries.Add(vendored.Library{Pkg: rel, Name: name, Others: others(c, f), Index: func() map[string]string {
			p, _ := plan() // it has said what is wrong
			return p.Index
		}})
	}
}

// others are the names of the rules that somebody wrote beside those of a library.
func others(c *config.Config, f *rule.File) []string {
	ours := map[string]bool{}
	for kind := range kinds {
		ours[kind] = true
		if mapped, ok := c.KindMap[kind]; ok {
			ours[mapped.KindName] = true
		}
	}
	var names []string
	for _, r := range f.Rules {
		if !ours[r.Kind()] {
			names = append(names, r.Name())
		}
	}
	return names
}

// CrossResolve answers an include path, asked for by the language "cc", with the library of this workspace that has the
// header.
func (*prebuiltLang) CrossResolve(_ *config.Config, ix *resolve.RuleIndex, imp resolve.ImportSpec, lang string) []resolve.FindResult {
	if lang != "cc" {
		return nil
	}
	return ix.FindRulesByImport(resolve.ImportSpec{Lang: languageName, Imp: imp.Imp}, languageName)
}

// Imports are the include paths of a library's headers, which its main target answers. Those of the system are nobody's.
func (*prebuiltLang) Imports(c *config.Config, r *rule.Rule, f *rule.File) []resolve.ImportSpec {
	if r.Name() != treeOf(c, f.Pkg).name {
		return nil
	}
	var specs []resolve.ImportSpec
	seen := map[string]bool{}
	for _, other := range f.Rules {
		if _, ours := kinds[other.Kind()]; !ours {
			continue
		}
		includes := other.AttrStrings("includes")
		for _, header := range other.AttrStrings("hdrs") {
			for _, dir := range includes {
				rel, below := strings.CutPrefix(header, dir+"/")
				if dir == "." {
					rel, below = header, true
				}
				if below && !seen[rel] && !system.Header(rel) {
					seen[rel] = true
					specs = append(specs, resolve.ImportSpec{Lang: languageName, Imp: rel})
				}
			}
		}
	}
	return specs
}
