package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReference: docs/reference is what the documentation in rules/ says.
func TestReference(t *testing.T) {
	s := theSuite
	w := s.workspace(t, "tools/reference", "", withCross...)
	w.bazel(t, "build", "//...")
	for _, page := range []string{"defs.md", "extensions.md"} {
		want, err := os.ReadFile(filepath.Join(w.dir, "bazel-bin", page))
		if err != nil {
			t.Fatal(err)
		}
		// Bazel reads Starlark as Latin-1, and stardoc writes what it read as UTF-8.
		if strings.ContainsFunc(string(want), func(r rune) bool { return r > 127 }) {
			t.Errorf("%s has characters that are not ASCII, which stardoc garbles", page)
		}
		got, err := os.ReadFile(filepath.Join(s.repository, "docs", "reference", page))
		if err != nil || string(got) != string(want) {
			t.Errorf("docs/reference/%s is not what the sources say: run `make reference` (%v)", page, err)
		}
	}
}
