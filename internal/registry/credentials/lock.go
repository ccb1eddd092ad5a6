package credentials

import (
	"context"
	"errors"
	"time"
)

var errLocked = errors.New("locked by another process")

// lockFolder waits until no other process edits the file at path. Where locks cannot be had (some network file systems), it goes
// on without one.
func lockFolder(ctx context.Context, path string) (unlock func(), err error) {
	// Polling, because a thread that waits in flock(2) cannot be called back.
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		unlock, err := tryLock(path)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, errLocked) {
			return func() {}, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
