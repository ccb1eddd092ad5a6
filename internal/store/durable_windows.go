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

// finishFile writes a file of a tree to the disk: only a handle that may write can do that. It is read-only from the
// beginning, which does not concern the handle that made it.
func finishFile(f *os.File, _ fs.FileMode) (fs.FileInfo, error) {
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return f.Stat()
}

// syncTree does nothing: finishFile has done it.
func syncTree(string) error { return nil }
