//go:build !windows

package store

import (
	"errors"
	"syscall"
)

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func isReadOnlyFS(err error) bool { return errors.Is(err, syscall.EROFS) }

// otherFileSystem reports whether err means that two directories can share no file at all, so that it need not be
// tried for the next one.
func otherFileSystem(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.ENOTTY)
}

// notThisFile reports whether err means that this one file cannot be shared: EMLINK, it has as many links as the file
// system can count (65,000 on ext4); EPERM, it belongs to someone else (fs.protected_hardlinks) or the file system has
// no hard links; EINVAL, its blocks cannot be cloned.
func notThisFile(err error) bool {
	return errors.Is(err, syscall.EMLINK) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL)
}
