package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// clone makes the file name of e.out a reflink of e.in's (btrfs, XFS, bcachefs).
func clone(e *ends, name string, l look) error {
	src, err := e.open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := e.create(name, l.treeMode())
	if err != nil {
		return err
	}
	err = os.NewSyscallError("FICLONE", uninterrupted(func() error {
		return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	}))
	if err == nil {
		err = dst.Chmod(l.treeMode()) // whatever the umask
	}
	if closeErr := dst.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		// What stays would be in the way of the next method, and be taken for another tree's.
		if err := e.remove(name); err != nil {
			return err
		}
	}
	return err
}

// mayClone reports whether the file system of path may have reflinks. Where it is known not to, trying would leave a deleted
// inode for each tree. It is a variable for tests.
var mayClone = func(path string) bool {
	var disk unix.Statfs_t
	if err := unix.Statfs(path, &disk); err != nil {
		return true
	}
	switch uint32(disk.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.TMPFS_MAGIC: // ext2 and ext3 have the number of ext4
		return false
	}
	return true
}
