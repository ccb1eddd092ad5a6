package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/filelock"
)

// sweepEvery is how often an Open looks for the leavings of dead processes.
const sweepEvery = time.Hour

// A staging is a place below tmp/ where one thing is made before it is renamed to its final name. Its name begins with that
// of a lock file, which is held as long as its maker lives, by the kernel's word and not by a process id, which another
// process may have by now.
type staging struct {
	path  string // does not exist yet
	store *Store
}

// stagings are those that a Store has at the moment. They share a lock: making and deleting a file for each would cost more
// than many a library does. ext4 looks at every inode that was freed in the last minutes before it takes a free one.
type stagings struct {
	mu    sync.Mutex
	n     int // of them
	holds int // that keep the lock for those to come
	made  int // so far, under this lock
	*stagingsLock
}

type stagingsLock struct {
	path string   // that the stagings' names begin with
	lock *os.File // at path, ".lock" added; nil where there are no locks
}

// stage reserves a staging. The lock is held before anything is made at its path, so that a sweep never finds the thing
// without its lock.
func (s *Store) stage() (*staging, error) {
	all := &s.stagings
	if st := all.next(s, nil); st != nil {
		return st, nil
	}
	first, err := s.lockStagings() // which may come here again, for what a store begins with
	if err != nil {
		return nil, err
	}
	return all.next(s, first), nil
}

// next adds a staging to those there are. Where there is no lock, it begins with first, and is nil without.
func (all *stagings) next(s *Store, first *stagingsLock) *staging {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.stagingsLock != nil && !all.there() {
		// Someone has deleted the store meanwhile. What is made under this lock now, a sweep of the next store would find without one.
		all.forget()
	}
	switch {
	case all.stagingsLock != nil && first != nil:
		first.release() // another was faster
	case all.stagingsLock == nil && first == nil:
		return nil
	case all.stagingsLock == nil:
		all.stagingsLock, all.made = first, 0
	}
	all.n++
	all.made++
	return &staging{path: fmt.Sprintf("%s-%d", all.path, all.made), store: s}
}

func (all *stagings) forget() {
	all.release()
	all.stagingsLock = nil
}

// there reports whether the lock is at its path still.
func (l *stagingsLock) there() bool {
	if l.lock != nil {
		return samePath(l.lock, l.path+".lock")
	}
	_, err := os.Lstat(l.path + ".lock")
	return err == nil
}

func (l *stagingsLock) release() {
	if l.lock != nil {
		releaseLock(l.lock, l.path+".lock")
	} else {
		_ = os.Remove(l.path + ".lock")
	}
}

func (s *Store) lockStagings() (*stagingsLock, error) {
	for remade := false; ; {
		path := filepath.Join(s.dir, "tmp", rand.Text())
		lock, err := tryLock(path + ".lock")
		switch {
		case err == nil, errors.Is(err, filelock.ErrUnsupported):
			return &stagingsLock{path, lock}, nil
		case errors.Is(err, fs.ErrNotExist) && !remade:
			// Someone has deleted the store since it was opened, or it could not be made then; the second try tells why.
			remade = true
			marked, err := s.checkFormat()
			if err == nil {
				err = s.create(marked)
			}
			if err != nil {
				return nil, err
			}
		case errors.Is(err, filelock.ErrLocked):
			// A sweep came between the making of the lock file and its locking. It deletes what it holds; take another.
		default:
			return nil, err
		}
	}
}

// discard deletes what is left of the staging, which is nothing after a commit, and then, after the last, the lock: the
// other way round, a sweep could meet the thing without its lock while it is deleted.
func (st *staging) discard() {
	if _, err := os.Lstat(st.path); !errors.Is(err, fs.ErrNotExist) {
		_ = removeAll(st.path)
	}
	st.store.stagings.leave(&st.store.stagings.n)
}

// stay keeps the lock, should there be one, until leave: what follows soon needs none of its own.
func (all *stagings) stay() {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.holds++
}

// leave takes one from a count of who needs the lock, which goes with the last.
func (all *stagings) leave(count *int) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if *count--; all.n+all.holds == 0 && all.stagingsLock != nil {
		all.forget()
	}
}

// writeFile replaces the file at final by one with this content, or leaves it as it is. What a power cut makes of it, its
// reader has to see; with onDisk, and where there is no boot, it is on the disk on return.
func (s *Store) writeFile(final string, data []byte, mode fs.FileMode, onDisk bool) error {
	onDisk = onDisk || s.boot() == ""
	st, err := s.stage()
	if err != nil {
		return err
	}
	defer st.discard()
	f, err := os.OpenFile(st.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	if err == nil && onDisk {
		// Before the rename: a file system may write the new name to the disk before the content, and after a power
		// cut the name would stand over an empty file.
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = rename(st.path, final)
	}
	if err == nil && onDisk {
		err = syncDir(filepath.Dir(final))
	}
	return err
}

// sweepSometimes sweeps if no one has for an hour. It is best effort, and costs one stat otherwise.
func (s *Store) sweepSometimes() {
	stamp := filepath.Join(s.dir, "swept")
	now := time.Now()
	if fi, err := os.Stat(stamp); err == nil {
		// One from the future comes from a clock that was wrong; it must not stop sweeps until then.
		if age := now.Sub(fi.ModTime()); age > -sweepEvery && age < sweepEvery {
			return
		}
	}
	// First the stamp, so that of many processes that start together few sweep.
	if err := os.Chtimes(stamp, now, now); err != nil {
		if os.WriteFile(stamp, nil, 0o644) != nil {
			return
		}
	}
	s.sweep()
}

// sweep deletes everything below tmp/ whose maker is dead, and the locks of dead holders.
func (s *Store) sweep() {
	locks := filepath.Join(s.dir, "locks")
	if entries, err := os.ReadDir(locks); err == nil {
		for _, e := range entries {
			path := filepath.Join(locks, e.Name())
			if f, err := tryLock(path); err == nil {
				releaseLock(f, path)
			}
		}
	}
	tmp := filepath.Join(s.dir, "tmp")
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return
	}
	made := map[string][]string{} // by what their names begin with
	for _, e := range entries {
		path := filepath.Join(tmp, e.Name())
		if strings.HasSuffix(path, ".trash") {
			_ = removeAll(path)
			continue
		}
		if begin, isLock := strings.CutSuffix(path, ".lock"); isLock {
			if _, ok := made[begin]; !ok {
				made[begin] = nil // it may be all that is left
			}
			continue
		}
		begin := filepath.Join(tmp, strings.Split(e.Name(), "-")[0])
		made[begin] = append(made[begin], path)
	}
	for begin, paths := range made {
		reap(begin+".lock", paths)
	}
}

// reap deletes stagings if their maker is dead, that is, if their lock can be had. Where there are no locks, nobody can tell,
// and they stay.
func reap(lockPath string, stagings []string) {
	lock, err := tryLock(lockPath)
	if err != nil {
		return
	}
	for _, path := range stagings {
		// The thing is renamed before it is deleted. Should the maker live in spite of the lock (another machine on a
		// network file system whose locks are local), then its own rename finds nothing and fails; deleting in place could
		// let it publish what is half deleted.
		if rename(path, path+".trash") == nil {
			_ = removeAll(path + ".trash")
		}
	}
	releaseLock(lock, lockPath)
}

// removeAll is os.RemoveAll also for directories without write permission, such as an interrupted fill may leave.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // WalkDir calls before it reads the directory
		}
		return nil
	})
	return os.RemoveAll(path)
}
