package store

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Invariant: within a process, fill runs once per digest however many ask.
func TestAddTreeOnceAmongGoroutines(t *testing.T) {
	s := newStore(t)
	const digests = 6
	var fills [digests]atomic.Int32
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			mine := open(t, s.root) // as another process would
			for i := range digests {
				seed := (g + i) % digests
				tree, err := mine.AddTree(t.Context(), seedDigest(seed), nil, func(w writer) error {
					fills[seed].Add(1)
					return fillSeed(seed)(w)
				})
				if err == nil {
					err = whole(tree.Path(), seed)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for seed := range fills {
		if n := fills[seed].Load(); n != 1 {
			t.Errorf("tree %d was filled %d times", seed, n)
		}
	}
	idle(t, s, digests)
}

// Invariant: among processes as well.
func TestAddTreeOnceAmongProcesses(t *testing.T) {
	s := newStore(t)
	log := filepath.Join(t.TempDir(), "fills")
	const digests = 8
	var children []*exec.Cmd
	for range 16 {
		args := []string{s.root, log}
		for _, seed := range rand.Perm(digests) {
			args = append(args, strconv.Itoa(seed))
		}
		cmd := child(t, "fill", args...)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, cmd)
	}
	for _, cmd := range children {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, seed := range strings.Fields(string(data)) {
		counts[seed]++
	}
	for seed := range digests {
		if n := counts[strconv.Itoa(seed)]; n != 1 {
			t.Errorf("tree %d was filled %d times", seed, n)
		}
	}
	idle(t, s, digests)
}

// Invariant: whatever instant a writer is killed at, all that is visible is whole, the store works on, and a sweep
// leaves nothing of the dead.
func TestKilledWriters(t *testing.T) {
	dirs := []string{t.TempDir()}
	// On a disk most of a writer's time goes into syncing; in memory the kills meet everything else.
	if shm, err := os.MkdirTemp("/dev/shm", "ocipkg-store-test"); err == nil {
		defer os.RemoveAll(shm)
		dirs = append(dirs, shm)
	}
	kills := 40
	switch {
	case os.Getenv("OCIPKG_SOAK") != "":
		kills = 200
	case testing.Short():
		kills = 10
	}
	var wg sync.WaitGroup
	for i, dir := range dirs {
		wg.Go(func() {
			s := open(t, filepath.Join(dir, "store"))
			var trees int
			for n := range kills / len(dirs) {
				first := (i*kills + n) * 1000
				// On a disk a tree takes longer.
				killWriter(t, s, first, []time.Duration{80 * time.Millisecond, 20 * time.Millisecond}[i])
				trees += checkAfterKill(t, s, first)
			}
			t.Logf("%s: %d trees, all whole; in tmp: %d", dir, trees, len(below(t, s, "tmp")))
			sweepNow(t, s)
			if left := append(below(t, s, "tmp"), below(t, s, "locks")...); len(left) > 0 {
				t.Errorf("left after a sweep: %v", left)
			}
		})
	}
	wg.Wait()
}

// killWriter starts a writer and kills it at some moment before it has been writing for within.
func killWriter(t *testing.T, s *Store, first int, within time.Duration) {
	cmd := child(t, "write", s.root, strconv.Itoa(first))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Errorf("the writer said %q: %v", line, err)
	}
	time.Sleep(rand.N(within))
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Errorf("the writer was not killed but ended: %v", err)
	}
}

// checkAfterKill looks at everything that the writer with the seeds from first on may have left, and goes on with what
// it was at. It returns how many trees there were.
func checkAfterKill(t *testing.T, s *Store, first int) int {
	seed := first
	for ; ; seed++ {
		tree, err := s.Tree(t.Context(), seedDigest(seed))
		if err != nil {
			break
		}
		if err := errors.Join(whole(tree.Path(), seed), s.VerifyTree(context.Background(), seedDigest(seed))); err != nil {
			t.Error(err)
		}
		tree.Release()
	}
	if entries, err := os.ReadDir(filepath.Join(s.dir, "trees", "sha256")); err != nil || len(entries) < seed-first {
		t.Errorf("%d trees: %v", len(entries), err)
	}
	for _, hex := range below(t, s, "blobs/sha256") {
		data, err := os.ReadFile(filepath.Join(s.dir, "blobs", "sha256", hex))
		if err != nil || digestOf(data).Hex != hex {
			t.Errorf("blob %s holds %d bytes of something else: %v", hex, len(data), err)
		}
	}
	if d, err := s.Name("example.com/lib:latest"); err == nil {
		// The writer sets a name after its blob, so it never points to nothing.
		if _, err := s.Blob(d); err != nil {
			t.Error(err)
		}
	} else if len(below(t, s, "names")) > 0 {
		t.Errorf("a name is there and illegible: %v", err)
	}
	tree, err := s.AddTree(context.Background(), seedDigest(seed), nil, fillSeed(seed))
	if err == nil {
		err = whole(tree.Path(), seed)
	}
	if err != nil {
		t.Errorf("the next AddTree: %v", err)
	}
	return seed - first
}

// Invariant: a fill that fails leaves nothing, and its error comes back as it is.
func TestFillFails(t *testing.T) {
	s := newStore(t)
	boom := errors.New("boom")
	for name, fill := range map[string]func(w writer) error{
		"at once":   func(writer) error { return boom },
		"after all": func(w writer) error { return errors.Join(fillSeed(1)(w), boom) },
		"half a file": func(w writer) error {
			_, err := w.Create("half", false)
			return errors.Join(err, boom)
		},
	} {
		if _, err := s.AddTree(t.Context(), seedDigest(1), nil, fill); !errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
		idle(t, s, 0)
		if _, err := s.Tree(t.Context(), seedDigest(1)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the tree is visible: %v", name, err)
		}
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = s.AddTree(t.Context(), seedDigest(1), nil, func(writer) error { panic("boom") })
	}()
	idle(t, s, 0)
	if _, err := s.AddTree(t.Context(), seedDigest(1), nil, fillSeed(1)); err != nil {
		t.Error(err)
	}
	idle(t, s, 1)
}

// Invariant: a tree holds nothing but directories, files and links that stay inside, in fixed modes, whatever fill does.
func TestSeal(t *testing.T) {
	s := newStore(t)
	for what, fill := range map[string]func(writer) error{
		"a path out of it":          files{"../evil": {data: "x"}}.fill,
		"a link's name out of it":   func(w writer) error { return w.Symlink("x", "../evil") },
		"a folder out of it":        func(w writer) error { return w.Mkdir("../evil") },
		"an absolute path":          func(w writer) error { return w.Mkdir("/evil") },
		"through a link":            func(w writer) error { return errors.Join(w.Mkdir("d"), w.Symlink("d", "l"), w.Mkdir("l/../../x")) },
		"a name that is not UTF-8":  func(w writer) error { return w.Mkdir("not\xffutf8") },
		"the tree itself":           func(w writer) error { return w.Mkdir(".") },
		"a file that is not closed": func(w writer) error { _, err := w.Create("f", false); return err },
		"a file twice": func(w writer) error {
			return errors.Join(files{"f": {data: "x"}}.fill(w), files{"f": {data: "y"}}.fill(w))
		},
	} {
		if _, err := s.AddTree(t.Context(), seedDigest(1), nil, fill); err == nil {
			t.Errorf("%s: added", what)
		}
		idle(t, s, 0)
	}
	for _, target := range []string{"/etc/passwd", "../x", "sub/../../x", "sub/..", "..", "./../x"} {
		_, err := s.AddTree(t.Context(), seedDigest(1), nil, files{"link": {target: target}}.fill)
		mustContain(t, err, "link", target)
		if diagnostic.KindOf(err) != diagnostic.Refused {
			t.Errorf("%s: kind %d", target, diagnostic.KindOf(err))
		}
	}
	for _, target := range []string{"../x", "../../x", "./x", "x/y", "../", "x/"} {
		if _, err := s.AddTree(t.Context(), digestOf([]byte(target)), nil, files{"a/b/link": {target: target}}.fill); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// Invariant: should locks lie, so that a sweep takes a living writer's staging away, then the writer fails and nothing
// incomplete is published.
func TestSweepOfTheLivingPublishesNothing(t *testing.T) {
	s := newStore(t)
	_, err := s.AddTree(t.Context(), seedDigest(1), nil, func(w writer) error {
		if err := fillSeed(1)(w); err != nil {
			return err
		}
		// With another lock file in its place, the lock says nothing to others.
		for _, name := range below(t, s, "tmp") {
			if strings.HasSuffix(name, ".lock") {
				if err := os.Remove(filepath.Join(s.dir, "tmp", name)); err != nil {
					return err
				}
			}
		}
		s.sweep()
		return nil
	})
	if err == nil {
		t.Error("AddTree succeeded without its staging")
	}
	if _, err := s.Tree(t.Context(), seedDigest(1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("visible: %v", err)
	}
	if _, err := s.AddTree(t.Context(), seedDigest(1), nil, fillSeed(1)); err != nil {
		t.Error(err)
	}
	idle(t, s, 1)
}

// Invariant: without locks two may fill at once, and both end with the one tree.
func TestAddTreeWithoutLocks(t *testing.T) {
	s := newStore(t)
	var fills atomic.Int32
	tree, err := s.AddTree(t.Context(), seedDigest(1), nil, func(w writer) error {
		fills.Add(1)
		// The lock file deleted, the second writer gets a lock of its own.
		for _, name := range below(t, s, "locks") {
			if err := os.Remove(filepath.Join(s.dir, "locks", name)); err != nil {
				return err
			}
		}
		other, err := s.AddTree(t.Context(), seedDigest(1), nil, func(w writer) error {
			fills.Add(1)
			return fillSeed(1)(w)
		})
		return errors.Join(err, whole(other.Path(), 1), fillSeed(1)(w))
	})
	if err == nil {
		err = whole(tree.Path(), 1)
	}
	if err != nil || fills.Load() != 2 {
		t.Errorf("%d fills, %v", fills.Load(), err)
	}
	idle(t, s, 1)
}

// Invariant: a done context ends a wait for another's fill at once, and does not disturb it.
func TestAddTreeCancelled(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.AddTree(t.Context(), seedDigest(1), nil, func(w writer) error {
		time.AfterFunc(20*time.Millisecond, cancel)
		_, err := s.AddTree(ctx, seedDigest(1), nil, func(writer) error { t.Error("filled"); return nil })
		if !errors.Is(err, context.Canceled) || diagnostic.KindOf(err) != diagnostic.Interrupted {
			t.Errorf("%v", err)
		}
		return fillSeed(1)(w)
	})
	if err != nil {
		t.Error(err)
	}
	// What is there needs no wait, so no context either.
	if _, err := s.AddTree(ctx, seedDigest(1), nil, nil); err != nil {
		t.Error(err)
	}
}
