package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vendor copies a Go module, as the module proxy has it, into a folder of the workspace, without its tests: those of
// nobody here. A BUILD file says by which path it is imported.
// It returns the module's hash, as go.sum has it.
func (w *workspace) vendor(t *testing.T, module, version, dir string) string {
	t.Helper()
	scratch := t.TempDir()
	w.must(t, scratch, "go", "mod", "init", "scratch")
	r := w.suite.exec(t, scratch, nil, "go", "mod", "download", "-json", module+"@"+version)
	var downloaded struct{ Dir, Sum, Error string }
	if err := json.Unmarshal([]byte(r.stdout), &downloaded); err != nil || r.code != 0 {
		t.Skipf("SKIPPED, the module %s cannot be had: %s%s", module, downloaded.Error, r.stderr)
	}
	to := filepath.Join(w.dir, dir)
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(downloaded.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch ext := filepath.Ext(e.Name()); {
		case e.IsDir(), strings.HasSuffix(e.Name(), "_test.go"), ext != ".go" && ext != ".c" && ext != ".h":
			continue
		}
		data, err := os.ReadFile(filepath.Join(downloaded.Dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(to, "BUILD.bazel"), []byte("# gazelle:prefix "+module+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return downloaded.Sum
}

// TestGazelle: cgo packages that nobody here wrote find their libraries: `ocipkg index` and `bazel run //:gazelle` write
// everything that it takes to build, and a program of them runs with the libraries that were published. So does one with a
// library whose files lie in the workspace.
func TestGazelle(t *testing.T) {
	s := theSuite
	address := s.dockerRegistry(t)
	s.must(t, s.repository, "tools/publish-examples", s.ocipkg, filepath.Join(s.repository, ".out", "prefixes"), address)
	w := s.workspace(t, "e2e/testdata/gazelle", "gazelle", address)
	sum := w.vendor(t, "github.com/mattn/go-sqlite3", "v1.14.32", "third_party/go-sqlite3")
	w.vendor(t, "github.com/DataDog/zstd", "v1.5.7", "third_party/zstd")
	zlib := filepath.Join(w.dir, "third_party", "zlib")
	w.must(t, w.dir, "cp", "-R", filepath.Join(w.repository, ".out", "prefixes", "zlib"), zlib)
	if err := os.WriteFile(filepath.Join(zlib, "BUILD.bazel"), []byte("# gazelle:ocipkg_prebuilt zlib\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.pin(t)
	w.must(t, w.dir, w.ocipkg, "index")
	w.bazel(t, "run", "//:gazelle")
	for dir, want := range map[string]string{
		"third_party/go-sqlite3": `"@sqlite3"`,
		"third_party/zstd":       `cdeps = ["@zstd"]`,
	} {
		data, err := os.ReadFile(filepath.Join(w.dir, dir, "BUILD.bazel"))
		if err != nil {
			t.Fatal(err)
		}
		if text := string(data); !strings.Contains(text, want) || strings.Contains(text, "-lsqlite3") || strings.Contains(text, "-lzstd") {
			t.Errorf("%s:\n%s", dir, text)
		}
	}
	if r := w.exec(t, nil, "run", "//:gazelle", "--", "-mode=diff"); r.code != 0 {
		t.Errorf("a second run would change something:\n%s", r.stdout)
	}
	w.bazel(t, "test", "//...")
	app := filepath.Join(w.dir, "bazel-bin", "app", "app_", "app")
	if r := s.inEnv(t, w.dir, app); r.code != 0 || strings.TrimSpace(r.stdout) != "zstd works; sqlite "+s.version(t, address+"/sqlite3:debian") {
		t.Errorf("exit status %d: %s%s", r.code, r.stdout, r.stderr)
	}
	version := s.version(t, address+"/zlib:debian")
	if r := s.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin", "vendored", "app")); r.code != 0 || !strings.HasPrefix(version, strings.TrimSpace(r.stdout)) {
		t.Errorf("the vendored zlib %s: exit status %d: %s%s", version, r.code, r.stdout, r.stderr)
	}

	// The indexes of the repositories, one of which is a hub's, say the same as the file that is checked in.
	if err := os.Remove(filepath.Join(w.dir, "ocipkg_index.json")); err != nil {
		t.Fatal(err)
	}
	if r := w.exec(t, nil, "run", "//:gazelle_from_repositories", "--", "-mode=diff"); r.code != 0 {
		t.Errorf("with the indexes of the repositories something would change:\n%s%s", r.stdout, r.stderr)
	}

	w.goldens(t)
	w.goDeps(t, sum, "sqlite "+s.version(t, address+"/sqlite3:debian"))
}

// goDeps builds the same module out of go_deps, where no extension of Gazelle runs: with a patch that brings the BUILD file
// which Gazelle has written for the copy. docs/gazelle.md has the same steps as shell commands.
func (w *workspace) goDeps(t *testing.T, sum, prints string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, "third_party", "go-sqlite3", "BUILD.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		// What the repository of a Go module can name: rules_go as Gazelle calls it, and the main repository.
		`"@rules_go//`, `"@io_bazel_rules_go//`, `"@sqlite3"`, `"@@//third_party:sqlite3"`,
		"# gazelle:prefix github.com/mattn/go-sqlite3\n", "", "-Ithird_party/go-sqlite3", "-I.",
	).Replace(string(data))
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	patch := fmt.Sprintf("--- /dev/null\n+++ b/BUILD.bazel\n@@ -0,0 +1,%d @@\n+%s\n", len(lines), strings.Join(lines, "+"))
	source := filepath.Join(w.repository, "e2e", "testdata", "gazelle_go_deps")
	w.must(t, w.dir, "cp", "-R", filepath.Join(source, "external_app"), filepath.Join(source, "third_party"), ".")
	part, err := os.ReadFile(filepath.Join(source, "MODULE.part"))
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile(filepath.Join(w.dir, "MODULE.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"third_party/go-sqlite3.patch": patch,
		"MODULE.bazel":                 string(module) + strings.Replace(string(part), "SUM", sum, 1),
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.bazel(t, "build", "//external_app")
	app := filepath.Join(w.dir, "bazel-bin", "external_app", "external_app_", "external_app")
	if r := w.inEnv(t, w.dir, app); r.code != 0 || strings.TrimSpace(r.stdout) != prints {
		t.Errorf("by go_deps: exit status %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

// goldens has Bazel analyse what Gazelle makes of workspaces in gazelle_ext/testdata: that the labels are of targets, and
// the keys of select()s of platforms that rules_go knows. Their sources include headers that nobody has, so that they
// cannot be compiled.
func (w *workspace) goldens(t *testing.T) {
	t.Helper()
	for _, name := range []string{"pkg_config", "include", "link_names", "platforms", "tags", "tags_flag", "kinds"} {
		source := filepath.Join(w.repository, "gazelle_ext", "testdata", name)
		if err := os.MkdirAll(filepath.Join(w.dir, "goldens"), 0o755); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(w.dir, "goldens", name)
		w.must(t, w.dir, "cp", "-R", source, to)
		for _, file := range files(t, to) {
			if filepath.Base(file) == "BUILD.out" {
				if err := os.Rename(file, filepath.Join(filepath.Dir(file), "BUILD.bazel")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	w.bazel(t, "build", "--nobuild", "//goldens/...")
}
