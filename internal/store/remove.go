package store

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/filelock"
)

// A Removal takes things out of the store. Each is renamed away first; Finish then makes the renames durable and only
// after that deletes, so that neither a kill nor a power cut leaves half a tree under its name. Whatever it has not
// come to stays; whatever it has renamed and not deleted is swept later.
type Removal struct {
	s     *Store
	trash []string
	dirs  map[string]bool // whose entries were renamed away
}

// Remove begins a removal. Finish must be called.
func (s *Store) Remove() *Removal { return &Removal{s: s, dirs: map[string]bool{}} }

// ErrInUse says that something is being used by a process, or may be, and was left alone.
var ErrInUse = errors.New("it is being used")

// unlockedAge is how long a tree or a blob must have been there before it is removed where nobody can tell by locks who uses it.
const unlockedAge = 24 * time.Hour

// Tree removes the tree d unless somebody has it leased, which is ErrInUse. wanted, if not nil, is asked when nobody
// can take a lease any more, and keeps the tree by true: of a name that was set under a lease it must know. A tree
// that is not there is an fs.ErrNotExist.
func (r *Removal) Tree(d v1.Hash, wanted func() (bool, error)) error {
	path, err := r.s.object("trees", d)
	if err != nil {
		return err
	}
	removed, err := r.free(path, "tree "+d.String(), wanted)
	if removed {
		r.s.forgetRecord(d, path)
	}
	return err
}

// free removes the object at path unless somebody uses or wants it.
func (r *Removal) free(path, what string, wanted func() (bool, error)) (removed bool, err error) {
	l, err := claim(path)
	defer l.release()
	switch {
	case errors.Is(err, filelock.ErrLocked):
		return false, ErrInUse
	case errors.Is(err, filelock.ErrUnsupported):
		fi, err := os.Lstat(path)
		if err != nil {
			return false, absent(what)
		}
		if time.Since(fi.ModTime()) < unlockedAge {
			return false, ErrInUse
		}
	case errors.Is(err, fs.ErrNotExist):
		return false, absent(what)
	case err != nil:
		return false, readError(what, err)
	}
	if wanted != nil {
		if keep, err := wanted(); err != nil || keep {
			return false, err
		}
	}
	if err := r.rename(path); err != nil {
		return false, r.s.writeError("remove "+what, err)
	}
	return true, nil
}

// forgetRecord deletes the record of a tree that is gone, unless someone is making it anew: the record is there before
// the tree is. What stays because of that, or of a kill, is replaced with the next tree of this digest.
func (s *Store) forgetRecord(d v1.Hash, tree string) {
	path := filepath.Join(s.dir, "locks", digestOf([]byte(treeLock(d))).Hex)
	f, err := tryLock(path)
	if err != nil {
		return
	}
	defer releaseLock(f, path)
	if _, err := os.Lstat(tree); errors.Is(err, fs.ErrNotExist) {
		path := s.recordPath(d)
		_ = os.Remove(path)
		_ = syncDir(filepath.Dir(path)) // it may not come back, and speak for the next tree of this digest
	}
}

// Blob removes the blob d unless a Hold has it, which is ErrInUse. wanted is as for Tree.
func (r *Removal) Blob(d v1.Hash, wanted func() (bool, error)) error {
	path, err := r.s.object("blobs", d)
	if err != nil {
		return err
	}
	_, err = r.free(path, "blob "+d.String(), wanted)
	return err
}

// Name removes a name that is as Names has told it. One that was used or set since stays, and so does one whose blob is
// held, since whoever holds it has just used the name or is about to: ErrInUse. first, if not nil, is called before it
// goes, when nobody can set it. What it points to stays.
func (r *Removal) Name(n Named, first func() error) error {
	blob, err := r.s.object("blobs", n.Digest)
	if err != nil {
		return err
	}
	what := "name " + n.Ref
	for _, path := range []string{blob, r.s.namePath(n.Ref)} {
		l, err := claim(path)
		defer l.release()
		switch {
		case errors.Is(err, filelock.ErrLocked):
			return ErrInUse
		case errors.Is(err, filelock.ErrUnsupported), errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return readError(what, err)
		}
	}
	fi, err := os.Lstat(r.s.namePath(n.Ref))
	if errors.Is(err, fs.ErrNotExist) {
		return absent(what)
	}
	if err != nil {
		return readError(what, err)
	}
	if d, err := r.s.Name(n.Ref); err != nil || d != n.Digest || !fi.ModTime().Equal(n.written) {
		return ErrInUse
	}
	if first != nil {
		if err := first(); err != nil {
			return err
		}
	}
	return r.s.writeError("remove "+what, r.rename(r.s.namePath(n.Ref)))
}

// SetAside removes what has been lying among the damaged things since before.
func (r *Removal) SetAside(before time.Time, dry bool) (removed int, err error) {
	dir := filepath.Join(r.s.dir, "corrupt")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, readError("what was set aside", err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || used(fi).After(before) {
			continue
		}
		if !dry {
			if err := r.rename(filepath.Join(dir, e.Name())); err != nil {
				return removed, r.s.writeError("remove "+e.Name(), err)
			}
		}
		removed++
	}
	return removed, nil
}

func (r *Removal) rename(path string) error {
	trash := filepath.Join(r.s.dir, "tmp", rand.Text()+".trash")
	err := rename(path, trash)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another was faster
	}
	if err == nil {
		r.trash = append(r.trash, trash)
		r.dirs[filepath.Dir(path)] = true
	}
	return err
}

// Finish deletes what was removed.
func (r *Removal) Finish() error {
	for dir := range r.dirs {
		// A power cut may bring a name back; without this it could do so when half of what it stands for is deleted.
		if err := syncDir(dir); err != nil {
			return r.s.writeError("remove", err)
		}
	}
	if len(r.dirs) > 0 {
		if err := syncDir(filepath.Join(r.s.dir, "tmp")); err != nil {
			return r.s.writeError("remove", err)
		}
	}
	for _, path := range r.trash {
		if err := removeAll(path); err != nil {
			return r.s.writeError("remove", err)
		}
	}
	r.trash, r.dirs = nil, map[string]bool{}
	return nil
}

// Sweep deletes what processes left that are dead now, as the first Open of an hour does, and records of which the tree
// never came.
func (s *Store) Sweep() {
	s.sweep()
	dir := filepath.Join(s.dir, "records", "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // best effort
	}
	for _, e := range entries {
		d := v1.Hash{Algorithm: "sha256", Hex: e.Name()}
		tree, err := s.object("trees", d)
		if err != nil {
			continue
		}
		if _, err := os.Lstat(tree); errors.Is(err, fs.ErrNotExist) {
			s.forgetRecord(d, tree)
		}
	}
}
