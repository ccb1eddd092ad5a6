//go:build !windows

package store

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func rename(from, to string) error { return os.Rename(from, to) }

// syncDir writes the entries of a directory to the disk, so that a rename into it outlives a power cut. File systems
// that cannot do that for directories say EINVAL and keep their order by other means.
func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// finishFile gives a file of a tree its final mode.
func finishFile(dir *os.Root, name string, fi fs.FileInfo) error {
	if mode := fileMode(fi); fi.Mode() != mode {
		return dir.Chmod(name, mode)
	}
	return nil
}
