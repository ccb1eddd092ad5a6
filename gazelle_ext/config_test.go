package ocipkg

import (
	"bytes"
	"log"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/language"
	"github.com/bazelbuild/bazel-gazelle/rule"
	"github.com/bazelbuild/bazel-gazelle/testtools"
)

// workspace makes a repository of these files, each a path and its content, and a configuration for its root.
func workspace(t testing.TB, files ...string) *config.Config {
	t.Helper()
	c := config.New()
	c.RepoRoot = t.TempDir()
	root, err := os.OpenRoot(c.RepoRoot)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for i := 0; i < len(files); i += 2 {
		if err := root.MkdirAll(path.Dir(files[i]), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := root.WriteFile(files[i], []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// configure does what Gazelle does in a directory below that of parent, whose BUILD file has these directives: a key
// and a value each, and nil for a directory that has no BUILD file.
func configure(t testing.TB, lang language.Language, parent *config.Config, rel string, directives []string) *config.Config {
	t.Helper()
	c := parent.Clone()
	if directives == nil {
		lang.Configure(c, rel, nil)
		return c
	}
	var text strings.Builder
	for _, d := range directives {
		text.WriteString("# gazelle:" + d + "\n")
	}
	f, err := rule.LoadData(path.Join(c.RepoRoot, rel, "BUILD.bazel"), rel, []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	lang.Configure(c, rel, f)
	return c
}

// logged returns what f logs.
func logged(t testing.TB, f func()) string {
	t.Helper()
	var out bytes.Buffer
	flags := log.Flags()
	log.SetFlags(0)
	log.SetOutput(&out)
	defer func() {
		log.SetFlags(flags)
		log.SetOutput(os.Stderr)
	}()
	f()
	return out.String()
}

func namesOf(c *config.Config) string {
	list := indexesOf(c)
	if list == nil {
		return ""
	}
	var names []string
	for _, file := range list.files {
		names = append(names, file.name)
	}
	return strings.Join(names, " ")
}

func TestDirectiveAddsInheritsAndClears(t *testing.T) {
	lang := NewLanguage()
	root := configure(t, lang, workspace(t), "", []string{"ocipkg_index a.json  dir/b.json", "prefix example.com", "ocipkg_index c.json"})
	for _, c := range []struct {
		name       string
		directives []string
		want       string
	}{
		{"no BUILD file", nil, "a.json dir/b.json c.json"},
		{"no directive", []string{}, "a.json dir/b.json c.json"},
		{"another's directive", []string{"prefix example.com/x"}, "a.json dir/b.json c.json"},
		{"added", []string{"ocipkg_index d.json"}, "a.json dir/b.json c.json d.json"},
		{"named again", []string{"ocipkg_index c.json ./dir//b.json a.json"}, "a.json dir/b.json c.json"},
		{"cleared", []string{"ocipkg_index"}, ""},
		{"replaced", []string{"ocipkg_index d.json", "ocipkg_index", "ocipkg_index c.json a.json"}, "c.json a.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := configure(t, lang, root, "sub", c.directives)
			if got := namesOf(sub); got != c.want {
				t.Errorf("in the directory: %q, want %q", got, c.want)
			}
			if got := namesOf(configure(t, lang, sub, "sub/sub", nil)); got != c.want {
				t.Errorf("below it: %q, want %q", got, c.want)
			}
			if got, want := namesOf(root), "a.json dir/b.json c.json"; got != want {
				t.Errorf("above it: %q, want %q", got, want)
			}
		})
	}
}

// A list that two directories add to must not be one slice to both.
func TestSiblingsDoNotShareWhatTheyAdd(t *testing.T) {
	lang := NewLanguage()
	root := configure(t, lang, workspace(t), "", []string{"ocipkg_index a.json b.json c.json"})
	one := configure(t, lang, root, "one", []string{"ocipkg_index one.json"})
	two := configure(t, lang, root, "two", []string{"ocipkg_index two.json"})
	if got, want := namesOf(one)+", "+namesOf(two), "a.json b.json c.json one.json, a.json b.json c.json two.json"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Directories with the same indexes look them up in the same map.
func TestEqualListsAreOne(t *testing.T) {
	lang := NewLanguage()
	c := workspace(t)
	one := configure(t, lang, c, "one", []string{"ocipkg_index a.json b.json"})
	two := configure(t, lang, c, "two", []string{"ocipkg_index a.json", "ocipkg_index ./b.json"})
	if indexesOf(one) != indexesOf(two) {
		t.Error("two lists of the same files")
	}
}

func TestIndexOutsideTheRepository(t *testing.T) {
	lang := NewLanguage()
	for _, name := range []string{"../x.json", "/x.json", "a/../../x.json"} {
		var c *config.Config
		got := logged(t, func() {
			c = configure(t, lang, workspace(t), "lib", []string{"ocipkg_index a.json " + name + " b.json"})
		})
		want := "lib/BUILD.bazel: # gazelle:ocipkg_index " + name + ": the file is not in the repository. The path is relative to the repository root, and must not leave it.\n"
		if got != want {
			t.Errorf("logged %s\nwant %s", got, want)
		}
		if got := namesOf(c); got != "a.json b.json" {
			t.Errorf("the other files: %s", got)
		}
	}
}

// The directive costs its reading: no file is opened before a header is asked for.
func TestConfigureReadsNothing(t *testing.T) {
	c := workspace(t)
	if got := logged(t, func() { configure(t, NewLanguage(), c, "", []string{"ocipkg_index missing.json"}) }); got != "" {
		t.Errorf("logged %s", got)
	}
}

// Gazelle calls these of every language.
func TestTheRestOfTheLanguageIsEmpty(t *testing.T) {
	lang := NewLanguage()
	testtools.NewTestConfig(t, nil, []language.Language{lang}, nil)
	if lang.Name() != "ocipkg" || len(lang.Kinds()) != 0 {
		t.Errorf("%s has kinds %v", lang.Name(), lang.Kinds())
	}
	if got := lang.GenerateRules(language.GenerateArgs{Config: config.New(), RegularFiles: []string{"a.c", "libz.a"}}); len(got.Gen)+len(got.Empty)+len(got.Imports) != 0 {
		t.Errorf("generates %v", got)
	}
}
