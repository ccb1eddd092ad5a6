package store

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Invariant: at most one holds a key.
func TestLockExcludes(t *testing.T) {
	s := newStore(t)
	holders, turns := 0, 0 // the race detector watches them, too
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 5 {
				unlock, err := open(t, s.root).Lock(t.Context(), "k", nil)
				if err != nil {
					t.Error(err)
					return
				}
				if holders++; holders != 1 {
					t.Errorf("%d holders", holders)
				}
				turns++
				holders--
				unlock()
				unlock() // harmless, also when the next one has it
			}
		})
	}
	wg.Wait()
	if turns != 80 {
		t.Errorf("%d turns", turns)
	}
	idle(t, s, 0)
}

// Invariant: keys do not touch each other, nor AddTree's own locks.
func TestLockKeysAreApart(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	d := seedDigest(1)
	for _, key := range []string{"", "a", "A", "a/b", "tree " + d.String(), d.String()} {
		unlock, err := s.Lock(ctx, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
	}
	if _, err := s.AddTree(ctx, d, nil, fillSeed(1)); err != nil {
		t.Error(err)
	}
}

// Invariant: a wait is told once, with the holder's process id, and a killed holder has no lock.
func TestLockOfKilledHolder(t *testing.T) {
	s := newStore(t)
	cmd := child(t, "hold", s.root, "k")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	var told []int
	unlock, err := s.Lock(t.Context(), "k", func(pid int) {
		told = append(told, pid)
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	_ = cmd.Wait()
	if len(told) != 1 || told[0] != cmd.Process.Pid {
		t.Errorf("told %v, want once %d", told, cmd.Process.Pid)
	}
	idle(t, s, 0)
}

// Invariant: a done context ends a wait at once.
func TestLockCancelled(t *testing.T) {
	s := newStore(t)
	// Held as by a process that is killed: the file stays.
	held, err := tryLock(filepath.Join(s.dir, "locks", digestOf([]byte("key k")).Hex))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	_, err = s.Lock(ctx, "k", nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	// Nor does the lock go to who has stopped waiting for it.
	held.Close()
	soon, giveUp := context.WithTimeout(t.Context(), time.Minute)
	defer giveUp()
	unlock, err := s.Lock(soon, "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// Invariant: the same holds where the kernel is not waited for.
func TestLockElsewhere(t *testing.T) {
	s := newStore(t)
	s.look.Do(func() {})
	s.remote = true
	unlock, err := s.Lock(t.Context(), "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(ctx, "k", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	told := 0
	got := make(chan error, 1)
	go func() {
		next, err := s.Lock(t.Context(), "k", func(pid int) {
			if told++; pid != os.Getpid() {
				t.Errorf("held by %d", pid)
			}
			unlock()
		})
		if err == nil {
			next()
		}
		got <- err
	}()
	if err := <-got; err != nil || told != 1 {
		t.Errorf("told %d times, %v", told, err)
	}
}

// The lock that a Hold keeps for what follows goes with a store that somebody deletes; what follows has one again, which a sweep of
// the next store knows.
func TestHoldWhenTheStoreIsDeleted(t *testing.T) {
	s := newStore(t)
	hold := s.Hold()
	defer hold.Release()
	put := func(s *Store, text string) {
		t.Helper()
		if _, err := s.PutBlob([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	put(s, "a")
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	put(s, "b")
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	other := open(t, filepath.Dir(filepath.Dir(s.dir)))
	put(other, "c")
	staged, err := s.stage()
	if err != nil {
		t.Fatal(err)
	}
	defer staged.discard()
	if err := os.Mkdir(staged.path, 0o755); err != nil {
		t.Fatal(err)
	}
	other.sweep()
	if _, err := os.Stat(staged.path); err != nil {
		t.Errorf("a sweep has taken what is being made: %v", err)
	}
}
