package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestArtifacts links Debian's libcurl with OpenSSL, zlib, zstd and nghttp2, each an artifact of its own, and libcurl's
// with twenty libraries that need each other and those four. Every program finds each library where it was given, and
// says which versions it found.
func TestArtifacts(t *testing.T) {
	s := theSuite
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("SKIPPED, the libraries are Debian's packages:", err)
	}
	prefixes := filepath.Join(s.repository, ".out", "prefixes")
	address := s.server(t, `on http://(\S+)`, s.ocipkg, "serve", "--address", "localhost:0", "--dir", filepath.Join(s.out, "registry", "artifacts")).Ready
	s.must(t, s.repository, "tools/publish-examples", s.ocipkg, prefixes, address)
	for name, packages := range map[string][]string{
		"curl":    {"--closure", "--without", "libssl*", "--without", "zlib1g", "--without", "libzstd*", "--without", "libnghttp2*", "libcurl4-openssl-dev"},
		"nghttp2": {"libnghttp2-dev"},
	} {
		prefix := filepath.Join(prefixes, name)
		if _, err := os.Stat(prefix); err != nil {
			last := len(packages) - 1
			s.must(t, s.repository, slices.Concat([]string{"tools/debian-prefix"}, packages[:last], []string{prefix}, packages[last:])...)
		}
		pack := []string{s.ocipkg, "pack", prefix, "--name", name, "--version", "1", "-o", prefix + ".tar"}
		if name == "curl" {
			for _, soname := range []string{"libssl.so.3", "libcrypto.so.3", "libz.so.1", "libzstd.so.1", "libnghttp2.so.14"} {
				pack = append(pack, "--allow-missing", soname)
			}
		}
		s.must(t, s.out, pack...)
		s.must(t, s.out, s.ocipkg, "push", prefix+".tar", address+"/"+name+":debian")
	}

	w := s.workspace(t, "e2e/testdata/artifacts", "artifacts", address)
	for _, shared := range []string{"matrix.bzl", "middle.c", "check_test.go"} {
		data, err := os.ReadFile(filepath.Join(s.repository, "e2e", "testdata", "matrix", shared))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.dir, shared), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.pin(t)
	check := func(query string, flags ...string) {
		t.Helper()
		w.build(t, flags...)
		w.test(t, flags...)
		printed := w.checkBinaries(t, query, flags...)
		for _, program := range []string{"version_static", "version_dynamic", "version_test"} {
			for library, before := range map[string]string{"openssl": "OpenSSL/", "zlib": "zlib/", "zstd": "zstd/"} {
				if want := before + s.version(t, address+"/"+library+":debian"); !strings.Contains(printed[program], want) {
					t.Errorf("%s does not print %q:\n%s", program, want, printed[program])
				}
			}
		}
	}
	check(right)

	// Where the program names libcurl alone, the others are libcurl's affair.
	asNeeded := "--repo_env=BAZEL_LINKOPTS=-Wl,--as-needed"
	check(right+` except attr(tags, "go", //...)`, asNeeded, "--build_tag_filters=-go", "--test_tag_filters=-go")
	if needed, _ := w.dynamic(t, "bazel-bin/version_dynamic"); !slices.Contains(needed, "libcurl.so.4") || slices.Contains(needed, "libssl.so.3") {
		t.Errorf("version_dynamic needs %v: it is not linked as needed, so that this tells nothing", needed)
	}
}
