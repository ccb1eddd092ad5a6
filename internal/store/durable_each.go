//go:build !windows

package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// syncEach writes every file and directory below path to the disk. fsync(2) hands each file to the drive; the Sync of
// the last directory, path itself, is also the order to empty the drive's cache where that is a request of its own
// (F_FULLFSYNC on macOS, some milliseconds each).
func syncEach(path string) error {
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() && !d.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		if d.IsDir() && p != path {
			_ = syscall.Fsync(int(f.Fd())) // not every file system has it for directories
			return nil
		}
		if d.IsDir() {
			return nil
		}
		return os.NewSyscallError("fsync", syscall.Fsync(int(f.Fd())))
	})
	if err != nil {
		return err
	}
	return syncDir(path)
}
