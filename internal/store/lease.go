package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A lease is a shared lock on an object itself: a tree's directory, or the file of a blob or a name. Whoever holds one has
// the object where it was found for as long: a Removal takes the same lock for itself alone or leaves the object. The
// lock is on the object, not on a file of its own, so that a lease costs nothing on the disk and can be had in a store
// that this process may only read; the kernel drops it with its holder, however that ends.
type lease struct {
	file *os.File // nil where there are no locks
}

// leasePatience is how long a lease waits for a Removal, which holds the lock for a look at the names and one rename.
// Only one that was stopped in between holds it longer.
const leasePatience = 10 * time.Second

// lend takes the lease of the object at path. An fs.ErrNotExist says that there is none, or none any more; where there
// are no locks it is not looked for.
func lend(path string) (lease, error) {
	if !objectLocks {
		return lease{}, nil
	}
	start := time.Now()
	for lost := 0; lost < 100; {
		f, err := os.Open(path)
		if err != nil {
			return lease{}, err
		}
		switch err := lockObject(f, false); {
		case errors.Is(err, errNoLocks):
			f.Close()
			return lease{}, nil
		case errors.Is(err, errLocked):
			f.Close()
			if time.Since(start) > leasePatience {
				return lease{}, errLocked
			}
			time.Sleep(time.Millisecond)
		case err != nil:
			f.Close()
			return lease{}, err
		case samePath(f, path):
			return lease{file: f}, nil
		default:
			// Between open and lock it was removed; by now another may be there.
			f.Close()
			lost++
		}
	}
	return lease{}, nil // as in tryLock: this file system gives one file a new identity at every look
}

func (l lease) release() {
	if l.file != nil {
		l.file.Close()
	}
}

// claim locks the object at path for this holder alone. errLocked says that somebody uses it; an fs.ErrNotExist that it
// is gone; errNoLocks that nobody can tell.
func claim(path string) (lease, error) {
	if !objectLocks {
		return lease{}, errNoLocks
	}
	f, err := os.Open(path)
	if err != nil {
		return lease{}, err
	}
	if err := lockObject(f, true); err != nil {
		f.Close()
		return lease{}, err
	}
	if !samePath(f, path) {
		f.Close()
		return lease{}, &fs.PathError{Op: "lock", Path: filepath.Base(path), Err: fs.ErrNotExist}
	}
	return lease{file: f}, nil
}
