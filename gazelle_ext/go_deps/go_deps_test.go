package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/gazelle_ext/gazelletest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

const moduleFile = `bazel_dep(name = "rules_go", version = "0.59.0", repo_name = "my_go")
include("//deps:libraries.MODULE.bazel")
`

const libraries = `ocipkg_library = use_repo_rule("@rules_ocipkg//rules:defs.bzl", "ocipkg_library")
ocipkg_library(name = "openssl", image = "localhost:5000/openssl:3")
ocipkg_library(name = "zlib", image = "localhost:5000/zlib:1")
`

const index = `{"zlib.h": ["@zlib//:zlib"], "-lz": ["@zlib//:zlib"], "pkg-config:libssl": ["@openssl//:ssl"]}`

// a is a module with what cgo can ask for: names, flags that Gazelle loses, folders of its own, conditions on the platform;
// and with packages that need nothing.
var a = map[string]string{
	"a.go": `package a

/*
#cgo pkg-config: libssl
#cgo CFLAGS: -I${SRCDIR}/include -DA=1
#cgo LDFLAGS: -L${SRCDIR}/lib -lz -lm
#include <zlib.h>
*/
import "C"
`,
	"BUILD":           "not Bazel's\n",
	"include/a.h":     "",
	"mine/mine.go":    "package mine\n\n// #cgo LDFLAGS: -lmine\nimport \"C\"\n",
	"own/own.go":      "package own\n\n// #cgo LDFLAGS: -lm\nimport \"C\"\n",
	"plain/plain.go":  "package plain\n",
	"tagged/first.go": "package tagged\n",
	"tagged/t.go":     "//go:build external\n\npackage tagged\n\n// #include <zlib.h>\nimport \"C\"\n",
	"where/where.go": `package where

/*
#cgo linux LDFLAGS: -lz
#cgo windows LDFLAGS: -lws2_32
*/
import "C"
`,
}

func TestNeeds(t *testing.T) {
	command, err := gazelletest.Build(t.TempDir(), gazelletest.Go, "github.com/ocipkg/rules_ocipkg/gazelle_ext")
	if errors.Is(err, gazelletest.ErrNoGo) {
		t.Skip("SKIPPED:", err)
	} else if err != nil {
		t.Fatal(err)
	}
	root, dir, b := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, root, map[string]string{
		"MODULE.bazel": moduleFile, "deps/libraries.MODULE.bazel": libraries, "deps/index.json": index, "ocipkg_index.json": "{}",
		"BUILD.bazel": "# gazelle:prefix example.com/root\n# gazelle:build_tags external,other\n# gazelle:ocipkg_index deps/index.json\n# gazelle:resolve ocipkg -lmine //third_party:mine\n",
	})
	write(t, dir, a)
	write(t, b, map[string]string{"b.go": "package b\n\n// #include <zlib.h>\nimport \"C\"\n", "none/none.go": "package none\n"})
	ws, err := readWorkspace(root)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	tool := tools{gazelle: command, env: append(os.Environ(), "GOPROXY=off"), log: &logged}
	var all []needs
	for _, m := range []module{{"example.com/a", "v1.0.0", dir, "example.com/a"}, {"example.com/b/v2", "v2.1.0", b, "example.com/b/v2@v2.1.0"}} {
		n, err := tool.needs(ws, m)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	if logged.Len() > 0 {
		t.Errorf("logged %s", &logged)
	}
	got, err := render(all, []string{"-build_tags=external"})
	if err != nil {
		t.Fatal(err)
	}
	all[0].module.version = "v1.1.0" // of go.mod
	if newer, err := render(all, []string{"-build_tags=external"}); err != nil || newer != got {
		t.Errorf("with another version in go.mod: %v\n%s", err, newer)
	}
	got += "\n# In MODULE.bazel:\n#\n"
	for _, n := range all {
		for line := range strings.Lines(n.override("@@//:ocipkg_go_deps.bzl", ws.tags)) {
			got += "# " + line
		}
	}
	golden := filepath.Join("testdata", "ocipkg_go_deps.bzl")
	if *update {
		write(t, ".", map[string]string{golden: got})
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// What nobody answers is said, with the words of the extension.
	write(t, b, map[string]string{"b.go": "package b\n\n// #cgo LDFLAGS: -lnobody\nimport \"C\"\n"})
	n, err := tool.needs(ws, module{path: "example.com/b", dir: b})
	if err != nil || len(n.packages) > 0 || !strings.Contains(logged.String(), "-lnobody: no library that MODULE.bazel declares answers") || strings.Contains(logged.String(), repository) {
		t.Errorf("%v, %v, logged %s", n.packages, err, &logged)
	}
}

func TestOutputLabel(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{"BUILD.bazel": "", "third_party/BUILD": ""})
	for output, want := range map[string]string{
		"ocipkg_go_deps.bzl":     "@@//:ocipkg_go_deps.bzl",
		"./third_party/go.bzl":   "@@//third_party:go.bzl",
		"none/go.bzl":            "",
		"../go.bzl":              "",
		"third_party/go.bazel":   "",
		root + "/third_party.go": "",
	} {
		got, err := outputLabel(root, output)
		if got != want || (err == nil) != (want != "") || err != nil && diagnostic.KindOf(err) != diagnostic.Usage {
			t.Errorf("%s: %q, %v", output, got, err)
		}
	}
}

func TestAWorkspaceWithoutMODULE(t *testing.T) {
	_, err := readWorkspace(t.TempDir())
	if diagnostic.KindOf(err) != diagnostic.NotFound || strings.Contains(err.Error(), "--file") {
		t.Errorf("%v: there is no such flag here", err)
	}
}
