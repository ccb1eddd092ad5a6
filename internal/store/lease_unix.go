//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// objectLocks says whether directories and files can be locked on this system without being in the way of readers.
const objectLocks = true

// lockObject locks an open directory or file, shared or alone, or fails at once with errLocked or errNoLocks.
func lockObject(f *os.File, alone bool) error {
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	return flockAs(f, how)
}

func flockAs(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return errLocked
		default: // ENOLCK, EOPNOTSUPP, ENOSYS: network file systems without a lock server, some FUSE ones
			return errNoLocks
		}
	}
}
