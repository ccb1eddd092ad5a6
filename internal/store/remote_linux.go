package store

import "golang.org/x/sys/unix"

// remote reports whether the file system of path is another machine's, or a program's.
func remote(path string) bool {
	var disk unix.Statfs_t
	if err := unix.Statfs(path, &disk); err != nil {
		return true
	}
	switch uint32(disk.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC,
		unix.CODA_SUPER_MAGIC, unix.V9FS_MAGIC, unix.FUSE_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC:
		return true
	}
	return false
}
