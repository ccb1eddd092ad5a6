package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// vendor copies a Go module, as the module proxy has it, into a folder of the workspace, without its tests: those of
// nobody here. A BUILD file says by which path it is imported.
// It returns the lines of go.sum.
func (w *workspace) vendor(t *testing.T, module, version, dir string) string {
	t.Helper()
	scratch := t.TempDir()
	w.must(t, scratch, "go", "mod", "init", "scratch")
	r := w.suite.exec(t, scratch, nil, "go", "mod", "download", "-json", module+"@"+version)
	var downloaded struct{ Dir, Sum, GoModSum, Error string }
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
	return fmt.Sprintf("%[1]s %[2]s %[3]s\n%[1]s %[2]s/go.mod %[4]s\n", module, version, downloaded.Sum, downloaded.GoModSum)
}

// TestGazelle: cgo packages that nobody here wrote find their libraries: with the extension among the languages of
// gazelle_binary, and nothing else, `bazel run //:gazelle` writes everything that it takes to build, and fetches no library.
// A program of them runs with the libraries that were published. So does one with a library whose files lie in the
// workspace.
func TestGazelle(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	address := server.Host
	s.must(t, s.repository, "tools/publish-examples", s.ocipkg, filepath.Join(s.repository, ".out", "prefixes"), address)
	w := s.workspace(t, "e2e/testdata/gazelle", address)
	w.env = []string{"OCIPKG_STORE=" + filepath.Join(t.TempDir(), "store")} // other tests have fetched the same bytes
	sums := w.vendor(t, "github.com/DataDog/zstd", "v1.5.7", "third_party/zstd")
	sums += w.vendor(t, "github.com/mattn/go-sqlite3", "v1.14.32", "third_party/go-sqlite3")
	w.vendor(t, "github.com/google/brotli/go/cbrotli", "v1.1.0", "third_party/cbrotli")
	w.vendor(t, "github.com/seccomp/libseccomp-golang", "v0.11.1", "third_party/libseccomp-golang")
	for name, of := range map[string]struct{ debian, license string }{"brotli": {"libbrotli-dev", "MIT"}, "seccomp": {"libseccomp-dev", "LGPL-2.1-only"}} {
		prefix := filepath.Join(s.repository, ".out", "prefixes", name)
		if _, err := os.Stat(prefix); err != nil {
			s.must(t, s.repository, "tools/debian-prefix", prefix, of.debian)
		}
		s.must(t, s.out, s.ocipkg, "pack", "--quiet", prefix, "--name", name, "--license", of.license, "-o", prefix+".tar")
		s.must(t, s.out, s.ocipkg, "push", "--quiet", prefix+".tar", address+"/"+name+":debian")
	}
	zlib := filepath.Join(w.dir, "third_party", "zlib")
	w.must(t, w.dir, "cp", "-R", filepath.Join(w.repository, ".out", "prefixes", "zlib"), zlib)
	if err := os.WriteFile(filepath.Join(zlib, "BUILD.bazel"), []byte("# gazelle:ocipkg_prebuilt zlib\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.pin(t)
	server.Clear()
	w.bazel(t, "run", "//:gazelle")
	if asked := server.Requests("/manifests/"); len(asked) == 0 {
		t.Error("no image was asked for, so that it tells nothing that no layer was")
	}
	layers := map[string][]string{}
	for _, name := range []string{"brotli", "openssl", "seccomp", "sqlite3", "zlib", "zstd"} {
		layers[name] = s.layersOf(t, address+"/"+name+":debian", host)
		for _, layer := range layers[name] {
			if asked := server.Requests("/blobs/" + layer); len(asked) > 0 {
				t.Errorf("running Gazelle fetches of %s: %v", name, asked)
			}
		}
	}
	for dir, want := range map[string]string{
		"third_party/cbrotli":           "\"@brotli//:brotlicommon\",\n        \"@brotli//:brotlidec\",\n        \"@brotli//:brotlienc\",",
		"third_party/go-sqlite3":        `"@sqlite3"`,
		"third_party/libseccomp-golang": `cdeps = ["@seccomp"]`, // by #cgo pkg-config
		"third_party/zstd":              `cdeps = ["@zstd"]`,
		"vendored/cgo":                  `cdeps = ["//third_party/zlib"]`,
	} {
		data, err := os.ReadFile(filepath.Join(w.dir, dir, "BUILD.bazel"))
		if err != nil {
			t.Fatal(err)
		}
		if text := string(data); !strings.Contains(text, want) || answered.MatchString(text) {
			t.Errorf("%s:\n%s", dir, text)
		}
	}

	// A file that is checked in goes before that index, and says the same. One with nothing in it shows which is read.
	unchanged := func(target, with string) {
		t.Helper()
		if r := w.exec(t, nil, "run", target, "--", "-mode=diff"); r.code != 0 {
			t.Errorf("a second run, with %s, would change something:\n%s%s", with, r.stdout, r.stderr)
		}
	}
	unchanged("//:gazelle", "the index that Bazel makes")
	w.write(t, "ocipkg_index.json", "{}\n")
	if r := w.exec(t, nil, "run", "//:gazelle", "--", "-mode=diff"); r.code == 0 {
		t.Error("the file that is checked in is not read")
	}
	w.must(t, w.dir, w.ocipkg, "index")
	unchanged("//:gazelle", "ocipkg_index.json")
	if err := os.Remove(filepath.Join(w.dir, "ocipkg_index.json")); err != nil {
		t.Fatal(err)
	}
	unchanged("//:gazelle", "the index that Bazel makes anew")
	// So do the indexes of the repositories, one of which is a hub's.
	unchanged("//:gazelle_from_repositories", "the indexes of the repositories")

	w.bazel(t, "test", "//...")
	for _, name := range []string{"brotli", "seccomp", "sqlite3", "zstd"} {
		for _, layer := range layers[name] {
			if len(server.Requests("/blobs/"+layer)) == 0 {
				t.Errorf("%s is linked, and nobody asked for its layer %s: then it tells nothing that Gazelle did not", name, layer)
			}
		}
	}
	app := filepath.Join(w.dir, "bazel-bin", "app", "app_", "app")
	if r := s.inEnv(t, w.dir, app); r.code != 0 || strings.TrimSpace(r.stdout) != "sqlite "+s.version(t, address+"/sqlite3:debian")+"; seccomp "+s.version(t, address+"/seccomp:debian") {
		t.Errorf("exit status %d: %s%s", r.code, r.stdout, r.stderr)
	}
	version := s.version(t, address+"/zlib:debian")
	for _, program := range []string{"vendored/app", "vendored/cgo/cgo_/cgo"} {
		if r := s.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin", filepath.FromSlash(program))); r.code != 0 || !strings.HasPrefix(version, strings.TrimSpace(r.stdout)) {
			t.Errorf("%s with the vendored zlib %s: exit status %d: %s%s", program, version, r.code, r.stdout, r.stderr)
		}
	}

	w.goldens(t, address)
	w.goDeps(t, sums, "sqlite "+s.version(t, address+"/sqlite3:debian"))

	// Of a library that is nowhere nothing can be said; with a file that is checked in, nobody asks.
	module, err := os.ReadFile(filepath.Join(w.dir, "MODULE.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "MODULE.bazel", string(module)+fmt.Sprintf("\nocipkg_library(\n    name = \"nowhere\",\n    image = %q,\n)\n", address+"/nowhere:1"))
	r := w.exec(t, nil, "build", "//:gazelle")
	for _, words := range []string{"header index of the libraries in MODULE.bazel", address + "/nowhere:1", "commit ocipkg_index.json"} {
		if r.code == 0 || !strings.Contains(r.stderr, words) {
			t.Errorf("a library that is nowhere: exit status %d, and %q is not in:\n%s", r.code, words, r.stderr)
		}
	}
	w.write(t, "ocipkg_index.json", "{}\n")
	w.bazel(t, "build", "//:gazelle")
}

// layOutMachine makes a repository of what the goldens take for the machine's own: headers that no library has, and
// libraries by names that stay among the flags.
func (w *workspace) layOutMachine(t *testing.T) {
	t.Helper()
	m := &workspace{suite: w.suite, dir: filepath.Join(filepath.Dir(w.dir), "machine")}
	m.write(t, "REPO.bazel", "")
	m.write(t, "BUILD.bazel", fmt.Sprintf(`load("@rules_cc//cc:defs.bzl", "cc_library")

cc_library(
    name = "machine",
    hdrs = glob(["include/*.h"]),
    includes = ["include"],
    linkopts = ["-L%s/lib"],
    visibility = ["//visibility:public"],
)
`, m.dir))
	for _, name := range []string{"gone", "unknown", "vend"} {
		m.write(t, "include/"+name+".h", "#define MACHINE 1\n")
	}
	m.write(t, "machine.c", "int machine;\n")
	m.write(t, "lib/README", "")
	if r := w.inEnv(t, m.dir, "cc", "-c", "machine.c", "-o", "machine.o"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	for _, name := range []string{"foo", "nothing", "ssl", "unknown", "z"} {
		if r := w.inEnv(t, m.dir, "ar", "rcs", "lib/lib"+name+".a", "machine.o"); r.code != 0 {
			t.Fatal(r.stderr)
		}
	}
}

// answered are flags that cdeps stand for.
var answered = regexp.MustCompile(`-l(brotli|seccomp|sqlite3|zstd|z\b)`)

var includes = regexp.MustCompile(`include\("//:(.*)"\)`)

// notBuilt reads notBuilt.txt of a golden: lines with a folder, as //folder/..., and the reason why what is in it cannot be
// built.
func notBuilt(t *testing.T, dir string) (patterns []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "notBuilt.txt"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		pattern, reason, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(pattern, "//") || !strings.HasSuffix(pattern, "...") || reason == "" {
			t.Errorf("%s/notBuilt.txt: a line is a folder, as //folder/..., and a reason, not %q", dir, line)
		}
		patterns = append(patterns, pattern)
	}
	return patterns
}

// goldens builds what Gazelle makes of the workspaces in gazelle_ext/testdata, in one Bazel: each is a repository of this
// workspace, whose libraries it names, or, with a MODULE.bazel of its own, a module. So is what is made of a library of the
// workspace (gazelle_ext/prebuilt).
func (w *workspace) goldens(t *testing.T, address string) {
	t.Helper()
	w.layOutMachine(t)
	w.must(t, w.dir, w.ocipkg, "copy", "--quiet", address+"/zlib:debian", address+"/gone:debian")
	source := filepath.Join(w.repository, "gazelle_ext", "testdata")
	root := filepath.Join(filepath.Dir(w.dir), "goldens")
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	w.must(t, source, "cp", "-R", source, root)
	cases, err := os.ReadDir(source)
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile(filepath.Join(w.dir, "MODULE.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	common, err := os.ReadFile(filepath.Join(source, "default", "MODULE.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(filepath.Join(filepath.Dir(w.dir), "machine", "lib", "libz.a"))
	if err != nil {
		t.Fatal(err)
	}
	declared := string(module) + `
local_repository = use_repo_rule("@bazel_tools//tools/build_defs/repo:local.bzl", "local_repository")

local_repository(
    name = "machine",
    path = "../machine",
)
`
	declare := func(module, repo, dir string) {
		declared += fmt.Sprintf("bazel_dep(name = %q, repo_name = %q)\nlocal_path_override(\n    module_name = %q,\n    path = %q,\n)\n", module, repo, module, "../goldens/"+dir)
	}
	var built, refused []string
	for _, c := range cases {
		name := c.Name()
		if name == "default" || name == "fuzz" {
			continue
		}
		dir := filepath.Join(root, name)
		repo := "golden_" + name
		var packages, modules []string // folders
		skipped := notBuilt(t, dir)
		for _, file := range files(t, dir) {
			switch filepath.Base(file) {
			case "BUILD.in":
				err = os.Remove(file)
			case "BUILD.out":
				packages = append(packages, filepath.Dir(file))
				err = os.Rename(file, filepath.Join(filepath.Dir(file), "BUILD.bazel"))
			default:
				var data []byte
				if data, err = os.ReadFile(file); err != nil {
					break
				}
				if filepath.Ext(file) == ".a" && len(data) == 0 {
					err = os.WriteFile(file, archive, 0o644)
				}
				if filepath.Base(file) != "MODULE.bazel" {
					break
				}
				// Bazel takes an include() of the root module alone.
				text := includes.ReplaceAllStringFunc(string(data), func(call string) string {
					part, err := os.ReadFile(filepath.Join(dir, includes.FindStringSubmatch(call)[1]))
					if err != nil {
						t.Fatal(err)
					}
					return string(part)
				})
				err = os.WriteFile(file, []byte(strings.ReplaceAll(text, "localhost:5000/", address+"/")), 0o644)
				below, _ := filepath.Rel(dir, filepath.Dir(file))
				if below != "." && !slices.Contains(skipped, "//"+below+"/...") { // called as the folder
					modules = append(modules, below)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "MODULE.bazel")); err == nil {
			declare(name, repo, name)
		} else {
			if err := os.WriteFile(filepath.Join(dir, "MODULE.bazel"), common, 0o644); err != nil {
				t.Fatal(err)
			}
			declared += fmt.Sprintf("local_repository(\n    name = %q,\n    path = %q,\n)\n", repo, "../goldens/"+name)
		}
		for _, module := range modules {
			declare(module, repo+"_"+module, name+"/"+module)
			built = append(built, "@"+repo+"_"+module+"//...")
			skipped = append(skipped, "//"+module+"/...")
		}
		// Not with patterns to leave out, for Bazel reads what these name.
		for _, dir := range packages {
			pkg, _ := filepath.Rel(filepath.Join(root, name), dir)
			pkg = strings.TrimPrefix(filepath.ToSlash(pkg), ".")
			if !slices.ContainsFunc(skipped, func(s string) bool { return strings.HasPrefix("//"+pkg+"/", strings.TrimSuffix(s, "...")) }) {
				built = append(built, "@"+repo+"//"+pkg+":all")
			}
		}
		if len(packages) > 0 {
			for _, pattern := range skipped[:len(skipped)-len(modules)] {
				refused = append(refused, "@"+repo+pattern)
			}
		}
	}
	declare("prebuilt", "golden_prebuilt", w.layOutPrebuilt(t, root))
	built = append(built, "@golden_prebuilt//...")
	w.write(t, "MODULE.bazel", declared)
	if len(built) < 90 {
		t.Errorf("of %d goldens only %d packages are built: %v", len(cases), len(built), built)
	}
	w.bazel(t, "test", append([]string{"--keep_going"}, built...)...)
	for _, pattern := range refused {
		if r := w.exec(t, nil, "build", "--nobuild", pattern); r.code == 0 {
			t.Errorf("%s can be built: take it out of notBuilt.txt", pattern)
		}
	}
}

// layOutPrebuilt makes a module in root, by the name that it returns, of the golden of gazelle_ext/prebuilt: with OpenSSL in
// place of the libraries that were assembled for it, and a test that links them.
func (w *workspace) layOutPrebuilt(t *testing.T, root string) string {
	t.Helper()
	m := &workspace{suite: w.suite, dir: filepath.Join(root, "prebuilt")}
	golden, err := os.ReadFile(filepath.Join(w.repository, "gazelle_ext", "prebuilt", "testdata", "BUILD.out"))
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "BUILD.bazel", string(golden))
	m.write(t, "MODULE.bazel", `module(name = "prebuilt")

bazel_dep(name = "platforms", version = "1.0.0", repo_name = "my_platforms")
bazel_dep(name = "rules_cc", version = "0.1.5")
bazel_dep(name = "rules_ocipkg", version = "0.1.0", repo_name = "my_ocipkg")
`)
	m.write(t, "include/tls/tls.h", "const char *OpenSSL_version(int);\nint OPENSSL_init_ssl(unsigned long long, const void *);\n")
	m.write(t, "app/app.c", "#include <tls/tls.h>\nint main(void) { return !(OpenSSL_version(0) && OPENSSL_init_ssl(0, 0)); }\n")
	m.write(t, "app/BUILD.bazel", `load("@rules_cc//cc:defs.bzl", "cc_test")

cc_test(
    name = "app_test",
    srcs = ["app.c"],
    deps = ["//:tls"],
)
`)
	m.write(t, "lib/README", "")
	for _, file := range files(t, filepath.Join(w.repository, ".out", "prefixes", "openssl", "lib")) {
		if name := filepath.Base(file); name == "libcrypto.so.3" || name == "libssl.so.3" {
			m.must(t, m.dir, "cp", "-L", file, filepath.Join("lib", name))
		}
	}
	return "prebuilt"
}

// goDeps builds the same modules out of go_deps, where no extension of Gazelle runs: with the file that
// @rules_ocipkg_gazelle_plugin//go_deps writes, and the lines for MODULE.bazel that it prints.
func (w *workspace) goDeps(t *testing.T, sums, prints string) {
	t.Helper()
	source := filepath.Join(w.repository, "e2e", "testdata", "gazelle_go_deps")
	w.must(t, w.dir, "cp", "-R", filepath.Join(source, "external_app"), filepath.Join(source, "go.mod"), ".")
	w.write(t, "go.sum", sums)
	part, err := os.ReadFile(filepath.Join(source, "MODULE.part"))
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile(filepath.Join(w.dir, "MODULE.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	command := []string{"@rules_ocipkg_gazelle_plugin//go_deps", "--", "github.com/mattn/go-sqlite3", "github.com/DataDog/zstd"}
	lines := w.bazel(t, "run", command...)
	w.write(t, "MODULE.bazel", string(module)+string(part)+lines)
	w.bazel(t, "build", "//external_app")
	app := filepath.Join(w.dir, "bazel-bin", "external_app", "external_app_", "external_app")
	if r := w.inEnv(t, w.dir, app); r.code != 0 || strings.TrimSpace(r.stdout) != "zstd works; "+prints {
		t.Errorf("by go_deps: exit status %d: %s%s", r.code, r.stdout, r.stderr)
	}
	w.bazel(t, "run", append([]string{command[0], "--", "--check"}, command[2:]...)...)

	// Later Bazels call repositories otherwise, and with that the folders in which all of them find the indexes.
	w.nextMajors(t)
	for _, target := range []string{"//:gazelle", "//:gazelle_from_repositories"} {
		w.bazel(t, "run", "--config=next", target, "--", "-mode=diff", "app", "third_party", "vendored")
	}
	w.bazel(t, "run", append([]string{"--config=next", command[0], "--", "--check"}, command[2:]...)...)
	w.bazel(t, "build", "--config=next", "//external_app")
	if err := os.Remove(filepath.Join(w.dir, ".bazelrc")); err != nil {
		t.Fatal(err)
	}
}
