package conformance

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/embedded"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// program finds what `make registries` has installed, by its path in .out.
func program(t *testing.T, path string) string {
	t.Helper()
	found, err := filepath.Abs(filepath.Join("..", "..", "..", ".out", path))
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		found += ".exe"
	}
	if _, err := os.Stat(found); err != nil {
		t.Skipf("%s is not there: `make registries` installs it", path)
	}
	return found
}

// TestG_Conformance: all that the suite knows, and nothing left out: the workflows pull, push, content discovery and content
// management, sha512, and what comes after version 1.1 of the specification. The one exception are "sparse" manifests, which
// name what the registry does not have; a registry may refuse them (specification, "Pushing Manifests"), and ours does.
func TestG_Conformance(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (address string, env []string){
		"embedded": func(t *testing.T) (string, []string) {
			listener, err := net.Listen("tcp", "localhost:0")
			if err != nil {
				t.Fatal(err)
			}
			registry, err := embedded.New(t.TempDir(), embedded.Options{Address: listener.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: registry}}
			server.Start()
			t.Cleanup(func() {
				server.Close()
				registry.Close()
			})
			return listener.Addr().String(), []string{"OCI_TLS=disabled"}
		},
		"registrytest with TLS and a password": func(t *testing.T) (string, []string) {
			s := registrytest.NewTLS(t.TempDir())
			t.Cleanup(s.Close)
			s.RequireBasic("bob", "hunter22-secret")
			certificate := filepath.Join(t.TempDir(), "cert.pem")
			if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
				t.Fatal(err)
			}
			return s.Host, []string{"OCI_TLS=enabled", "SSL_CERT_FILE=" + certificate, "OCI_USERNAME=bob", "OCI_PASSWORD=hunter22-secret"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suite := program(t, "bin/conformance")
			address, env := start(t)
			results := t.TempDir()
			cmd := exec.CommandContext(t.Context(), suite)
			cmd.Dir = results
			cmd.Env = append(append(os.Environ(), env...), "OCI_REGISTRY="+address, "OCI_VERSION=dev", "OCI_RESULTS_DIR="+results, "OCI_LOG=error")
			out, err := cmd.CombinedOutput()
			count := func(result string) int {
				m := regexp.MustCompile(`(?m)^  ` + result + `\.+: +(\d+)$`).FindSubmatch(out)
				if m == nil {
					t.Fatalf("%v: there is no result in\n%s", err, out)
				}
				n, _ := strconv.Atoi(string(m[1])) // digits
				return n
			}
			t.Logf("%d tests passed", count("Pass"))
			if err != nil || count("FAIL") > 0 || count("Error") > 0 || count("Skip") > 0 || count("Disabled") > 0 || count("Pass") < 900 {
				failed := regexp.MustCompile(`(?m)^ +OCI Conformance Test/.*: (?:FAIL|Error|Skip|Disabled)$`).FindAllString(string(out), 40)
				t.Error(fmt.Sprint(err, "\n"), failed, "\n", string(out[max(0, len(out)-4000):]))
			}
		})
	}
}
