package e2e

import (
	"debug/elf"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// withCross is the environment in which the private Bazel has compilers for other platforms.
var withCross = []string{"OCIPKG_AIRGAP_CROSS=1"}

// crossEnv skips a test where a command is not installed that it cannot do without: the private Bazel has all of them, a
// developer's own machine may not.
func (s *suite) crossEnv(t *testing.T, commands ...string) {
	t.Helper()
	for _, command := range commands {
		if r := s.exec(t, s.repository, withCross, s.bazel, "--in-env", "sh", "-c", "command -v "+command); r.code != 0 {
			t.Skipf("SKIPPED, there is no %s: %s", command, r.stderr)
		}
	}
}

// qemu runs a program for arm64 Linux, whose C library is the one it was linked with.
var qemu = []string{"qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"}

// TestCross: `bazel build --platforms=//:linux_arm64` of every example links the library for that platform, and what it
// makes runs; a build for this machine, in the same workspace, still links this machine's.
func TestCross(t *testing.T) {
	s := theSuite
	s.crossEnv(t, "aarch64-linux-gnu-g++", "qemu-aarch64")
	address := s.dockerRegistry(t)
	s.must(t, s.repository, "tools/publish-examples", s.ocipkg, filepath.Join(s.repository, ".out", "prefixes"), address, "arm64")
	for example, programs := range map[string]map[string][]string{ // program -> what it prints versions of, and how
		"c_zlib":          {"app": {"zlib", "zlib "}, "app_test": {"zlib", "zlib "}},
		"cc_openssl_zstd": {"app": {"openssl", "OpenSSL ", "zstd", "zstd "}, "app_test": {"openssl", "OpenSSL ", "zstd", "zstd "}},
		"go_sqlite3":      {"app/app_/app": {"sqlite3", "sqlite3 "}},
	} {
		t.Run(example, func(t *testing.T) {
			w := s.workspace(t, filepath.Join("examples", example), address, withCross...)
			if data, err := os.ReadFile(filepath.Join(w.dir, "MODULE.bazel")); err != nil || !strings.Contains(string(data), "use_extension") {
				w.forTwoPlatforms(t) // the module extension needs no more to be said
			}
			w.pin(t)
			w.bazel(t, "build", "--platforms=//:linux_arm64", "//...")
			for program, printed := range programs {
				path := filepath.Join(w.dir, "bazel-bin", program)
				if machine := w.machine(t, path); machine != elf.EM_AARCH64 {
					t.Errorf("%s is for %s", program, machine)
				}
				r := s.exec(t, w.dir, w.env, append(append([]string{s.bazel, "--in-env"}, qemu...), path)...)
				if r.code != 0 {
					t.Errorf("%s: exit status %d\n%s%s", program, r.code, r.stdout, r.stderr)
				}
				for i := 0; i < len(printed); i += 2 {
					if line := printed[i+1] + s.version(t, address+"/"+printed[i]+":debian"); !strings.Contains(r.stdout, line) {
						t.Errorf("%s does not print %q:\n%s", program, line, r.stdout)
					}
				}
			}
			// In the sandbox, with the runfiles of a test. A test of rules_go starts itself anew, which only qemu can.
			w.test(t, "--platforms=//:linux_arm64", "--run_under="+strings.Join(qemu, " "), "--test_env=GO_TEST_WRAP=0")

			w.bazel(t, "build", "//...")
			for program := range programs {
				if machine := w.machine(t, filepath.Join(w.dir, "bazel-bin", program)); machine != elf.EM_X86_64 {
					t.Errorf("%s, built for this machine, is for %s", program, machine)
				}
			}
		})
	}
}

// machine reads which processor a program is for.
func (w *workspace) machine(t *testing.T, program string) elf.Machine {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Machine
}

// edit changes a file of the workspace.
func (w *workspace) edit(t *testing.T, name string, change func(text string) string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(data))), 0o644); err != nil {
		t.Fatal(err)
	}
}

// forTwoPlatforms has the libraries that are in one repository each for arm64 as well. Those of the module extension are for
// every platform that they are published for.
func (w *workspace) forTwoPlatforms(t *testing.T) {
	t.Helper()
	w.edit(t, "MODULE.bazel", func(text string) string {
		declared := regexp.MustCompile(`(ocipkg_library\(\n    name = .*\n    image = .*\n)`)
		return declared.ReplaceAllString(text, "${1}    platforms = [\"aarch64-unknown-linux-gnu\", \"x86_64-unknown-linux-gnu\"],\n")
	})
}
