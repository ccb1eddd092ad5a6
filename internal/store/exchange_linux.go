package store

import "golang.org/x/sys/unix"

// exchange swaps two directories in one step, so that whoever looks for either finds one.
func exchange(a, b string) error {
	return uninterrupted(func() error {
		return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	})
}

// renameNew renames from to to, which must not exist; rename(2) would take the place of an empty directory.
func renameNew(from, to string) error {
	err := uninterrupted(func() error {
		return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	})
	if err == unix.EINVAL || err == unix.ENOSYS {
		return rename(from, to) // a file system without the flag
	}
	return err
}
