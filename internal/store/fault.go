package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// uninterrupted repeats what a signal has interrupted, as package os does for most of its calls: Go's run time sends
// signals to itself all the time, and FUSE and network file systems answer to them.
func uninterrupted(do func() error) error {
	for {
		if err := do(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// readOnly reports whether err says that the store may not be written by this process.
func readOnly(err error) bool { return errors.Is(err, fs.ErrPermission) || isReadOnlyFS(err) }

// writeError tells that the store could not be written, and what a person can do about it; what is the failed step as
// a phrase. It returns nil for nil.
func (s *Store) writeError(what string, err error) error {
	if err == nil {
		return nil
	}
	if d := s.fault(what, err); d != nil {
		return d
	}
	if readOnly(err) {
		return &diagnostic.Error{Kind: diagnostic.Failure, What: what, Err: err,
			Why: fmt.Sprintf("the store %s cannot be written (%v)", s.root, err),
			Do:  "make it writable, or set OCIPKG_STORE to a directory that is"}
	}
	return &diagnostic.Error{Kind: diagnostic.Failure, What: what, Err: err,
		Why: fmt.Sprintf("the store %s: %v", s.root, err),
		Do:  "mend what the system says, or set OCIPKG_STORE to another directory"}
}

// fault returns the diagnostic for an error that can only come from the disk the store is on, or nil. It is apart from
// writeError because a fill's error is of any origin: no permission, for one, may be that of a file it reads.
func (s *Store) fault(what string, err error) error {
	switch {
	case isFull(err):
		return &diagnostic.Error{Kind: diagnostic.Failure, What: what, Err: err,
			Why: fmt.Sprintf("no space left for the store %s (%v)", s.root, err),
			Do:  "free space or set OCIPKG_STORE to a directory on a disk that has some"}
	case isReadOnlyFS(err):
		return &diagnostic.Error{Kind: diagnostic.Failure, What: what, Err: err,
			Why: fmt.Sprintf("the store %s is on a read-only file system", s.root),
			Do:  "set OCIPKG_STORE to a directory that can be written"}
	}
	return nil
}
