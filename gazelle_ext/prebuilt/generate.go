package prebuilt

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/bazelbuild/bazel-gazelle/language"
	"github.com/bazelbuild/bazel-gazelle/rule"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
)

// GenerateRules makes the targets of a folder with the directive. What cannot be understood is reported, and leaves the
// rules that are there as they are.
func (l *prebuiltLang) GenerateRules(args language.GenerateArgs) (result language.GenerateResult) {
	result.RelsToIndex = l.toIndex(args.Config, args.RegularFiles)
	tree := treeOf(args.Config, args.Rel)
	if tree.name == "" {
		return result
	}
	plan, err := tree.plan()
	if err != nil {
		return result // it is logged
	}
	public := args.File == nil || !args.File.HasDefaultVisibility()
	made := map[string]bool{}
	for _, target := range plan.Targets {
		kind, ok := kindOf[target.Kind]
		if !ok {
			continue
		}
		r := rule.NewRule(kind, target.Name)
		for _, a := range target.Attrs {
			r.SetAttr(a.Name, value(a.Value, apparent(args.Config.ModuleToApparentName)))
		}
		if public && slices.Contains(plan.Public, target.Name) {
			r.SetAttr("visibility", []string{"//visibility:public"})
		}
		if target.Doc != "" {
			r.AddComment("# " + target.Doc)
		}
		made[target.Name] = true
		result.Gen = append(result.Gen, r)
		result.Imports = append(result.Imports, nil)
	}
	if args.File != nil {
		for _, r := range args.File.Rules {
			if _, ours := kinds[r.Kind()]; ours && !made[r.Name()] {
				result.Empty = append(result.Empty, rule.NewRule(r.Kind(), r.Name()))
			}
		}
	}
	return result
}

// planOf measures a tree and plans its targets. A BUILD file below the root would cut files off from the labels of the
// plan.
func planOf(fsys fs.FS, name string, buildFiles []string) (ccplan.Plan, error) {
	all := artifact.Tree{}
	var files []string
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
			return err
		case slices.Contains(buildFiles, path.Base(p)):
			if path.Dir(p) != "." {
				return fmt.Errorf("%s makes a package of its own of what belongs to the library; remove it, and keep Gazelle from writing it anew with # gazelle:exclude %s", p, path.Dir(p))
			}
			return nil
		}
		all[p] = artifact.Entry{Source: p}
		if d.Type() == fs.ModeSymlink {
			target, err := fs.ReadLink(fsys, p)
			if err != nil {
				return err
			}
			all[p] = artifact.Entry{Link: target}
		}
		files = append(files, p)
		return nil
	})
	if err != nil {
		return ccplan.Plan{}, err
	}
	described, err := artifact.Describe(fsys, all, artifact.Claims{Name: name})
	if err != nil {
		return ccplan.Plan{}, err
	}
	if len(described.Libraries) == 0 && len(described.Includes) == 0 {
		return ccplan.Plan{}, fmt.Errorf("there is neither a header below include/ nor a library; put them there, or take the directive out")
	}
	slices.Sort(files)
	// The flag for the linkage is for libraries that are fetched, whose labels cannot say what they link.
	plan := ccplan.New(ccplan.Input{Name: name, Package: described, Files: files, Linkage: ccplan.Auto, ForPeople: true})
	plan.Public = append(plan.Public, name)
	return plan, nil
}

// apparent gives the name of a module's repository in this workspace.
func apparent(names func(string) string) func(string) string {
	return func(module string) string {
		if names != nil {
			if name := names(module); name != "" {
				return name
			}
		}
		return module
	}
}

// value writes labels of other modules as this workspace knows them.
func value(v any, apparent func(string) string) any {
	label := func(s string) string {
		rest, ok := strings.CutPrefix(s, "@")
		module, target, isLabel := strings.Cut(rest, "//")
		if !ok || !isLabel {
			return s
		}
		return "@" + apparent(module) + "//" + target
	}
	if list, ok := v.(ccplan.List); ok {
		v = list.Values
	}
	if list, ok := v.([]string); ok {
		list = slices.Clone(list)
		for i := range list {
			list[i] = label(list[i])
		}
		return list
	}
	return v
}
