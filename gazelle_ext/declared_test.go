package ocipkg

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/bazelbuild/bazel-gazelle/config"
)

// TestModuleIndex: the index that Bazel makes of MODULE.bazel is used where nobody names another, and nothing is checked
// in; an empty one is none.
func TestModuleIndex(t *testing.T) {
	runfiles := t.TempDir()
	file := filepath.Join(runfiles, "_main~header_index~x", "header_index.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("RUNFILES_DIR", runfiles)
	t.Setenv("RUNFILES_MANIFEST_FILE", "")
	t.Cleanup(func() { headerIndexPath = "" })
	const module = "r = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\nr(name = \"zlib\", image = \"x/zlib:1\")\n"
	answers := `{"zlib.h": ["@zlib//:zlib"]}`

	for name, c := range map[string]struct {
		path, index, checkedIn string
		directives             []string
		names, answer          string
	}{
		"made":              {path: "_main~header_index~x/header_index.json", index: answers, names: moduleIndex, answer: "@zlib//:zlib"},
		"nothing declared":  {path: "_main~header_index~x/header_index.json"},
		"not in runfiles":   {path: "_main~header_index~x/none.json", index: answers},
		"without Bazel":     {index: answers},
		"checked in":        {path: "_main~header_index~x/header_index.json", index: answers, checkedIn: "{}", names: defaultIndex},
		"named at the root": {path: "_main~header_index~x/header_index.json", index: answers, directives: []string{"ocipkg_index other.json"}, names: "other.json"},
		"more below":        {path: "_main~header_index~x/header_index.json", index: answers, directives: []string{"ocipkg_unresolved error"}, names: moduleIndex, answer: "@zlib//:zlib"},
	} {
		t.Run(name, func(t *testing.T) {
			headerIndexPath = c.path
			if err := os.WriteFile(file, []byte(c.index), 0o644); err != nil {
				t.Fatal(err)
			}
			files := []string{"MODULE.bazel", module, "other.json", "{}"}
			if c.checkedIn != "" {
				files = append(files, defaultIndex, c.checkedIn)
			}
			ws := workspace(t, files...)
			lang := &ocipkgLang{}
			fs := flag.NewFlagSet("gazelle", flag.ContinueOnError)
			lang.RegisterFlags(fs, "update", config.New())
			if err := lang.CheckFlags(fs, ws); err != nil {
				t.Fatal(err)
			}
			root := configure(t, lang, ws, "", c.directives)
			if got := namesOf(root); got != c.names {
				t.Errorf("indexes %q, want %q", got, c.names)
			}
			if got := ask(root, lang, "zlib.h", "cc"); got != c.answer {
				t.Errorf("answer %q, want %q", got, c.answer)
			}
		})
	}
}

// TestADefaultIndexThatCannotBeUsed: nobody wrote a directive, and none is named.
func TestADefaultIndexThatCannotBeUsed(t *testing.T) {
	for name, flagged := range map[string]bool{"looked for": false, "by a flag": true} {
		t.Run(name, func(t *testing.T) {
			ws := workspace(t, defaultIndex, "<<<<<<< HEAD\n")
			lang := &ocipkgLang{}
			fs := flag.NewFlagSet("gazelle", flag.ContinueOnError)
			lang.RegisterFlags(fs, "update", config.New())
			want := defaultIndex
			if flagged {
				file := filepath.Join(ws.RepoRoot, defaultIndex)
				if err := fs.Parse([]string{"-ocipkg_index=" + file}); err != nil {
					t.Fatal(err)
				}
				want = "-ocipkg_index=" + file
			}
			if err := lang.CheckFlags(fs, ws); err != nil {
				t.Fatal(err)
			}
			got := logged(t, func() {
				root := configure(t, lang, ws, "", []string{"ocipkg_unresolved error"})
				ask(root, lang, "zlib.h", "cc")
			})
			want += ": the index cannot be used: line 1: expected '{' at the start of a header index, found '<'. No header is looked up in it until that is mended; `ocipkg index` writes one anew.\n"
			if got != want {
				t.Errorf("logged %s\nwant %s", got, want)
			}
		})
	}
}
