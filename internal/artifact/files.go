package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Files shows single files as one flat folder, for Pack. A link to another one of them stays a link; one to anything
// else is the file that it leads to. What is missing, a folder, or called as another one is an error.
func Files(names []string) (fs.FS, error) {
	f := fileSet{}
	real := map[string]string{} // what a path leads to in the end -> base name of the file that is no link to it
	for _, name := range names {
		bad := func(kind diagnostic.Kind, why, do string, err error) (fs.FS, error) {
			return nil, &diagnostic.Error{Kind: kind, What: "pack " + name, Why: why, Do: do, Err: err}
		}
		info, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return bad(diagnostic.NotFound, "", "name headers, libraries and licences, or one folder", err)
		case err != nil:
			return bad(diagnostic.Failure, "", "", err)
		case !info.Mode().IsRegular():
			return bad(diagnostic.Usage, "it is no file", "name either one folder or files alone", nil)
		}
		base := filepath.Base(name)
		if other, taken := f[base]; taken {
			return bad(diagnostic.Usage, "it and "+other.path+" are called the same", "name one of them, or put them into an install prefix", nil)
		}
		f[base] = singleFile{path: name}
		if lstat, err := os.Lstat(name); err == nil && lstat.Mode().IsRegular() {
			if path, err := filepath.EvalSymlinks(name); err == nil {
				real[path] = base
			}
		}
	}
	for base, file := range f {
		if info, err := os.Lstat(file.path); err != nil || info.Mode().IsRegular() {
			continue
		}
		end, err := filepath.EvalSymlinks(file.path)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", file.path, err)
		}
		file.link = real[end]
		f[base] = file
	}
	return f, nil
}

// fileSet is a folder of files by base name.
type fileSet map[string]singleFile

type singleFile struct {
	path string
	link string // base name of another one, "" for a file
}

func (f fileSet) lookup(op, name string) (singleFile, error) {
	file, ok := f[name]
	if !ok {
		return singleFile{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return file, nil
}

// Open implements fs.FS. The folder itself is read by ReadDir.
func (f fileSet) Open(name string) (fs.File, error) {
	file, err := f.lookup("open", name)
	if err != nil {
		return nil, err
	}
	return os.Open(file.path)
}

// Stat implements fs.StatFS.
func (f fileSet) Stat(name string) (fs.FileInfo, error) {
	if name == "." {
		return folderInfo{}, nil
	}
	file, err := f.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return os.Stat(file.path)
}

// Lstat implements fs.ReadLinkFS.
func (f fileSet) Lstat(name string) (fs.FileInfo, error) {
	if file := f[name]; file.link != "" {
		return os.Lstat(file.path)
	}
	return f.Stat(name)
}

// ReadLink implements fs.ReadLinkFS.
func (f fileSet) ReadLink(name string) (string, error) {
	file, err := f.lookup("readlink", name)
	if err == nil && file.link == "" {
		err = &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return file.link, err
}

// ReadDir implements fs.ReadDirFS.
func (f fileSet) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var entries []fs.DirEntry
	for _, base := range slices.Sorted(maps.Keys(f)) {
		info, err := f.Lstat(base)
		if err != nil {
			return nil, err
		}
		entries = append(entries, namedEntry{fs.FileInfoToDirEntry(info), base})
	}
	return entries, nil
}

// namedEntry is called as the file was, and not as what it leads to.
type namedEntry struct {
	fs.DirEntry
	name string
}

func (e namedEntry) Name() string { return e.name }

type folderInfo struct{ fs.FileInfo }

func (folderInfo) Name() string      { return "." }
func (folderInfo) IsDir() bool       { return true }
func (folderInfo) Mode() fs.FileMode { return fs.ModeDir | 0o755 }

var (
	_ fs.ReadDirFS  = fileSet(nil)
	_ fs.ReadLinkFS = fileSet(nil)
)
