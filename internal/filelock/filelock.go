// Package filelock takes the kernel's locks on open files and folders.
//
// Invariant: a lock ends with its holder, however that ends, and is the holder's alone until then. Locks belong to open files: two
// goroutines that each opened a file exclude each other as two processes do, and closing the file gives the lock back. They hold
// among those that ask for them; nobody else is kept from reading or writing.
package filelock

import "errors"

var (
	// ErrLocked says that another open file has the lock, of this process or of another.
	ErrLocked = errors.New("locked by another")
	// ErrUnsupported says that nobody can have one: a file system (some network and FUSE ones) or a system without locks.
	ErrUnsupported = errors.New("the file system has no locks")
)
