package library

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// layouts are the OCI layouts of this machine that stand for registries. Each is opened when it is asked first, and stays
// open: a depot lives as long as a command.
type layouts struct {
	mu   sync.Mutex
	open map[string][]*artifact.Layout // by path as it was named
	bad  map[*artifact.Layout]bool     // those that have sent wrong bytes
	told map[string]bool               // warnings of blobs that are in another size than the manifest says
}

// at gives the layouts at a path: the one there, or those in the folder that is there.
func (d *Depot) layoutsAt(path string) []*artifact.Layout {
	d.layouts.mu.Lock()
	defer d.layouts.mu.Unlock()
	found, known := d.layouts.open[path]
	if !known {
		var err error
		if found, err = openLayouts(path); err != nil {
			d.warn("the mirror file://%s is passed over: %s", filepath.ToSlash(path), strings.SplitN(err.Error(), "\n", 2)[0])
		}
		if d.layouts.open == nil {
			d.layouts.open, d.layouts.bad = map[string][]*artifact.Layout{}, map[*artifact.Layout]bool{}
		}
		d.layouts.open[path] = found
	}
	var good []*artifact.Layout
	for _, l := range found {
		if !d.layouts.bad[l] {
			good = append(good, l)
		}
	}
	return good
}

func openLayouts(path string) ([]*artifact.Layout, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(path, "index.json")); !info.IsDir() || err == nil {
		l, err := artifact.OpenLayout(path)
		if err != nil {
			return nil, err
		}
		return []*artifact.Layout{l}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var found []*artifact.Layout
	for _, e := range entries {
		p := filepath.Join(path, e.Name())
		if !strings.HasSuffix(p, ".tar") {
			if _, err := os.Stat(filepath.Join(p, "index.json")); err != nil {
				continue
			}
		}
		if l, err := artifact.OpenLayout(p); err == nil { // a folder may hold other archives
			found = append(found, l)
		}
	}
	if len(found) == 0 {
		return nil, &diagnostic.Error{Kind: diagnostic.NotFound, Why: "it holds no layout, as `ocipkg copy` writes them", Do: "put archives there with `ocipkg copy IMAGE FOLDER/NAME.tar`, or correct the path"}
	}
	return found, nil
}

// layoutBlob opens a blob that a layout has which stands for ref's registry; an fs.ErrNotExist says that none has it.
// Where its bytes turn out to be wrong, the Read that finds it fails with registry.ErrMirrorLied, and it is asked no more.
func (d *Depot) layoutBlob(ref registry.Reference, want artifact.Descriptor) (io.ReadCloser, error) {
	for _, path := range d.Registry.Layouts(ref.Repository) {
		for _, l := range d.layoutsAt(path) {
			open := func() (io.ReadCloser, error) { return l.Open(want) }
			if want.Size == unknownSize {
				open = func() (io.ReadCloser, error) { return l.OpenBlob(want.Digest) }
			}
			blob, err := open()
			if err == nil {
				return &layoutReader{ReadCloser: blob, depot: d, layout: l}, nil
			}
			if diagnostic.KindOf(err) == diagnostic.Corrupt {
				// Of another size than the manifest says: which of the two is wrong shows when others are asked.
				d.warnOnce(fmt.Sprintf("a mirror is not asked for a blob, but others are: %s", strings.SplitN(err.Error(), "\n", 2)[0]))
			}
		}
	}
	return nil, fs.ErrNotExist
}

type layoutReader struct {
	io.ReadCloser
	depot  *Depot
	layout *artifact.Layout
}

func (r *layoutReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		r.depot.passOver(r.layout, err)
		err = fmt.Errorf("%w: %w", registry.ErrMirrorLied, err)
	}
	return n, err
}

// passOver has a layout asked no more.
func (d *Depot) passOver(l *artifact.Layout, err error) {
	d.layouts.mu.Lock()
	told := d.layouts.bad[l] // several of its layers are read at a time
	d.layouts.bad[l] = true
	d.layouts.mu.Unlock()
	if !told {
		d.warn("a mirror is passed over: %s", strings.SplitN(err.Error(), "\n", 2)[0])
	}
}

// warnOnce is for what a resumed download or another reader would say again.
func (d *Depot) warnOnce(message string) {
	d.layouts.mu.Lock()
	told := d.layouts.told[message]
	if d.layouts.told == nil {
		d.layouts.told = map[string]bool{}
	}
	d.layouts.told[message] = true
	d.layouts.mu.Unlock()
	if !told {
		d.warn("%s", message)
	}
}

func (d *Depot) warn(format string, args ...any) {
	if d.Warn != nil {
		d.Warn(fmt.Sprintf(format, args...))
	}
}
