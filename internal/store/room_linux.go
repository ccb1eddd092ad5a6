package store

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes returns how much can be written to the disk of path, if that can be told.
func freeBytes(path string) (n int64, known bool) {
	var disk unix.Statfs_t
	// Network file systems and those in user space may say nothing, which are zeros.
	if err := unix.Statfs(path, &disk); err != nil || disk.Blocks == 0 || disk.Bsize <= 0 {
		return 0, false
	}
	switch uint32(disk.Type) {
	case unix.BTRFS_SUPER_MAGIC, unix.BCACHEFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, 0x2fc12fc1: // ZFS
		return 0, false // they may compress
	}
	blocks, size := disk.Bavail, uint64(disk.Bsize)
	if os.Geteuid() == 0 {
		blocks = disk.Bfree // some is kept for root
	}
	return int64(min(blocks, math.MaxInt64/size) * size), true
}
