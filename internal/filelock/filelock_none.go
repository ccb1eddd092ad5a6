//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package filelock

import "os"

// Folders says whether folders can be locked on this system, as files can.
const Folders = false

// Exclusive fails with ErrUnsupported: there are no locks on this system.
func Exclusive(*os.File) error { return ErrUnsupported }

// Await sends ErrUnsupported: there are no locks on this system.
func Await(*os.File) <-chan error {
	got := make(chan error, 1)
	got <- ErrUnsupported
	return got
}

// Shared fails with ErrUnsupported: there are no locks on this system.
func Shared(*os.File) error { return ErrUnsupported }
