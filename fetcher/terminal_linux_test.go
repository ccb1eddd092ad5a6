package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// terminal opens a pseudo-terminal of a width: what is written to tty comes out of screen.
func terminal(t *testing.T, columns uint16) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this machine gives no terminal: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

// onTerminal runs the command with both its outputs on a terminal, and returns what was written there and how it ended.
func (u *user) onTerminal(t *testing.T, columns uint16, args ...string) (written string, code int) {
	t.Helper()
	screen, tty := terminal(t, columns)
	cmd := u.command(t, args...)
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.Stdout, cmd.Stderr = tty, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	var b bytes.Buffer
	// A terminal that nobody writes to any more answers EIO.
	if _, err := io.Copy(&b, screen); err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its status is looked at
	return b.String(), cmd.ProcessState.ExitCode()
}

// shown is what a terminal shows after all was written, line by line.
func shown(written string) (lines []string) {
	line, column := []rune{}, 0
	for _, r := range written {
		switch r {
		case '\r':
			column = 0
		case '\n':
			lines = append(lines, strings.TrimRight(string(line), " "))
			line, column = nil, 0
		default:
			for len(line) <= column {
				line = append(line, ' ')
			}
			line[column] = r
			column++
		}
	}
	return append(lines, strings.TrimRight(string(line), " "))
}

// TestProgress: one bar a transfer on a terminal, with its speed, in one line whatever the width; gone when the result
// is printed, or the error. Elsewhere a line of text, and nothing with --quiet.
func TestProgress(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	image := server.Host + "/acme/a-library-of-a-rather-long-name-such-as-some-have/ssl:3.0"
	pinned := u.publish(t, image, "3.0", 4<<20)
	for _, c := range []struct {
		name, args string
		want       string
	}{
		{"pull", "pull " + image, pinned},
		{"push", "push -q=false prefix-3.0.tar " + server.Host + "/acme/b:1", strings.Replace(pinned, image, server.Host+"/acme/b:1", 1)},
		{"copy", "copy " + image + " copy.tar", pinned[strings.Index(pinned, "sha256:"):]},
	} {
		for _, columns := range []uint16{120, 80, 60} {
			t.Run(fmt.Sprintf("%s, %d columns", c.name, columns), func(t *testing.T) {
				if err := os.RemoveAll(filepath.Join(u.dir, "store")); err != nil {
					t.Fatal(err)
				}
				_ = os.Remove(filepath.Join(u.dir, "copy.tar"))
				written, code := u.onTerminal(t, columns, strings.Fields(c.args)...)
				if code != 0 {
					t.Fatalf("exit status %d: %q", code, written)
				}
				lines := shown(written)
				if n := len(lines); n < 2 || lines[n-1] != "" || lines[n-2] != c.want {
					t.Errorf("the screen ends in %q, want %q", lines, c.want)
				}
				for _, line := range lines {
					if strings.Contains(line, "%") || strings.Contains(line, "B/s") {
						t.Errorf("the rest of a bar: %q", line)
					}
				}
				if !strings.Contains(written, "%") || !strings.Contains(written, "B/s)") {
					t.Errorf("no bar with a speed was drawn: %q", written)
				}
				// Between two carriage returns lies one state of the bar; one that is wider than the terminal cannot be cleared.
				for state := range strings.SplitSeq(written, "\r") {
					if strings.Contains(state, "B/s)") && len([]rune(state)) > int(columns) {
						t.Errorf("a bar of %d columns on a terminal of %d: %q", len([]rune(state)), columns, state)
					}
				}
			})
		}
	}
	t.Run("failure", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(u.dir, "store")); err != nil {
			t.Fatal(err)
		}
		var x library.Inspection
		if err := json.Unmarshal([]byte(u.must(t, "inspect", "--json", image)), &x); err != nil {
			t.Fatal(err)
		}
		// In the middle of the largest: what comes whole is cleared by itself.
		blob := "/blobs/" + slices.MaxFunc(x.Manifest.Layers, func(a, b artifact.Descriptor) int { return cmp.Compare(a.Size, b.Size) }).Digest.String()
		server.Inject(registrytest.Fault{Method: http.MethodGet, Path: blob, Times: 1, Act: registrytest.Cut(1 << 20)})
		server.Inject(registrytest.Fault{Method: http.MethodGet, Path: blob, Act: registrytest.Answer(http.StatusForbidden, "", "", "")})
		defer server.Clear()
		written, code := u.onTerminal(t, 80, "pull", image)
		if code == 0 || !strings.Contains(written, "%") {
			t.Fatalf("exit status %d: %q", code, written)
		}
		lines := shown(written)
		for _, line := range lines {
			if strings.Contains(line, "%") || strings.Contains(line, "B/s") {
				t.Errorf("the rest of a bar: %q", line)
			}
		}
		if !strings.HasPrefix(lines[0], "ocipkg: pull ") {
			t.Errorf("the screen shows %q", lines)
		}
	})
	t.Run("quiet", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(u.dir, "store")); err != nil {
			t.Fatal(err)
		}
		if written, code := u.onTerminal(t, 80, "pull", "-q", image); code != 0 || written != pinned+"\r\n" {
			t.Errorf("exit status %d: %q", code, written)
		}
	})
	t.Run("pipe", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(u.dir, "store")); err != nil {
			t.Fatal(err)
		}
		o := u.run(t, "pull", image)
		if o.stdout != pinned+"\n" || strings.Count(o.stderr, "\n") != 1 || strings.ContainsAny(o.stderr, "\r\x1b%") {
			t.Errorf("%+v", o)
		}
	})
}
