package modulefile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

const sample = `"""Odd   formatting stays."""
module(name = 'x')
bazel_dep(name = "rules_ocipkg", version = "0.1.0", repo_name = "oci")
ocipkg_library = use_repo_rule("@oci//rules:defs.bzl", "ocipkg_library")
http_file = use_repo_rule("@bazel_tools//tools/build_defs/repo:http.bzl", "http_file")
# the compression library
ocipkg_library(name = "zlib",   image = "ghcr.io/acme/zlib:1.3.1",)  # keep me
ocipkg_library(
    image = 'ghcr.io/acme/ssl:3',
        name = "ssl", # Umlaute: äöü
)
http_file(name = "f", image = "not ours")
o = use_extension("@oci//rules:extensions.bzl", "ocipkg")
o.library(name = "zstd", image = """ghcr.io/acme/zstd:1""")
use_repo(o, "zstd")
`

func TestReplaceChangesImagesAlone(t *testing.T) {
	f, err := Parse("MODULE.bazel", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range f.Libraries {
		names = append(names, l.Name+"="+l.Image)
	}
	if got, want := strings.Join(names, " "), "zlib=ghcr.io/acme/zlib:1.3.1 ssl=ghcr.io/acme/ssl:3 zstd=ghcr.io/acme/zstd:1"; got != want {
		t.Fatalf("libraries: %s, want %s", got, want)
	}
	if f.Libraries[1].Line != 8 {
		t.Errorf("line = %d, want 8", f.Libraries[1].Line)
	}
	if got := string(f.Replace(nil).Bytes()); got != sample {
		t.Errorf("nothing replaced changed the file:\n%s", got)
	}
	want := strings.NewReplacer(`"ghcr.io/acme/zlib:1.3.1"`, `"A@sha256:1"`, `'ghcr.io/acme/ssl:3'`, `'B@sha256:2'`, `"""ghcr.io/acme/zstd:1"""`, `"C"`).Replace(sample)
	if got := string(f.Replace(map[int]string{0: "A@sha256:1", 1: "B@sha256:2", 2: "C"}).Bytes()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// Labels begin with what use_repo calls a repository of the extension's; those of rules are called as they are.
func TestRepositories(t *testing.T) {
	f, err := Parse("MODULE.bazel", []byte(`r = use_repo_rule("@rules_ocipkg//rules:defs.bzl", "ocipkg_library")
r(name = "ssl", image = "a/ssl:1")
o = use_extension("@rules_ocipkg//rules:extensions.bzl", "ocipkg")
use_repo(o, "zlib", mine = "ssl", my_zstd = "zstd")
o.library(name = "zlib", image = "a/zlib:1", includes = ["a", "b"], strip_include_prefix = "c")
o.library(name = "ssl", image = "a/ssl:1")
o.library(name = "zstd", image = "a/zstd:1")
o.library(name = "unused", image = "a/unused:1")
other = use_extension("//:x.bzl", "x")
use_repo(other, theirs = "zlib")
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range f.Libraries {
		got = append(got, l.Name+" is @"+l.Repository)
	}
	if got := fmt.Sprint(f.Libraries[1].Strings("includes"), f.Libraries[1].Strings("strip_include_prefix"), f.Libraries[1].Strings("none")); got != "[a b] [c] []" {
		t.Errorf("attributes: %s", got)
	}
	if got, want := strings.Join(got, ", "), "ssl is @ssl, zlib is @zlib, ssl is @mine, zstd is @my_zstd, unused is @unused"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Included files are read once each, wherever they are included; what Bazel does not take for an include() is none.
func TestRead(t *testing.T) {
	const head = "r = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\n"
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("MODULE.bazel", head+"include(\"//deps:c.MODULE.bazel\")\ninclude(\"//:other.MODULE.bazel\")\nr(name = \"a\", image = \"x/a:1\")\n")
	write("deps/c.MODULE.bazel", head+"r(name = \"b\", image = \"x/b:1\")\ninclude(\"//:other.MODULE.bazel\")\ninclude(\"//:MODULE.bazel\")\n")
	write("other.MODULE.bazel", head+"r(name = \"c\", image = \"x/c:1\")\ninclude(\":relative.MODULE.bazel\")\ninclude(\"@x//:y.MODULE.bazel\")\ninclude(\"//:../../up.MODULE.bazel\")\n")
	all, err := Read(filepath.Join(dir, "MODULE.bazel"), "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range all {
		rel, err := filepath.Rel(dir, f.Path())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, filepath.ToSlash(rel))
		for _, l := range f.Libraries {
			got = append(got, l.Name)
		}
	}
	if got, want := strings.Join(got, " "), "MODULE.bazel a deps/c.MODULE.bazel b other.MODULE.bazel c"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for name, want := range map[string]string{
		"none.MODULE.bazel":  "none.MODULE.bazel: open",
		"wrong.MODULE.bazel": "includes it",
	} {
		write("wrong.MODULE.bazel", "include(\"//:nothing.MODULE.bazel\")\n")
		if _, err := Read(filepath.Join(dir, name), "look elsewhere"); diagnostic.KindOf(err) != diagnostic.NotFound || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseErrorsNameTheLine(t *testing.T) {
	const head = "r = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\n"
	for _, c := range []struct{ name, text, want string }{
		{"syntax", head + "r(name = \n", "MODULE.bazel: it does not parse: 4:1"},
		{"computed", head + "r(name = \"a\", image = \"x\" + \"y\")\n", "MODULE.bazel:2: the image is not a plain string"},
		{"absent", head + "\nr(name = \"a\")\n", `MODULE.bazel:3: the library "a" has no image`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse("MODULE.bazel", []byte(c.text))
			if err == nil {
				_, err = f.Pin(t.Context(), nobody{}, nil, false)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v does not say %q", err, c.want)
			}
			if diagnostic.KindOf(err) != diagnostic.Usage {
				t.Errorf("kind = %d", diagnostic.KindOf(err))
			}
		})
	}
}

// nobody is a registry that is not asked.
type nobody struct{}

func (nobody) Resolve(context.Context, registry.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, errors.New("somebody was asked")
}

// answers is what a registry says of references without a digest.
type answers map[string]v1.Hash

func (a answers) Resolve(_ context.Context, ref registry.Reference) (v1.Descriptor, error) {
	digest, ok := a[ref.String()]
	if !ok {
		return v1.Descriptor{}, &diagnostic.Error{Kind: diagnostic.NotFound, Why: "no such tag"}
	}
	return v1.Descriptor{Digest: digest}, nil
}

func TestPin(t *testing.T) {
	hash := func(digit string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(digit, 64)} }
	text := fmt.Sprintf(`r = use_repo_rule("@rules_ocipkg//rules:defs.bzl", "ocipkg_library")
r(image = BASE + ":1", name = "computed")
r(name = "tag", image = "ghcr.io/acme/tag:1")
r(name = "moved", image = "ghcr.io/acme/moved:1@%[1]s")
r(name = "kept", image = "ghcr.io/acme/kept:1@%[1]s")
r(name = "digest", image = "ghcr.io/acme/digest@%[1]s")
r(name = "gone", image = "ghcr.io/acme/gone:1")
`, hash("1"))
	f, err := Parse("MODULE.bazel", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	known := answers{"ghcr.io/acme/tag:1": hash("2"), "ghcr.io/acme/moved:1": hash("3"), "ghcr.io/acme/kept:1": hash("1")}
	const tag, moved, all = "ghcr.io/acme/tag:1@sha256:2222", "ghcr.io/acme/moved:1@sha256:3333", "tag moved kept digest"
	for _, c := range []struct {
		names  string
		update bool
		want   map[int]string // the start of each
		says   string
	}{
		{all, false, map[int]string{1: tag}, ""},
		{all, true, map[int]string{1: tag, 2: moved}, ""},
		{"kept digest", true, nil, ""},
		{"", false, nil, "MODULE.bazel:2: the image is not a plain string"},
		{"computed", false, nil, "MODULE.bazel:2: the image is not a plain string"},
		{"tag gone", false, nil, "MODULE.bazel:7: pin gone: no such tag"}, // whole or not at all
		{"tag other", false, nil, "pin other: MODULE.bazel declares no library of that name"},
	} {
		got, err := f.Pin(t.Context(), known, strings.Fields(c.names), c.update)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) || got != nil {
				t.Errorf("pin %s: %v, %v", c.names, got, err)
			}
			continue
		}
		if err != nil || len(got) != len(c.want) {
			t.Errorf("pin %s, update %v: %v, %v", c.names, c.update, got, err)
		}
		for i, want := range c.want {
			if !strings.HasPrefix(got[i], want) {
				t.Errorf("pin %s, update %v: library %d is %s, want %s…", c.names, c.update, i, got[i], want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("a = use_extension(\"//rules:extensions.bzl\", \"ocipkg\")\na.library(image = 'x')"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("MODULE.bazel", data)
		if err != nil {
			return
		}
		if got := file.Replace(nil).Bytes(); string(got) != string(data) {
			t.Errorf("nothing replaced changed %q to %q", data, got)
		}
		images := map[int]string{}
		for i, l := range file.Libraries {
			if l.wrong != nil {
				continue
			}
			images[i] = "ghcr.io/acme/zlib:1@sha256:0"
		}
		again, err := Parse("MODULE.bazel", file.Replace(images).Bytes())
		if err != nil {
			t.Fatalf("%q does not parse after a replacement: %v", data, err)
		}
		if len(again.Libraries) != len(file.Libraries) {
			t.Errorf("%q: %d libraries, %d after", data, len(file.Libraries), len(again.Libraries))
		}
	})
}
