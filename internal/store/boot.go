package store

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// thisBoot returns a text that is another one each time the system starts, or "" where the system does not tell. With it
// nothing has to wait for the disk: what is written in a boot is there for as long as that lasts, and what is met after
// it is read before it is relied upon. Without, everything is on the disk before it can be found.
var thisBoot = sync.OnceValue(bootID)

// outlasted returns nil if the tree is what was written, as far as a system that went down without warning is concerned:
// it is known to be on the disk, or was written in this boot, or else all of it has been read just now. A tree that lost
// something is a DamagedError, and so is one whose record was lost.
func (s *Store) outlasted(t Tree) error {
	boot, err := s.writtenIn(t.digest)
	if err == nil && (boot == "" || boot == thisBoot()) {
		return nil
	}
	// A store that cannot be written keeps no record of having been read.
	if _, read := s.read.Load(t.digest); read {
		return nil
	}
	err = s.CorrectTree(context.Background(), t.digest)
	if damaged, ok := errors.AsType[*DamagedError](err); ok {
		return damaged.diagnostic()
	}
	if err != nil {
		return err
	}
	s.read.Store(t.digest, nil)
	return nil
}

// writtenIn returns the boot of which the record of the tree d tells, and "" if it was on the disk since. It reads the
// first line alone: what a record has lost, it has not lost in the boot that this line names.
func (s *Store) writtenIn(d v1.Hash) (boot string, err error) {
	f, err := os.Open(s.recordPath(d))
	if err != nil {
		return "", err
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(f, 256).ReadString('\n')
	if err != nil {
		return "", errBadRecord
	}
	r, err := parseRecordHead(strings.TrimSuffix(line, "\n"))
	if err != nil {
		return "", err
	}
	return r.boot, nil
}
