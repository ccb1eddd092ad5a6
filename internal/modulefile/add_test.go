package modulefile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// digests of the images of TestAdd: curl needs ssl and z, ssl needs z.
var digests = map[string]string{"curl": "c", "ssl": "5", "z": "2", "other": "9"}

// image is one of TestAdd's, pinned.
func image(name string) string {
	return "x.io/" + name + ":1@sha256:" + strings.Repeat(digests[name], 64)
}

func describe(ref registry.Reference) (string, []artifact.Dependency, error) {
	needs := map[string][]string{"curl": {"ssl", "z"}, "ssl": {"z"}}
	for name := range digests {
		if image(name) != ref.String() {
			continue
		}
		var all []artifact.Dependency
		for _, n := range needs[name] {
			all = append(all, artifact.Dependency{Name: n, Image: image(n)})
		}
		return name, all, nil
	}
	return "", nil, fmt.Errorf("nobody knows %s", ref)
}

// full writes the images out: curl! is curl's with its digest.
func full(text string) string {
	for name := range digests {
		text = strings.ReplaceAll(text, name+"!", image(name))
	}
	return text
}

const dep = "bazel_dep(name = \"rules_ocipkg\", version = \"0.1.0\", repo_name = \"oci\")\n"
const rule = "ocipkg_library = use_repo_rule(\"@oci//rules:defs.bzl\", \"ocipkg_library\")\n"
const all = `
ocipkg_library(
    name = "curl",
    image = "curl!",
    deps = [
        "@ssl",
        "@z",
    ],
)

ocipkg_library(
    name = "ssl",
    image = "ssl!",
    deps = ["@z"],
)

ocipkg_library(
    name = "z",
    image = "z!",
)
`

func TestAdd(t *testing.T) {
	for _, c := range []struct {
		what, before, name string
		keep               bool
		after              string
		done               string
	}{
		{"nothing is declared yet", "module(name = 'm')\n" + dep + "# the end", "", false,
			"module(name = 'm')\n" + dep + "# the end\n\n" + rule + all, "curl added, ssl added, z added"},
		{"behind the others", dep + rule + "r = 1\nocipkg_library(name = \"a\", image = \"x.io/a:1\") # a\n\nhttp_file(name = \"f\")\n", "", false,
			dep + rule + "r = 1\nocipkg_library(name = \"a\", image = \"x.io/a:1\") # a\n" + all + "\nhttp_file(name = \"f\")\n", "curl added, ssl added, z added"},
		{"all are there", dep + rule + all, "", false, dep + rule + all, "curl kept, ssl kept, z kept"},
		{"by another name, without deps, with a tag, on one line",
			dep + rule + "ocipkg_library(name = \"zet\",   image = \"z!\")\nocipkg_library(image = 'x.io/curl:1', name = \"curl\")\nocipkg_library(name = \"ssl\", image = \"ssl!\", deps = [])\n", "", false,
			dep + rule + "ocipkg_library(name = \"zet\",   image = \"z!\")\nocipkg_library(image = 'curl!', deps = [\n        \"@ssl\",\n        \"@zet//:z\",\n    ], name = \"curl\")\nocipkg_library(name = \"ssl\", image = \"ssl!\", deps = [\"@zet//:z\"])\n",
			"curl pinned, ssl deps, zet kept"},
		{"comments stay where they are",
			dep + rule + "ocipkg_library(\n  name = \"curl\",\n  image = \"curl!\" # of curl\n)\nocipkg_library(\n    name = \"ssl\",\n    image = \"ssl!\",\n    deps = [\n        # for x\n        \"@x\"  # x\n    ],\n)\n", "", false,
			dep + rule + "ocipkg_library(\n  name = \"curl\",\n  image = \"curl!\", # of curl\n  deps = [\n        \"@ssl\",\n        \"@z\",\n    ],\n)\nocipkg_library(\n    name = \"ssl\",\n    image = \"ssl!\",\n    deps = [\n        # for x\n        \"@x\",  # x\n        \"@z\",\n    ],\n)\n\nocipkg_library(\n    name = \"z\",\n    image = \"z!\",\n)\n",
			"curl deps, ssl deps, z added"},
		{"the name of another repository", dep + "bazel_dep(name = \"z\", version = \"1\")\n" + rule, "web", false,
			dep + "bazel_dep(name = \"z\", version = \"1\")\n" + rule + `
ocipkg_library(
    name = "web",
    image = "curl!",
    deps = [
        "@ssl",
        "@ocipkg_z//:z",
    ],
)

ocipkg_library(
    name = "ssl",
    image = "ssl!",
    deps = ["@ocipkg_z//:z"],
)

ocipkg_library(
    name = "ocipkg_z",
    image = "z!",
)
`, "web added, ssl added, ocipkg_z added"},
		{"another of a dependency is kept", dep + rule + "ocipkg_library(name = \"ssl\", image = \"other!\")\n", "", true,
			dep + rule + "ocipkg_library(name = \"ssl\", image = \"other!\")\n" + `
ocipkg_library(
    name = "curl",
    image = "curl!",
    deps = [
        "@ssl",
        "@z",
    ],
)

ocipkg_library(
    name = "z",
    image = "z!",
)
`, "curl added, ssl kept, z added"},
		{"tags, and a use_repo on several lines",
			"o = use_extension(\"@oci//rules:extensions.bzl\", \"ocipkg\")\no.library(name = \"b\", image = \"x.io/b:1\")\nuse_repo(\n    o,\n    # b is\n    \"b\", # here\n    \"x\"\n)\n", "", false,
			"o = use_extension(\"@oci//rules:extensions.bzl\", \"ocipkg\")\no.library(name = \"b\", image = \"x.io/b:1\")\n" + strings.ReplaceAll(all, "ocipkg_library", "o.library") + "use_repo(\n    o,\n    # b is\n    \"b\", # here\n    \"curl\",\n    \"ssl\",\n    \"x\",\n    \"z\",\n)\n",
			"curl added, ssl added, z added"},
		{"tags, and a use_repo on one line",
			"o = use_extension(\"@oci//rules:extensions.bzl\", \"ocipkg\")\nuse_repo(o, \"x\")", "", false,
			"o = use_extension(\"@oci//rules:extensions.bzl\", \"ocipkg\")\n" + strings.ReplaceAll(all, "ocipkg_library", "o.library") + "use_repo(o, \"curl\", \"ssl\", \"x\", \"z\")",
			"curl added, ssl added, z added"},
		{"a tag that the module calls otherwise, and one that it does not use",
			"o = use_extension(\"@oci//rules:extensions.bzl\", \"ocipkg\")\no.library(name = \"z\", image = \"z!\")\no.library(name = \"ssl\", image = \"ssl!\", deps = [\"@mine//:z\"])\no.library(name = \"curl\", image = \"curl!\")\nuse_repo(o, \"curl\", mine = \"z\")\n", "", false,
			"o = use_extension(\"@oci//rules:extensions.bzl\", \"ocipkg\")\no.library(name = \"z\", image = \"z!\")\no.library(name = \"ssl\", image = \"ssl!\", deps = [\"@mine//:z\"])\no.library(name = \"curl\", image = \"curl!\", deps = [\n        \"@ssl\",\n        \"@mine//:z\",\n    ])\nuse_repo(o, \"curl\", \"ssl\", mine = \"z\")\n",
			"curl deps, ssl kept, z kept"},
		{"tags alone", "o = use_extension(\"@oci//rules:extensions.bzl\", \"ocipkg\")\n", "", false,
			"o = use_extension(\"@oci//rules:extensions.bzl\", \"ocipkg\")\n" + strings.ReplaceAll(all, "ocipkg_library", "o.library") + "\nuse_repo(o, \"curl\", \"ssl\", \"z\")\n",
			"curl added, ssl added, z added"},
	} {
		t.Run(c.what, func(t *testing.T) {
			add := func(text string) (*Change, string) {
				t.Helper()
				f, err := Parse("M", []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				change, added, err := f.Add(Wanted{Name: c.name, Image: mustParse(t, image("curl"))}, c.keep, describe)
				if err != nil {
					t.Fatal(err)
				}
				var done []string
				for _, a := range added {
					done = append(done, a.Name+" "+a.Done)
				}
				return change, strings.Join(done, ", ")
			}
			change, done := add(full(c.before))
			if got, want := string(change.Bytes()), full(c.after); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if done != c.done {
				t.Errorf("done: %s, want %s", done, c.done)
			}
			if again, _ := add(string(change.Bytes())); !again.Empty() {
				t.Errorf("done twice, it changes\n%s", again.Diff())
			}
			patched(t, full(c.before), change)
		})
	}
}

// patched checks that a change's diff, applied by patch(1) where there is one, gives what the change gives.
func patched(t *testing.T, before string, change *Change) {
	t.Helper()
	patch, err := exec.LookPath("patch")
	if err != nil || change.Empty() {
		return
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"M": before, "d": change.Diff()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(patch, "-p0", "-i", "d")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, change.Diff())
	}
	data, err := os.ReadFile(filepath.Join(dir, "M"))
	if err != nil || string(data) != string(change.Bytes()) {
		t.Errorf("patch made\n%s\n(%v) of\n%s", data, err, change.Diff())
	}
}

func mustParse(t *testing.T, s string) registry.Reference {
	t.Helper()
	ref, err := registry.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestAddRefuses(t *testing.T) {
	for _, c := range []struct {
		what, text string
		keep       bool
		kind       diagnostic.Kind
		says       string
	}{
		{"another of that name", dep + rule + "ocipkg_library(name = \"curl\", image = \"other!\")\n", true, diagnostic.Refused, "add curl: M:3 declares it as x.io/other:1@sha256:999"},
		{"another of a dependency's", dep + rule + "ocipkg_library(name = \"z\", image = \"other!\")\n", false, diagnostic.Refused, "keep it with --keep"},
		{"another tag", dep + rule + "ocipkg_library(name = \"z\", image = \"x.io/z:2\")\n", false, diagnostic.Refused, "declares it as x.io/z:2"},
		{"no library of ours", dep + "bazel_dep(name = \"curl\", version = \"1\")\n", false, diagnostic.Refused, "give another with --name"},
		{"deps are computed", dep + rule + "ocipkg_library(name = \"curl\", image = \"curl!\", deps = DEPS)\n", false, diagnostic.Usage, `M:3: deps is not a plain list, so it cannot be changed in place` + "\n"},
		{"without rules_ocipkg", "module(name = \"m\")\n", false, diagnostic.NotFound, "does not depend on rules_ocipkg"},
	} {
		t.Run(c.what, func(t *testing.T) {
			f, err := Parse("M", []byte(full(c.text)))
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = f.Add(Wanted{Image: mustParse(t, image("curl"))}, c.keep, describe)
			if diagnostic.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// FuzzAdd: whatever the file looks like, what Add makes of it parses, keeps every byte but those that it adds, and needs
// nothing more; or Add says why not.
func FuzzAdd(f *testing.F) {
	for _, text := range []string{
		dep, dep + rule + all, dep + rule + "ocipkg_library(name='curl',image='curl!',\ndeps=[ # none\n])",
		"o = use_extension(\"//rules:extensions.bzl\", \"ocipkg\")\nuse_repo(o, 'a',\n  b = \"c\") # x\no.library(image = 'x')",
		rule + "ocipkg_library(name = \"z\", image = \"z!\", deps = [\"@a\",])\nocipkg_library(\n\timage = \"ssl!\",\n\tname = \"ssl\")",
	} {
		f.Add(full(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("M", []byte(text))
		if err != nil {
			return
		}
		wanted := Wanted{Image: mustParse(t, image("curl"))}
		change, _, err := file.Add(wanted, true, describe)
		if err != nil {
			return
		}
		after := change.Bytes()
		again, err := Parse("M", after)
		if err != nil {
			t.Fatalf("%q became %q, which does not parse: %v", text, after, err)
		}
		more, _, err := again.Add(wanted, true, describe)
		if err != nil || !more.Empty() {
			t.Errorf("%q became %q, which is not all: %v", text, after, err)
		}
		at := 0
		for _, e := range change.edits {
			if e.start < at || e.end < e.start {
				t.Fatalf("%q: edits overlap: %v", text, change.edits)
			}
			at = e.end
			if e.end > e.start && !strings.Contains(text[e.start:e.end], "x.io/") {
				t.Errorf("%q: %q is lost", text, text[e.start:e.end])
			}
		}
		_ = change.Diff()
	})
}
