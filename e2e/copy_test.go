package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestCopy: a library goes from a registry not of our making, one without the referrers API, through an archive into
// another, and Bazel takes it from there by the digest that it always had.
func TestCopy(t *testing.T) {
	s := theSuite
	address := s.dockerRegistry(t)
	pushed := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", s.packed(t, "pair", "--version", "copied"), address+"/acme/pair:1"))
	_, digest, _ := strings.Cut(pushed, "@")

	archive := filepath.Join(t.TempDir(), "pair.tar")
	if got := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "copy", pushed, archive)); got != digest {
		t.Errorf("copy to an archive printed %q, want %s", got, digest)
	}
	server := registrytest.New(t.TempDir())
	defer server.Close()
	copied := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "copy", archive, server.Host+"/mirror/pair"))
	if want := server.Host + "/mirror/pair:1@" + digest; copied != want {
		t.Errorf("copy from an archive printed %q, want %s", copied, want)
	}
	// And back, into another repository of the first.
	back := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "copy", copied, address+"/back/pair:1"))
	if want := address + "/back/pair:1@" + digest; back != want {
		t.Errorf("copy back printed %q, want %s", back, want)
	}
	w := s.declare(t, "copied", map[string]string{"pair": copied, "back": back})
	w.bazel(t, "build", "@pair//:shared", "@back//:shared")
}
