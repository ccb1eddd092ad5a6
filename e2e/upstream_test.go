package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestUpstream: what the ocipkg project's own releases wrote, with container media types (0.2) and with its own (0.4), is
// pushed with the digest that they gave it, pulled, and linked, static and shared.
func TestUpstream(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skipf("SKIPPED, the libraries in the archives are for x86-64 Linux, and this is %s on %s", runtime.GOOS, runtime.GOARCH)
	}
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	images, sources := map[string]string{}, map[string]string{}
	var build strings.Builder
	build.WriteString("load(\"@rules_cc//cc:defs.bzl\", \"cc_binary\")\n")
	for _, archive := range []struct {
		name, file string
		holds      []string
		include    string // "" where it has no headers
	}{
		{"v0_pack", "v0-pack-0.2.9.tar", []string{"include/foo/f.h", "lib/libf.a", "lib/libf.so"}, "#include <foo/f.h>"},
		{"v1_pack", "v1-pack-0.4.0.tar", []string{"include/foo/f.h", "lib/libf.a", "lib/libf.so"}, "#include <foo/f.h>"},
		{"v0_compose", "v0-compose-0.2.9.tar", []string{"libf.a", "libf.so"}, ""},
		{"v1_compose", "v1-compose-0.4.0.tar", []string{"libf.a", "libf.so"}, ""},
	} {
		path := filepath.Join(s.repository, "internal", "artifact", "testdata", "upstream", archive.file)
		var index struct{ Manifests []struct{ Digest string } }
		if err := json.Unmarshal([]byte(s.must(t, s.out, "tar", "-xOf", path, "index.json")), &index); err != nil {
			t.Fatal(err)
		}
		tag := server.Host + "/" + archive.name + ":1"
		pinned := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", path, tag))
		if want := tag + "@" + index.Manifests[0].Digest; pinned != want {
			t.Errorf("%s: pushed as %s, want %s", archive.file, pinned, want)
		}
		dir := filepath.Join(t.TempDir(), archive.name)
		if printed := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "pull", pinned, "--output", dir)); printed != pinned {
			t.Errorf("%s: pulled as %s, want %s", archive.file, printed, pinned)
		}
		for _, file := range archive.holds {
			if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Size() == 0 {
				t.Errorf("%s: %s: %v", archive.file, file, err)
			}
		}
		images[archive.name] = pinned
		fmt.Fprintf(&build, `
cc_binary(
    name = "%[1]s_static",
    srcs = ["%[1]s.c"],
    deps = ["@%[1]s"],
)

cc_binary(
    name = "%[1]s_shared",
    srcs = ["%[1]s.c"],
    linkstatic = False,
    deps = ["@%[1]s"],
)
`, archive.name)
		source := archive.include + "\n#include <stdio.h>\n\nint f(void);\n\nint main(void) {\n    printf(\"f() = %d\\n\", f());\n    return f() == 42 ? 0 : 1;\n}\n"
		sources[archive.name+".c"] = source
	}
	sources["BUILD.bazel"] = build.String()
	w := s.declare(t, "upstream", images, "bazel_dep(name = \"rules_cc\", version = \"0.1.5\")")
	for name, text := range sources {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.build(t)
	w.checkBinaries(t, `kind("cc_binary rule", //...)`)
	for name := range images {
		for program, shared := range map[string]bool{name + "_static": false, name + "_shared": true} {
			needed, _ := w.dynamic(t, filepath.Join("bazel-bin", program))
			if has := strings.Contains(strings.Join(needed, " "), "libf.so"); has != shared {
				t.Errorf("%s: linked with libf.so is %v, want %v (NEEDED %v)", program, has, shared, needed)
			}
		}
	}
}
