package embedded_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/filelock"
	"github.com/ocipkg/rules_ocipkg/internal/registry/embedded"
)

// Invariant: one registry serves a folder at a time, in one process as among several (fetcher's tests start two). Who comes second
// learns who has it and has touched nothing.
func TestOneRegistryAFolder(t *testing.T) {
	dir := t.TempDir()
	one, err := embedded.New(dir, embedded.Options{Address: "127.0.0.1:5000"})
	if err != nil {
		t.Fatal(err)
	}
	unfinished := filepath.Join(dir, "uploads", "unfinished")
	if err := os.WriteFile(unfinished, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(dir, "lock")
	for _, c := range []struct{ text, words string }{
		{"", fmt.Sprintf("process %d, on 127.0.0.1:5000, serves it already", os.Getpid())}, // as it is
		{"17", "process 17 serves it already"},
		{"17 \n", "process 17 serves it already"},
		{"nonsense\n", "another process serves it already"},
		{" ", "another process serves it already"},
	} {
		if c.text != "" {
			if err := os.WriteFile(lock, []byte(c.text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		_, err := embedded.New(dir, embedded.Options{})
		if !errors.Is(err, filelock.ErrLocked) || diagnostic.KindOf(err) != diagnostic.Failure || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.words)
		}
	}
	if _, err := os.Stat(unfinished); err != nil {
		t.Error(err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	two, err := embedded.New(dir, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(unfinished); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an upload that nobody can continue is still there: %v", err)
	}
	if err := two.Close(); err != nil {
		t.Error(err)
	}
}
