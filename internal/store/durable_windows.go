package store

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// rename is os.Rename that bears with virus scanners and readers, which hold new files open for a moment.
func rename(from, to string) error {
	var err error
	for pause := time.Millisecond; pause < time.Second; pause *= 2 {
		err = os.Rename(from, to)
		if !errors.Is(err, windows.ERROR_SHARING_VIOLATION) && !errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			break
		}
		time.Sleep(pause)
	}
	return err
}

// syncDir does nothing: Windows has no such request for directories, and NTFS keeps a journal of them.
func syncDir(string) error { return nil }

// finishFile writes a file of a tree to the disk and makes it read-only, in this order: only a handle that may write
// can be flushed.
func finishFile(dir *os.Root, name string, fi fs.FileInfo) error {
	f, err := dir.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = dir.Chmod(name, fileMode(fi))
	}
	return err
}

// syncTree does nothing: finishFile has done it.
func syncTree(string) error { return nil }
