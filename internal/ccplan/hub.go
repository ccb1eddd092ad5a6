package ccplan

import (
	"slices"
	"strings"
)

// Spoke is what a library is on one platform. Target is the triple by which the platform is known to rules/private/platforms.bzl,
// "" for what fits every one. Package is what the labels of its targets begin with, up to the colon: "@zlib__x86_64-unknown-linux-gnu//"
// is another repository, "//x86_64-unknown-linux-gnu" a folder of the same.
type Spoke struct {
	Target  string
	Package string
	Plan    Plan
}

// HubInput is what the plan of a hub is made from. Name is the name of its main target, which all spokes have too. What is the
// library as people know it, name and version. Spokes are those of the platforms that it is there for, in the order of their targets;
// LeftOut are the triples of those for which it has a manifest and the hub no spoke. Files are the files beside the BUILD file.
type HubInput struct {
	Name    string
	What    string
	Spokes  []Spoke
	LeftOut []string
	Files   []string
}

// Hub makes the plan of a package whose targets are those of the spokes that people depend on: an alias each, which the
// platform leads to a spoke. Building for a platform that no spoke is for is an error of the rule Unsupported, before
// anything of a spoke is fetched. An include path that any spoke has is in the index.
func Hub(in HubInput) Plan {
	plan := Plan{Index: map[string]string{}}
	taken := map[string]bool{}
	for _, s := range in.Spokes {
		for _, name := range s.Plan.Public {
			if !slices.Contains(plan.Public, name) {
				plan.Public = append(plan.Public, name)
				taken[name] = true
			}
		}
		for include, target := range s.Plan.Index {
			plan.Index[include] = target
		}
	}
	for _, f := range in.Files {
		if !taken[f] { // else no label can name it
			plan.Files = append(plan.Files, f)
			taken[f] = true
		}
	}
	// One target for all that are there for the same platforms.
	unsupported := map[string]string{}
	complain := func(name string, targets []string) string {
		key := strings.Join(targets, " ")
		if label := unsupported[key]; label != "" {
			return label
		}
		called := "unsupported_platform"
		what := in.What
		if len(targets) < len(in.Spokes) {
			called = name + "_" + called
			what += ", target :" + name + ","
		}
		for taken[called] {
			called += "_"
		}
		taken[called] = true
		attrs := []Attr{{"what", what}, {"platforms", targets}, {"left_out", in.LeftOut}}
		plan.Targets = append(plan.Targets, Target{Kind: Unsupported, Name: called, Attrs: said(attrs)})
		unsupported[key] = ":" + called
		return ":" + called
	}
	for _, name := range plan.Public {
		var choice Select
		var targets []string
		anywhere := ""
		for _, s := range in.Spokes {
			if !slices.Contains(s.Plan.Public, name) {
				continue
			}
			label := s.Package + ":" + name
			if s.Target == "" {
				anywhere = label
				continue
			}
			targets = append(targets, s.Target)
			choice = append(choice, Case{platformSetting + s.Target, label})
		}
		var actual any = anywhere
		if anywhere == "" {
			actual = append(choice, Case{"", complain(name, targets)})
		}
		doc := ""
		if name == in.Name {
			doc = "What to depend on."
		}
		plan.Targets = append(plan.Targets, Target{Kind: Alias, Name: name, Doc: doc, Attrs: []Attr{{"actual", actual}}})
	}
	return plan
}
