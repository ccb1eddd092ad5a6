package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/filelock"
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
	if !filelock.Folders {
		return lease{}, nil
	}
	start := time.Now()
	for lost := 0; lost < 100; {
		f, err := os.Open(path)
		if err != nil {
			return lease{}, err
		}
		switch err := filelock.Shared(f); {
		case errors.Is(err, filelock.ErrUnsupported):
			f.Close()
			return lease{}, nil
		case errors.Is(err, filelock.ErrLocked):
			f.Close()
			if time.Since(start) > leasePatience {
				return lease{}, filelock.ErrLocked
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

// claim locks the object at path for this holder alone. filelock.ErrLocked says that somebody uses it; an fs.ErrNotExist
// that it is gone; filelock.ErrUnsupported that nobody can tell. On Windows folders cannot be locked, and a locked file
// cannot be read; there a Removal leaves alone whatever was used lately, as on file systems without locks.
func claim(path string) (lease, error) {
	if !filelock.Folders {
		return lease{}, filelock.ErrUnsupported
	}
	f, err := os.Open(path)
	if err != nil {
		return lease{}, err
	}
	if err := filelock.Exclusive(f); err != nil {
		f.Close()
		return lease{}, err
	}
	if !samePath(f, path) {
		f.Close()
		return lease{}, &fs.PathError{Op: "lock", Path: filepath.Base(path), Err: fs.ErrNotExist}
	}
	return lease{file: f}, nil
}
