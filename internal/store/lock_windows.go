package store

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// flock takes the exclusive lock of f or fails at once with errLocked or errNoLocks. Windows forbids others to read
// what is locked, hence a byte far behind the process id at the start.
func flock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	at := windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &at)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return errLocked
	default:
		return errNoLocks
	}
}

// releaseLock closes first: here a file that anyone has open cannot be deleted, which also means that the path cannot
// belong to the next holder when the deletion succeeds.
func releaseLock(f *os.File, path string) {
	_ = f.Close()
	_ = os.Remove(path)
}
