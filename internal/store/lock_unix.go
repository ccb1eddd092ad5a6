//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// flock takes the exclusive lock of f or fails at once with errLocked or errNoLocks. flock(2), not fcntl(2): the
// latter's locks belong to the process, so that goroutines would not exclude each other, and closing any other handle
// of the file would drop the lock.
func flock(f *os.File) error { return flockAs(f, unix.LOCK_EX) }

// releaseLock deletes the lock file while it still holds the lock: once it is free, the path may belong to the next
// holder. tryLock detects a file deleted under it.
func releaseLock(f *os.File, path string) {
	_ = os.Remove(path)
	_ = f.Close()
}
