package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/filelock"
)

// A lease is a shared lock on a tree's own directory. Whoever holds one has the tree where it was found for as long:
// a Removal takes the same lock for itself alone or leaves the tree. The lock is on the directory, not on a file of its
// own, so that a lease costs nothing on the disk and can be had in a store that this process may only read; the kernel
// drops it with its holder, however that ends.
type lease struct {
	dir *os.File // nil where there are no locks
}

// leasePatience is how long a lease waits for a Removal, which holds the lock for a look at the names and one rename.
// Only one that was stopped in between holds it longer.
const leasePatience = 10 * time.Second

// lend takes the lease of the tree at path. An fs.ErrNotExist says that there is none, or none any more.
func lend(path string) (lease, error) {
	if !filelock.Folders {
		return lease{}, nil
	}
	for start := time.Now(); ; {
		dir, err := os.Open(path)
		if err != nil {
			return lease{}, err
		}
		switch err := filelock.Shared(dir); {
		case errors.Is(err, filelock.ErrUnsupported):
			dir.Close()
			return lease{}, nil
		case errors.Is(err, filelock.ErrLocked):
			dir.Close()
			if time.Since(start) > leasePatience {
				return lease{}, filelock.ErrLocked
			}
			time.Sleep(time.Millisecond)
		case err != nil:
			dir.Close()
			return lease{}, err
		case samePath(dir, path):
			return lease{dir: dir}, nil
		default:
			// Between open and lock it was removed; by now another may be there.
			dir.Close()
		}
	}
}

func (l lease) release() {
	if l.dir != nil {
		l.dir.Close()
	}
}

// claim locks the tree at path for this holder alone. filelock.ErrLocked says that somebody uses it; an fs.ErrNotExist
// that it is gone; filelock.ErrUnsupported that nobody can tell. On Windows, where folders cannot be locked, a Removal
// therefore leaves alone whatever was used lately, as on file systems without locks.
func claim(path string) (lease, error) {
	if !filelock.Folders {
		return lease{}, filelock.ErrUnsupported
	}
	dir, err := os.Open(path)
	if err != nil {
		return lease{}, err
	}
	if err := filelock.Exclusive(dir); err != nil {
		dir.Close()
		return lease{}, err
	}
	if !samePath(dir, path) {
		dir.Close()
		return lease{}, &fs.PathError{Op: "lock", Path: filepath.Base(path), Err: fs.ErrNotExist}
	}
	return lease{dir: dir}, nil
}
