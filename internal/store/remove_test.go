package store

import (
	"context"
	"errors"
	"fmt"
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

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/filelock"
)

func remove(t testing.TB, s *Store, d v1.Hash) error {
	t.Helper()
	r := s.Remove()
	err := r.Tree(d, nil)
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	return err
}

// Invariant: a tree that somebody holds is not removed, in whatever way it was come by; one that nobody holds is, with
// its record.
func TestLeasedTreeStays(t *testing.T) {
	s := newStore(t)
	d := seedDigest(1)
	for name, hold := range map[string]func(s *Store) (Tree, error){
		"made":  func(s *Store) (Tree, error) { return s.AddTree(t.Context(), d, nil, fillSeed(1)) },
		"found": func(s *Store) (Tree, error) { return s.Tree(t.Context(), d) },
		"both":  func(s *Store) (Tree, error) { return s.AddTree(t.Context(), d, nil, nil) },
	} {
		if name != "made" {
			tree, err := s.AddTree(t.Context(), d, nil, fillSeed(1))
			if err != nil {
				t.Fatal(err)
			}
			tree.Release()
		}
		tree, err := hold(open(t, s.root))
		if err != nil {
			t.Fatal(err)
		}
		if err := remove(t, s, d); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: removed under a lease: %v", name, err)
		}
		if err := whole(tree.Path(), 1); err != nil {
			t.Error(err)
		}
		second, err := s.Tree(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		tree.Release()
		tree.Release() // harmless
		if err := remove(t, s, d); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: removed under a second lease: %v", name, err)
		}
		second.Release()
		if err := remove(t, s, d); err != nil {
			t.Errorf("%s: not removed when free: %v", name, err)
		}
		if _, err := s.Tree(t.Context(), d); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: still there: %v", name, err)
		}
		if err := remove(t, s, d); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: removed twice: %v", name, err)
		}
		if left := below(t, s, "records/sha256"); len(left) > 0 {
			t.Errorf("%s: records without a tree: %v", name, left)
		}
		idle(t, s, 0)
	}
}

// Invariant: what wanted decides is decided when nobody can take a lease any more: a user either came before and is
// known, or finds nothing.
func TestRemovalAsksUnderTheLock(t *testing.T) {
	s := newStore(t)
	addFiles(t, s, "x", headers).Release()
	d := digestOf([]byte("x"))
	r := s.Remove()
	asked := false
	err := r.Tree(d, func() (bool, error) {
		asked = true
		if _, err := claim(filepath.Join(s.dir, "trees", "sha256", d.Hex)); !errors.Is(err, filelock.ErrLocked) {
			t.Errorf("not locked when asked: %v", err)
		}
		return true, nil
	})
	if err != nil || !asked {
		t.Errorf("asked %v, %v", asked, err)
	}
	boom := errors.New("boom")
	if err := r.Tree(d, func() (bool, error) { return false, boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
	if err := r.Finish(); err != nil {
		t.Error(err)
	}
	tree, err := s.Tree(t.Context(), d)
	if err != nil {
		t.Fatal("a wanted tree was removed:", err)
	}
	if err := headers.check(tree.Path()); err != nil {
		t.Error(err)
	}
}

// Invariant: what a Hold has stays, and the name of it; what nobody holds goes.
func TestHeldBlobStays(t *testing.T) {
	for name, take := range map[string]func(h *Hold, d v1.Hash) error{
		"read": func(h *Hold, d v1.Hash) error { _, err := h.Blob(d); return err },
		"put":  func(h *Hold, _ v1.Hash) error { h.PutBlob([]byte("{}")); return h.Settle() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			d, err := s.PutBlob([]byte("{}"))
			if err == nil {
				err = s.SetName("n", d)
			}
			if err != nil {
				t.Fatal(err)
			}
			names, err := s.Names()
			if err != nil || len(names) != 1 {
				t.Fatal(names, err)
			}
			h := open(t, s.root).Hold()
			if err := take(h, d); err != nil {
				t.Fatal(err)
			}
			r := s.Remove()
			for what, err := range map[string]error{"blob": r.Blob(d, nil), "name": r.Name(names[0], nil)} {
				if !errors.Is(err, ErrInUse) {
					t.Errorf("%s: removed while it is held: %v", what, err)
				}
			}
			h.Release()
			h.Release() // harmless
			if err := errors.Join(r.Name(names[0], nil), r.Blob(d, nil), r.Finish()); err != nil {
				t.Errorf("not removed when free: %v", err)
			}
			if _, err := s.Name("n"); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if _, err := s.Hold().Blob(d); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if err := r.Blob(d, nil); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("removed twice: %v", err)
			}
		})
	}
}

// Invariant: between a Removal's last look at the names and its rename nobody gets hold of the blob, so that no name can
// be set for what is about to go: who comes then finds it kept, or finds nothing and puts it anew.
func TestBlobRemovalAsksUnderTheLock(t *testing.T) {
	for _, keep := range []bool{true, false} {
		for name, take := range map[string]func(h *Hold, d v1.Hash) error{
			"reader": func(h *Hold, d v1.Hash) error { _, err := h.Blob(d); return err },
			"writer": func(h *Hold, _ v1.Hash) error { h.PutBlob([]byte("{}")); return h.Settle() },
		} {
			t.Run(fmt.Sprintf("%s, keep %v", name, keep), func(t *testing.T) {
				s := newStore(t)
				d, err := s.PutBlob([]byte("{}"))
				if err != nil {
					t.Fatal(err)
				}
				h := s.Hold()
				defer h.Release()
				took := make(chan error, 1)
				r := s.Remove()
				err = r.Blob(d, func() (bool, error) {
					go func() { took <- take(h, d) }()
					select {
					case err := <-took:
						t.Errorf("somebody got it while its removal was decided: %v", err)
						took <- err
					case <-time.After(50 * time.Millisecond):
					}
					return keep, nil
				})
				if err != nil {
					t.Fatal(err)
				}
				err = <-took
				if gone := errors.Is(err, fs.ErrNotExist); gone != (name == "reader" && !keep) || err != nil && !gone {
					t.Errorf("who came meanwhile got %v", err)
				}
				if err == nil {
					if _, err := s.PeekBlob(d); err != nil {
						t.Errorf("it is held, and not there: %v", err)
					}
				}
				if err := r.Finish(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Invariant: a name that was used or set since a Removal listed it stays, even if that happens when it is about to go.
func TestUsedNameStays(t *testing.T) {
	s := newStore(t)
	old, other := digestOf([]byte("old")), digestOf([]byte("other"))
	listed := func() Named {
		t.Helper()
		if err := s.SetName("n", old); err != nil {
			t.Fatal(err)
		}
		long := time.Now().Add(-2 * touchEvery)
		if err := os.Chtimes(s.namePath("n"), long, long); err != nil {
			t.Fatal(err)
		}
		names, err := s.Names()
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		return names[0]
	}
	for what, d := range map[string]v1.Hash{"used": old, "set": other} {
		n := listed()
		if err := s.SetName("n", d); err != nil {
			t.Fatal(err)
		}
		r := s.Remove()
		if err := r.Name(n, func() error { t.Error("it was about to go"); return nil }); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: %v", what, err)
		}
		if got, err := s.Name("n"); err != nil || got != d {
			t.Errorf("%s: it is %s, %v", what, got, err)
		}
	}
	for what, d := range map[string]v1.Hash{"used": old, "set": other} {
		n := listed()
		set := make(chan error, 1)
		r := s.Remove()
		err := r.Name(n, func() error {
			go func() { set <- s.SetName("n", d) }()
			time.Sleep(50 * time.Millisecond)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(<-set, r.Finish()); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Name("n"); err != nil || got != d {
			t.Errorf("%s when it is about to go: it is %s, %v", what, got, err)
		}
	}
	n := listed()
	r := s.Remove()
	if err := errors.Join(r.Name(n, nil), r.Finish()); err != nil {
		t.Error(err)
	}
	if _, err := s.Name("n"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unused, and still there: %v", err)
	}
}

// Invariant: a blob is as old as the last time it was put, by which a gc goes that finds no name of it.
func TestPutBlobIsYoung(t *testing.T) {
	s := newStore(t)
	held := func(data []byte) (v1.Hash, error) {
		h := s.Hold()
		defer h.Release()
		h.PutBlob(data)
		return digestOf(data), h.Settle()
	}
	for _, put := range []func([]byte) (v1.Hash, error){s.PutBlob, held} {
		d, err := put([]byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		path, err := s.object("blobs", d)
		if err != nil {
			t.Fatal(err)
		}
		long := time.Now().Add(-48 * time.Hour)
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
		if _, err := put([]byte("{}")); err != nil {
			t.Fatal(err)
		}
		blobs, err := s.Blobs()
		if err != nil || len(blobs) != 1 || time.Since(blobs[0].Made) > time.Minute {
			t.Errorf("%+v, %v", blobs, err)
		}
	}
}

// Invariant: a removal that never came to its end leaves whole things and a sweep's work.
func TestInterruptedRemoval(t *testing.T) {
	s := newStore(t)
	for i := range 3 {
		tree, err := s.AddTree(t.Context(), seedDigest(i), nil, fillSeed(i))
		if err != nil {
			t.Fatal(err)
		}
		tree.Release()
	}
	blob, err := s.PutBlob([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetName("n", blob); err != nil {
		t.Fatal(err)
	}
	names, err := s.Names()
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	r := s.Remove()
	if err := errors.Join(r.Tree(seedDigest(0), nil), r.Blob(blob, nil), r.Name(names[0], nil)); err != nil {
		t.Fatal(err)
	}
	// Here it dies. What is gone is gone, and can be made again at once.
	if _, err := s.Tree(t.Context(), seedDigest(0)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := s.Blob(blob); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := s.Name("n"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for i := range 3 {
		tree, err := s.AddTree(t.Context(), seedDigest(i), nil, fillSeed(i))
		if err == nil {
			err = whole(tree.Path(), i)
		}
		if err != nil {
			t.Error(err)
		}
	}
	sweepNow(t, s)
	idle(t, s, 3)
	if err := r.Finish(); err != nil {
		t.Errorf("late, and swept already: %v", err)
	}
}

// Invariant: whoever gets a tree gets all of it to where it is wanted, whatever is removed at the same time.
func TestRemovalAgainstReaders(t *testing.T) {
	s := newStore(t)
	const seeds = 4
	var taken, refused, laid atomic.Int32
	stop := make(chan struct{})
	var removers, readers sync.WaitGroup
	for range 2 {
		removers.Go(func() {
			mine := open(t, s.root)
			for {
				select {
				case <-stop:
					return
				default:
				}
				r := mine.Remove()
				switch err := r.Tree(seedDigest(rand.IntN(seeds)), nil); {
				case err == nil:
					taken.Add(1)
				case errors.Is(err, ErrInUse):
					refused.Add(1)
				case !errors.Is(err, fs.ErrNotExist):
					t.Error(err)
				}
				if err := r.Finish(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	dir := t.TempDir()
	for g := range 6 {
		readers.Go(func() {
			mine := open(t, s.root)
			for i := range 12 {
				seed := rand.IntN(seeds)
				tree, err := mine.AddTree(t.Context(), seedDigest(seed), nil, fillSeed(seed))
				if err != nil {
					t.Error(err)
					return
				}
				dst := filepath.Join(dir, fmt.Sprint(g, "-", i))
				_, err = Materialise(dst, false, tree)
				tree.Release()
				if err == nil {
					err = whole(dst, seed)
				}
				if err != nil {
					t.Error(err)
				}
				laid.Add(1)
			}
		})
	}
	readers.Wait()
	close(stop)
	removers.Wait()
	t.Logf("%d laid out, %d removed, %d refused", laid.Load(), taken.Load(), refused.Load())
	if taken.Load() == 0 {
		t.Error("nothing was ever removed")
	}
	if left := below(t, s, "tmp"); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

// Invariant: a record whose tree never came is swept; one whose tree is being made is not.
func TestSweepRecords(t *testing.T) {
	s := newStore(t)
	if err := s.writeRecord(seedDigest(2), &record{}); err != nil {
		t.Fatal(err)
	}
	_, err := s.AddTree(t.Context(), seedDigest(1), nil, func(w writer) error {
		if err := s.writeRecord(seedDigest(1), &record{}); err != nil { // as if it had come so far
			return err
		}
		s.Sweep()
		if left := below(t, s, "records/sha256"); len(left) != 1 || left[0] != seedDigest(1).Hex {
			t.Errorf("left %v", left)
		}
		return fillSeed(1)(w)
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Sweep()
	if err := s.VerifyTree(t.Context(), seedDigest(1)); err != nil {
		t.Error(err)
	}
	idle(t, s, 1)
}

// roleUse fetches, lays out, verifies and removes trees of some seeds for some rounds, or until it is killed.
func roleUse(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	rounds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	seeds, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	if _, err := fmt.Println("using"); err != nil {
		return err
	}
	ctx := context.Background()
	for round := 0; rounds == 0 || round < rounds; round++ {
		seed := rand.IntN(seeds)
		tree, err := s.AddTree(ctx, seedDigest(seed), nil, fillSeed(seed))
		if err != nil {
			return err
		}
		d, err := s.PutBlob(seedBlob(seed))
		if err == nil {
			err = s.SetName(fmt.Sprintf("example.com/lib:%d", seed), d)
		}
		if err != nil {
			return err
		}
		switch rand.IntN(4) {
		case 0, 1:
			dst := filepath.Join(args[1], fmt.Sprintf("%d-%d", os.Getpid(), round))
			if _, err := Materialise(dst, false, tree); err != nil {
				return err
			}
			if err := whole(dst, seed); err != nil {
				return err
			}
			if err := os.RemoveAll(dst); err != nil {
				return err
			}
			tree.Release()
		case 2:
			if err := s.VerifyTree(ctx, seedDigest(seed)); err != nil {
				return err
			}
			tree.Release()
		case 3:
			tree.Release()
			r := s.Remove()
			errs := []error{r.Tree(seedDigest(seed), nil), r.Blob(d, nil)}
			names, err := s.Names()
			if err != nil {
				return err
			}
			for _, n := range names {
				if n.Digest == d {
					errs = append(errs, r.Name(n, nil))
				}
			}
			for _, err := range append(errs, r.Finish()) {
				if err != nil && !errors.Is(err, ErrInUse) && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
	}
	return nil
}

// Invariant: 64 processes that fetch, lay out, verify and remove overlapping sets through one store, some of them killed,
// never meet anything but whole trees, and leave nothing but such. OCIPKG_SOAK says for how many rounds each, and makes
// the kills 200.
func TestManyProcesses(t *testing.T) {
	s := newStore(t)
	out := t.TempDir()
	processes, rounds, kills := 64, 3, 8
	if soak := os.Getenv("OCIPKG_SOAK"); soak != "" {
		n, err := strconv.Atoi(soak)
		if err != nil {
			t.Fatal("OCIPKG_SOAK is a number of rounds:", err)
		}
		rounds, kills = n, 200
	}
	if testing.Short() {
		processes, kills = 16, 2
	}
	const seeds = 12
	var running []*exec.Cmd
	for range processes {
		cmd := child(t, "use", s.root, out, strconv.Itoa(rounds), strconv.Itoa(seeds))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
	}
	// At the same time, some that work until they are killed.
	for range kills {
		cmd := child(t, "use", s.root, out, "0", strconv.Itoa(seeds))
		var said strings.Builder
		cmd.Stderr = &said
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 6)
		if _, err := pipe.Read(buf); err != nil {
			t.Errorf("it did not begin: %v", err)
		}
		time.Sleep(rand.N(200 * time.Millisecond))
		_ = cmd.Process.Kill()
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
			t.Errorf("it was not killed but ended: %v\n%s", err, said.String())
		}
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	sweepNow(t, s)
	trees, err := s.Trees()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range trees {
		if err := s.VerifyTree(t.Context(), o.Digest); err != nil {
			t.Error(err)
		}
	}
	for seed := range seeds {
		tree, err := s.AddTree(t.Context(), seedDigest(seed), nil, fillSeed(seed))
		if err == nil {
			err = whole(tree.Path(), seed)
		}
		if err != nil {
			t.Error(err)
		}
	}
	blobs, err := s.Blobs()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range blobs {
		if err := s.VerifyBlob(o.Digest); err != nil {
			t.Error(err)
		}
	}
	idle(t, s, seeds)
	t.Logf("%d processes of %d rounds, %d killed, %d trees in the end", processes, rounds, kills, len(trees))
}

// Invariant: names and objects are listed as they are, whatever else lies among them.
func TestListing(t *testing.T) {
	s := newStore(t)
	tree := addFiles(t, s, "x", headers)
	blob, err := s.PutBlob([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"b", "a"} {
		if err := s.SetName(ref, blob); err != nil {
			t.Fatal(err)
		}
	}
	for _, stray := range []string{"names/README", "names/" + digestOf([]byte("c")).Hex, "blobs/sha256/x", "trees/sha256/" + digestOf(nil).Hex} {
		if err := os.WriteFile(filepath.Join(s.dir, filepath.FromSlash(stray)), []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names, err := s.Names()
	if err != nil || len(names) != 2 || names[0].Ref != "a" || names[1].Digest != blob || time.Since(names[0].Used) > time.Hour {
		t.Errorf("%v, %v", names, err)
	}
	blobs, err := s.Blobs()
	if err != nil || len(blobs) != 1 || blobs[0].Digest != blob || blobs[0].Size != 2 {
		t.Errorf("%v, %v", blobs, err)
	}
	trees, err := s.Trees()
	if err != nil || len(trees) != 1 || trees[0].Digest != tree.Digest() {
		t.Errorf("%v, %v", trees, err)
	}
	size, err := s.TreeSize(tree.Digest())
	if err != nil || size != 16 {
		t.Errorf("%d, %v", size, err)
	}
	if err := os.Remove(s.recordPath(tree.Digest())); err != nil {
		t.Fatal(err)
	}
	if size, err := s.TreeSize(tree.Digest()); err != nil || size != 16 {
		t.Errorf("without a record: %d, %v", size, err)
	}
}

// Invariant: a time of last use is written once an hour, and one that a wrong clock wrote does not stand.
func TestLastUse(t *testing.T) {
	s := newStore(t)
	d := digestOf(nil)
	if err := s.SetName("n", d); err != nil {
		t.Fatal(err)
	}
	for age, written := range map[time.Duration]bool{0: false, touchEvery / 2: false, 2 * touchEvery: true, -24 * 365 * time.Hour: true} {
		was := time.Now().Add(-age)
		if err := os.Chtimes(s.namePath("n"), was, was); err != nil {
			t.Fatal(err)
		}
		if names, err := s.Names(); err != nil || names[0].Used.After(time.Now()) {
			t.Errorf("age %v: used in the future: %v, %v", age, names, err)
		}
		if err := s.SetName("n", d); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(s.namePath("n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.ModTime().Sub(was).Abs() > time.Minute; got != written {
			t.Errorf("age %v: written %v", age, got)
		}
		if d := time.Since(fi.ModTime()); written && (d < -time.Minute || d > time.Minute) {
			t.Errorf("age %v: it says %v", age, fi.ModTime())
		}
	}
}

// Invariant: of what was set aside, a removal takes what has lain there for long enough.
func TestRemoveSetAside(t *testing.T) {
	s := newStore(t)
	dir := filepath.Join(s.dir, "corrupt")
	if err := os.MkdirAll(filepath.Join(dir, "tree", "closed"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "blob"), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "tree"), old, old); err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		r := s.Remove()
		n, err := r.SetAside(time.Now().Add(-24*time.Hour), dry)
		if err := errors.Join(err, r.Finish()); err != nil || n != 1 {
			t.Errorf("dry %v: %d, %v", dry, n, err)
		}
	}
	if left := below(t, s, "corrupt"); len(left) != 1 || left[0] != "blob" {
		t.Errorf("left %v", left)
	}
}

// Invariant: nothing is removed from a store that cannot be written, and it says so.
func TestRemoveFromReadOnlyStore(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("modes do not bind root; TestForeignStore runs this as another user")
	}
	s := newStore(t)
	addFiles(t, s, "x", headers).Release()
	dir := filepath.Join(s.dir, "trees", "sha256")
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o755)
	err := remove(t, s, digestOf([]byte("x")))
	mustContain(t, err, s.root, "cannot be written", "OCIPKG_STORE")
	if diagnostic.KindOf(err) != diagnostic.Failure {
		t.Errorf("kind %d", diagnostic.KindOf(err))
	}
	if _, err := s.Tree(t.Context(), digestOf([]byte("x"))); err != nil {
		t.Error(err)
	}
}
