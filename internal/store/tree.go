package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/tree"
)

// A Tree is an unpacked, verified, immutable directory of a store. It holds directories, regular files (0444 or 0555)
// and relative symbolic links that stay within it, and nothing else.
//
// Its directories are 0755, not 0555: without write permission on a directory its owner can neither delete what is in
// it nor rename it to another parent, so rm -rf of the store or of a home directory would fail, as it does on Go's
// module cache. What matters, that no linked file can be written through another path, rests on the files' modes.
//
// A Tree is leased: as long as it is held, and at most until Release or the end of the process, no Removal takes it.
type Tree struct {
	store  *Store
	path   string
	digest v1.Hash
	lease  lease
}

// Path returns the absolute path of the tree's directory. It is worth something while the Tree is held.
func (t Tree) Path() string { return t.path }

// Digest returns the digest that the tree is found under: that of the compressed layer it was made from.
func (t Tree) Digest() v1.Hash { return t.digest }

// Release gives the lease back, for this Tree and all copies of it. A process that ends soon need not call it.
func (t Tree) Release() { t.lease.release() }

// Tree returns the tree of d, leased, or an fs.ErrNotExist. One that may not have been on the disk yet when the system went
// down is read through first, once; what has lost something is a DamagedError. The context ends the reading.
func (s *Store) Tree(ctx context.Context, d v1.Hash) (Tree, error) {
	t, err := s.find(d)
	if err != nil {
		return Tree{}, err
	}
	if err := s.outlasted(ctx, t); err != nil {
		t.Release()
		return Tree{}, err
	}
	return t, nil
}

// Has reports whether the tree d is there, whatever has become of it.
func (s *Store) Has(d v1.Hash) bool {
	path, err := s.object("trees", d)
	if err != nil {
		return false
	}
	fi, err := os.Lstat(path)
	return err == nil && fi.IsDir()
}

// find returns the tree of d, leased, whatever has become of it.
func (s *Store) find(d v1.Hash) (Tree, error) {
	path, err := s.object("trees", d)
	if err != nil {
		return Tree{}, err
	}
	fi, err := os.Lstat(path)
	if err == nil && !fi.IsDir() {
		err = fs.ErrNotExist
	}
	var l lease
	if err == nil {
		l, err = lend(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Tree{}, absent("tree " + d.String())
	case err != nil:
		return Tree{}, readError("tree "+d.String(), err)
	}
	return Tree{store: s, path: path, digest: d, lease: l}, nil
}

// treeLock is the key under which a tree is made.
func treeLock(d v1.Hash) string { return "tree " + d.String() }

// AddTree returns the tree of d and makes it first if it is not there: fill writes it, and returns nil only when every
// byte is verified. fill must have closed its files, and the writer does not outlive the call.
//
// If fill fails, or the process dies at any instant, nothing is visible. Of many callers with one digest, in any
// process, one fills and the others wait; waiting is as in Lock. An error of fill comes back as it is, unless the
// store's disk is to blame; one of a done context only while waiting.
func (s *Store) AddTree(ctx context.Context, d v1.Hash, waiting func(pid int), fill func(tree.Writer) error) (Tree, error) {
	if t, err := s.Tree(ctx, d); !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	unlock, err := s.lock(ctx, treeLock(d), waiting)
	if err != nil {
		return Tree{}, err
	}
	defer unlock()
	// Whoever had the lock before may have made it.
	if t, err := s.Tree(ctx, d); !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}

	what := "store tree " + d.String()
	st, err := s.stage()
	if err != nil {
		return Tree{}, s.writeError(what, err)
	}
	// Before unlock: who waits for this tree finds the space of a failed attempt free.
	defer st.discard()
	rec, err := fillStaging(st.path, fill)
	if err != nil {
		if fault := s.fault(what, err); fault != nil {
			return Tree{}, fault
		}
		return Tree{}, err
	}
	// The record may be there without its tree, which is what a crash leaves, too.
	rec.boot = s.boot()
	err = s.writeRecord(d, rec)
	if err == nil && rec.boot == "" {
		err = syncTree(st.path)
	}
	// From here on every byte and entry below st.path is written, in its final mode, and so is its record; nobody writes
	// there any more. What a power cut leaves of it, outlasted finds.
	//
	// Leased before it can be found: nobody can remove it before this call has returned it.
	var l lease
	if err == nil {
		l, err = lend(st.path)
	}
	if err != nil {
		return Tree{}, s.writeError(what, err)
	}
	path, err := s.object("trees", d)
	if err != nil {
		l.release()
		return Tree{}, err
	}
	if err := rename(st.path, path); err != nil {
		l.release()
		// Without working locks another may have been faster. A directory is never renamed onto one that holds
		// something, so its tree stands, and is as good as this one.
		if t, treeErr := s.Tree(ctx, d); treeErr == nil {
			return t, nil
		}
		return Tree{}, s.writeError(what, err)
	}
	if rec.boot == "" {
		if err := syncDir(filepath.Dir(path)); err != nil {
			l.release()
			return Tree{}, s.writeError(what, err)
		}
	}
	return Tree{store: s, path: path, digest: d, lease: l}, nil
}

// staysInside reports whether a symbolic link to target, in a directory depth levels below the root, cannot lead out
// of it, whatever the other links are. A target may go up first and down then, never up after a name: the name may be
// a link to a directory nearer the root, so that "a/../.." means another place than it says. With that, one step at a
// time stays inside: going up starts from where the link really lies, and going down ends inside or at another link
// of this kind.
func staysInside(target string, depth int) bool {
	target = filepath.ToSlash(target)
	if target == "" || strings.HasPrefix(target, "/") || filepath.VolumeName(target) != "" {
		return false
	}
	named := false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			depth--
			if named || depth < 0 {
				return false
			}
		default:
			named = true
		}
	}
	return true
}

func refused(at, why string) error {
	return &diagnostic.Error{Kind: diagnostic.Refused, What: at, Why: why,
		Do: "pack the library without it"}
}

// readDir returns the entries of dir in the order of their names, so that of several faults the same one is told on
// every machine.
func readDir(dir *os.Root) ([]fs.DirEntry, error) { return fs.ReadDir(dir.FS(), ".") }
