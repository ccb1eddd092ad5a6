package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// natives builds the libraries of the matrix and returns their folder.
func (s *suite) natives(t *testing.T) string {
	t.Helper()
	native := filepath.Join(s.out, "native-"+strings.ReplaceAll(t.Name(), "/", "_"))
	if err := os.RemoveAll(native); err != nil {
		t.Fatal(err)
	}
	if r := s.inEnv(t, s.repository, "e2e/testdata/native/build", native); r.code != 0 {
		t.Fatalf("build of the libraries: %s", r.stderr)
	}
	return native
}

// published packs a prefix and pushes it, and returns the pinned reference. version keeps its bytes apart from those of
// other tests, so that the store does not have them.
func (s *suite) published(t *testing.T, prefix, name, version, address string, flags ...string) string {
	t.Helper()
	archive := prefix + ".tar"
	s.must(t, s.out, append([]string{s.ocipkg, "pack", prefix, "--name", name, "--version", version, "-o", archive}, flags...)...)
	return strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", "--quiet", "--no-upstream-tags", archive, address+"/"+name+":"+version))
}

// append adds text to a file of the workspace.
func (w *workspace) append(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// componentsOf lists the digests of an image's layers, by component.
func (s *suite) componentsOf(t *testing.T, image string) map[string]string {
	t.Helper()
	var described struct {
		Package struct {
			Components []struct{ Name, Layer string }
		}
	}
	if err := json.Unmarshal([]byte(s.must(t, s.out, s.ocipkg, "inspect", "--json", image)), &described); err != nil {
		t.Fatal(err)
	}
	layers := map[string]string{}
	for _, c := range described.Package.Components {
		layers[c.Name] = c.Layer
	}
	return layers
}

const barProgram = `
load("@rules_cc//cc:defs.bzl", "cc_binary")
cc_binary(name = "static", srcs = ["bar.c"], deps = ["@apart"])
cc_binary(name = "dynamic", srcs = ["bar.c"], linkstatic = False, deps = ["@apart"])
`

// withBar makes the workspace have programs that link a library called apart.
func (w *workspace) withBar(t *testing.T) {
	t.Helper()
	w.append(t, "MODULE.bazel", "bazel_dep(name = \"rules_cc\", version = \"0.1.5\")\n")
	w.append(t, "BUILD.bazel", barProgram)
	data, err := os.ReadFile(filepath.Join(w.repository, "e2e", "testdata", "matrix", "bar.c"))
	if err != nil {
		t.Fatal(err)
	}
	w.append(t, "bar.c", string(data))
}

// runs checks that programs of the workspace do what they should.
func (w *workspace) runs(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if r := w.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin", program)); r.code != 0 {
			t.Errorf("%s: exit status %d\n%s%s", program, r.code, r.stdout, r.stderr)
		}
	}
}

// TestDependencies: what a library needs and MODULE.bazel does not say fails the fetch, before any layer, and says what
// to write; `ocipkg add` writes it; a dependency is fetched when something links it and not before; and one of another
// SONAME is refused before anything is compiled.
func TestDependencies(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	native := s.natives(t)
	single := s.published(t, filepath.Join(native, "single"), "single", "dependencies", server.Host)
	later := s.published(t, filepath.Join(native, "later"), "single", "later", server.Host)
	apart := s.published(t, filepath.Join(native, "apart"), "apart", "dependencies", server.Host, "--dependency", "single="+single)
	layers := s.componentsOf(t, apart)

	w := s.declare(t, "dependencies", map[string]string{"apart": apart})
	w.withBar(t)
	server.Clear()
	r := w.exec(t, nil, "build", "//...")
	for _, words := range []string{`ocipkg_library(name = "apart")`, "needs single (libfoo.so.1)", fmt.Sprintf("ocipkg_library(name = \"single\", image = %q)", single), `deps = ["@single"]`, "ocipkg add " + apart} {
		if r.code == 0 || !strings.Contains(r.stderr, words) {
			t.Errorf("without deps: exit status %d, and %q is not in:\n%s", r.code, words, r.stderr)
		}
	}
	for component, layer := range layers {
		if n := len(server.Requests("/blobs/" + layer)); n > 0 {
			t.Errorf("without deps: %d requests for the component %s", n, component)
		}
	}

	dry := s.must(t, w.dir, s.ocipkg, "add", "--dry-run", apart)
	if !strings.Contains(dry, `+    deps = ["@single"],`) {
		t.Errorf("--dry-run: %s", dry)
	}
	added := s.must(t, w.dir, s.ocipkg, "add", apart)
	if want := "MODULE.bazel: apart: deps: " + apart + "\nMODULE.bazel: single: added: " + single + "\n"; added != want {
		t.Errorf("add printed %s, want %s", added, want)
	}
	server.Clear()
	w.bazel(t, "build", "@apart//:files")
	for component, layer := range s.componentsOf(t, single) {
		if n := len(server.Requests("/blobs/" + layer)); n > 0 {
			t.Errorf("the files of apart cost %d requests for the component %s of single", n, component)
		}
	}
	w.build(t)
	w.runs(t, "static", "dynamic")
	if needed, _ := w.dynamic(t, "bazel-bin/dynamic"); !slices.Contains(needed, "libbar.so.1") {
		t.Errorf("dynamic needs %v", needed)
	}
	w.nextMajors(t)
	w.bazel(t, "build", "--config=next", "//...")

	// The names are the user's own: of a repository called otherwise, the target that is called as the library.
	w = s.declare(t, "dependencies_renamed", map[string]string{"mine": single}, fmt.Sprintf("ocipkg_library(name = \"apart\", image = %q, deps = [\"@mine//:single\"])\n", apart))
	w.withBar(t)
	// With an option that no build has had, for the control of what is refused below: something has to be compiled.
	if r := w.exec(t, nil, "build", "--subcommands", fmt.Sprintf("--copt=-DNOW=%d", time.Now().UnixNano()), "//..."); r.code != 0 || !strings.Contains(r.stderr, subcommand) {
		t.Fatalf("exit status %d, or no %q in:\n%s", r.code, subcommand, r.stderr)
	}
	w.runs(t, "static", "dynamic")

	// The module extension understands labels as the module that uses it does.
	w = s.declare(t, "dependencies_tags", nil, fmt.Sprintf("oci = use_extension(\"@rules_ocipkg//rules:extensions.bzl\", \"ocipkg\")\noci.library(name = \"single\", image = %q)\noci.library(name = \"apart\", image = %q, deps = [\"@my//:single\"])\nuse_repo(oci, \"apart\", my = \"single\")\n", single, apart))
	w.withBar(t)
	w.build(t)
	w.runs(t, "static", "dynamic")
	w.nextMajors(t)
	w.bazel(t, "build", "--config=next", "//...")

	w = s.declare(t, "dependencies_later", map[string]string{"single": later}, fmt.Sprintf("ocipkg_library(name = \"apart\", image = %q, deps = [\"@single\"])\n", apart))
	w.withBar(t)
	r = w.exec(t, nil, "build", "--subcommands", "//:dynamic")
	for _, words := range []string{"needs libfoo.so.1, and", "has libfoo.so.2", single} {
		if r.code == 0 || !strings.Contains(r.stderr, words) || strings.Contains(r.stderr, subcommand) {
			t.Errorf("with a later libfoo: exit status %d, and %q is not in:\n%s", r.code, words, r.stderr)
		}
	}
}

// debian is the content of Debian packages as an install prefix, kept from one run to the next.
func (s *suite) debian(t *testing.T, name string, packages ...string) string {
	t.Helper()
	prefix := filepath.Join(s.repository, ".out", "prefixes", name)
	if _, err := os.Stat(prefix); err == nil {
		return prefix
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("SKIPPED, the libraries are Debian's packages:", err)
	}
	s.must(t, s.repository, append([]string{"tools/debian-prefix", prefix}, packages...)...)
	return prefix
}

// TestCurl: Debian's curl on its OpenSSL, zlib, zstd and nghttp2, each an artifact of its own, and the rest of what it
// needs, which in turn needs two of them. One command declares all, and programs that are linked statically, shared,
// and as needed find what they were given.
func TestCurl(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	on := func(names ...string) []string { return names }
	images := map[string]string{}
	for _, l := range []struct {
		name     string
		needs    []string
		packages []string
		flags    []string
	}{
		{"zlib", nil, on("zlib1g-dev"), nil},
		{"zstd", nil, on("libzstd-dev"), nil},
		{"openssl", nil, on("libssl-dev"), nil},
		{"nghttp2", nil, on("libnghttp2-dev"), nil},
		{"curlneeds", on("openssl", "zlib"), on("libidn2-dev", "libunistring-dev", "librtmp-dev", "libssh2-1-dev", "libpsl-dev", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0",
			"libldap-2.5-0", "libldap-dev", "libbrotli-dev", "libsasl2-2", "libsasl2-dev", "libgnutls28-dev", "nettle-dev", "libgmp-dev", "libp11-kit-dev", "libtasn1-6-dev", "libffi-dev", "libcom-err2", "libkeyutils1"),
			// libsasl2.a has plugins for four databases in it, whose libraries nobody here has.
			on("idn2.*", "unistring.*", "rtmp.*", "ssh2.*", "psl.*", "gssapi_krb5.*", "krb5.*", "k5crypto.*", "krb5support.*", "ldap.*", "ldap-2.5.*", "lber.*", "lber-2.5.*", "brotlidec.*", "brotlicommon.*", "sasl2.so*",
				"gnutls.*", "nettle.*", "hogweed.*", "gmp.*", "p11-kit.*", "tasn1.*", "ffi.*", "com_err.*", "keyutils.*")},
		{"curl", on("curlneeds", "nghttp2", "openssl", "zlib", "zstd"), on("libcurl4-openssl-dev"), nil},
	} {
		prefix := s.debian(t, l.name, l.packages...)
		var flags []string
		for _, library := range l.flags {
			flags = append(flags, "--library", "lib/*/lib"+library)
		}
		for _, d := range l.needs {
			flags = append(flags, "--dependency", d+"="+images[d])
		}
		images[l.name] = s.published(t, prefix, l.name, "curl", server.Host, flags...)
	}

	w := s.workspace(t, "e2e/testdata/curl", "unused")
	added := s.must(t, w.dir, s.ocipkg, "add", images["curl"])
	for name, image := range images {
		if !strings.Contains(added, fmt.Sprintf("MODULE.bazel: %s: added: %s\n", name, image)) {
			t.Errorf("%s is not in:\n%s", name, added)
		}
	}
	for _, flags := range [][]string{nil, {"--repo_env=BAZEL_LINKOPTS=-Wl,--as-needed"}} {
		w.build(t, flags...)
		w.test(t, flags...)
		printed := w.checkBinaries(t, `kind("cc_(binary|test) rule", //...)`, flags...)
		for _, program := range []string{"static", "dynamic", "test"} {
			for _, part := range []string{"libcurl/", "OpenSSL/", "zlib/", "zstd/", "nghttp2/", "libssh2/", "brotli/"} {
				if !strings.Contains(printed[program], part) {
					t.Errorf("with %q, %s is not made of %s: %s", flags, program, part, printed[program])
				}
			}
			if r := s.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin", program), "http://"+server.Host+"/v2/"); r.code != 0 {
				t.Errorf("with %q, %s gets nothing: exit status %d\n%s", flags, program, r.code, r.stderr)
			}
		}
		static, _ := w.dynamic(t, "bazel-bin/static")
		for _, library := range []string{"libcurl.so.4", "libssl.so.3", "libz.so.1", "libzstd.so.1", "libnghttp2.so.14"} {
			if slices.Contains(static, library) {
				t.Errorf("with %q, static needs %v", flags, static)
			}
		}
		dynamic, _ := w.dynamic(t, "bazel-bin/dynamic")
		if !slices.Contains(dynamic, "libcurl.so.4") {
			t.Errorf("with %q, dynamic needs %v", flags, dynamic)
		}
	}
}

// TestDependencyWithoutShared: a shared library whose dependency has static libraries alone would not be found at run
// time, and is refused; without its shared library it is linked, and so it is with a library of the workspace's own.
func TestDependencyWithoutShared(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	native := s.natives(t)
	single := s.published(t, filepath.Join(native, "single"), "single", "without", server.Host)
	apart := s.published(t, filepath.Join(native, "apart"), "apart", "without", server.Host, "--dependency", "single="+single)
	const static = `components = ["headers", "static"]`
	for _, c := range []struct{ name, single, apart, says string }{
		{"refused", fmt.Sprintf("ocipkg_library(name = \"single\", image = %q, %s)\n", single, static), `deps = ["@single"]`, "has no shared library"},
		{"static", fmt.Sprintf("ocipkg_library(name = \"single\", image = %q, %s)\n", single, static), `deps = ["@single"], ` + static, ""},
		{"own", "", `deps = ["@//:single"], ` + static, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := s.declare(t, "dependency_"+c.name, nil, c.single, fmt.Sprintf("ocipkg_library(name = \"apart\", image = %q, %s)\n", apart, c.apart))
			w.withBar(t)
			w.append(t, "BUILD.bazel", "load(\"@rules_cc//cc:defs.bzl\", \"cc_library\")\ncc_library(name = \"single\", srcs = [\"foo.c\"], visibility = [\"//visibility:public\"])\n")
			w.append(t, "foo.c", "int foo_value(void) { return 41; }\n")
			r := w.exec(t, nil, "build", "//:static", "//:dynamic")
			if c.says != "" {
				if r.code == 0 || !strings.Contains(r.stderr, c.says) {
					t.Errorf("exit status %d, and %q is not in\n%s", r.code, c.says, r.stderr)
				}
				return
			}
			if r.code != 0 {
				t.Fatalf("exit status %d\n%s", r.code, r.stderr)
			}
			w.runs(t, "static", "dynamic")
		})
	}
}

// TestCopies: a library whose links something has turned into copies is one library still, found under its SONAME. As two
// of one SONAME, Bazel links no program with them.
func TestCopies(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	copies := filepath.Join(t.TempDir(), "yaml")
	s.must(t, s.out, "cp", "-rL", s.debian(t, "yaml", "libyaml-dev"), copies)
	w := s.declare(t, "copies", map[string]string{"yaml": s.published(t, copies, "yaml", "copies", server.Host)})
	w.append(t, "MODULE.bazel", "bazel_dep(name = \"rules_cc\", version = \"0.1.5\")\n")
	w.append(t, "BUILD.bazel", `
load("@rules_cc//cc:defs.bzl", "cc_binary")
cc_binary(name = "static", srcs = ["main.c"], deps = ["@yaml"])
cc_binary(name = "dynamic", srcs = ["main.c"], linkstatic = False, deps = ["@yaml"])
`)
	w.append(t, "main.c", "#include <yaml.h>\nint main(void) { yaml_parser_t p; int made = yaml_parser_initialize(&p); yaml_parser_delete(&p); return !made; }\n")
	w.build(t)
	w.runs(t, "static", "dynamic")
	for program, shared := range map[string]bool{"static": false, "dynamic": true} {
		if needed, _ := w.dynamic(t, "bazel-bin/"+program); slices.Contains(needed, "libyaml-0.so.2") != shared {
			t.Errorf("%s needs %v", program, needed)
		}
	}
}
