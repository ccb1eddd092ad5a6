package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/filelock"
)

// handover makes a lock order memory as a mutex does. The kernel's lock orders the goroutines, but Go's memory model
// does not know of it: only because the one before has passed here before it released, and the next one passes here
// after it got the lock, does the next one see what the one before has written.
var handover atomic.Int64

// waitingAfter is how long a wait stays unmentioned.
const waitingAfter = time.Second

// Lock serialises work on key among processes and goroutines: who gets it second should look first whether the one
// before has left a result. Keys are any text. waiting, if not nil, is called once when the wait has lasted a second,
// with the holder's process id, or 0 where it is not known. A holder that is killed loses the lock at once. The only
// error is that of a done context; where locks cannot be had, as in a store that cannot be written, Lock returns
// without one, since nothing but work depends on it. unlock may be called more than once.
func (s *Store) Lock(ctx context.Context, key string, waiting func(pid int)) (unlock func(), err error) {
	return s.lock(ctx, "key "+key, waiting)
}

// lock is Lock in a space of keys that a caller of Lock cannot reach: AddTree's own lock must not be the one that its
// caller already holds.
func (s *Store) lock(ctx context.Context, key string, waiting func(pid int)) (unlock func(), err error) {
	path := filepath.Join(s.dir, "locks", digestOf([]byte(key)).Hex)
	tell := func() {
		if waiting != nil {
			waiting(holder(path))
		}
	}
	start := time.Now()
	patience := time.NewTimer(waitingAfter)
	defer patience.Stop()
	for {
		if err := ctx.Err(); err != nil {
			return nil, stillLocked(err)
		}
		f, err := tryLock(path)
		if errors.Is(err, filelock.ErrLocked) {
			if s.elsewhere() {
				// NFS's client waits by trying again, too, and may take half a minute between two tries.
				f, err = nil, pause(ctx, time.Since(start), patience.C, tell)
			} else {
				f, err = awaitLock(ctx, path, patience.C, tell)
			}
		}
		switch {
		case err == nil && f != nil:
			handover.Add(1)
			return sync.OnceFunc(func() {
				handover.Add(1)
				releaseLock(f, path)
			}), nil
		case err == nil: // once more; who had it may have deleted the file
		case ctx.Err() != nil:
			return nil, stillLocked(ctx.Err())
		default:
			if errors.Is(err, filelock.ErrUnsupported) {
				_ = os.Remove(path)
			}
			return func() {}, nil
		}
	}
}

func stillLocked(err error) error { return fmt.Errorf("wait for a lock of the store: %w", err) }

// pause lets some time pass before the next try, of a wait that has lasted for waited: a free lock lies idle for a few hundredths
// of that, for 5 ms at least, and 100 at most. Like awaitLock it calls tell, and returns ctx's error.
func pause(ctx context.Context, waited time.Duration, patience <-chan time.Time, tell func()) error {
	over := time.After(min(max(waited/32, 5*time.Millisecond), 100*time.Millisecond))
	for {
		select {
		case <-over:
			return nil
		case <-patience:
			tell()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaitLock waits for the lock on the file at path, and returns that, locked, or nil where it is no longer the file at path
// by then. It calls tell when patience is at its end, and returns ctx's error when that is done.
func awaitLock(ctx context.Context, path string, patience <-chan time.Time, tell func()) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	got := filelock.Await(f)
	for {
		select {
		case err := <-got:
			if err == nil && samePath(f, path) {
				sign(f)
				return f, nil
			}
			f.Close()
			return nil, err
		case <-patience:
			tell()
		case <-ctx.Done():
			go func() {
				<-got
				f.Close()
			}()
			return nil, ctx.Err()
		}
	}
}

// tryLock locks the file at path, which it makes if need be, writes the process id into it and returns it. Its errors are
// those of filelock, whose locks belong to open files: each call opens the file anew.
func tryLock(path string) (*os.File, error) {
	for range 100 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := filelock.Exclusive(f); err != nil {
			f.Close()
			return nil, err
		}
		// Holders delete their lock file. Between open and flock the one before may have done so: then this lock is on
		// a file that no one else can find, and someone may hold the lock on a new one.
		if samePath(f, path) {
			sign(f)
			return f, nil
		}
		f.Close()
	}
	// No race is lost so often: this file system gives one file a new identity at every look (some FUSE ones do).
	return nil, filelock.ErrUnsupported
}

// sign writes who has the lock into its file.
func sign(f *os.File) { _, _ = f.WriteAt(fmt.Appendf(nil, "%-20d\n", os.Getpid()), 0) }

func samePath(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, there)
}

// holder returns the process id in the lock file at path, or 0. It may be outdated by the time it is read.
func holder(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

// releaseLock deletes the lock file and gives the lock back, in this order: once it is free, the path may belong to the next
// holder. tryLock detects a file deleted under it. On Windows it is the other way round: there a file that anyone has open
// cannot be deleted, which also means that the path cannot belong to the next holder when the deletion succeeds.
func releaseLock(f *os.File, path string) {
	if runtime.GOOS == "windows" {
		_ = f.Close()
		_ = os.Remove(path)
		return
	}
	_ = os.Remove(path)
	_ = f.Close()
}
