package artifact

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Layout is an OCI image layout (image-spec, image-layout.md) opened for reading: a folder, or a tar of one as the
// ocipkg project and podman write it. Every blob is verified while it is read.
type Layout struct {
	path  string
	index Index
	open  func(name string) (io.ReadCloser, int64, error)
	close func() error
}

// OpenLayout opens the folder or tar archive at p. An archive needs no oci-layout file: V1 archives of the ocipkg
// project have none.
func OpenLayout(p string) (*Layout, error) {
	what := "layout " + p
	info, err := os.Stat(p)
	if err != nil {
		kind := diagnostic.Failure
		if errors.Is(err, fs.ErrNotExist) {
			kind = diagnostic.NotFound
		}
		return nil, &diagnostic.Error{Kind: kind, What: what, Err: err}
	}
	l := &Layout{path: p, close: func() error { return nil }}
	if info.IsDir() {
		l.open = func(name string) (io.ReadCloser, int64, error) {
			f, err := os.Open(filepath.Join(p, filepath.FromSlash(name)))
			if err != nil {
				return nil, 0, err
			}
			info, err := f.Stat()
			if err != nil {
				f.Close()
				return nil, 0, err
			}
			return f, info.Size(), nil
		}
	} else if err := l.openArchive(p); err != nil {
		return nil, &diagnostic.Error{Kind: diagnostic.Unsupported, What: what, Why: "it is not a tar archive of an OCI layout: " + err.Error(), Do: "make one with `ocipkg pack`; a compressed archive has to be uncompressed first", Err: err}
	}
	r, _, err := l.open("index.json")
	if err != nil {
		l.Close()
		return nil, &diagnostic.Error{Kind: diagnostic.Unsupported, What: what, Why: "it has no index.json, so it is not an OCI layout", Do: "make one with `ocipkg pack`", Err: err}
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, 4<<20))
	if err == nil {
		err = json.Unmarshal(data, &l.index)
	}
	if err == nil && len(l.index.Manifests) == 0 {
		err = errors.New("index.json names no manifest")
	}
	if err != nil {
		l.Close()
		return nil, &diagnostic.Error{Kind: diagnostic.Unsupported, What: what, Err: err}
	}
	return l, nil
}

// openArchive finds where each member of the tar lies, reading the headers alone.
func (l *Layout) openArchive(p string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	type span struct{ offset, size int64 }
	members := map[string]span{}
	t := tar.NewReader(f)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			f.Close()
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			f.Close()
			return err
		}
		members[strings.TrimPrefix(path.Clean(h.Name), "./")] = span{offset, h.Size}
	}
	l.close = f.Close
	l.open = func(name string) (io.ReadCloser, int64, error) {
		m, ok := members[name]
		if !ok {
			return nil, 0, fs.ErrNotExist
		}
		return io.NopCloser(io.NewSectionReader(f, m.offset, m.size)), m.size, nil
	}
	return nil
}

// Close closes the archive.
func (l *Layout) Close() error { return l.close() }

// Manifest returns the one manifest or index that the layout is about, and the full reference it was packed under,
// "" where none was given. What belongs to it (MirrorLayout) does not count. More than one is an error of kind
// Unsupported.
func (l *Layout) Manifest() (Descriptor, string, error) {
	d, ok := l.index.about()
	if !ok {
		return Descriptor{}, "", &diagnostic.Error{Kind: diagnostic.Unsupported, What: "layout " + l.path, Why: fmt.Sprintf("it holds %d manifests; one is possible", len(l.index.Manifests)), Do: "give a layout of one library, as `ocipkg pack` writes it"}
	}
	return d, d.RefName(), nil
}

// OpenBlob streams a blob; the Read that reaches its end reports kind Corrupt where the bytes are not the digest's.
func (l *Layout) OpenBlob(h v1.Hash) (io.ReadCloser, error) {
	r, _, err := l.openBlob(h)
	return r, err
}

// Open is OpenBlob for a blob that a manifest describes; one of another size is an error of kind Corrupt at once.
func (l *Layout) Open(d Descriptor) (io.ReadCloser, error) {
	r, size, err := l.openBlob(d.Digest)
	if err == nil && size != d.Size {
		r.Close()
		return nil, &diagnostic.Error{Kind: diagnostic.Corrupt, What: fmt.Sprintf("blob %s of layout %s", d.Digest, l.path), Why: fmt.Sprintf("it has %d bytes, and its manifest says %d", size, d.Size), Do: "make or fetch the artifact anew"}
	}
	return r, err
}

func (l *Layout) openBlob(h v1.Hash) (io.ReadCloser, int64, error) {
	what := fmt.Sprintf("blob %s of layout %s", h, l.path)
	if h.Algorithm != "sha256" || len(h.Hex) != 64 {
		return nil, 0, &diagnostic.Error{Kind: diagnostic.Unsupported, What: what, Why: "its digest is not a sha256", Do: "pack it again with `ocipkg pack`"}
	}
	r, size, err := l.open("blobs/sha256/" + h.Hex)
	if err != nil {
		return nil, 0, &diagnostic.Error{Kind: diagnostic.NotFound, What: what, Why: "the layout does not hold it", Do: "pack it again", Err: err}
	}
	return newVerifiedReader(r, h, what), size, nil
}

// ReadBlob reads a small blob whole, at most limit bytes.
func (l *Layout) ReadBlob(h v1.Hash, limit int64) ([]byte, error) {
	r, err := l.OpenBlob(h)
	if err != nil {
		return nil, err
	}
	return readSmall(r, h, limit)
}

// Read is ReadBlob for a blob that a manifest describes; see Open.
func (l *Layout) Read(d Descriptor, limit int64) ([]byte, error) {
	r, err := l.Open(d)
	if err != nil {
		return nil, err
	}
	return readSmall(r, d.Digest, limit)
}

func readSmall(r io.ReadCloser, h v1.Hash, limit int64) ([]byte, error) {
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &diagnostic.Error{Kind: diagnostic.Refused, What: fmt.Sprintf("blob %s", h), Why: fmt.Sprintf("it is larger than %d bytes", limit), Do: "this is no library's; check that the layout is what you mean"}
	}
	return data, nil
}

func newVerifiedReader(r io.ReadCloser, want v1.Hash, what string) *verifiedReader {
	return &verifiedReader{r: r, want: want, what: what, sum: sha256.New()}
}

type verifiedReader struct {
	r    io.ReadCloser
	want v1.Hash
	what string
	sum  interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func (v *verifiedReader) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	if err == io.EOF {
		if got := hex.EncodeToString(v.sum.Sum(nil)); got != v.want.Hex {
			return n, &diagnostic.Error{Kind: diagnostic.Corrupt, What: v.what, Why: "its bytes have the digest sha256:" + got, Do: "the archive is damaged: make or fetch it anew"}
		}
	}
	return n, err
}

func (v *verifiedReader) Close() error { return v.r.Close() }

const layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

// LayoutWriter makes an OCI layout. Nothing is at its destination before Commit, and all of it after; Close without
// Commit removes what was written.
type LayoutWriter struct {
	dest    string
	staging string
	index   Index
}

// CreateLayout starts a layout at dest: a tar archive where dest ends in ".tar", else a folder. A layout that is there
// is replaced at Commit; anything else there is an error of kind Usage.
func CreateLayout(dest string) (*LayoutWriter, error) {
	if err := replaceable(dest); err != nil {
		return nil, err
	}
	parent := filepath.Dir(dest)
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		// Not made: a slip of the pen in a path would leave a tree of folders.
		return nil, &diagnostic.Error{Kind: diagnostic.NotFound, What: "layout " + dest, Why: "there is no folder " + parent, Do: "make it first, or correct the path", Err: err}
	}
	staging, err := os.MkdirTemp(parent, "."+filepath.Base(dest)+".*.partial")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(staging, 0o755); err != nil {
		return nil, err
	}
	w := &LayoutWriter{dest: dest, staging: staging, index: Index{SchemaVersion: 2, MediaType: TypeIndex}}
	if err := os.MkdirAll(w.blobs(), 0o777); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// replaceable reports why a layout must not be put in the place of what is at dest, nil where nothing is lost.
func replaceable(dest string) error {
	usage := func(why, do string) error {
		return &diagnostic.Error{Kind: diagnostic.Usage, What: "layout " + dest, Why: why, Do: do}
	}
	info, err := os.Stat(dest)
	if err != nil {
		return nil // what else is wrong shows when it is written
	}
	archive := strings.HasSuffix(dest, ".tar")
	switch {
	case info.IsDir() && archive:
		return usage("it is a folder, and a name in .tar asks for an archive", "name a file that does not exist yet")
	case info.IsDir():
		entries, err := os.ReadDir(dest)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !slices.Contains([]string{"oci-layout", "index.json", "blobs"}, e.Name()) {
				return usage("the folder holds other things than an OCI layout: "+e.Name(), "name a folder that does not exist yet")
			}
		}
	case !info.Mode().IsRegular():
		return usage("it is neither a file nor a folder", "name a file that does not exist yet")
	case !archive:
		return usage("it is a file, and a name without .tar asks for a folder", "end the name in .tar, or name a folder that does not exist yet")
	case info.Size() > 0:
		old, err := OpenLayout(dest)
		if err != nil {
			return usage("the file is something else than an OCI layout", "name a file that does not exist yet")
		}
		return old.Close()
	}
	return nil
}

func (w *LayoutWriter) blobs() string { return filepath.Join(w.staging, "blobs", "sha256") }

// WriteBlob implements BlobWriter.
func (w *LayoutWriter) WriteBlob(write func(io.Writer) error) (v1.Hash, int64, error) {
	f, err := os.CreateTemp(w.staging, "blob")
	if err != nil {
		return v1.Hash{}, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sum := sha256.New()
	count := &countingWriter{w: io.MultiWriter(f, sum)}
	if err := write(count); err != nil {
		return v1.Hash{}, 0, err
	}
	if err := f.Chmod(0o644); err != nil {
		return v1.Hash{}, 0, err
	}
	if err := f.Close(); err != nil {
		return v1.Hash{}, 0, err
	}
	h := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	return h, count.n, os.Rename(f.Name(), filepath.Join(w.blobs(), h.Hex))
}

// Add names a manifest in the layout's index, under a full reference where refName is not empty.
func (w *LayoutWriter) Add(d Descriptor, refName string) {
	if refName != "" {
		d.Annotations = map[string]string{annotationRefName: refName}
	}
	w.index.Manifests = append(w.index.Manifests, d)
}

// Commit puts the layout at its destination.
func (w *LayoutWriter) Commit() error {
	index, err := marshal(w.index)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.staging, "oci-layout"), []byte(layoutVersion), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.staging, "index.json"), index, 0o644); err != nil {
		return err
	}
	if strings.HasSuffix(w.dest, ".tar") {
		return w.commitArchive()
	}
	old := w.staging + ".old"
	if err := os.Rename(w.dest, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(w.staging, w.dest); err != nil {
		return errors.Join(err, os.Rename(old, w.dest))
	}
	return os.RemoveAll(old)
}

func (w *LayoutWriter) commitArchive() error {
	f, err := os.CreateTemp(filepath.Dir(w.dest), "."+filepath.Base(w.dest)+".*.partial")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	entries, err := os.ReadDir(w.blobs())
	if err != nil {
		return err
	}
	names := []string{"oci-layout", "index.json"}
	for _, e := range entries {
		names = append(names, "blobs/sha256/"+e.Name())
	}
	slices.SortFunc(names[2:], cmp.Compare[string])
	t := tar.NewWriter(f)
	for _, name := range names {
		if err := writeEntry(t, os.DirFS(w.staging), name, Entry{Source: name}); err != nil {
			return err
		}
	}
	if err := errors.Join(t.Close(), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), w.dest)
}

// Close removes what was not committed.
func (w *LayoutWriter) Close() error { return os.RemoveAll(w.staging) }

var _ BlobWriter = (*LayoutWriter)(nil)
