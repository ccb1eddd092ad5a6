package ocipkg_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ocipkg/rules_ocipkg/gazelle_ext/gazelletest"
	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
)

var update = flag.Bool("update", false, "write what Gazelle makes of testdata into it")

const ours = "github.com/ocipkg/rules_ocipkg/gazelle_ext"

// gazelle is the real Gazelle with its language for Go, one for C++ and ours, compiled once.
var gazelle = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gazelle")
	if err != nil {
		return "", err
	}
	gazelleDir = dir
	return gazelletest.Build(dir, gazelletest.Go, ours+"/cctest", ours)
})

// withPrebuilt is the same with the language for libraries of the workspace besides.
var withPrebuilt = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(gazelleDir, "prebuilt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return gazelletest.Build(dir, gazelletest.Go, ours+"/cctest", ours, ours+"/prebuilt")
})

var gazelleDir string

// built gives the command, and skips the test where it cannot be compiled.
func built(t *testing.T) string {
	t.Helper()
	command, err := gazelle()
	if errors.Is(err, gazelletest.ErrNoGo) {
		t.Skip("SKIPPED:", err)
	} else if err != nil {
		t.Fatal(err)
	}
	return command
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if gazelleDir != "" {
		os.RemoveAll(gazelleDir)
	}
	os.Exit(code)
}

// TestGoldens runs Gazelle in each folder of testdata, which is a workspace: BUILD.in is what it finds, BUILD.out what it
// leaves: nothing, where there is a BUILD.in alone and the exit status is 0. A workspace without a MODULE.bazel or an ocipkg_index.json has those of testdata/default. arguments.txt holds a
// command line, expectedStderr.txt what is logged, expectedExitCode.txt the exit status, where it is not 0. What is left is built
// with Bazel by an end-to-end test (TestGazelle), but for what notBuilt.txt says why it cannot be: see notBuilt there.
// An empty .a stands for an archive, and the language for libraries of the workspace is there where the name of the golden
// says so.
func TestGoldens(t *testing.T) {
	command := built(t)
	prebuilt, err := withPrebuilt()
	if err != nil {
		t.Fatal(err)
	}
	cases, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Name() == "default" || c.Name() == "fuzz" {
			continue
		}
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			command := command
			if strings.Contains(c.Name(), "prebuilt") {
				command = prebuilt
			}
			golden(t, command, filepath.Join("testdata", c.Name()))
		})
	}
}

func golden(t *testing.T, command, source string) {
	dir := t.TempDir()
	for _, name := range []string{"MODULE.bazel", "ocipkg_index.json"} {
		copyFile(t, filepath.Join("testdata/default", name), filepath.Join(dir, name))
	}
	expected := map[string]string{} // path in the workspace -> what it holds in the end
	err := fs.WalkDir(os.DirFS(source), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(source, p))
		if err != nil {
			return err
		}
		to := p
		if filepath.Ext(p) == ".a" && len(data) == 0 {
			data = artifacttest.Archive(artifacttest.Object{Defines: []string{"defined"}})
		}
		switch base := filepath.Base(p); base {
		case "arguments.txt", "expectedStderr.txt", "expectedExitCode.txt", "notBuilt.txt":
			return nil
		case "BUILD.out":
			expected[filepath.Join(filepath.Dir(p), "BUILD.bazel")] = string(data)
			return nil
		case "BUILD.in":
			to = filepath.Join(filepath.Dir(p), "BUILD.bazel")
		default:
			expected[p] = string(data)
		}
		to = filepath.Join(dir, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Fields(optional(t, source, "arguments.txt"))
	exit := 0
	if text := strings.TrimSpace(optional(t, source, "expectedExitCode.txt")); text != "" {
		if exit, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	before := files(t, dir)
	for p := range before {
		if _, ok := expected[p]; !ok && exit == 0 && filepath.Base(p) == "BUILD.bazel" {
			expected[p] = "" // a BUILD.in without a BUILD.out: the file is left empty, or goes
		}
	}

	// What would change is shown, and the exit status says whether anything would.
	diff := gazelletest.Run(t, command, dir, append(args, "-mode=diff")...)
	if now := files(t, dir); !equal(now, before) {
		t.Error("with -mode=diff it writes")
	}
	result := gazelletest.Run(t, command, dir, args...)
	after := files(t, dir)
	if *update {
		rewrite(t, source, after, result)
		return
	}
	if result.ExitStatus != exit {
		t.Errorf("exit status %d, want %d", result.ExitStatus, exit)
	}
	if want := optional(t, source, "expectedStderr.txt"); result.Stderr != want {
		t.Errorf("logged:\n%s\nwant:\n%s", result.Stderr, want)
	}
	for p, want := range expected {
		if after[p] != want {
			t.Errorf("%s:\n%s\nwant:\n%s", p, after[p], want)
		}
	}
	for p, data := range after {
		if _, ok := expected[p]; !ok && before[p] != data && data != "" { // a BUILD file without a rule is left empty
			t.Errorf("%s was not expected:\n%s", p, data)
		}
	}
	if exit != 0 {
		if !equal(before, after) {
			t.Error("it failed, and wrote")
		}
		return
	}
	if changed := !equal(before, after); changed != (diff.ExitStatus == 1) {
		t.Errorf("it changes files is %v, and the exit status of -mode=diff %d", changed, diff.ExitStatus)
	}
	if again := gazelletest.Run(t, command, dir, args...); again.ExitStatus != 0 || !equal(after, files(t, dir)) {
		t.Errorf("a second run exits with %d, and leaves %v", again.ExitStatus, files(t, dir))
	}
	if again := gazelletest.Run(t, command, dir, append(args, "-mode=diff")...); again.ExitStatus != 0 {
		t.Errorf("-mode=diff after it exits with %d: %s", again.ExitStatus, again.Stdout)
	}
	// Nor does it where Gazelle indexes the rules of a folder only when it comes there.
	args = append(args, "-index=lazy", "-mode=diff")
	if lazy := gazelletest.Run(t, command, dir, args...); lazy.ExitStatus != 0 {
		t.Errorf("with -index=lazy it makes a difference: %s", lazy.Stdout)
	}
	if _, err := os.Stat(filepath.Join(dir, "both")); err == nil { // a package by itself, with a library of the workspace
		if lazy := gazelletest.Run(t, command, dir, append(args, "-r=false", "both")...); lazy.ExitStatus != 0 {
			t.Errorf("with -index=lazy, of both/ alone, it makes a difference: %s", lazy.Stdout)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func optional(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(data)
}

// files are all files of a folder, by path.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		found[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for p := range a {
		if have, ok := b[p]; !ok || have != a[p] {
			return false
		}
	}
	return true
}

func rewrite(t *testing.T, source string, after map[string]string, result gazelletest.Result) {
	t.Helper()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(source, name)
		if text == "" {
			os.Remove(name)
			return
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for p, data := range after {
		if filepath.Base(p) == "BUILD.bazel" {
			if result.ExitStatus != 0 {
				data = ""
			}
			write(filepath.Join(filepath.Dir(p), "BUILD.out"), data)
		}
	}
	write("expectedStderr.txt", result.Stderr)
	code := ""
	if result.ExitStatus != 0 {
		code = strconv.Itoa(result.ExitStatus) + "\n"
	}
	write("expectedExitCode.txt", code)
}

// TestIndexFromRunfiles gives Gazelle an index in the data of its target, by a flag and by a label in a directive.
func TestIndexFromRunfiles(t *testing.T) {
	command := built(t)
	runfiles := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(runfiles, "canonical~zlib/header_index.json"), `{"zlib.h": ["@zlib//:zlib"], "-lz": ["@zlib//:zlib"]}`)
	put(filepath.Join(runfiles, "_repo_mapping"), ",zlib,canonical~zlib\n")
	t.Setenv("RUNFILES_DIR", runfiles)
	t.Setenv("RUNFILES_MANIFEST_FILE", "")
	absolute := filepath.Join(t.TempDir(), "index.json")
	put(absolute, `{"zlib.h": ["@zlib//:zlib"]}`)

	for name, c := range map[string]struct{ directive, flag, fails string }{
		"by a label":                {directive: "# gazelle:ocipkg_index @zlib//:header_index.json"},
		"by rlocationpath":          {flag: "-ocipkg_index=canonical~zlib/header_index.json"},
		"by an absolute path":       {flag: "-ocipkg_index=" + absolute},
		"by a label that is not":    {directive: "# gazelle:ocipkg_index @openssl//:header_index.json", fails: "it is not in the data of the gazelle target"},
		"by an rlocationpath of no": {flag: "-ocipkg_index=canonical~none/header_index.json", fails: "it is not in the data of the gazelle target"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			copyFile(t, "testdata/default/MODULE.bazel", filepath.Join(dir, "MODULE.bazel"))
			put(filepath.Join(dir, "BUILD.bazel"), "# gazelle:prefix example.com/m\n"+c.directive+"\n")
			put(filepath.Join(dir, "lib/a.go"), "package lib\n\n// #include <zlib.h>\nimport \"C\"\n")
			args := []string{}
			if c.flag != "" {
				args = append(args, c.flag)
			}
			result := gazelletest.Run(t, command, dir, args...)
			found := strings.Contains(files(t, dir)["lib/BUILD.bazel"], `cdeps = ["@zlib"]`)
			if c.fails == "" && (!found || result.Stderr != "") || c.fails != "" && (found || !strings.Contains(result.Stderr, c.fails)) {
				t.Errorf("found it: %v; logged %s", found, result.Stderr)
			}
		})
	}
}

// TestTheLastLibraryIsGone from MODULE.bazel: of its labels there is a message, though there is no index any more, and
// "gazelle fix" takes them out. What somebody wrote of the workspace's own targets is nobody's concern.
func TestTheLastLibraryIsGone(t *testing.T) {
	command := built(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"MODULE.bazel":       "module(name = \"m\")\n\nbazel_dep(name = \"rules_go\", version = \"0.59.0\")\n",
		"BUILD.bazel":        "# gazelle:prefix example.com/m\n",
		"uses/a.go":          "package uses\n\n// #include <zlib.h>\nimport \"C\"\n",
		"uses/BUILD.bazel":   rules("uses", `["@zlib"]`),
		"used/a.go":          "package used\n",
		"used/BUILD.bazel":   rules("used", `["@zlib"]`),
		"own/a.go":           "package own\n\n// #include <own.h>\nimport \"C\"\n",
		"own/BUILD.bazel":    rules("own", `["//c:own"]`),
		"off/a.go":           "package off\n",
		"off/BUILD.bazel":    "# gazelle:ocipkg_cdeps off\n" + rules("off", `["@zlib"]`),
		"marked/a.go":        "package marked\n\n// #include <zlib.h>\nimport \"C\"\n",
		"marked/BUILD.bazel": rules("marked", "[\n        \"@zlib\",  # keep\n    ]"),
	} {
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	result := gazelletest.Run(t, command, dir)
	undeclared := "go_library %s: cdeps has @zlib, and MODULE.bazel declares no repository zlib. Declare it, or run `gazelle fix`, which takes the label out.\n"
	want := "gazelle: used/BUILD.bazel: " + fmt.Sprintf(undeclared, "used") +
		"gazelle: used/BUILD.bazel: go_library used imports \"C\" no more, and rules_go refuses the cdeps that are left, which are not known to be the work of this extension. Remove them; or, if a source that Gazelle does not see imports \"C\", mark cgo = True with # keep.\n" +
		"gazelle: uses/BUILD.bazel: " + fmt.Sprintf(undeclared, "uses")
	if result.ExitStatus != 0 || result.Stderr != want {
		t.Errorf("exit status %d; logged:\n%s\nwant:\n%s", result.ExitStatus, result.Stderr, want)
	}
	for pkg, has := range map[string]bool{"uses": true, "used": true, "own": true, "marked": true} {
		if got := files(t, dir)[pkg+"/BUILD.bazel"]; strings.Contains(got, "cdeps") != has {
			t.Errorf("%s:\n%s", pkg, got)
		}
	}
	if fixed := gazelletest.Run(t, command, dir, "fix"); fixed.ExitStatus != 0 {
		t.Errorf("fix: exit status %d\n%s", fixed.ExitStatus, fixed.Stderr)
	}
	for pkg, has := range map[string]bool{"uses": false, "used": false, "own": true, "marked": true} {
		if got := files(t, dir)[pkg+"/BUILD.bazel"]; strings.Contains(got, "cdeps") != has {
			t.Errorf("%s, fixed:\n%s", pkg, got)
		}
	}
	if again := gazelletest.Run(t, command, dir); again.Stderr != "" {
		t.Errorf("after that it says:\n%s", again.Stderr)
	}
}

// rules is a BUILD file with a library for Go.
func rules(name, cdeps string) string {
	return fmt.Sprintf("load(\"@rules_go//go:def.bzl\", \"go_library\")\n\ngo_library(\n    name = %[1]q,\n    srcs = [\"a.go\"],\n    cdeps = %[2]s,\n    cgo = True,\n    importpath = \"example.com/m/%[1]s\",\n    visibility = [\"//visibility:public\"],\n)\n", name, cdeps)
}

// TestVendoredWithoutAnIndex has two libraries in the workspace with one header, and no index. Nobody is told of what the
// libraries do not answer: without an index nothing is expected to be answered.
func TestVendoredWithoutAnIndex(t *testing.T) {
	built(t) // or skipped
	command, err := withPrebuilt()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"MODULE.bazel":            "",
		"BUILD.bazel":             "# gazelle:prefix example.com/m\n",
		"lib/a.go":                "package lib\n\n// #cgo LDFLAGS: -lnone\n// #include <z.h>\nimport \"C\"\n",
		"third/a/BUILD.bazel":     "# gazelle:ocipkg_prebuilt a\n",
		"third/a/include/z.h":     "",
		"third/b/BUILD.bazel":     "# gazelle:ocipkg_prebuilt b\n",
		"third/b/include/z.h":     "",
		"third/wrong/BUILD.bazel": "# gazelle:ocipkg_prebuilt wrong\n",
	} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	result := gazelletest.Run(t, command, dir, "-lang=go,ocipkg,ocipkg_prebuilt")
	const want = `gazelle: //third/wrong: # gazelle:ocipkg_prebuilt wrong: there is neither a header below include/ nor a library; put them there, or take the directive out
gazelle: #include <z.h>: //third/a (# gazelle:ocipkg_prebuilt) has this header, and so has //third/b (# gazelle:ocipkg_prebuilt). The first is used, because its folder comes first; to choose the other, write # gazelle:resolve cc z.h //third/b.
`
	if got := files(t, dir)["lib/BUILD.bazel"]; result.Stderr != want || !strings.Contains(got, `cdeps = ["//third/a"]`) {
		t.Errorf("logged %s\nand made\n%s", result.Stderr, got)
	}
}

// TestLanguageForGoBehind lists our language before that for Go, and runs with it alone: that is no mistake.
func TestLanguageForGoBehind(t *testing.T) {
	built(t) // or skipped
	for name, c := range map[string]struct {
		languages []string
		fails     bool
	}{
		"before":  {[]string{ours, gazelletest.Go}, true},
		"without": {[]string{ours + "/cctest", ours}, false},
	} {
		t.Run(name, func(t *testing.T) {
			command, err := gazelletest.Build(t.TempDir(), c.languages...)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			copyFile(t, "testdata/default/MODULE.bazel", filepath.Join(dir, "MODULE.bazel"))
			result := gazelletest.Run(t, command, dir)
			said := strings.Contains(result.Stderr, "stands before the language for Go")
			if said != c.fails || (result.ExitStatus != 0) != c.fails {
				t.Errorf("exit status %d, logged %s", result.ExitStatus, result.Stderr)
			}
		})
	}
}
