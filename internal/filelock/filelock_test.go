package filelock_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/filelock"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Invariant: a lock is its holder's alone until the holder's file is closed. That it ends with a killed process is shown where it
// matters, by the tests of store and of embedded.
func TestLocks(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	paths := []string{file}
	if filelock.Folders {
		paths = append(paths, dir)
	}
	for _, path := range paths {
		one, two, three := open(t, path), open(t, path), open(t, path)
		if err := filelock.Exclusive(one); errors.Is(err, filelock.ErrUnsupported) {
			t.Skip(path, err)
		} else if err != nil {
			t.Fatal(err)
		}
		if err := filelock.Exclusive(two); !errors.Is(err, filelock.ErrLocked) {
			t.Errorf("%s: a second holder: %v", path, err)
		}
		if err := filelock.Shared(two); !errors.Is(err, filelock.ErrLocked) {
			t.Errorf("%s: a second holder, who shares: %v", path, err)
		}
		if text, err := os.ReadFile(file); err != nil || string(text) != "content" {
			t.Errorf("what is locked cannot be read: %q, %v", text, err)
		}
		one.Close()
		for _, f := range []*os.File{two, three} {
			if err := filelock.Shared(f); err != nil {
				t.Errorf("%s: one of two who share: %v", path, err)
			}
		}
		four := open(t, path)
		if err := filelock.Exclusive(four); !errors.Is(err, filelock.ErrLocked) {
			t.Errorf("%s: alone among those who share: %v", path, err)
		}
		two.Close()
		three.Close()
		if err := filelock.Exclusive(four); err != nil {
			t.Errorf("%s: after all have left: %v", path, err)
		}
	}
}

// Invariant: who waits gets the lock when its holder's file is closed, and not before.
func TestAwait(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	one := open(t, file)
	if err := filelock.Exclusive(one); errors.Is(err, filelock.ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		f   *os.File
		err error
	}
	holders := make(chan holder, 2)
	for range 2 {
		f := open(t, file)
		got := filelock.Await(f)
		go func() { holders <- holder{f, <-got} }()
	}
	held := func() {
		t.Helper()
		select {
		case h := <-holders:
			t.Fatalf("a second holder: %v", h.err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	held()
	one.Close()
	next := <-holders
	if next.err != nil {
		t.Fatal(next.err)
	}
	held()
	next.f.Close()
	if last := <-holders; last.err != nil {
		t.Error(last.err)
	}
}
