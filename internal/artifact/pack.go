package artifact

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
)

// Compression is how layers are compressed.
type Compression string

const (
	Zstd Compression = "zstd" // the default: smaller, and decodes several times faster
	Gzip Compression = "gzip" // what the ocipkg project reads
)

// A BlobWriter keeps blobs by digest. WriteBlob calls write once and keeps what it wrote; it may be called several
// times at once.
type BlobWriter interface {
	WriteBlob(write func(io.Writer) error) (v1.Hash, int64, error)
}

// Packed is an artifact whose blobs have been handed to a BlobWriter.
type Packed struct {
	Manifest Descriptor // of the manifest blob
	Package  *Package
	LeftOut  []string // files of the folder that no component takes, for the author to see
	Texts    []string // files that are called like libraries and hold text, such as linker scripts: they link nothing
}

// Pack makes an artifact of an install prefix (see Arrange), of Files or of what Place shows. What it writes depends on the names and bytes
// of the files and on the claims alone.
func Pack(prefix fs.FS, claims Claims, compression Compression, blobs BlobWriter) (*Packed, error) {
	tree, leftOut, err := claims.Selection.arrange(prefix)
	if err != nil {
		return nil, err
	}
	if named(prefix) && len(leftOut) > 0 {
		return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "pack " + leftOut[0], Why: "it is called neither like a header nor like a library, a .pc file or a licence",
			Do: "leave it out, rename it, or say what it is with --header or --library"}
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
	for _, s := range slices.Concat([]string{claims.Name, claims.Version, claims.License}, claims.Defines, claims.Linkopts, claims.Includes) {
		if hasControl(s) {
			return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "pack", Why: fmt.Sprintf("%q holds a control character", s), Do: "write it without: such characters end lines and move cursors where it is shown"}
		}
	}
	if err := claims.check(); err != nil {
		return nil, err
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
		do := "give an install prefix, with include/ and lib/, as `make install DESTDIR=` or `cmake --install` leave it"
		if deeper := prefixBelow(leftOut); deeper != "" {
			do = fmt.Sprintf("the folder %s in it looks like an install prefix: pack that one", deeper)
		}
		return nil, &diagnostic.Error{Kind: diagnostic.Refused, What: "pack " + pkg.Name, Why: "the folder holds neither headers nor libraries", Do: do}
	}
	if err := distinct(pkg); err != nil {
		return nil, err
	}
	if err := settle(pkg, tree, claims); err != nil {
		return nil, err
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
	names := slices.DeleteFunc([]string{ComponentHeaders, ComponentStatic, ComponentShared}, func(name string) bool { return component[name] == nil })
	manifest.Layers, pkg.Components = make([]Descriptor, len(names)), make([]Component, len(names))
	var group errgroup.Group
	for i, name := range names {
		group.Go(func() error {
			var unpacked int64
			hash, size, err := blobs.WriteBlob(func(w io.Writer) error {
				var err error
				unpacked, err = writeLayer(w, compression, prefix, component[name])
				return err
			})
			manifest.Layers[i] = Descriptor{MediaType: mediaType, Digest: hash, Size: size}
			pkg.Components[i] = Component{Name: name, Layer: hash.String(), Unpacked: unpacked}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, c := range pkg.Components {
		config.Layers[c.Layer] = component[c.Name].paths()
	}
	desc, err := writeDocuments(blobs, manifest, config)
	if err != nil {
		return nil, err
	}
	if t, err := ParseTriple(pkg.Target); err == nil {
		platform := t.Platform()
		desc.Platform = &platform
	}
	return &Packed{Manifest: desc, Package: pkg, LeftOut: leftOut, Texts: pkg.texts}, nil
}

// distinct refuses two shared libraries that programs load by one name, whatever their files are called: people depend on all
// libraries of an artifact at once, and the run-time linker takes the first that it finds for both.
func distinct(pkg *Package) error {
	first := map[string]*SharedLibrary{}
	for _, l := range pkg.Libraries {
		s := l.Shared
		if s == nil {
			continue
		}
		if other := first[s.RunName()]; other != nil {
			return &diagnostic.Error{Kind: diagnostic.Refused, What: "library " + s.Path, Why: fmt.Sprintf("it and %s are two shared libraries that programs load as %s, and a program loads one of them", other.Path, s.RunName()),
				Do: "keep one of them"}
		}
		first[s.RunName()] = s
	}
	return nil
}

// named reports whether the author has named each single file, so that none may be left out.
func named(prefix fs.FS) bool {
	switch prefix.(type) {
	case fileSet, *placedFiles:
		return true
	}
	return false
}

// versionText is what a version may look like: a word that means itself in tags, file names and shells.
var versionText = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._+~:-]*$`)

// check refuses words that would be no name, no version or no licence to whoever reads them. What is not said is fine.
func (c Claims) check() error {
	wrong := func(what, value, why, do string) error {
		return &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("%s %q", what, value), Why: why, Do: do}
	}
	switch {
	case c.Name != "" && !ValidLibraryName(c.Name):
		return wrong("name", c.Name, "it cannot be a library's name", "write it with letters, digits and _ . + - only")
	case c.Version != "" && !versionText().MatchString(c.Version):
		return wrong("version", c.Version, "it cannot be a version", "write it as one word, such as 1.3.1")
	case c.License != "" && !validLicense(c.License):
		return wrong("licence", c.License, "it is not an SPDX expression", "write it like Zlib, or \"MIT OR Apache-2.0\"; LicenseRef-NAME stands for a licence that SPDX does not know")
	}
	for name := range c.Dependencies {
		if !ValidLibraryName(name) {
			return wrong("dependency", name, "it cannot be a library's name", "write it as its package is called: zlib=ghcr.io/acme/zlib:1.3.1@sha256:…")
		}
	}
	return nil
}

// prefixBelow finds an install prefix in a folder that is none itself: with DESTDIR, and in packages of distributions, it
// lies in usr or usr/local.
func prefixBelow(leftOut []string) string {
	for _, p := range leftOut {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			rest := strings.TrimPrefix(p, dir+"/")
			if strings.Contains(rest, "/") && (strings.HasPrefix(rest, "include/") || strings.HasPrefix(rest, "lib")) && arrangePath(rest) != "" {
				return dir
			}
		}
	}
	return ""
}

// sharedEnding is the ending of a shared library's name on its system, without the version.
func sharedEnding(place string) string {
	if ext := path.Ext(place); ext == ".dll" || ext == ".dylib" {
		return ext
	}
	return ".so"
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
		if s := l.Shared; s != nil && s.Link == "" {
			// What -l finds: a library that Bazel has linked comes without.
			link := path.Join(path.Dir(s.Path), "lib"+l.Name+sharedEnding(s.Path))
			if _, taken := tree[link]; !taken && link != s.Path && path.Ext(link) != ".dll" {
				tree[link] = Entry{Link: path.Base(s.Path)}
				s.Link = link
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
	case staticName().MatchString(base):
		return ComponentStatic
	case path.Dir(place) == "lib" && sharedName().MatchString(base):
		return ComponentShared
	}
	return ComponentHeaders
}

// writeLayer writes a tree as one compressed tar: sorted, parents before children, no times and no owners. It
// returns the size of the tar in bytes.
func writeLayer(w io.Writer, compression Compression, fsys fs.FS, tree Tree) (int64, error) {
	compressor, err := newCompressor(w, compression)
	if err != nil {
		return 0, err
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

// newCompressor is the one setting of each compressor: what it writes is part of the format, as digests are.
func newCompressor(w io.Writer, compression Compression) (io.WriteCloser, error) {
	if compression != Gzip {
		// The next level makes layers 8 % smaller in 2.5 times the time. No checksum of zstd's own: every byte is behind a digest.
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	}
	// One member and no name or time in its header: readers in the field stop at the first member's end.
	// Higher levels take 2 to 17 times as long for 2 % less.
	z, err := gzip.NewWriterLevel(w, 6)
	if err != nil {
		return nil, err
	}
	z.OS = 255
	z.ModTime = time.Unix(0, 0) // klauspost writes the zero Time as a time
	return z, nil
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
