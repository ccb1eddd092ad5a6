package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dockerRegistry starts the registry of Debian's package docker-registry, which is not of our making.
func (s *suite) dockerRegistry(t *testing.T) string {
	t.Helper()
	prefix := filepath.Join(s.repository, ".out", "prefixes", "docker-registry")
	if _, err := os.Stat(prefix); err != nil {
		s.must(t, s.repository, "tools/debian-prefix", prefix, "docker-registry")
	}
	config := filepath.Join(s.out, "docker-registry.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: \"127.0.0.1:0\"}\n", filepath.Join(s.out, "registry"))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	address, _ := s.process(t, `listening on ([0-9.:]+)`, filepath.Join(prefix, "bin", "docker-registry"), "serve", config)
	return address
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

// TestExamples: every example builds, passes its tests and runs, its libraries pulled from a registry not of our
// making; each program prints the version of the library it is linked with, which is the one that was published.
func TestExamples(t *testing.T) {
	s := theSuite
	address := s.dockerRegistry(t)
	s.must(t, s.repository, "tools/publish-examples", s.ocipkg, filepath.Join(s.repository, ".out", "prefixes"), address)
	examples, err := os.ReadDir(filepath.Join(s.repository, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	expected := map[string]struct {
		target string
		prints map[string]string // library -> what precedes its version
	}{
		"c_zlib":          {"//:app", map[string]string{"zlib": "zlib "}},
		"cc_openssl_zstd": {"//:app", map[string]string{"openssl": "OpenSSL ", "zstd": "zstd "}},
		"go_sqlite3":      {"//app", map[string]string{"sqlite3": "sqlite3 "}},
	}
	for _, entry := range examples {
		want, ok := expected[entry.Name()]
		if !entry.IsDir() {
			continue
		}
		if !ok {
			t.Errorf("nothing is known of examples/%s", entry.Name())
			continue
		}
		t.Run(entry.Name(), func(t *testing.T) {
			w := s.workspace(t, filepath.Join("examples", entry.Name()), entry.Name(), address)
			w.pin(t)
			w.bazel(t, "build", "//...")
			w.bazel(t, "test", "//...")
			output := w.bazel(t, "run", want.target)
			for library, before := range want.prints {
				if line := before + s.version(t, address+"/"+library+":debian"); !strings.Contains(output, line) {
					t.Errorf("it does not print %q:\n%s", line, output)
				}
			}
			w.checkBinaries(t)
		})
	}

	t.Run("next majors", func(t *testing.T) {
		// What Bazel 8 and 9 make the default, as far as this one has it.
		w := s.workspace(t, "examples/cc_openssl_zstd", "cc_openssl_zstd", address)
		w.pin(t)
		w.bazel(t, "test", "--incompatible_use_plus_in_repo_names", "--incompatible_disallow_empty_glob", "--incompatible_disable_native_repo_rules",
			"--incompatible_no_implicit_file_export", "--incompatible_config_setting_private_default_visibility", "--incompatible_strict_action_env",
			"--incompatible_no_implicit_watch_label", "--incompatible_disable_target_provider_fields", "//...")
	})
}
