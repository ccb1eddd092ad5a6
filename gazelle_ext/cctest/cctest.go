// Package cctest is a Gazelle language "cc" for tests: the least of a C++ extension that asks, as real ones do, for the
// rule behind each #include. It is what tests of gazelle_ext put in place of gazelle_cc.
//
// One cc_library per directory, called as the directory, with _cc behind it where a go_library has that name; with its .c
// and .h files. An include that exactly one rule answers becomes a dependency.
package cctest

import (
	"log"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/bazel-gazelle/language"
	"github.com/bazelbuild/bazel-gazelle/repo"
	"github.com/bazelbuild/bazel-gazelle/resolve"
	"github.com/bazelbuild/bazel-gazelle/rule"
)

const languageName = "cc"

type ccLang struct{ language.BaseLang }

// NewLanguage returns the language, as gazelle_binary calls it.
func NewLanguage() language.Language { return &ccLang{} }

func (*ccLang) Name() string { return languageName }

func (*ccLang) Kinds() map[string]rule.KindInfo {
	return map[string]rule.KindInfo{"cc_library": {
		NonEmptyAttrs:  map[string]bool{"srcs": true, "hdrs": true},
		MergeableAttrs: map[string]bool{"srcs": true, "hdrs": true},
		ResolveAttrs:   map[string]bool{"deps": true},
	}}
}

func (*ccLang) Loads() []rule.LoadInfo {
	return []rule.LoadInfo{{Name: "@rules_cc//cc:defs.bzl", Symbols: []string{"cc_library"}}}
}

var includeRE = regexp.MustCompile(`(?m)^\s*#\s*include\s*[<"]([^>"]+)[>"]`)

func (*ccLang) GenerateRules(args language.GenerateArgs) language.GenerateResult {
	var srcs, hdrs, includes []string
	for _, name := range args.RegularFiles {
		switch path.Ext(name) {
		case ".c":
			srcs = append(srcs, name)
		case ".h":
			hdrs = append(hdrs, name)
		default:
			continue
		}
		source, err := os.ReadFile(filepath.Join(args.Dir, name))
		if err != nil {
			log.Print(err)
		}
		for _, m := range includeRE.FindAllSubmatch(source, -1) {
			includes = append(includes, string(m[1]))
		}
	}
	if len(srcs)+len(hdrs) == 0 {
		return language.GenerateResult{}
	}
	name := path.Base(args.Rel)
	if slices.ContainsFunc(args.RegularFiles, func(f string) bool { return path.Ext(f) == ".go" }) {
		name += "_cc"
	}
	r := rule.NewRule("cc_library", name)
	if len(srcs) > 0 {
		r.SetAttr("srcs", srcs)
	}
	if len(hdrs) > 0 {
		r.SetAttr("hdrs", hdrs)
	}
	return language.GenerateResult{Gen: []*rule.Rule{r}, Imports: []any{includes}}
}

func (*ccLang) Imports(_ *config.Config, r *rule.Rule, f *rule.File) []resolve.ImportSpec {
	var specs []resolve.ImportSpec
	for _, h := range r.AttrStrings("hdrs") {
		specs = append(specs, resolve.ImportSpec{Lang: languageName, Imp: path.Join(f.Pkg, h)})
	}
	return specs
}

func (*ccLang) Resolve(c *config.Config, ix *resolve.RuleIndex, _ *repo.RemoteCache, r *rule.Rule, imports any, from label.Label) {
	var deps []string
	for _, include := range imports.([]string) {
		imp := resolve.ImportSpec{Lang: languageName, Imp: include}
		found, ok := resolve.FindRuleWithOverride(c, imp, languageName)
		if !ok {
			results := ix.FindRulesByImportWithConfig(c, imp, languageName)
			if len(results) != 1 || results[0].IsSelfImport(from) {
				continue
			}
			found = results[0].Label
		}
		deps = append(deps, found.Rel(from.Repo, from.Pkg).String())
	}
	r.DelAttr("deps")
	if len(deps) > 0 {
		slices.Sort(deps)
		r.SetAttr("deps", slices.Compact(deps))
	}
}
