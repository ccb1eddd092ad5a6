package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// A Tree is an unpacked, verified, immutable directory of a store. It holds directories, regular files (0444 or 0555)
// and relative symbolic links that stay within it, and nothing else.
//
// Its directories are 0755, not 0555: without write permission on a directory its owner can neither delete what is in
// it nor rename it to another parent, so rm -rf of the store or of a home directory would fail, as it does on Go's
// module cache. What matters, that no linked file can be written through another path, rests on the files' modes.
type Tree struct {
	path   string
	digest v1.Hash
}

// Path returns the absolute path of the tree's directory.
func (t Tree) Path() string { return t.path }

// Tree returns the tree of d, or an fs.ErrNotExist.
func (s *Store) Tree(d v1.Hash) (Tree, error) {
	path, err := s.object("trees", d)
	if err != nil {
		return Tree{}, err
	}
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !fi.IsDir():
		return Tree{}, absent("tree " + d.String())
	case err != nil:
		return Tree{}, readError("tree "+d.String(), err)
	}
	return Tree{path: path, digest: d}, nil
}

// AddTree returns the tree of d and makes it first if it is not there: fill writes it into dir, an empty directory on
// the store's file system, and returns nil only when every byte is verified. Modes need no care: of a file's only the
// executable bits count. fill must have closed its files, and dir does not outlive the call.
//
// If fill fails, or the process dies at any instant, nothing is visible. Of many callers with one digest, in any
// process, one fills and the others wait; waiting is as in Lock. An error of fill comes back as it is, unless the
// store's disk is to blame; one of a done context only while waiting.
func (s *Store) AddTree(ctx context.Context, d v1.Hash, waiting func(pid int), fill func(dir *os.Root) error) (Tree, error) {
	if t, err := s.Tree(d); !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	unlock, err := s.lock(ctx, "tree "+d.String(), waiting)
	if err != nil {
		return Tree{}, err
	}
	defer unlock()
	// Whoever had the lock before may have made it.
	if t, err := s.Tree(d); !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}

	what := "store tree " + d.String()
	st, err := s.stage()
	if err != nil {
		return Tree{}, s.writeError(what, err)
	}
	// Before unlock: who waits for this tree finds the space of a failed attempt free.
	defer st.discard()
	if err := fillStaging(st.path, fill); err != nil {
		if fault := s.fault(what, err); fault != nil {
			return Tree{}, fault
		}
		return Tree{}, err
	}
	// From here on every byte and entry below st.path is on the disk, in its final mode, and nobody writes there any
	// more. What is left to a crash is whether the rename happened.
	if err := syncTree(st.path); err != nil {
		return Tree{}, s.writeError(what, err)
	}
	path, err := s.object("trees", d)
	if err != nil {
		return Tree{}, err
	}
	if err := rename(st.path, path); err != nil {
		// Without working locks another may have been faster. A directory is never renamed onto one that holds
		// something, so its tree stands, and is as good as this one.
		if t, treeErr := s.Tree(d); treeErr == nil {
			return t, nil
		}
		return Tree{}, s.writeError(what, err)
	}
	// Until this returns, a power cut may undo the rename, and the next AddTree fills again. It matters to callers
	// who go on to write down elsewhere that the tree is there.
	if err := syncDir(filepath.Dir(path)); err != nil {
		return Tree{}, s.writeError(what, err)
	}
	return Tree{path: path, digest: d}, nil
}

// fillStaging makes the directory at path, lets fill write into it, and gives everything its final mode. The root is
// closed on return: Windows renames no directory that is open.
func fillStaging(path string, fill func(dir *os.Root) error) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := fill(dir); err != nil {
		return err
	}
	return seal(dir, ".", 0)
}

// seal gives what is in dir its final mode and refuses what has no place in a tree. rel is dir's path in the tree and
// depth the number of directories above it. It opens directory by directory, since every os.Root operation on a long
// path opens each directory of it anew.
func seal(dir *os.Root, rel string, depth int) error {
	if err := dir.Chmod(".", 0o755); err != nil {
		return err
	}
	entries, err := readDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, at := e.Name(), path.Join(rel, e.Name())
		switch e.Type() {
		case fs.ModeDir:
			// First the mode, without which it might not open.
			if err := dir.Chmod(name, 0o755); err != nil {
				return err
			}
			sub, err := dir.OpenRoot(name)
			if err != nil {
				return err
			}
			err = seal(sub, at, depth+1)
			sub.Close()
			if err != nil {
				return err
			}
		case 0:
			fi, err := dir.Lstat(name)
			if err != nil {
				return err
			}
			if err := finishFile(dir, name, fi); err != nil {
				return err
			}
		case fs.ModeSymlink:
			target, err := dir.Readlink(name)
			if err != nil {
				return err
			}
			if !staysInside(target, depth) {
				return refused(at, fmt.Sprintf("it is a symbolic link to %q, which may lead out of the tree", target))
			}
		default:
			return refused(at, "it is neither a file nor a directory nor a symbolic link")
		}
	}
	return nil
}

// fileMode returns the mode that a file has in a tree.
func fileMode(fi fs.FileInfo) fs.FileMode {
	if fi.Mode()&0o111 != 0 {
		return 0o555
	}
	return 0o444
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
