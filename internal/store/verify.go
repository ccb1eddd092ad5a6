package store

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// VerifyBlob reads the blob d and hashes it. Where its bytes are not what it is named after, it returns a DamagedError
// and, unlike Blob, leaves it where it is.
func (s *Store) VerifyBlob(d v1.Hash) error {
	path, err := s.object("blobs", d)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent("blob " + d.String())
	case err != nil:
		return &DamagedError{Digest: d, Damage: []Damage{{What: "it cannot be read: " + err.Error()}}}
	case digestOf(data) != d:
		return &DamagedError{Digest: d, Damage: []Damage{{What: "its bytes are not those of its digest"}}}
	}
	return nil
}

// VerifyTree reads every file of the tree d and compares all with its record. It returns a DamagedError that names
// every difference; a tree without a record differs by that. The tree is leased while it is read. Nothing is changed:
// a mode or a time that differs is no damage, and stays.
func (s *Store) VerifyTree(ctx context.Context, d v1.Hash) error { return s.verifyTree(ctx, d, true) }

// CorrectTree is VerifyTree for a store that is to be put right. It sets right the modes of files whose bytes are what
// they were, and takes down when those were written, and that the tree is on the disk, which it sees to; that spares the
// next reader their hashing. Damage it leaves.
func (s *Store) CorrectTree(ctx context.Context, d v1.Hash) error { return s.verifyTree(ctx, d, false) }

func (s *Store) verifyTree(ctx context.Context, d v1.Hash, readOnly bool) error {
	t, err := s.find(d)
	if err != nil {
		return err
	}
	defer t.Release()
	r, err := s.record(d)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errBadRecord) {
		return &DamagedError{Digest: d, Tree: true, Damage: []Damage{{What: "what it was made of is not on record"}}}
	}
	if err != nil {
		return readError("the record of tree "+d.String(), err)
	}
	// Before it is read: then what is read is on the disk. It may be in memory alone in another boot, too, if the store was
	// copied here, or is shared with what has a boot of its own, as some containers do.
	onDisk := r.boot != "" && !readOnly && syncTree(t.path) == nil
	c := newChecking(t.path, r, true)
	c.readOnly = readOnly
	err = filepath.WalkDir(t.path, func(p string, e fs.DirEntry, err error) error {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return ctxErr
		}
		rel, relErr := filepath.Rel(t.path, p)
		if relErr != nil {
			return relErr
		}
		at := filepath.ToSlash(rel)
		if err != nil {
			c.note(at, "it cannot be read: %v", err)
			if e != nil && e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if at == "." {
			return nil
		}
		fi, err := e.Info()
		if err != nil {
			c.note(at, "it cannot be read: %v", err)
			return nil
		}
		target := ""
		if e.Type() == fs.ModeSymlink {
			if target, err = os.Readlink(p); err != nil {
				c.note(at, "it cannot be read: %v", err)
				return nil
			}
		}
		c.met(at, lookOf(fi), target)
		return nil
	})
	if err != nil {
		return err
	}
	if damage := c.finish(); len(damage) > 0 {
		return &DamagedError{Digest: d, Tree: true, Damage: damage}
	}
	if t.lease.file == nil || samePath(t.lease.file, t.path) { // else this was set aside meanwhile, and the record is another tree's
		c.freshen(s, d, onDisk)
	}
	return nil
}

// SetAside moves what a DamagedError tells of out of the way, so that it is as if it were not there. It stays below
// corrupt/ for whoever wants to know why. Another process may have done so already, and put a good one in its place;
// that one stays, unless it comes at this very moment, which costs a fetch.
func (s *Store) SetAside(e *DamagedError) error {
	kind := "blobs"
	if e.Tree {
		kind = "trees"
	}
	from, err := s.object(kind, e.Digest)
	if err != nil {
		return err
	}
	what := "set aside " + e.Digest.String()
	if e.Tree {
		err = s.VerifyTree(context.Background(), e.Digest)
	} else {
		err = s.VerifyBlob(e.Digest)
	}
	if _, still := errors.AsType[*DamagedError](err); !still {
		return nil
	}
	dir := filepath.Join(s.dir, "corrupt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return s.writeError(what, err)
	}
	to := filepath.Join(dir, path.Base(e.Digest.Hex)+"-"+rand.Text())
	if err := rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.writeError(what, err)
	}
	return s.writeError(what, syncDir(filepath.Dir(from)))
}

// PeekBlob returns the content of blob d, or an fs.ErrNotExist if it is not there or damaged. Unlike Blob it changes
// nothing.
func (s *Store) PeekBlob(d v1.Hash) ([]byte, error) {
	path, err := s.object("blobs", d)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil || digestOf(data) != d {
		return nil, absent("an undamaged blob " + d.String())
	}
	return data, nil
}
