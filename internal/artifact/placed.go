package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// ParsePlaces reads a JSON object that gives, by place in an install prefix, the path of a file or folder. A place that
// is there twice is an error of kind Usage, like whatever is no such object.
func ParsePlaces(data []byte) (map[string]string, error) {
	bad := func(format string, args ...any) (map[string]string, error) {
		return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "list of files", Why: fmt.Sprintf(format, args...),
			Do: `it is a JSON object of places in an install prefix and files: {"include/z.h": "src/z.h"}`}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return bad("it is no JSON object")
	}
	places := map[string]string{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return bad("%v", err)
		}
		place, _ := token.(string)
		if _, twice := places[place]; twice {
			return bad("the place %q is there twice", place)
		}
		var file string
		if err := d.Decode(&file); err != nil {
			return bad("%s: %v", place, err)
		}
		places[place] = file
	}
	if _, err := d.Token(); err != nil {
		return bad("%v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return bad("something follows the object")
	}
	return places, nil
}

// Place shows files as an install prefix, for Pack: places gives, by slash-separated place in the prefix, the path of a
// file, or of a folder, whose files keep their paths below the place. What is reached by links is taken as what it
// leads to, because build systems show an action its inputs that way. What is missing, a place outside the prefix, and
// two files for one place are errors.
func Place(places map[string]string) (fs.FS, error) {
	p := &placedFiles{files: map[string]string{}, folders: map[string][]string{".": nil}}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		file := places[place]
		bad := func(kind diagnostic.Kind, err error) (fs.FS, error) {
			return nil, &diagnostic.Error{Kind: kind, What: fmt.Sprintf("pack %s as %s", file, place), Err: err}
		}
		if !fs.ValidPath(place) {
			return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("pack %s as %s", file, place), Why: "the place is no path inside a prefix",
				Do: "write it as include/z.h or lib/libz.a, with slashes and without .."}
		}
		info, err := os.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return bad(diagnostic.NotFound, err)
		case err != nil:
			return bad(diagnostic.Failure, err)
		case info.IsDir():
			err = p.addFolder(place, file)
		default:
			err = p.add(place, file, info)
		}
		if err != nil {
			return bad(diagnostic.Usage, err)
		}
	}
	return p, nil
}

// placedFiles is a tree of files that lie elsewhere.
type placedFiles struct {
	files   map[string]string   // place -> path
	folders map[string][]string // place -> names in it
}

func (p *placedFiles) addFolder(place, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		below := path.Join(place, e.Name())
		switch {
		case !info.IsDir():
			err = p.add(below, file, info)
		case !e.IsDir():
			err = fmt.Errorf("%s is a link to a folder", file)
		default:
			err = p.addFolder(below, file)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *placedFiles) add(place, file string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", file)
	}
	if other, taken := p.files[place]; taken {
		return fmt.Errorf("%s is there already, as %s", place, other)
	}
	if _, folder := p.folders[place]; folder {
		return fmt.Errorf("%s is a folder already", place)
	}
	p.files[place] = file
	for place != "." {
		dir, base := path.Dir(place), path.Base(place)
		if _, file := p.files[dir]; file {
			return fmt.Errorf("%s is a file already", dir)
		}
		names, known := p.folders[dir]
		p.folders[dir] = append(names, base)
		if known {
			break
		}
		place = dir
	}
	return nil
}

func (p *placedFiles) lookup(op, name string) (string, error) {
	file, ok := p.files[name]
	if !ok {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return file, nil
}

// Open implements fs.FS. Folders are read by ReadDir.
func (p *placedFiles) Open(name string) (fs.File, error) {
	file, err := p.lookup("open", name)
	if err != nil {
		return nil, err
	}
	return os.Open(file)
}

// Stat implements fs.StatFS.
func (p *placedFiles) Stat(name string) (fs.FileInfo, error) {
	if _, ok := p.folders[name]; ok {
		return placedInfo{folderInfo{}, path.Base(name)}, nil
	}
	file, err := p.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(file)
	return placedInfo{info, path.Base(name)}, err
}

// ReadDir implements fs.ReadDirFS.
func (p *placedFiles) ReadDir(name string) ([]fs.DirEntry, error) {
	names, ok := p.folders[name]
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var entries []fs.DirEntry
	for _, base := range slices.Sorted(slices.Values(names)) {
		info, err := p.Stat(path.Join(name, base))
		if err != nil {
			return nil, err
		}
		entries = append(entries, fs.FileInfoToDirEntry(info))
	}
	return entries, nil
}

// placedInfo is called as the place and not as the file.
type placedInfo struct {
	fs.FileInfo
	name string
}

func (i placedInfo) Name() string { return i.name }

var (
	_ fs.ReadDirFS = (*placedFiles)(nil)
	_ fs.StatFS    = (*placedFiles)(nil)
)
