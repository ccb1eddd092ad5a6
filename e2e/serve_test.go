package e2e

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestServe: `make serve`, on another port than the examples name, serves a copy of an example as the documentation says, logs
// the requests of others and not its own; told to end, it leaves no registry behind; and where the port is taken it says what
// to do.
func TestServe(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("SKIPPED, the libraries are Debian's packages:", err)
	}
	s := theSuite
	taken, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	r := s.exec(t, s.repository, nil, "make", "serve", "ADDRESS="+address)
	if r.code == 0 {
		t.Fatal("two listen on one port")
	}
	for _, text := range []string{"listen on " + address, "make serve ADDRESS=", "tools/copy-example examples/c_zlib DIR "} {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("on a port that is taken it does not say %q:\n%s", text, r.stderr)
		}
	}

	// The line that it ends its preparations with is the command that makes the copy.
	server := s.server(t, `(tools/copy-example \S+ DIR \S+)`, "make", "-C", s.repository, "serve", "ADDRESS=localhost:0")
	const request = " /v2/"
	if said := server.Output(); strings.Contains(said, request) {
		t.Errorf("its own pushes are in what it says before it is ready:\n%s", said)
	}
	words := strings.Fields(server.Ready)
	example, served := words[1], words[3]
	w := s.workspace(t, example, served)
	output := w.bazel(t, "run", "//:app")
	if line := "zlib " + s.version(t, served+"/zlib:debian"); !strings.Contains(output, line) {
		t.Errorf("it does not print %q:\n%s", line, output)
	}
	if said := server.Output(); !strings.Contains(said, request) {
		t.Errorf("what others ask for is not in what it says:\n%s", said)
	}
	_ = server.Stop() // with the status of a shell that was told to end
	if c, err := net.Dial("tcp", served); err == nil {
		c.Close()
		t.Errorf("the registry on %s is still there", served)
	}
	if left, _ := filepath.Glob(filepath.Join(s.repository, ".out", "serve.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
