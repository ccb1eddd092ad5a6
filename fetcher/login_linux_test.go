package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// terminal is a pseudo-terminal and what a person would see on it.
type terminal struct {
	t           *testing.T
	master, tty *os.File
	seen        bytes.Buffer
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	t.Cleanup(func() { tty.Close() })
	return &terminal{t: t, master: master, tty: tty}
}

func (m *terminal) start(cmd *exec.Cmd) {
	m.t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = m.tty, m.tty, m.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
}

// until reads what is printed up to some words.
func (m *terminal) until(words string) {
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

func (m *terminal) typeIn(text string) {
	m.t.Helper()
	if _, err := m.master.WriteString(text); err != nil {
		m.t.Fatal(err)
	}
}

func (m *terminal) echoes() bool {
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
	m := newTerminal(t)
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
	m := newTerminal(t)
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
