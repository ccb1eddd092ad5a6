//go:build unix

package store

import (
	"cmp"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// ends are the two directories of a transfer, and their handles for what os.Root cannot do between two roots.
type ends struct {
	in, out       *os.Root
	inDir, outDir *os.File
}

func openEnds(in, out *os.Root) (*ends, error) {
	inDir, err := in.Open(".")
	if err != nil {
		return nil, err
	}
	outDir, err := out.Open(".")
	if err != nil {
		inDir.Close()
		return nil, err
	}
	return &ends{in: in, out: out, inDir: inDir, outDir: outDir}, nil
}

func (e *ends) close() {
	e.inDir.Close()
	e.outDir.Close()
}

// read returns what is in the directory that is read, sorted by name.
func (e *ends) read() ([]fs.DirEntry, error) {
	entries, err := e.inDir.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, err
}

// link makes the file name of e.out a hard link to e.in's. The directories are handles and name is one component:
// linkat(2) follows no link in it on either side.
func link(e *ends, name string, _ fs.FileInfo) error {
	err := uninterrupted(func() error {
		return unix.Linkat(int(e.inDir.Fd()), name, int(e.outDir.Fd()), name, 0)
	})
	if err != nil {
		return &os.LinkError{Op: "linkat", Old: e.inDir.Name() + "/" + name, New: e.outDir.Name() + "/" + name, Err: err}
	}
	return nil
}
