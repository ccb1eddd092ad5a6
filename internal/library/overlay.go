package library

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// overlay is the view of several unpacked trees laid over each other, the last on top; each is a folder's path.
type overlay []string

// Open implements fs.FS.
func (o overlay) Open(name string) (fs.File, error) {
	for _, dir := range slices.Backward(o) {
		f, err := os.DirFS(dir).Open(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// tree lists what is there.
func (o overlay) tree() (artifact.Tree, error) {
	all := artifact.Tree{}
	for _, dir := range o {
		fsys := os.DirFS(dir)
		err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			all[p] = artifact.Entry{Source: p}
			if d.Type() == fs.ModeSymlink {
				target, err := fs.ReadLink(fsys, p)
				if err != nil {
					return err
				}
				all[p] = artifact.Entry{Link: target}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// describe measures what is there.
func (o overlay) describe(claims artifact.Claims) (*artifact.Package, error) {
	all, err := o.tree()
	if err != nil {
		return nil, err
	}
	p, err := artifact.Describe(o, all, claims)
	if err == nil && len(p.Libraries) == 0 && len(p.Includes) == 0 {
		err = &diagnostic.Error{Kind: diagnostic.Unsupported, What: "its files", Why: "there is neither a header nor a library among them", Do: "see with `ocipkg inspect` what it holds; a library is packed with `ocipkg pack`"}
	}
	return p, err
}
