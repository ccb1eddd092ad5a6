package library

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// keptBlob opens a blob that lies in the folder Kept under the digits of its digest; an fs.ErrNotExist says that none
// does that is whole. Whoever put it there may have been interrupted. Where it is whole and the size is wrong all the same,
// the registry has the same bytes, and says so.
func (d *Depot) keptBlob(want artifact.Descriptor) (io.ReadCloser, error) {
	if d.Kept == "" {
		return nil, fs.ErrNotExist
	}
	name := filepath.Join(d.Kept, want.Digest.Hex)
	first, err := openVerified(name, want.Digest)
	if err != nil {
		return nil, fs.ErrNotExist
	}
	n, err := io.Copy(io.Discard, first)
	first.Close()
	if err != nil || n != want.Size && want.Size != unknownSize {
		return nil, fs.ErrNotExist
	}
	return openVerified(name, want.Digest)
}

// keep puts a blob into Kept while it is read. The file has its name when the last byte was read and found right.
func (d *Depot) keep(blob io.ReadCloser, h v1.Hash) (io.ReadCloser, error) {
	if d.Kept == "" {
		return blob, nil
	}
	if err := os.MkdirAll(d.Kept, 0o755); err != nil {
		blob.Close()
		return nil, err
	}
	f, err := os.CreateTemp(d.Kept, "partial-*")
	if err != nil {
		blob.Close()
		return nil, err
	}
	return &keeper{ReadCloser: blob, file: f, name: filepath.Join(d.Kept, h.Hex)}, nil
}

type keeper struct {
	io.ReadCloser
	file *os.File // nil once it has its name
	name string
}

func (k *keeper) Read(p []byte) (int, error) {
	n, err := k.ReadCloser.Read(p)
	if k.file == nil {
		return n, err
	}
	if _, failed := k.file.Write(p[:n]); failed != nil {
		return n, failed
	}
	if err == io.EOF {
		file := k.file
		k.file = nil
		if failed := errors.Join(file.Close(), os.Rename(file.Name(), k.name)); failed != nil {
			return n, failed
		}
	}
	return n, err
}

func (k *keeper) Close() error {
	if k.file != nil {
		k.file.Close()
		os.Remove(k.file.Name())
	}
	return k.ReadCloser.Close()
}

// keepBytes puts a document or config into Kept, wherever it came from. The platforms of a hub do so with one index at once.
func (d *Depot) keepBytes(data []byte, h v1.Hash) error {
	if d.Kept == "" {
		return nil
	}
	if err := os.MkdirAll(d.Kept, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(d.Kept, "partial-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(d.Kept, h.Hex))
	}
	if err == nil {
		return nil
	}
	os.Remove(f.Name())
	// Windows lets nobody put a file in the place of one that another has open: who came first has put the same there.
	there, missing := d.keptBlob(artifact.Descriptor{Digest: h, Size: int64(len(data))})
	if missing != nil {
		return err
	}
	return there.Close()
}

// KeptBlobs lists the blobs in Kept, sorted.
func (d *Depot) KeptBlobs() ([]v1.Hash, error) {
	entries, err := os.ReadDir(d.Kept)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []v1.Hash
	for _, e := range entries {
		if h, err := v1.NewHash("sha256:" + e.Name()); err == nil {
			all = append(all, h)
		}
	}
	return all, err
}

// Lacking lists the blobs of a pinned library that are neither in the store nor in Kept, as far as can be told without
// those: of the manifest alone while it is lacking, then of the config, then of the layers. It asks no registry. A layer
// whose tree the store has is not lacking.
func (d *Depot) Lacking(ctx context.Context, ref registry.Reference, want artifact.Triple, decl *Declaration) ([]v1.Hash, error) {
	return d.lacking(ctx, ref, want, decl, true)
}

// LackingHub is Lacking for what Hub reads: of a spoke in a repository of its own what describes it, and layers where
// nothing else does; of one in a folder everything.
func (d *Depot) LackingHub(ctx context.Context, ref registry.Reference, spokes []Spoke, decl *Declaration) ([]v1.Hash, error) {
	var all []v1.Hash
	for _, s := range spokes {
		lacking, err := d.lacking(ctx, ref, s.Target, decl, s.Repository == "")
		if s.Repository != "" && diagnostic.KindOf(err) == diagnostic.Mismatch {
			continue // the hub leaves it out
		}
		if err != nil {
			return nil, err
		}
		all = append(all, lacking...)
	}
	slices.SortFunc(all, func(a, b v1.Hash) int { return strings.Compare(a.Hex, b.Hex) })
	return slices.Compact(all), nil
}

// LackingIndex is Lacking for what Index reads.
func (d *Depot) LackingIndex(ctx context.Context, ref registry.Reference, want artifact.Triple) ([]v1.Hash, error) {
	data, ok := d.local(ref.Digest)
	if !ok {
		return []v1.Hash{ref.Digest}, nil
	}
	targets, err := targetsOf(data, mediaTypeOf(data), want)
	if err != nil {
		return nil, err
	}
	var elsewhere []Spoke
	for _, target := range targets {
		elsewhere = append(elsewhere, Spoke{Target: target, Repository: "any"})
	}
	return d.LackingHub(ctx, ref, elsewhere, nil)
}

// local reads a blob out of the store or Kept.
func (d *Depot) local(h v1.Hash) ([]byte, bool) {
	if data, err := d.Store.Blob(h); err == nil {
		return data, true
	}
	blob, err := d.keptBlob(artifact.Descriptor{Digest: h, Size: unknownSize})
	if err != nil {
		return nil, false
	}
	defer blob.Close()
	data, err := io.ReadAll(io.LimitReader(blob, manifestLimit))
	return data, err == nil
}

// lacking is Lacking; without layers, those of an artifact that describes itself are not wanted.
func (d *Depot) lacking(ctx context.Context, ref registry.Reference, want artifact.Triple, decl *Declaration, layers bool) ([]v1.Hash, error) {
	l := &Library{Reference: ref, Digest: ref.Digest}
	data, ok := d.local(ref.Digest)
	if ok && artifact.IsIndex(mediaTypeOf(data)) {
		index, err := artifact.ParseIndex(data)
		if err != nil {
			return nil, err
		}
		chosen, err := index.Select(want)
		if err != nil {
			return nil, err
		}
		l.Digest = chosen.Digest
		data, ok = d.local(chosen.Digest)
	}
	if !ok {
		return []v1.Hash{l.Digest}, nil
	}
	var err error
	if l.Manifest, err = artifact.ParseManifest(data); err != nil {
		return nil, err
	}
	if data, ok = d.local(l.Manifest.Config.Digest); !ok {
		return []v1.Hash{l.Manifest.Config.Digest}, nil
	}
	if l.Manifest.V1() {
		config, err := artifact.ParseConfig(data)
		if err != nil {
			return nil, err
		}
		l.Package = config.Package
		if l.Package != nil && !layers {
			return nil, nil
		}
		if err := l.declare(decl); err != nil {
			return nil, err
		}
	}
	var lacking []v1.Hash
	for _, layer := range l.Manifest.Layers {
		if tree, err := d.Store.Tree(ctx, layer.Digest); err == nil {
			tree.Release()
			continue
		}
		if _, err := os.Stat(filepath.Join(d.Kept, layer.Digest.Hex)); err != nil {
			lacking = append(lacking, layer.Digest)
		}
	}
	slices.SortFunc(lacking, func(a, b v1.Hash) int { return strings.Compare(a.Hex, b.Hex) })
	return lacking, nil
}
