//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Folders says whether folders can be locked on this system, as files can.
const Folders = true

// Exclusive locks f for this holder alone, or fails at once with ErrLocked or ErrUnsupported.
func Exclusive(f *os.File) error { return flock(f, unix.LOCK_EX|unix.LOCK_NB) }

// Await locks f for this holder alone as soon as nobody else has it locked, and sends nil then, or ErrUnsupported. What waits is a
// thread in the kernel, which cannot be called back: who no longer wants the lock takes it all the same and closes f.
func Await(f *os.File) <-chan error {
	got := make(chan error, 1)
	go func() { got <- flock(f, unix.LOCK_EX) }()
	return got
}

// Shared locks f against whoever wants it alone, or fails at once with ErrLocked or ErrUnsupported.
func Shared(f *os.File) error { return flock(f, unix.LOCK_SH|unix.LOCK_NB) }

// flock(2), not fcntl(2): the latter's locks belong to the process, so that goroutines would not exclude each other, and closing
// any other handle of the file would drop the lock.
func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		default: // ENOLCK, EOPNOTSUPP, ENOSYS: network file systems without a lock server, some FUSE ones
			return ErrUnsupported
		}
	}
}
