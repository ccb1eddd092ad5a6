package modulefile

import (
	"maps"
	"slices"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// TestDiff: the diff, applied by patch(1) where there is one, gives what Replace gives.
func TestDiff(t *testing.T) {
	const head = "r = use_repo_rule(\"@x//rules:defs.bzl\", \"ocipkg_library\")\n"
	for _, c := range []struct {
		name, text string
		images     map[int]string
		want       string
	}{
		{"nothing", head + "r(name = \"a\", image = \"x/a:1\")\n", nil, ""},
		{"two", head + "r(name = \"a\", image = \"x/a:1\")\n# between\nr(name = \"b\", image = 'x/b:1')\n", map[int]string{0: "x/a:2", 1: "x/b:2"},
			"--- M\n+++ M\n@@ -2,1 +2,1 @@\n-r(name = \"a\", image = \"x/a:1\")\n+r(name = \"a\", image = \"x/a:2\")\n@@ -4,1 +4,1 @@\n-r(name = \"b\", image = 'x/b:1')\n+r(name = \"b\", image = 'x/b:2')\n"},
		{"one line", head + "r(name = \"a\", image = \"x/a:1\"); r(name = \"b\", image = \"x/b:1\")\n", map[int]string{0: "A", 1: "B"},
			"--- M\n+++ M\n@@ -2,1 +2,1 @@\n-r(name = \"a\", image = \"x/a:1\"); r(name = \"b\", image = \"x/b:1\")\n+r(name = \"a\", image = \"A\"); r(name = \"b\", image = \"B\")\n"},
		{"no newline at the end", head + "r(name = \"a\", image = \"x/a:1\")", map[int]string{0: "A"},
			"--- M\n+++ M\n@@ -2,1 +2,1 @@\n-r(name = \"a\", image = \"x/a:1\")\n\\ No newline at end of file\n+r(name = \"a\", image = \"A\")\n\\ No newline at end of file\n"},
		{"several lines become one", head + "r(name = \"a\", image = \"\"\"x/\na:1\"\"\")\n# after\n", map[int]string{0: "A"},
			"--- M\n+++ M\n@@ -2,2 +2,1 @@\n-r(name = \"a\", image = \"\"\"x/\n-a:1\"\"\")\n+r(name = \"a\", image = \"A\")\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse("M", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			got := f.Replace(c.images).Diff()
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			patched(t, c.text, f.Replace(c.images))
		})
	}
}

func TestUnpinned(t *testing.T) {
	f, err := Parse("M", []byte("r = use_repo_rule(\"@x//rules:defs.bzl\", \"ocipkg_library\")\nr(name = \"a\", image = \"x.io/a:1\")\nr(name = \"b\", image = \"x.io/b@sha256:0000000000000000000000000000000000000000000000000000000000000000\")\nr(name = \"c\", image = \"x.io/c\")\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		names []string
		want  []int
	}{{nil, []int{0, 2}}, {[]string{"b"}, nil}, {[]string{"b", "c"}, []int{2}}} {
		unpinned, err := f.Unpinned(c.names)
		if got := slices.Sorted(maps.Keys(unpinned)); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: %v (%v), want %v", c.names, got, err, c.want)
		}
	}
	if _, err := f.Unpinned([]string{"d"}); diagnostic.KindOf(err) != diagnostic.NotFound {
		t.Errorf("error %v", err)
	}
}
