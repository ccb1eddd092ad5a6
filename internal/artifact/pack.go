package artifact

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Compression is how layers are compressed.
type Compression string

const (
	Zstd Compression = "zstd" // the default: smaller, and decodes several times faster
	Gzip Compression = "gzip" // what the ocipkg project reads
)

// A BlobWriter keeps blobs by digest. WriteBlob calls write once and keeps what it wrote.
type BlobWriter interface {
	WriteBlob(write func(io.Writer) error) (v1.Hash, int64, error)
}

// Packed is an artifact whose blobs have been handed to a BlobWriter.
type Packed struct {
	Manifest Descriptor // of the manifest blob
	Package  *Package
	LeftOut  []string // files of the folder that no component takes, for the author to see
}

// Pack makes an artifact of an install prefix (see Arrange). What it writes depends on the names and bytes of the
// files and on the claims alone.
func Pack(prefix fs.FS, claims Claims, compression Compression, blobs BlobWriter) (*Packed, error) {
	tree, leftOut, err := Arrange(prefix)
	if err != nil {
		return nil, err
	}
	for place, e := range tree {
		if path.Ext(place) == ".pc" && e.Link == "" {
			data, err := fs.ReadFile(prefix, e.Source)
			if err != nil {
				return nil, err
			}
			tree[place] = Entry{Data: relocatable(data)}
		}
	}
	for _, s := range slices.Concat([]string{claims.Name, claims.Version, claims.License}, claims.Defines, claims.Linkopts) {
		if hasControl(s) {
			return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "pack", Why: fmt.Sprintf("%q holds a control character", s)}
		}
	}
	claims.RefuseMissing = true
	pkg, err := Describe(prefix, tree, claims)
	if err != nil {
		return nil, err
	}
	if pkg.Name == "" {
		return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "pack", Why: "the library has no name: there is not exactly one .pc file to take it from", Do: "give it with --name"}
	}
	if len(pkg.Libraries) == 0 && len(pkg.Includes) == 0 {
		return nil, &diagnostic.Error{Kind: diagnostic.Refused, What: "pack " + pkg.Name, Why: "the folder holds neither headers nor libraries",
			Do: "give an install prefix, with include/ and lib/, as `make install DESTDIR=` or `cmake --install` leave it"}
	}
	completeLinks(tree, pkg)

	config := Config{Layers: map[string][]string{}, Package: pkg}
	manifest := Manifest{SchemaVersion: 2, MediaType: TypeManifest, ArtifactType: TypeArtifact}
	component := map[string]Tree{}
	for place, e := range tree {
		// A link goes with its file: each layer must be whole by itself, and a SONAME may be called anything.
		real, ok := tree.resolve(place)
		if !ok {
			return nil, &diagnostic.Error{Kind: diagnostic.Refused, What: "pack " + place, Why: "its links lead in a circle", Do: "leave them out"}
		}
		name := componentOf(real, pkg)
		if component[name] == nil {
			component[name] = Tree{}
		}
		component[name][place] = e
	}
	mediaType := TypeLayerZstd
	if compression == Gzip {
		mediaType = TypeLayerGzip
	}
	for _, name := range []string{ComponentHeaders, ComponentStatic, ComponentShared} {
		part := component[name]
		if part == nil {
			continue
		}
		var unpacked int64
		hash, size, err := blobs.WriteBlob(func(w io.Writer) error {
			var err error
			unpacked, err = writeLayer(w, compression, prefix, part)
			return err
		})
		if err != nil {
			return nil, err
		}
		manifest.Layers = append(manifest.Layers, Descriptor{MediaType: mediaType, Digest: hash, Size: size})
		pkg.Components = append(pkg.Components, Component{Name: name, Layer: hash.String(), Unpacked: unpacked})
		config.Layers[hash.String()] = part.paths()
	}
	write := func(mediaType string, v any) (Descriptor, error) {
		data, err := marshal(v)
		if err != nil {
			return Descriptor{}, err
		}
		hash, size, err := blobs.WriteBlob(func(w io.Writer) error { _, err := w.Write(data); return err })
		return Descriptor{MediaType: mediaType, Digest: hash, Size: size}, err
	}
	if manifest.Config, err = write(TypeConfig, config); err != nil {
		return nil, err
	}
	desc, err := write(TypeManifest, manifest)
	if err != nil {
		return nil, err
	}
	if t, err := ParseTriple(pkg.Target); err == nil {
		platform := t.Platform()
		desc.Platform = &platform
	}
	return &Packed{Manifest: desc, Package: pkg, LeftOut: leftOut}, nil
}

// completeLinks adds what consumers look for: a link called as the SONAME, and at the root one for every static
// library, because the ocipkg project's link_package looks nowhere else.
func completeLinks(tree Tree, pkg *Package) {
	for i := range pkg.Libraries {
		l := &pkg.Libraries[i]
		if s := l.Shared; s != nil && path.Base(s.Path) != s.RunName() {
			named := path.Join(path.Dir(s.Path), s.RunName())
			if _, taken := tree[named]; !taken {
				tree[named] = Entry{Link: path.Base(s.Path)}
				s.Path = named
			}
		}
		if s := l.Static; s != nil && path.Ext(s.Path) == ".a" {
			tree[path.Base(s.Path)] = Entry{Link: s.Path}
		}
	}
}

func componentOf(place string, pkg *Package) string {
	base := path.Base(place)
	switch {
	case slices.ContainsFunc(pkg.Libraries, func(l Library) bool { return l.Shared != nil && l.Shared.Interface == place }):
		return ComponentShared
	case staticName.MatchString(base):
		return ComponentStatic
	case path.Dir(place) == "lib" && sharedName.MatchString(base):
		return ComponentShared
	}
	return ComponentHeaders
}

// writeLayer writes a tree as one compressed tar: sorted, parents before children, no times and no owners. It
// returns the size of the tar in bytes.
func writeLayer(w io.Writer, compression Compression, fsys fs.FS, tree Tree) (int64, error) {
	var compressor io.WriteCloser
	switch compression {
	case Gzip:
		// One member and no name or time in its header: readers in the field stop at the first member's end.
		z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return 0, err
		}
		z.OS = 255
		z.ModTime = time.Unix(0, 0) // klauspost writes the zero Time as a time
		compressor = z
	default:
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return 0, err
		}
		compressor = z
	}
	count := &countingWriter{w: compressor}
	t := tar.NewWriter(count)
	made := map[string]bool{".": true}
	for _, place := range tree.paths() {
		if err := writeParents(t, made, path.Dir(place)); err != nil {
			return 0, err
		}
		if err := writeEntry(t, fsys, place, tree[place]); err != nil {
			return 0, fmt.Errorf("pack %s: %w", place, err)
		}
	}
	if err := t.Close(); err != nil {
		return 0, err
	}
	return count.n, compressor.Close()
}

func writeParents(t *tar.Writer, made map[string]bool, dir string) error {
	if made[dir] {
		return nil
	}
	if err := writeParents(t, made, path.Dir(dir)); err != nil {
		return err
	}
	made[dir] = true
	return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, Format: tar.FormatPAX})
}

func writeEntry(t *tar.Writer, fsys fs.FS, place string, e Entry) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: place, Mode: 0o644, Format: tar.FormatPAX}
	if e.Exec {
		h.Mode = 0o755
	}
	if e.Link != "" {
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.Link, 0o777
		return t.WriteHeader(h)
	}
	if e.Data != nil {
		h.Size = int64(len(e.Data))
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err := t.Write(e.Data)
		return err
	}
	f, err := fsys.Open(e.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.Size = info.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	// A file that grows meanwhile fails here, one that shrinks at the next header: neither is packed half.
	_, err = io.Copy(t, f)
	return err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
