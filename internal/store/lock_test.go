package store

import (
	"bufio"
	"context"
	"errors"
	"os"
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
	unlock, err := s.Lock(t.Context(), "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	_, err = s.Lock(ctx, "k", nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	// Nor does the lock go to who has stopped waiting for it.
	unlock()
	again, err := s.Lock(t.Context(), "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
