package ocipkg

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bazelbuild/bazel-gazelle/resolve"
	"github.com/bazelbuild/bazel-gazelle/rule"
)

// oneIndex is a workspace of 100 libraries with 20,000 headers in one index, as `ocipkg index` writes it.
func oneIndex(b *testing.B) string {
	var text strings.Builder
	text.WriteString("{")
	for i := range 100 {
		for j := range 200 {
			fmt.Fprintf(&text, "\n  \"library%02d/part/header%03d.h\": [\"@library%02d//:library%02d\"],", i, j, i, i)
		}
	}
	return strings.TrimSuffix(text.String(), ",") + "\n}\n"
}

// BenchmarkFirstIncludeOfOneIndex is what a run with an index of MODULE.bazel pays once.
func BenchmarkFirstIncludeOfOneIndex(b *testing.B) {
	c := workspace(b, "i.json", oneIndex(b))
	ix := resolve.NewRuleIndex(func(*rule.Rule, string) resolve.Resolver { return nil })
	ix.Finish()
	for b.Loop() {
		lang := NewLanguage()
		dir := configure(b, lang, c, "", []string{"ocipkg_index i.json"})
		if len(lang.(resolve.CrossResolver).CrossResolve(dir, ix, resolve.ImportSpec{Lang: "cc", Imp: "library07/part/header007.h"}, "cc")) != 1 {
			b.Fatal("not found")
		}
	}
}
