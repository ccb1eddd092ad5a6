//go:build !windows

package store

import (
	"io/fs"
	"syscall"
)

// An inode is a file, whatever its names.
type inode struct{ dev, ino uint64 }

// links returns a file's identity and the number of its hard links.
func links(fi fs.FileInfo) (id inode, n uint64, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, 0, false
	}
	return inode{uint64(st.Dev), uint64(st.Ino)}, uint64(st.Nlink), true
}
