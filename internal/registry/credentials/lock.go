package credentials

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/filelock"
)

// lockFolder waits until no other process edits the file at path. Where locks cannot be had (some network file systems), it goes
// on without one.
func lockFolder(ctx context.Context, path string) (unlock func(), err error) {
	// Polling, because a thread that waits in flock(2) cannot be called back.
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		unlock, err := tryLock(path)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, filelock.ErrLocked) {
			return func() {}, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// tryLock locks the folder: the file itself is replaced under others' hands, and a lock file would stay behind in a folder that
// is not ours. Where folders cannot be locked it is a file beside the one at path; it stays, since others may be about to lock it.
func tryLock(path string) (unlock func(), err error) {
	var f *os.File
	if filelock.Folders {
		f, err = os.Open(filepath.Dir(path))
	} else {
		f, err = os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if err := filelock.Exclusive(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
