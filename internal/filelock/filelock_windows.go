package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// Folders says whether folders can be locked on this system, as files can.
const Folders = false

// Exclusive locks f for this holder alone, or fails at once with ErrLocked or ErrUnsupported.
func Exclusive(f *os.File) error {
	return lock(f, windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY)
}

// Await locks f for this holder alone as soon as nobody else has it locked, and sends nil then, or ErrUnsupported. What waits is a
// thread in the kernel, which cannot be called back: who no longer wants the lock takes it all the same and closes f.
func Await(f *os.File) <-chan error {
	got := make(chan error, 1)
	go func() {
		err := lock(f, windows.LOCKFILE_EXCLUSIVE_LOCK)
		if errors.Is(err, ErrLocked) { // only for files that are read and written without waiting, of which os.OpenFile makes none
			err = ErrUnsupported
		}
		got <- err
	}()
	return got
}

// Shared locks f against whoever wants it alone, or fails at once with ErrLocked or ErrUnsupported.
func Shared(f *os.File) error { return lock(f, windows.LOCKFILE_FAIL_IMMEDIATELY) }

// lock locks one byte far behind the content: Windows forbids others to read what is locked.
func lock(f *os.File, how uint32) error {
	at := windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &at)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return ErrLocked
	default:
		return ErrUnsupported
	}
}
