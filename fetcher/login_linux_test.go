package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// dialogue is a terminal with a person before it, and what they have seen on it.
type dialogue struct {
	t           *testing.T
	master, tty *os.File
	seen        bytes.Buffer
}

func newDialogue(t *testing.T) *dialogue {
	t.Helper()
	master, tty := terminal(t, 80)
	t.Cleanup(func() { tty.Close() })
	return &dialogue{t: t, master: master, tty: tty}
}

func (m *dialogue) start(cmd *exec.Cmd) {
	m.t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = m.tty, m.tty, m.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
}

// until reads what is printed up to some words.
func (m *dialogue) until(words string) {
	m.t.Helper()
	buf := make([]byte, 256)
	for !strings.Contains(m.seen.String(), words) {
		n, err := m.master.Read(buf)
		m.seen.Write(buf[:n])
		if err != nil {
			m.t.Fatalf("%v after %q", err, m.seen.String())
		}
	}
}

func (m *dialogue) typeIn(text string) {
	m.t.Helper()
	if _, err := m.master.WriteString(text); err != nil {
		m.t.Fatal(err)
	}
}

func (m *dialogue) echoes() bool {
	m.t.Helper()
	state, err := unix.IoctlGetTermios(int(m.tty.Fd()), unix.TCGETS)
	if err != nil {
		m.t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

func TestLoginOnTerminal(t *testing.T) {
	const password = "hunter22-secret"
	server := registrytest.New(t.TempDir())
	defer server.Close()
	server.RequireBasic("bob", password)
	m := newDialogue(t)
	cmd := command(t, t.TempDir(), "login", server.Host)
	m.start(cmd)
	m.until("Username: ")
	m.typeIn("bob\n")
	m.until("Password: ")
	for m.echoes() { // the question comes just before
		time.Sleep(time.Millisecond)
	}
	m.typeIn(password + "\n")
	m.until("logged in to " + server.Host)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if strings.Contains(m.seen.String(), password) {
		t.Errorf("the terminal shows %q", m.seen.String())
	}
}

// Ctrl-C at the question ends it, with a terminal that echoes as before.
func TestLoginInterrupted(t *testing.T) {
	m := newDialogue(t)
	cmd := command(t, t.TempDir(), "login", "-u", "bob", "127.0.0.1:1")
	m.start(cmd)
	m.until("Password: ")
	for m.echoes() {
		time.Sleep(time.Millisecond)
	}
	m.typeIn("\x03")
	m.until("interrupted")
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("%v", err)
	}
	if !m.echoes() {
		t.Error("the terminal does not echo any more")
	}
}
