package store

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// thisBoot returns a text that is another one each time the system starts, or "" where the system does not tell.
var thisBoot = sync.OnceValue(bootID)

// boot is the boot that things are written in, or "" where they have to be on the disk before they can be found: where no
// boot is known, and on file systems of other machines and of programs, which may lose what was written while this system
// runs on. Elsewhere what was written in a boot is there for as long as that lasts, and what is met after it is read before
// it is relied upon; so nothing has to wait for the disk.
func (s *Store) boot() string {
	if s.elsewhere() {
		return ""
	}
	return thisBoot()
}

// elsewhere reports whether the store is on another machine's file system, or a program's.
func (s *Store) elsewhere() bool {
	s.look.Do(func() { s.remote = remote(s.dir) })
	return s.remote
}

// outlasted returns nil if the tree is what was written, as far as a system that went down without warning is concerned:
// it is known to be on the disk, or was written in this boot, or else all of it has been read just now. A tree that lost
// something is a DamagedError, and so is one whose record was lost.
func (s *Store) outlasted(ctx context.Context, t Tree) error {
	if known, err := s.safe(t.digest); known || err != nil {
		return err
	}
	// One reads and the others wait. A store that cannot be written has no locks, and keeps no record of having been read.
	unlock, err := s.lock(ctx, "read "+treeLock(t.digest), nil)
	if err != nil {
		return err
	}
	defer unlock()
	if known, err := s.safe(t.digest); known || err != nil {
		return err
	}
	err = s.CorrectTree(ctx, t.digest)
	if damaged, ok := errors.AsType[*DamagedError](err); ok {
		return damaged.diagnostic()
	}
	if err == nil {
		s.read.Store(t.digest, nil)
	}
	return err
}

// safe reports whether the tree d need not be read.
func (s *Store) safe(d v1.Hash) (bool, error) {
	boot, err := s.writtenIn(d)
	switch {
	case err == nil && (boot == "" || boot == s.boot()):
		return true, nil
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, errBadRecord):
		_, read := s.read.Load(d)
		return read, nil
	}
	return false, readError("the record of tree "+d.String(), err)
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
	if err == io.EOF {
		return "", errBadRecord
	}
	if err != nil {
		return "", err
	}
	r, err := parseRecordHead(strings.TrimSuffix(line, "\n"))
	if err != nil {
		return "", err
	}
	return r.boot, nil
}
