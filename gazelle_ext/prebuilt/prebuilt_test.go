package prebuilt

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/rule"

	"github.com/ocipkg/rules_ocipkg/gazelle_ext/gazelletest"
	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
)

var update = flag.Bool("update", false, "write what Gazelle makes of the tree into testdata")

const ours = "github.com/ocipkg/rules_ocipkg/gazelle_ext"

// TestPrebuilt runs the real Gazelle on a tree of two libraries, with a C++ rule that includes one of its headers. A
// fetched library has the same header, and another one.
func TestPrebuilt(t *testing.T) {
	command, err := gazelletest.Build(t.TempDir(), ours+"/cctest", ours, ours+"/prebuilt")
	if errors.Is(err, gazelletest.ErrNoGo) {
		t.Skip("SKIPPED:", err)
	} else if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(name string, data []byte) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	get := func(name string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	put("ocipkg_index.json", []byte(`{"tls/tls.h": ["@fetched//:fetched"], "fetched.h": ["@fetched//:fetched"]}`))
	const build = "third_party/ssl/BUILD.bazel"
	put("MODULE.bazel", []byte("bazel_dep(name = \"rules_ocipkg\", version = \"0.1.0\", repo_name = \"my_ocipkg\")\nbazel_dep(name = \"platforms\", version = \"1.0.0\", repo_name = \"my_platforms\")\n"+
		"ocipkg_library = use_repo_rule(\"@my_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\n\nocipkg_library(\n    name = \"fetched\",\n    image = \"localhost:5000/tls:1\",\n)\n"))
	put(build, []byte("# gazelle:ocipkg_prebuilt tls\n# gazelle:exclude include\n\nocipkg_cc_import(\n    name = \"stale\",\n    static_library = \"lib/libstale.a\",\n)\n"))
	put("third_party/ssl/include/tls/tls.h", []byte("int tls(void);\n"))
	put("third_party/ssl/lib/libcrypto.so.3", artifacttest.Shared{SONAME: "libcrypto.so.3", Needed: []string{"libc.so.6"}}.Bytes())
	put("third_party/ssl/lib/libssl.so.3", artifacttest.Shared{SONAME: "libssl.so.3", Needed: []string{"libcrypto.so.3", "libc.so.6"}}.Bytes())
	put("third_party/ssl/lib/libcrypto.a", artifacttest.Archive(artifacttest.Object{Defines: []string{"EVP_sha256"}}))
	put("app/app.c", []byte("#include <tls/tls.h>\n"))
	put("other/other.c", []byte("#include <fetched.h>\n"))

	if r := gazelletest.Run(t, command, dir); r.ExitStatus != 0 || r.Stderr != "" {
		t.Fatalf("%+v", r)
	}
	got := get(build)
	golden := filepath.Join("testdata", "BUILD.out")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if app := get("app/BUILD.bazel"); !strings.Contains(app, `deps = ["//third_party/ssl:tls"]`) {
		t.Errorf("its header is not found:\n%s", app)
	}
	if other := get("other/BUILD.bazel"); !strings.Contains(other, `deps = ["@fetched`) {
		t.Errorf("the other library's header is not found:\n%s", other)
	}
	if r := gazelletest.Run(t, command, dir, "-mode=diff"); r.ExitStatus != 0 {
		t.Errorf("a second run would change something: %s", r.Stdout)
	}

	for _, args := range [][]string{{}, {"app"}, {"-r=false", "app"}, {"other"}} {
		if r := gazelletest.Run(t, command, dir, append([]string{"-index=lazy", "-mode=diff"}, args...)...); r.ExitStatus != 0 || r.Stderr != "" {
			t.Errorf("with -index=lazy %v it makes a difference: %s%s", args, r.Stdout, r.Stderr)
		}
	}

	// A library of two goes, and with it its targets.
	if err := os.Remove(filepath.Join(dir, "third_party/ssl/lib/libssl.so.3")); err != nil {
		t.Fatal(err)
	}
	if r := gazelletest.Run(t, command, dir); r.ExitStatus != 0 || strings.Contains(get(build), "libssl") || !strings.Contains(get(build), "libcrypto") {
		t.Errorf("without libssl: %+v\n%s", r, get(build))
	}

	// What cannot be planned leaves what is there.
	was := get(build)
	put("third_party/ssl/lib/BUILD", nil)
	if r := gazelletest.Run(t, command, dir, "third_party/ssl"); !strings.Contains(r.Stderr, "lib/BUILD makes a package of its own") || get(build) != was {
		t.Errorf("with a BUILD file in the tree: %s\n%s", r.Stderr, get(build))
	}
	put("third_party/none/BUILD.bazel", []byte("# gazelle:ocipkg_prebuilt none\n# gazelle:ocipkg_prebuilt no name\n"))
	r := gazelletest.Run(t, command, dir, "third_party/none")
	for _, message := range []string{"there is neither a header below include/ nor a library", "this is no name for a target"} {
		if !strings.Contains(r.Stderr, message) {
			t.Errorf("logged %s, without %q", r.Stderr, message)
		}
	}
}

// TestImports: each include path once, in the order of the folders; a library with as many headers as Boost has takes no
// longer for each of them.
func TestImports(t *testing.T) {
	c := config.New()
	var text strings.Builder
	text.WriteString("# gazelle:ocipkg_prebuilt many\nocipkg_cc_library(\n    name = \"many\",\n    hdrs = [\n")
	const headers = 20000
	for i := range headers {
		fmt.Fprintf(&text, "        \"include/many/h%d.h\",\n", i)
	}
	text.WriteString("    ],\n    includes = [\n        \"include\",\n        \"include/many\",\n        \".\",\n    ],\n)\n")
	f, err := rule.LoadData("BUILD.bazel", "third_party/many", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	f.Rules = append(f.Rules, f.Rules[0]) // the same again
	lang := &prebuiltLang{}
	lang.Configure(c, f.Pkg, f)
	specs := lang.Imports(c, f.Rules[0], f)
	if len(specs) != 3*headers || specs[0].Imp != "many/h0.h" || specs[1].Imp != "h0.h" || specs[2].Imp != "include/many/h0.h" {
		t.Errorf("%d include paths, the first %v", len(specs), specs[:min(3, len(specs))])
	}
}

func TestSearch(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"BUILD.bazel":     "# gazelle:ocipkg_prebuilt top\n",
		"a/b/BUILD":       "# gazelle:ocipkg_prebuilt b\n",
		"a/b/BUILD.bazel": "# gazelle:ocipkg_prebuilt b\n",
		"a/BUILD.bazel":   "# gazelle:exclude include\n",
		"a/b/c/BUILD.out": "# gazelle:ocipkg_prebuilt c\n",
		"deep/d/BUILD":    "# gazelle:ocipkg_prebuilt d\n",
		"ignored/d/BUILD": "# gazelle:ocipkg_prebuilt d\n",
		".bazelignore":    "# deep\nignored/\n",
		".git/hook/BUILD": "# gazelle:ocipkg_prebuilt hook\n",
	} {
		name = filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := strings.Join(search(root, []string{"BUILD.bazel", "BUILD"}), " "), " a/b deep/d"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
