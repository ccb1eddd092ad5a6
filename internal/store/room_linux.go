package store

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes returns how much can be written to the disk of path, if that can be told.
func freeBytes(path string) (n int64, known bool) {
	var disk unix.Statfs_t
	if err := unix.Statfs(path, &disk); err != nil || disk.Blocks == 0 || disk.Bsize <= 0 {
		return 0, false
	}
	// Those whose numbers mean what they say. Others may compress, or lie on what does: overlays, networks, users' own.
	switch uint32(disk.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC: // ext2 and ext3 have the number of ext4
	default:
		return 0, false
	}
	blocks, size := disk.Bavail, uint64(disk.Bsize)
	if os.Geteuid() == 0 {
		blocks = disk.Bfree // some is kept for root
	}
	return int64(min(blocks, math.MaxInt64/2/size) * size), true
}
