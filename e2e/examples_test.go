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
)

// dockerRegistry starts the registry of Debian's package docker-registry, which is not of our making.
func (s *suite) dockerRegistry(t *testing.T) string {
	t.Helper()
	prefix := filepath.Join(s.repository, ".out", "prefixes", "docker-registry")
	if _, err := os.Stat(prefix); err != nil {
		if _, err := exec.LookPath("apt-get"); err != nil {
			t.Skip("SKIPPED, the registry and the libraries are Debian's packages:", err)
		}
		s.must(t, s.repository, "tools/debian-prefix", prefix, "docker-registry")
	}
	config := filepath.Join(s.out, "docker-registry.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: \"127.0.0.1:0\"}\n", filepath.Join(s.out, "registry"))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return s.server(t, `listening on ([0-9.:]+)`, filepath.Join(prefix, "bin", "docker-registry"), "serve", config).Ready
}

func (s *suite) version(t *testing.T, image string) string {
	t.Helper()
	var described struct {
		Package struct{ Version string }
	}
	if err := json.Unmarshal([]byte(s.must(t, s.out, s.ocipkg, "inspect", "--json", image)), &described); err != nil {
		t.Fatal(err)
	}
	return described.Package.Version
}

// inTestPublish are the examples that are tested by TestPublish: they make their library themselves.
var inTestPublish = []string{"publish_greet", "use_greet"}

// examples are the names of the others, whose libraries tools/publish-examples publishes.
func (s *suite) examples(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.repository, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && !slices.Contains(inTestPublish, entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names
}

// TestExamples: every example builds, passes its tests and runs, its libraries pulled from a registry not of our
// making; each program prints the version of the library it is linked with, static or shared, which is the one that was
// published.
func TestExamples(t *testing.T) {
	s := theSuite
	address := s.dockerRegistry(t)
	s.must(t, s.repository, "tools/publish-examples", s.ocipkg, filepath.Join(s.repository, ".out", "prefixes"), address)
	expected := map[string]struct {
		programs []string            // that print versions
		prints   map[string]string   // library -> what precedes its version
		shared   map[string][]string // program -> what it must be linked with
	}{
		"c_zlib": {
			programs: []string{"app", "app_test"},
			prints:   map[string]string{"zlib": "zlib "},
			shared:   map[string][]string{"app_test": {"libz.so.1"}},
		},
		"cc_openssl_zstd": {
			programs: []string{"app", "app_test"},
			prints:   map[string]string{"openssl": "OpenSSL ", "zstd": "zstd "},
			shared:   map[string][]string{"app_test": {"libssl.so.3", "libzstd.so.1"}},
		},
		"go_sqlite3": {
			programs: []string{"app/app_/app"},
			prints:   map[string]string{"sqlite3": "sqlite3 "},
		},
	}
	for _, example := range s.examples(t) {
		want, ok := expected[example]
		if !ok {
			t.Errorf("nothing is known of examples/%s", example)
			continue
		}
		t.Run(example, func(t *testing.T) {
			w := s.workspace(t, filepath.Join("examples", example), address)
			w.pin(t)
			w.build(t)
			w.test(t)
			printed := w.checkBinaries(t, `kind("(cc|go)_(binary|test) rule", //...)`)
			for _, program := range want.programs {
				for library, before := range want.prints {
					if line := before + s.version(t, address+"/"+library+":debian"); !strings.Contains(printed[program], line) {
						t.Errorf("%s does not print %q:\n%s", program, line, printed[program])
					}
				}
			}
			for program, libraries := range want.shared {
				needed, _ := w.dynamic(t, filepath.Join("bazel-bin", program))
				for _, library := range libraries {
					if !slices.Contains(needed, library) {
						t.Errorf("%s is not linked with %s (NEEDED %v)", program, library, needed)
					}
				}
			}
		})
	}

	for _, example := range s.examples(t) {
		t.Run("next majors/"+example, func(t *testing.T) {
			w := s.workspace(t, filepath.Join("examples", example), address)
			w.pin(t)
			w.nextMajors(t)
			w.bazel(t, "test", "--config=next", "//...")
		})
	}
}

// analyseNext has all of the workspace analysed with what later major versions of Bazel make the default: what they take away
// is missed then, and nothing has to be compiled.
func (w *workspace) analyseNext(t *testing.T, flags ...string) {
	t.Helper()
	w.nextMajors(t)
	w.bazel(t, "build", append(flags, "--nobuild", "--config=next", "//...")...)
}

// nextMajors gives the workspace the options of this repository, where --config=next is what later major versions of
// Bazel make the default.
func (w *workspace) nextMajors(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.repository, ".bazelrc"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, ".bazelrc"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}
