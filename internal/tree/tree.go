// Package tree is how the entries of a tree come into a directory.
//
// Invariant: whatever it is told, a Directory makes entries below its root alone, and never writes into one that is there.
//
// It knows neither archives, which internal/artifact reads, nor the store, which takes down what it is given.
package tree

import (
	"io"
	"io/fs"
	"os"
	"path"
)

// Writer takes the entries of a tree, one after the other, from one goroutine. Names are slash-separated, relative and
// clean; the folder that an entry lies in has been made before. What is there already is an fs.ErrExist.
type Writer interface {
	Mkdir(name string) error
	// Create makes a file. Closing it is what completes it.
	Create(name string, executable bool) (io.WriteCloser, error)
	Symlink(target, name string) error
	// Remove takes away a file or a link that was made before.
	Remove(name string) error
}

// Mode is the mode of a file in a tree: readable by all, writable by none.
func Mode(executable bool) fs.FileMode {
	if executable {
		return 0o555
	}
	return 0o444
}

// Directory is a Writer of plain files. Modes are those of Mode, and 0755 of directories, less the umask.
type Directory struct {
	root *os.Root
	open map[string]*os.Root
}

// In returns a Directory that writes below root. It has to be closed; root stays open.
func In(root *os.Root) *Directory { return &Directory{root: root, open: map[string]*os.Root{}} }

// Close closes the folders that are open, and leaves the Directory as it was.
func (d *Directory) Close() {
	for name, r := range d.open {
		r.Close()
		delete(d.open, name)
	}
}

// maxOpen is how many folders stay open. As many again may follow on the way to one, and other trees are written at the
// same time: a process has few handles.
const maxOpen = 64

// Place opens the folder that an entry lies in, and gives the entry's name in it. The folder stays open, because opening
// below it spares a walk from the top for each file, and is the Directory's to close. A name that is no path inside the
// tree is an fs.ErrInvalid.
func (d *Directory) Place(name string) (folder *os.Root, base string, err error) {
	if !fs.ValidPath(name) || name == "." {
		return nil, "", &fs.PathError{Op: "write", Path: name, Err: fs.ErrInvalid}
	}
	folder, err = d.folder(path.Dir(name))
	return folder, path.Base(name), err
}

func (d *Directory) folder(name string) (*os.Root, error) {
	if name == "." {
		return d.root, nil
	}
	if r := d.open[name]; r != nil {
		return r, nil
	}
	if len(d.open) > maxOpen {
		d.Close()
	}
	parent, err := d.folder(path.Dir(name))
	if err != nil {
		return nil, err
	}
	r, err := parent.OpenRoot(path.Base(name))
	if err == nil {
		d.open[name] = r
	}
	return r, err
}

// Mkdir implements Writer.
func (d *Directory) Mkdir(name string) error {
	folder, base, err := d.Place(name)
	if err != nil {
		return err
	}
	return folder.Mkdir(base, 0o755)
}

// Create implements Writer.
func (d *Directory) Create(name string, executable bool) (io.WriteCloser, error) {
	return d.File(name, executable)
}

// File is Create for who wants the file itself.
func (d *Directory) File(name string, executable bool) (*os.File, error) {
	folder, base, err := d.Place(name)
	if err != nil {
		return nil, err
	}
	return folder.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, Mode(executable))
}

// Symlink implements Writer.
func (d *Directory) Symlink(target, name string) error {
	folder, base, err := d.Place(name)
	if err != nil {
		return err
	}
	return folder.Symlink(target, base)
}

// Remove implements Writer.
func (d *Directory) Remove(name string) error {
	folder, base, err := d.Place(name)
	if err != nil {
		return err
	}
	return folder.Remove(base)
}
