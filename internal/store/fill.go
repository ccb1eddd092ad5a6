package store

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/tree"
)

// A filling is the tree.Writer that AddTree gives to fill. It takes down everything that comes, so that nobody has to
// walk through the tree or read its files once more.
type filling struct {
	dir     *tree.Directory
	record  record
	removed map[string]bool // entries of record that are no longer there
	writing int             // files that are not closed yet
}

// fillStaging makes the directory at path, lets fill write into it, and returns what is there. Everything is closed on
// return: Windows renames no directory that is open.
func fillStaging(path string, fill func(tree.Writer) error) (*record, error) {
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := root.Chmod(".", 0o755); err != nil { // whatever the umask
		return nil, err
	}
	f := &filling{dir: tree.In(root), removed: map[string]bool{}}
	defer f.dir.Close()
	if err := fill(f); err != nil {
		return nil, err
	}
	if f.writing > 0 {
		return nil, errors.New("a file of the tree was not closed")
	}
	return f.finish(), nil
}

func (f *filling) finish() *record {
	r := &f.record
	if len(f.removed) > 0 {
		r.entries = slices.DeleteFunc(r.entries, func(e recorded) bool { return e.kind != fs.ModeDir && f.removed[e.path] })
	}
	// In the order of a walk a folder's entries follow it, whatever else begins like its name.
	slices.SortFunc(r.entries, func(a, b recorded) int {
		return cmp.Compare(strings.ReplaceAll(a.path, "/", "\x00"), strings.ReplaceAll(b.path, "/", "\x00"))
	})
	for _, e := range r.entries {
		if e.kind == 0 {
			r.files++
			r.bytes += e.size
		}
	}
	return r
}

func (f *filling) entry(e recorded) {
	if f.removed[e.path] { // and comes again, maybe as something else
		f.record.entries = slices.DeleteFunc(f.record.entries, func(old recorded) bool { return old.path == e.path })
		delete(f.removed, e.path)
	}
	f.record.entries = append(f.record.entries, e)
}

func (f *filling) Mkdir(name string) error {
	folder, base, err := f.dir.Place(name)
	if err != nil {
		return err
	}
	if err := folder.Mkdir(base, 0o755); err != nil {
		return err
	}
	fi, err := folder.Lstat(base)
	if err == nil && fi.Mode().Perm() != 0o755 {
		err = folder.Chmod(base, 0o755) // whatever the umask
	}
	if err != nil {
		return err
	}
	f.entry(recorded{path: name, kind: fs.ModeDir})
	return nil
}

func (f *filling) Symlink(target, name string) error {
	if !staysInside(target, strings.Count(name, "/")) {
		return refused(name, fmt.Sprintf("it is a symbolic link to %q, which may lead out of the tree", target))
	}
	// os.Root repeats all its calls but this one.
	if err := uninterrupted(func() error { return f.dir.Symlink(target, name) }); err != nil {
		return err
	}
	f.entry(recorded{path: name, kind: fs.ModeSymlink, target: target})
	return nil
}

func (f *filling) Remove(name string) error {
	if err := f.dir.Remove(name); err != nil {
		return err
	}
	f.removed[name] = true
	return nil
}

func (f *filling) Create(name string, executable bool) (io.WriteCloser, error) {
	file, err := f.dir.File(name, executable)
	if err != nil {
		return nil, err
	}
	f.writing++
	return &fillingFile{file: file, filling: f, name: name, executable: executable}, nil
}

// fillingFile sums a file up while it is written, when its bytes are at hand.
type fillingFile struct {
	file       *os.File // not embedded: what goes past Write is not in the sum
	filling    *filling
	name       string
	executable bool
	size       int64
	sum        uint32
}

func (w *fillingFile) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.size += int64(n)
	w.sum = crc32.Update(w.sum, castagnoli, p[:n])
	return n, err
}

func (w *fillingFile) Close() error {
	w.filling.writing--
	fi, err := w.finish()
	if closeErr := w.file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if fi.ModTime().After(w.filling.record.sealed) {
		w.filling.record.sealed = fi.ModTime()
	}
	w.filling.entry(recorded{path: w.name, mode: lookOf(fi).treeMode(), size: fi.Size(), sum: w.sum})
	return nil
}

func (w *fillingFile) finish() (fs.FileInfo, error) {
	fi, err := finishFile(w.file, tree.Mode(w.executable))
	if err == nil && fi.Size() != w.size {
		err = fmt.Errorf("%s: %d bytes of %d: %w", w.name, fi.Size(), w.size, io.ErrUnexpectedEOF)
	}
	return fi, err
}
