package store

import "golang.org/x/sys/unix"

// remote reports whether the file system of path is another machine's, or a program's.
func remote(path string) bool {
	var disk unix.Statfs_t
	return unix.Statfs(path, &disk) != nil || disk.Flags&unix.MNT_LOCAL == 0
}
