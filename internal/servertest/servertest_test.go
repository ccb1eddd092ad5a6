package servertest_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/servertest"
)

// TestMain lets the test's own program be the server.
func TestMain(m *testing.M) {
	switch os.Getenv("OCIPKG_TEST_SERVER") {
	case "":
		os.Exit(m.Run())
	case "ends":
		fmt.Println("there is no port left")
		os.Exit(3)
	case "serves":
		signal.Reset(syscall.SIGTERM) // which rules_go's tests take for their time being up
		fmt.Print("listening on 127.0.0.1:50")
		time.Sleep(50 * time.Millisecond)
		fmt.Println("01\nready")
		time.Sleep(time.Hour)
	}
}

func server(t *testing.T, which string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "OCIPKG_TEST_SERVER="+which)
	return cmd
}

// Invariant: a server ends with its test. What it says it is ready with is a whole line, in however many pieces it comes.
func TestEndsWithItsTest(t *testing.T) {
	var s *servertest.Server
	t.Run("its test", func(t *testing.T) {
		s = servertest.Start(t, server(t, "serves"), `listening on ([0-9.:]+)`)
		if s.Ready != "127.0.0.1:5001" {
			t.Errorf("ready with %q", s.Ready)
		}
	})
	if err := s.Wait(); err == nil || !strings.Contains(s.Output(), "ready") {
		t.Errorf("it ended with %v and had printed %q", err, s.Output())
	}
}

func TestEndsBeforeItIsReady(t *testing.T) {
	_, err := servertest.Run(server(t, "ends"), `listening on (\S+)`)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no port left") {
		t.Errorf("%v", err)
	}
}
