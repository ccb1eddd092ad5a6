//go:build unix

package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/registry/credentials"
)

// B6: a helper that hangs is killed with what it has started, and keeps nobody waiting who wants something else.
func TestHangingHelper(t *testing.T) {
	m := newMachine(t)
	m.helper("hangs", fmt.Sprintf("cd '%s'\nsleep 3600 & echo $! >pid.new; mv pid.new pid; wait", m.dir))
	m.answering("works", "good.example.com", "bob")
	m.write(".docker/config.json", `{"credHelpers":{"hanging.example.com":"hangs","good.example.com":"works"}}`)
	var w lines
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := &credentials.Chain{HelperTimeout: time.Hour, Warn: w.add}
	var waiting sync.WaitGroup
	for i := range 3 {
		waiting.Go(func() {
			if _, err := c.Find(ctx, "hanging.example.com", strconv.Itoa(i)); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
	var pid int
	for pid == 0 { // until it hangs
		data, err := os.ReadFile(filepath.Join(m.dir, "pid"))
		if err == nil {
			if pid, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Millisecond)
	}
	found, err := c.Find(t.Context(), "good.example.com", "x")
	if err != nil {
		t.Fatal(err)
	}
	wantUser(t, found, "bob", "")
	cancel()
	waiting.Wait()
	for processLives(pid) { // until the kernel has done away with it; a test that hangs here has failed
		time.Sleep(time.Millisecond)
	}
	if w.text() != "" {
		t.Errorf("warnings %q about what nobody waited for", w.text())
	}
	// Its time over, it is one warning, however many ask.
	c = &credentials.Chain{HelperTimeout: 50 * time.Millisecond, Warn: w.add}
	for i := range 3 {
		waiting.Go(func() {
			if found, err := c.Find(t.Context(), "hanging.example.com", strconv.Itoa(i)); err != nil || found != nil {
				t.Errorf("found %v, %v", found, err)
			}
		})
	}
	waiting.Wait()
	for _, line := range w.list {
		if line != w.list[0] || !strings.Contains(line, "docker-credential-hangs") || !strings.Contains(line, "gave no answer within 50ms") {
			t.Errorf("warning %q", line)
		}
	}
}

func processLives(pid int) bool {
	if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(data), ") Z ") {
		return false // killed, and not yet waited for by whoever does that here
	}
	return syscall.Kill(pid, 0) == nil
}
