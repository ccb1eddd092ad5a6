package prebuilt

import (
	"github.com/bazelbuild/bazel-gazelle/rule"

	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
)

// kindOf is what a target of a plan is called in a workspace. Kinds that are not in it are left out: they give names to
// files, which have names here.
var kindOf = map[ccplan.Kind]string{
	ccplan.Library:  "ocipkg_cc_library",
	ccplan.Import:   "ocipkg_cc_import",
	ccplan.Prebuilt: "ocipkg_prebuilt_library",
}

var kinds = map[string]rule.KindInfo{
	"ocipkg_cc_library":       info("hdrs", "deps"),
	"ocipkg_cc_import":        info("static_library", "shared_library"),
	"ocipkg_prebuilt_library": info("static_library", "shared_library"),
}

// info says that a plan decides on all attributes.
func info(nonEmpty ...string) rule.KindInfo {
	k := rule.KindInfo{NonEmptyAttrs: map[string]bool{}, MergeableAttrs: map[string]bool{}}
	for _, attr := range nonEmpty {
		k.NonEmptyAttrs[attr] = true
	}
	for _, attr := range []string{
		"hdrs", "deps", "static_library", "shared_library", "interface_library", "soname", "includes", "defines", "features", "linkopts",
		"additional_linker_inputs", "alwayslink", "link_name", "target_compatible_with",
	} {
		k.MergeableAttrs[attr] = true
	}
	return k
}

func (*prebuiltLang) Kinds() map[string]rule.KindInfo { return kinds }

// Loads implements language.Language; Gazelle calls ApparentLoads instead.
func (l *prebuiltLang) Loads() []rule.LoadInfo {
	return l.ApparentLoads(func(string) string { return "" })
}

func (*prebuiltLang) ApparentLoads(moduleToApparentName func(string) string) []rule.LoadInfo {
	name := moduleToApparentName("rules_ocipkg")
	if name == "" {
		name = "rules_ocipkg"
	}
	return []rule.LoadInfo{{
		Name:    "@" + name + "//rules:prebuilt.bzl",
		Symbols: []string{"ocipkg_cc_import", "ocipkg_cc_library", "ocipkg_prebuilt_library"},
	}}
}
