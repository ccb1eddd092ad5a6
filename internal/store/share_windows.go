package store

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// ends are the two directories of a transfer.
type ends struct {
	in, out *os.Root
	rel     string // where they are in their trees
}

// openEnds opens the roots of both trees once more.
func openEnds(in, out *os.Root) (*ends, error) { return (&ends{in: in, out: out, rel: "."}).below(".") }

// below opens the directory name, which is in both.
func (e *ends) below(name string) (*ends, error) {
	in, err := e.in.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	out, err := e.out.OpenRoot(name)
	if err != nil {
		in.Close()
		return nil, err
	}
	return &ends{in: in, out: out, rel: path.Join(e.rel, name)}, nil
}

func (e *ends) close() {
	e.in.Close()
	e.out.Close()
}

// names returns the names of what is in the directory that is read, sorted: of several faults the same one is told on
// each system.
func (e *ends) names() ([]string, error) {
	entries, err := readDir(e.in)
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, err
}

func (e *ends) look(name string) (look, error)  { return lookAt(e.in, name) }
func (e *ends) taken(name string) (look, error) { return lookAt(e.out, name) }

func lookAt(dir *os.Root, name string) (look, error) {
	fi, err := dir.Lstat(name)
	if err != nil {
		return look{}, err
	}
	return lookOf(fi), nil
}

func (e *ends) readlink(name string) (string, error) { return e.in.Readlink(name) }
func (e *ends) mkdir(name string) error              { return e.out.Mkdir(name, 0o755) }
func (e *ends) symlink(target, name string) error    { return e.out.Symlink(target, name) }
func (e *ends) open(name string) (*os.File, error)   { return e.in.Open(name) }
func (e *ends) remove(name string) error             { return e.out.Remove(name) }

// create makes a file for writing. A mode without write permission is no obstacle to the handle that makes it.
func (e *ends) create(name string, mode fs.FileMode) (*os.File, error) {
	return e.out.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
}

// link makes the file name of the one directory a hard link to the other's. Windows links by path only: unlike on Unix,
// someone who replaces a directory of either path at this moment can divert it. Both paths are the user's own.
func (e *ends) link(name string) error {
	return os.Link(filepath.Join(e.in.Name(), name), filepath.Join(e.out.Name(), name))
}
