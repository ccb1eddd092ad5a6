package ocipkg

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/language"
	"github.com/bazelbuild/bazel-gazelle/resolve"
	"github.com/bazelbuild/bazel-gazelle/rule"
)

// ask returns the labels that answer an include, separated by blanks, in the way a language asks.
func ask(c *config.Config, lang language.Language, include, from string) string {
	ix := resolve.NewRuleIndex(func(*rule.Rule, string) resolve.Resolver { return nil }, lang)
	ix.Finish()
	var labels []string
	for _, r := range ix.FindRulesByImportWithConfig(c, resolve.ImportSpec{Lang: from, Imp: include}, from) {
		// Not with String, which is shorter in later versions of Gazelle.
		at := map[bool]string{false: "@", true: "@@"}[r.Label.Canonical]
		labels = append(labels, fmt.Sprintf("%s%s//%s:%s", at, r.Label.Repo, r.Label.Pkg, r.Label.Name))
	}
	return strings.Join(labels, " ")
}

func TestCrossResolve(t *testing.T) {
	lang := NewLanguage()
	root := configure(t, lang, workspace(t,
		"zlib.json", `{"zlib.h": ["@zlib//:zlib"], "zconf.h": "@zlib", "sub/z.h": ["@@zlib~1.3//sub/pkg:z"]}`,
		"ssl.json", `{"openssl/ssl.h": ["@openssl//:ssl"], "here.h": "//third_party:here", "none.h": [], "crypt.h": "@openssl", "net/if.h": "@openssl", "string": "@openssl"}`,
	), "", []string{"ocipkg_index zlib.json ssl.json"})
	sub := configure(t, lang, root, "sub", []string{"ocipkg_index", "ocipkg_index ssl.json"})

	for _, c := range []struct{ include, from, inRoot, inSub string }{
		{"zlib.h", "cc", "@zlib//:zlib", ""},
		{"zconf.h", "cc", "@zlib//:zlib", ""},
		{"sub/z.h", "cc", "@@zlib~1.3//sub/pkg:z", ""},
		{"openssl/ssl.h", "cc", "@openssl//:ssl", "@openssl//:ssl"},
		{"here.h", "cc", "@//third_party:here", "@//third_party:here"},
		{"none.h", "cc", "", ""},
		{"ssl.h", "cc", "", ""},
		{"crypt.h", "cc", "@openssl//:openssl", "@openssl//:openssl"},
		{"net/if.h", "cc", "", ""},
		{"string", "cc", "", ""},
		{"stdio.h", "cc", "", ""},
		{"", "cc", "", ""},
		{"zlib.h", "go", "", ""},
		{"zlib.h", "ocipkg", "", ""},
	} {
		got := logged(t, func() {
			if got := ask(root, lang, c.include, c.from); got != c.inRoot {
				t.Errorf("%s from %s: %q, want %q", c.include, c.from, got, c.inRoot)
			}
			if got := ask(sub, lang, c.include, c.from); got != c.inSub {
				t.Errorf("%s from %s in sub: %q, want %q", c.include, c.from, got, c.inSub)
			}
		})
		if got != "" {
			t.Errorf("logged %s", got)
		}
	}
}

func TestTheIndexNamedFirstWins(t *testing.T) {
	lang := NewLanguage()
	c := workspace(t,
		"a.json", `{"z.h": "@a//:z", "both.h": ["@a//:both", "@a//:other"], "same.h": "@s"}`,
		"b.json", `{"z.h": "@b//:z", "same.h": ["@s//:s"]}`,
		"c.json", `{"z.h": "@c//:z"}`,
	)
	forward := configure(t, lang, c, "forward", []string{"ocipkg_index a.json b.json c.json"})
	backward := configure(t, lang, c, "backward", []string{"ocipkg_index c.json b.json a.json"})
	got := logged(t, func() {
		for range 2 {
			for _, q := range []struct {
				c             *config.Config
				include, want string
			}{
				{forward, "z.h", "@a//:z"}, {backward, "z.h", "@c//:z"}, {forward, "both.h", "@a//:both"}, {forward, "same.h", "@s//:s"},
			} {
				if got := ask(q.c, lang, q.include, "cc"); got != q.want {
					t.Errorf("%s: %s, want %s", q.include, got, q.want)
				}
			}
		}
	})
	want := `#include <z.h>: @a//:z (a.json) has this header, and so has @b//:z (b.json). The first is used, because its index is named first; to choose the other, write # gazelle:resolve cc z.h @b//:z.
#include <both.h>: @a//:both (a.json) has this header, and so has @a//:other (a.json). The first is used, because it stands there first; to choose the other, write # gazelle:resolve cc both.h @a//:other.
`
	if got != want {
		t.Errorf("logged:\n%s\nwant:\n%s", got, want)
	}
}

func TestAnIndexThatCannotBeUsed(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"missing.json", "", "there is no such file; the path is relative to the repository root"},
		{"pointer.json", "version https://git-lfs.github.com/spec/v1\n", "line 1: expected '{' at the start of a header index, found 'v'"},
		{"label.json", `{"good.h": "@good", "x.h": "@x//:a b:"}`, `header x.h: label parse error: name has invalid characters: "@x//:a b:"; write @repository//package:name`},
		{"relative.json", `{"x.h": ":x"}`, "header x.h: label :x is relative, and an index is in no package; write @repository//package:name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := []string{"zlib.json", `{"zlib.h": "@zlib"}`}
			if c.content != "" {
				files = append(files, c.name, c.content)
			}
			lang := NewLanguage()
			root := workspace(t, files...)
			got := logged(t, func() {
				// From two directories whose lists differ, and twice: it is read once all the same.
				for range 2 {
					for rel, more := range map[string]string{"lib": "", "app": " more.json"} {
						dir := configure(t, lang, root, rel, []string{"ocipkg_index " + c.name + " zlib.json"})
						if more != "" {
							dir = configure(t, lang, dir, rel+"/x", []string{"ocipkg_index zlib.json " + c.name})
						}
						if got := ask(dir, lang, "zlib.h", "cc"); got != "@zlib//:zlib" {
							t.Errorf("the other index: %q", got)
						}
						if got := ask(dir, lang, "good.h", "cc"); got != "" {
							t.Errorf("half an index was used: %q", got)
						}
					}
				}
			})
			from, message, _ := strings.Cut(got, ": ")
			if from != "lib/BUILD.bazel" && from != "app/BUILD.bazel" {
				t.Errorf("logged from %q", from)
			}
			if want := "# gazelle:ocipkg_index " + c.name + ": the index cannot be used: " + c.want + ". No header is looked up in it until that is mended; `ocipkg index` writes one anew.\n"; message != want {
				t.Errorf("logged %s\nwant %s", message, want)
			}
		})
	}
}

func TestAnIndexIsReadAtMostOnce(t *testing.T) {
	lang := NewLanguage()
	root := workspace(t, "zlib.json", `{"zlib.h": "@zlib"}`, "more.json", `{}`)
	one := configure(t, lang, root, "one", []string{"ocipkg_index zlib.json"})
	two := configure(t, lang, root, "two", []string{"ocipkg_index more.json zlib.json"})
	if got := ask(one, lang, "stdio.h", "cc"); got != "" {
		t.Fatalf("stdio.h: %s", got)
	}
	if err := os.Remove(filepath.Join(root.RepoRoot, "zlib.json")); err != nil {
		t.Fatal(err)
	}
	got := logged(t, func() {
		for _, c := range []*config.Config{one, two} {
			if got := ask(c, lang, "zlib.h", "cc"); got != "@zlib//:zlib" {
				t.Errorf("zlib.h: %q", got)
			}
		}
	})
	if got != "" {
		t.Errorf("logged %s", got)
	}
}

// For the race detector: later versions of Gazelle may walk and resolve in parallel.
func TestConcurrentUse(t *testing.T) {
	lang := NewLanguage()
	root := workspace(t, "a.json", `{"z.h": "@a"}`, "b.json", `{"z.h": "@b"}`)
	got := logged(t, func() {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				c := configure(t, lang, root, fmt.Sprint("dir", i), []string{"ocipkg_index a.json", "ocipkg_index b.json"})
				if got := ask(c, lang, "z.h", "cc"); got != "@a//:a" {
					t.Errorf("z.h: %q", got)
				}
			})
		}
		wg.Wait()
	})
	if n := strings.Count(got, "\n"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, got)
	}
}

func TestAMissAllocatesNothing(t *testing.T) {
	lang := NewLanguage().(resolve.CrossResolver)
	plain := workspace(t, "a.json", `{"z.h": "@a"}`)
	with := configure(t, lang.(language.Language), plain, "", []string{"ocipkg_index a.json"})
	for name, c := range map[string]*config.Config{"no directive": plain, "not in the index": with} {
		imp := resolve.ImportSpec{Lang: "cc", Imp: "stdio.h"}
		if n := testing.AllocsPerRun(100, func() { lang.CrossResolve(c, nil, imp, "cc") }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// manyLibraries is a workspace of 100 libraries with 20,000 headers, each library with an index of its own.
func manyLibraries(b *testing.B) (c *config.Config, directive string) {
	var files, names []string
	for i := range 100 {
		index := map[string][]string{}
		for j := range 200 {
			index[fmt.Sprintf("library%d/part/header%d.h", i, j)] = []string{fmt.Sprintf("@library%d//:library%d", i, i)}
		}
		data, err := json.MarshalIndent(index, "", "  ")
		if err != nil {
			b.Fatal(err)
		}
		names = append(names, fmt.Sprintf("third_party/library%d/header_index.json", i))
		files = append(files, names[i], string(data))
	}
	return workspace(b, files...), "ocipkg_index " + strings.Join(names, " ")
}

// BenchmarkFirstInclude is everything that a run with 100 libraries and 20,000 headers pays once.
func BenchmarkFirstInclude(b *testing.B) {
	c, directive := manyLibraries(b)
	ix := resolve.NewRuleIndex(func(*rule.Rule, string) resolve.Resolver { return nil })
	ix.Finish()
	for b.Loop() {
		lang := NewLanguage()
		dir := configure(b, lang, c, "", []string{directive})
		if len(lang.(resolve.CrossResolver).CrossResolve(dir, ix, resolve.ImportSpec{Lang: "cc", Imp: "library7/part/header7.h"}, "cc")) != 1 {
			b.Fatal("not found")
		}
	}
}

// oneIndex is a workspace of 100 libraries with 20,000 headers in one index, as `ocipkg index` writes it.
func oneIndex() string {
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
	c := workspace(b, "i.json", oneIndex())
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

// BenchmarkMiss is what each include costs that nobody answers.
func BenchmarkMiss(b *testing.B) {
	c, directive := manyLibraries(b)
	lang := NewLanguage()
	dir := configure(b, lang, c, "", []string{directive})
	for b.Loop() {
		lang.(resolve.CrossResolver).CrossResolve(dir, nil, resolve.ImportSpec{Lang: "cc", Imp: "stdio.h"}, "cc")
	}
}

// TestFewIndexesAndMany: whether indexes are searched one after the other or made into one map, the answers are the same.
func TestFewIndexesAndMany(t *testing.T) {
	files := []string{"a.json", `{"z.h": "@a//:z", "a.h": ["@a//:a", "@a//:b"], "-lz": "@a"}`, "b.json", `{"z.h": "@b", "b.h": "@b"}`, "c.json", `{"b.h": "@c", "c.h": ["@gone", "@c"]}`}
	files = append(files, "MODULE.bazel", "")
	module := "r = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\n"
	for _, name := range []string{"a", "b", "c"} {
		module += fmt.Sprintf("r(name = %q)\n", name)
	}
	files[len(files)-1] = module
	names := "a.json b.json c.json"
	for i := range few {
		name := fmt.Sprintf("none%d.json", i)
		files, names = append(files, name, "{}"), names+" "+name
	}
	c := workspace(t, files...)
	x := &indexes{}
	logged(t, func() {
		short := x.list([]string{"a.json", "b.json", "c.json"}, c.RepoRoot, "")
		long := x.list(strings.Fields(names), c.RepoRoot, "")
		for _, key := range []string{"z.h", "a.h", "b.h", "c.h", "-lz", "d.h", "", "zz"} {
			a, ok := short.find(key)
			b, okToo := long.find(key)
			if a != b || ok != okToo || ok != slices.Contains(strings.Fields("z.h a.h b.h c.h -lz"), key) {
				t.Errorf("%q: %v, %v of few; %v, %v of many", key, a, ok, b, okToo)
			}
		}
		if a, _ := short.find("c.h"); a.winner == nil || a.winner.written != "@c" {
			t.Errorf("c.h: %v", a)
		}
	})
}
