package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// A View is an image directory of the ocipkg crate, {host}[__{port}]/{name}/__{tag} in the root: one that the crate
// made, or one that PutView made, in which the crate finds what we have fetched.
type View struct {
	Path   string    // slash-separated, relative to the root
	Ours   bool      // PutView made it
	Digest v1.Hash   // of the manifest or index that it shows; zero where it is not ours, or cannot be told
	Made   time.Time // when it was made

	current bool // no system went down since, in which what was not on the disk yet was lost
}

// viewMarker is the file that makes a directory ours. It is in the directory itself, so that it goes with it: the crate
// deletes one and makes its own in its place without asking.
const viewMarker = ".ocipkg-view.json"

type viewRecord struct {
	Digest v1.Hash `json:"digest"`
	Boot   string  `json:"boot,omitempty"` // in which it was made, unless it was on the disk before it had its name
}

// viewOf looks at the directory at rel. An fs.ErrNotExist says that there is none.
func (s *Store) viewOf(rel string) (View, error) {
	dir := filepath.Join(s.root, filepath.FromSlash(rel))
	fi, err := os.Lstat(dir)
	if err != nil {
		return View{}, err
	}
	v := View{Path: rel, Made: used(fi)}
	marker := filepath.Join(dir, viewMarker)
	data, err := os.ReadFile(marker)
	if err != nil {
		if fi, statErr := os.Lstat(marker); statErr == nil && fi.Mode().IsRegular() {
			return View{}, err // ours, but for a disk or a limit that says no
		}
		return v, nil
	}
	v.Ours = true
	var rec viewRecord
	// A power cut may leave it empty; ours it is all the same.
	if json.Unmarshal(data, &rec) == nil {
		v.Digest = rec.Digest
		v.current = rec.Boot == "" || rec.Boot == s.boot()
	}
	return v, nil
}

// Views returns every image directory in the root, the crate's and ours, in the order of their paths.
func (s *Store) Views() ([]View, error) {
	var all []View
	err := filepath.WalkDir(s.root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				return nil
			}
			return err
		}
		if !e.IsDir() || p == s.root {
			return nil
		}
		if strings.HasPrefix(e.Name(), ".") {
			return fs.SkipDir // ours, or nobody's: hosts and names begin otherwise
		}
		if !strings.HasPrefix(e.Name(), "__") {
			return nil
		}
		rel, err := filepath.Rel(s.root, p)
		if err != nil {
			return err
		}
		if v, err := s.viewOf(filepath.ToSlash(rel)); err == nil {
			all = append(all, v)
		}
		return fs.SkipDir // what is in an image is not an image
	})
	if err != nil {
		return nil, readError("its image directories", err)
	}
	return all, nil
}

// ErrForeign says that a view was not made because the ocipkg crate has something of its own in its place.
var ErrForeign = errors.New("the ocipkg crate has fetched it by itself")

// ErrBreaksList says that a view was not made because a directory in it would be taken for an image.
var ErrBreaksList = errors.New("it holds a directory whose name begins with __, which the ocipkg crate takes for an image; its list would fail")

// PutView makes, at the path rel below the root, a directory of the trees laid over each other, for the ocipkg crate to
// find. It appears whole; one of ours that shows another digest is replaced in one step where the system can swap
// directories. What is not ours is left as it is: ErrForeign. It returns the directory's absolute path.
func (s *Store) PutView(ctx context.Context, rel string, d v1.Hash, overwrite bool, trees ...Tree) (string, error) {
	return s.PutViewAsTheyCome(ctx, rel, d, overwrite, len(trees), func(i int) (Tree, error) { return trees[i], nil })
}

// PutViewAsTheyCome is PutView for n trees that need not be there yet: next waits for the i-th. An error of next leaves nothing.
func (s *Store) PutViewAsTheyCome(ctx context.Context, rel string, d v1.Hash, overwrite bool, n int, next func(i int) (Tree, error)) (string, error) {
	dir := filepath.Join(s.root, filepath.FromSlash(rel))
	if !fs.ValidPath(rel) || !strings.HasPrefix(path.Base(rel), "__") || strings.HasPrefix(rel, ".") {
		return "", &diagnostic.Error{Kind: diagnostic.Failure, What: "view " + rel, Why: "it is not the path of an image", Do: "this is a mistake of ocipkg's: report it, with the command"}
	}
	if v, err := s.viewOf(rel); err == nil && v.Ours && v.Digest == d && v.current {
		return dir, nil
	}
	unlock, err := s.lock(ctx, "view "+rel, nil)
	if err != nil {
		return "", err
	}
	defer unlock()
	there, err := s.viewOf(rel)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing:
	case err != nil:
		return "", readError("view "+rel, err)
	case !there.Ours:
		return "", ErrForeign
	case there.Digest == d && there.current:
		return dir, nil
	}
	what := "make " + dir
	st, err := s.stage()
	if readOnly(err) && there.Ours && there.Digest == d {
		return dir, nil // it cannot be made again, and is most likely whole
	}
	if err != nil {
		return "", s.writeError(what, err)
	}
	defer st.discard()
	_, err = materialise(st.path, overwrite, n, func(i int) (Tree, *checking, error) {
		t, err := next(i)
		if err != nil {
			return Tree{}, nil, err
		}
		return t, t.checking(), nil
	})
	if err != nil {
		return "", err
	}
	if err := refuseNestedImages(st.path); err != nil {
		return "", err
	}
	if err := s.mark(st.path, d); err != nil {
		return "", s.writeError(what, err)
	}
	if s.boot() == "" {
		// What cannot be linked is copied, and nobody looks at a view again that has its mark.
		if err := syncTree(st.path); err != nil {
			return "", s.writeError(what, err)
		}
	}
	if missing {
		var err error
		for range 10 { // a Removal takes away directories that are empty, such as this one's parent for a moment
			if err = os.MkdirAll(filepath.Dir(dir), 0o755); err == nil {
				err = renameNew(st.path, dir)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
		if errors.Is(err, fs.ErrExist) {
			return "", ErrForeign
		}
		return dir, s.writeError(what, err)
	}
	if err := exchange(st.path, dir); err == nil {
		// The crate knows no locks: what has been swapped out may be what it put there a moment ago.
		if _, err := os.Lstat(filepath.Join(st.path, viewMarker)); err != nil && exchange(st.path, dir) == nil {
			return "", ErrForeign
		}
		return dir, nil
	}
	r := s.Remove()
	_, err = r.View(rel)
	if err == nil {
		err = renameNew(st.path, dir)
	}
	return dir, s.writeError(what, errors.Join(err, r.Finish()))
}

// KeepViews sees to it that the views of this boot are on the disk, so that they are not made again after it, or where the
// store is copied to. A store that cannot be written stays as it is.
func (s *Store) KeepViews() error {
	views, err := s.Views()
	for _, v := range views {
		dir := filepath.Join(s.root, filepath.FromSlash(v.Path))
		if err != nil || !v.Ours || !v.current || s.boot() == "" {
			continue
		}
		if err = syncTree(dir); err == nil {
			var data []byte
			if data, err = json.Marshal(viewRecord{Digest: v.Digest}); err == nil {
				err = s.writeFile(filepath.Join(dir, viewMarker), append(data, '\n'), 0o644, true)
			}
		}
		if err = s.writeError("keep "+dir, err); readOnly(err) {
			return nil
		}
	}
	return err
}

// mark makes the directory ours. Not by writing into a file that a tree may have brought: that would be the store's.
func (s *Store) mark(dir string, d v1.Hash) error {
	data, err := json.Marshal(viewRecord{Digest: d, Boot: s.boot()})
	if err != nil {
		return err
	}
	name := filepath.Join(dir, viewMarker)
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	return errors.Join(err, f.Close())
}

func refuseNestedImages(dir string) error {
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), "__") {
			return fmt.Errorf("%w (%s)", ErrBreaksList, e.Name())
		}
		return err
	})
}

// View removes the view at rel, if there is one and it is ours, and the directories above it that are empty then.
func (r *Removal) View(rel string) (removed bool, err error) {
	v, err := r.s.viewOf(rel)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !v.Ours {
		return false, nil
	}
	dir := filepath.Join(r.s.root, filepath.FromSlash(rel))
	if err == nil {
		err = r.rename(dir)
	}
	if err != nil {
		return false, r.s.writeError("remove "+dir, err)
	}
	for up := filepath.Dir(dir); up != r.s.root && os.Remove(up) == nil; up = filepath.Dir(up) {
		delete(r.dirs, up)
	}
	return true, nil
}

// LinkedOutside returns those of the trees that have a file with hard links outside the store: an external repository
// lives on it. Reflinks and copies cannot be seen, and do not need the tree.
func (s *Store) LinkedOutside(trees []v1.Hash) (map[v1.Hash]bool, error) {
	views, err := s.Views()
	if err != nil {
		return nil, err
	}
	inside := map[inode]uint64{}
	for _, v := range views {
		if !v.Ours {
			continue
		}
		_ = filepath.WalkDir(filepath.Join(s.root, filepath.FromSlash(v.Path)), func(_ string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				if fi, err := e.Info(); err == nil {
					if id, _, ok := links(fi); ok {
						inside[id]++
					}
				}
			}
			return nil
		})
	}
	linked := map[v1.Hash]bool{}
	for _, d := range trees {
		dir, err := s.object("trees", d)
		if err != nil {
			return nil, err
		}
		_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && !e.Type().IsRegular() {
				return nil
			}
			var fi fs.FileInfo
			if err == nil {
				fi, err = e.Info()
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil { // what cannot be looked at may be linked
				linked[d] = true
				return fs.SkipAll
			}
			if id, n, ok := links(fi); ok && n > 1+inside[id] {
				linked[d] = true
				return fs.SkipAll
			}
			return nil
		})
	}
	return linked, nil
}
