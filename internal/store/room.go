package store

import (
	"fmt"
	"syscall"
)

// Room fails as a full disk does where n bytes are more than the store's disk has free, for AddTree's fill to return. It is
// asked when the bytes are about to be written and nobody else is writing the same ones, and spares a download. It promises
// nothing: quotas are not seen, others write at the same time, and where the system cannot say what will fit, there is room.
func (s *Store) Room(n int64) error {
	// XFS counts as used what it has set aside for files that are growing, and gives it back: hence the eighth.
	if free, known := freeBytes(s.dir); known && n > free+free/8 {
		return fmt.Errorf("it unpacks to %d bytes, and %d are free: %w", n, free, syscall.ENOSPC)
	}
	return nil
}
