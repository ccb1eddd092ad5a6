package store

import (
	"io/fs"
	"os"
	"path/filepath"
)

// ends are the two directories of a transfer.
type ends struct{ in, out *os.Root }

func openEnds(in, out *os.Root) (*ends, error) { return &ends{in: in, out: out}, nil }

func (e *ends) close() {}

// read returns what is in the directory that is read, sorted by name.
func (e *ends) read() ([]fs.DirEntry, error) { return readDir(e.in) }

// link makes the file name of e.out a hard link to e.in's. Windows links by path only: unlike on Unix, someone who
// replaces a directory of either path at this moment can divert it. Both paths are the user's own.
func link(e *ends, name string, _ fs.FileInfo) error {
	return os.Link(filepath.Join(e.in.Name(), name), filepath.Join(e.out.Name(), name))
}
