package artifact

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// annotationAccompanies is on entries of a layout's index.json that are not what the layout is about but belong to it,
// such as its signatures; its value is the digest of what they belong to. It is no part of any manifest.
const annotationAccompanies = "vnd.ocipkg.accompanies"

// Accompanying returns the descriptor as an entry of a layout's index.json: under the full reference refName where that
// is not empty, and as belonging to what has the digest of root.
func (d Descriptor) Accompanying(root Descriptor, refName string) Descriptor {
	d = d.Named(refName)
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[annotationAccompanies] = root.Digest.String()
	return d
}

// Named returns the descriptor as an entry of a layout's index.json under a full reference.
func (d Descriptor) Named(refName string) Descriptor {
	d.Annotations = nil
	if refName != "" {
		d.Annotations = map[string]string{annotationRefName: refName}
	}
	return d
}

// RefName is the reference of an entry of a layout's index.json, "" where it has none.
func (d Descriptor) RefName() string { return d.Annotations[annotationRefName] }

// Entries are the manifests and indexes that the layout's index.json names.
func (l *Layout) Entries() []Descriptor { return slices.Clone(l.index.Manifests) }

// about finds the one entry that a layout is about: not one that says it accompanies another, and of several the one
// that has a name.
func (x Index) about() (Descriptor, bool) {
	var own, named []Descriptor
	for _, d := range x.Manifests {
		if d.Annotations[annotationAccompanies] == "" {
			own = append(own, d)
			if d.RefName() != "" {
				named = append(named, d)
			}
		}
	}
	for _, found := range [][]Descriptor{own, named} {
		if len(found) == 1 {
			return found[0], true
		}
	}
	return Descriptor{}, false
}

// layoutDownloads is how many blobs are copied into a folder at a time.
const layoutDownloads = 3

// MirrorLayout makes the layout at dest hold exactly the blobs, with an index.json of the entries, of which the first
// is what the layout is about. dest is an archive where it ends in ".tar", else a folder. open gives a blob's bytes,
// which are verified; what dest holds already is not asked for, and an archive or folder that holds all of it is left
// as it is. Where that fails with an error of which again is true, what was written of the blob is thrown away and it is
// opened once more; again may be nil.
//
// An archive is replaced in one step. A folder grows blob by blob and gets its index.json last, so that what was
// interrupted can be continued. A layout of something else, and whatever is none, is an error of kind Usage.
func MirrorLayout(ctx context.Context, dest string, entries, blobs []Descriptor, open func(context.Context, Descriptor) (io.ReadCloser, error), again func(error) bool) error {
	if err := replaceable(dest); err != nil {
		return err
	}
	index, err := marshal(Index{SchemaVersion: 2, MediaType: TypeIndex, Manifests: entries})
	if err != nil {
		return err
	}
	blobs = slices.Clone(blobs)
	slices.SortFunc(blobs, func(a, b Descriptor) int { return cmp.Compare(a.Digest.Hex, b.Digest.Hex) })
	blobs = slices.CompactFunc(blobs, func(a, b Descriptor) bool { return a.Digest == b.Digest })
	if again == nil {
		again = func(error) bool { return false }
	}
	m := &mirror{dest: dest, index: index, blobs: blobs, open: open, again: again}
	if old, err := OpenLayout(dest); err == nil {
		defer old.Close()
		about, ok := old.index.about()
		if !ok || about.Digest != entries[0].Digest && (about.RefName() == "" || about.RefName() != entries[0].RefName()) {
			return &diagnostic.Error{Kind: diagnostic.Usage, What: "layout " + dest, Why: "it holds another artifact, which would be lost", Do: "name a file or folder that does not exist yet"}
		}
		m.old = old
		m.same = m.sameIndex(old)
	} else if _, absent := os.Stat(filepath.Join(dest, "index.json")); absent == nil {
		// What an interrupted copy left has no index.json.
		return &diagnostic.Error{Kind: diagnostic.Usage, What: "layout " + dest, Why: "a layout is there that cannot be read: " + err.Error(), Do: "name a folder that does not exist yet", Err: err}
	}
	if strings.HasSuffix(dest, ".tar") {
		return m.archive(ctx)
	}
	return m.folder(ctx)
}

type mirror struct {
	dest  string
	index []byte
	blobs []Descriptor // sorted, each once
	open  func(context.Context, Descriptor) (io.ReadCloser, error)
	again func(error) bool
	old   *Layout // what is at dest, nil for nothing
	same  bool    // whether its index.json is the one to write
}

func (m *mirror) sameIndex(old *Layout) bool {
	r, size, err := old.open("index.json")
	if err != nil || size != int64(len(m.index)) {
		return false
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return err == nil && bytes.Equal(data, m.index)
}

// has reports whether the old layout holds a blob, undamaged.
func (m *mirror) has(d Descriptor) bool {
	if m.old == nil {
		return false
	}
	r, err := m.old.OpenBlob(d.Digest)
	if err != nil {
		return false
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	return err == nil && n == d.Size
}

// copyVerified writes a blob to w. Its bytes may have been verified on the way; they are again, since what is written
// here is believed later.
func copyVerified(w io.Writer, r io.ReadCloser, d Descriptor) error {
	defer r.Close()
	what := fmt.Sprintf("blob %s", d.Digest)
	v := newVerifiedReader(r, d.Digest, what)
	n, err := io.Copy(w, io.LimitReader(v, d.Size))
	if err == nil {
		// Behind the last byte has to be the end, and with it the verdict on the digest.
		var more int64
		more, err = io.Copy(io.Discard, io.LimitReader(v, 1))
		n += more
	}
	if err == nil && n != d.Size {
		err = &diagnostic.Error{Kind: diagnostic.Corrupt, What: what, Why: fmt.Sprintf("it has not the %d bytes that its manifest says", d.Size), Do: "make or fetch the artifact anew"}
	}
	return err
}

func (m *mirror) archive(ctx context.Context) error {
	here := map[string]bool{}
	for _, d := range m.blobs {
		here[d.Digest.Hex] = m.has(d)
	}
	if m.same && !slices.ContainsFunc(m.blobs, func(d Descriptor) bool { return !here[d.Digest.Hex] }) {
		return nil
	}
	dir := filepath.Dir(m.dest)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(m.dest)+".*.partial")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	// A tar.Writer cannot take back what it was given, so each entry has one of its own.
	entry := func(name string, size int64, write func(io.Writer) error) error {
		start, err := f.Seek(0, io.SeekCurrent)
		for err == nil {
			t := tar.NewWriter(f)
			err = t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, Format: tar.FormatPAX})
			if err == nil {
				err = write(t)
			}
			if err == nil {
				return t.Flush()
			}
			if !m.again(err) {
				break
			}
			if _, err = f.Seek(start, io.SeekStart); err == nil {
				err = f.Truncate(start)
			}
		}
		return err
	}
	for _, small := range []struct {
		name string
		data []byte
	}{{"oci-layout", []byte(layoutVersion)}, {"index.json", m.index}} {
		if err := entry(small.name, int64(len(small.data)), func(w io.Writer) error { _, err := w.Write(small.data); return err }); err != nil {
			return err
		}
	}
	for _, d := range m.blobs {
		open := m.open
		if here[d.Digest.Hex] {
			open = func(context.Context, Descriptor) (io.ReadCloser, error) { return m.old.OpenBlob(d.Digest) }
		}
		err := entry("blobs/sha256/"+d.Digest.Hex, d.Size, func(w io.Writer) error {
			r, err := open(ctx, d)
			if err != nil {
				return err
			}
			return copyVerified(w, r, d)
		})
		if err != nil {
			return err
		}
	}
	if err := errors.Join(tar.NewWriter(f).Close(), f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), m.dest)
}

func (m *mirror) folder(ctx context.Context) error {
	blobs := filepath.Join(m.dest, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o777); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(layoutDownloads)
	whole := m.same
	for _, d := range m.blobs {
		if m.hasFile(filepath.Join(blobs, d.Digest.Hex), d) {
			continue
		}
		whole = false
		group.Go(func() error {
			for {
				err := writeFile(blobs, filepath.Join(blobs, d.Digest.Hex), func(w io.Writer) error {
					r, err := m.open(ctx, d)
					if err != nil {
						return err
					}
					return copyVerified(w, r, d)
				})
				if err == nil || !m.again(err) {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if whole {
		return nil
	}
	for _, small := range []struct {
		name string
		data []byte
	}{{"oci-layout", []byte(layoutVersion)}, {"index.json", m.index}} {
		if err := writeFile(blobs, filepath.Join(m.dest, small.name), func(w io.Writer) error { _, err := w.Write(small.data); return err }); err != nil {
			return err
		}
	}
	// What the old index.json named and the new one does not, and what a killed process began.
	entries, err := os.ReadDir(blobs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.ContainsFunc(m.blobs, func(d Descriptor) bool { return d.Digest.Hex == e.Name() }) {
			if err := os.Remove(filepath.Join(blobs, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// hasFile reports whether a file is the blob. An interrupted copy left no index.json, so the layout cannot be asked.
func (m *mirror) hasFile(name string, d Descriptor) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	return copyVerified(io.Discard, f, d) == nil
}

// writeFile makes a file appear whole or not at all. It is written in the folder staging.
func writeFile(staging, name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(staging, "."+filepath.Base(name)+".*.partial")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
