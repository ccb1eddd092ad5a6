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

// finishFile gives a file of a tree its final mode, whatever the umask, and says what has become of it.
func finishFile(f *os.File, mode fs.FileMode) (fs.FileInfo, error) {
	fi, err := f.Stat()
	if err != nil || fi.Mode() == mode {
		return fi, err
	}
	if err := f.Chmod(mode); err != nil {
		return nil, err
	}
	return f.Stat()
}
