package artifact

import (
	"archive/tar"
	"cmp"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Artifact is the artifact of one platform in a layout.
type Artifact struct {
	Layout     *Layout
	Descriptor Descriptor // as the layout, or the index in it, names the manifest
	Bytes      []byte     // of the manifest
	Manifest   Manifest
	Config     Config // its Package is nil where others wrote the artifact
}

// documentLimit is the size in bytes of a manifest, an index or a config that is still read.
const documentLimit = 4 << 20

// Artifacts reads what the layout holds: the one artifact, or those that its index names, in the index's order.
func (l *Layout) Artifacts() ([]Artifact, error) {
	desc, _, err := l.Manifest()
	if err != nil {
		return nil, err
	}
	if !IsIndex(desc.MediaType) {
		a, err := l.Artifact(desc)
		return []Artifact{a}, err
	}
	data, err := l.ReadBlob(desc.Digest, documentLimit)
	if err != nil {
		return nil, err
	}
	if err := desc.Check(data); err != nil {
		return nil, diagnostic.Wrap(err, "layout %s", l.path)
	}
	index, err := ParseIndex(data)
	if err != nil {
		return nil, diagnostic.Wrap(err, "layout %s", l.path)
	}
	var all []Artifact
	for _, d := range index.Manifests {
		if IsIndex(d.MediaType) {
			return nil, &diagnostic.Error{Kind: diagnostic.Unsupported, What: "layout " + l.path, Why: "its index names another index, not a manifest", Do: "give the layouts of single platforms, as `ocipkg pack` writes them"}
		}
		a, err := l.Artifact(d)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// Artifact reads the artifact whose manifest d names.
func (l *Layout) Artifact(d Descriptor) (Artifact, error) {
	a := Artifact{Layout: l, Descriptor: d}
	var err error
	if a.Bytes, err = l.ReadBlob(d.Digest, documentLimit); err != nil {
		return a, err
	}
	if err := d.Check(a.Bytes); err != nil {
		return a, diagnostic.Wrap(err, "layout %s", l.path)
	}
	if a.Manifest, err = ParseManifest(a.Bytes); err != nil {
		return a, diagnostic.Wrap(err, "layout %s", l.path)
	}
	config, err := l.Read(a.Manifest.Config, documentLimit)
	if err != nil {
		return a, err
	}
	if a.Manifest.V1() {
		a.Config, err = ParseConfig(config)
	} else {
		err = RefuseContainer(config)
	}
	return a, diagnostic.Wrap(err, "layout %s", l.path)
}

// Join makes the image index that gives several platforms' artifacts one name. It is a function of the artifacts alone,
// in whatever order they are given. Two for one platform, two names or versions, artifacts of which no platform is known,
// and two that need one dependency from different images, which nobody could declare with one line, are errors of kind
// Refused that name the layouts.
func Join(artifacts []Artifact) (Index, error) {
	index := Index{SchemaVersion: 2, MediaType: TypeIndex, ArtifactType: TypeArtifact}
	refuse := func(a Artifact, why, do string, args ...any) (Index, error) {
		return Index{}, &diagnostic.Error{Kind: diagnostic.Refused, What: "layout " + a.Layout.path, Why: fmt.Sprintf(why, args...), Do: do}
	}
	first := artifacts[0]
	taken := map[Triple]Artifact{}
	needs := map[string]string{} // dependency to image
	for _, a := range artifacts {
		p := a.Config.Package
		switch {
		case p == nil:
			return refuse(a, "it does not say which platform it is for, as artifacts of the ocipkg project's tools do not", "pack its files with `ocipkg pack`")
		case p.Target == "":
			return refuse(a, "it holds headers alone, which fit every platform", "push it under a name of its own, or pack the headers with the libraries")
		case p.Name != first.Config.Package.Name || p.Version != first.Config.Package.Version:
			return refuse(a, "it is %s, and %s is %s", "one name holds one version of one library: push the others by themselves", called(p), first.Layout.path, called(first.Config.Package))
		}
		t, err := ParseTriple(p.Target)
		if err != nil {
			return refuse(a, "%v", "pack it again", err)
		}
		platform := t.Platform()
		// The vendor's name tells no two platforms apart.
		key := Triple{Arch: t.Arch, OS: t.OS, Env: t.Env}
		if other, ok := taken[key]; ok {
			return refuse(a, "it and %s are both for %s", "give one layout for each platform", other.Layout.path, t)
		}
		taken[key] = a
		for _, d := range p.Dependencies {
			if other := needs[d.Name]; other != "" && other != d.Image {
				return refuse(a, "it needs %s as %s, and another one as %s", "pack all of them with one image, which may be an index of the platforms", d.Name, d.Image, other)
			}
			needs[d.Name] = d.Image
		}
		index.Manifests = append(index.Manifests, Descriptor{MediaType: TypeManifest, Digest: a.Descriptor.Digest, Size: int64(len(a.Bytes)),
			Annotations: map[string]string{AnnotationTarget: t.String()}, Platform: &platform})
	}
	if n := len(index.Manifests); n > maxManifests {
		return Index{}, &diagnostic.Error{Kind: diagnostic.Refused, What: "index", Why: fmt.Sprintf("it would name %d platforms; %d are possible", n, maxManifests), Do: "join fewer of them, under several names"}
	}
	slices.SortFunc(index.Manifests, func(a, b Descriptor) int {
		return cmp.Compare(a.Annotations[AnnotationTarget], b.Annotations[AnnotationTarget])
	})
	return index, nil
}

// Combine writes to a layout the index of artifacts (Join) and everything that they consist of, and makes the layout be
// about that index.
func Combine(artifacts []Artifact, w *LayoutWriter) (Descriptor, error) {
	index, err := Join(artifacts)
	if err != nil {
		return Descriptor{}, err
	}
	written := map[v1.Hash]bool{} // headers are often those of all platforms
	for _, a := range artifacts {
		manifest := Descriptor{Digest: a.Descriptor.Digest, Size: int64(len(a.Bytes))}
		for _, d := range append([]Descriptor{manifest, a.Manifest.Config}, a.Manifest.Layers...) {
			if written[d.Digest] {
				continue
			}
			written[d.Digest] = true
			r, err := a.Layout.OpenBlob(d.Digest)
			if err != nil {
				return Descriptor{}, err
			}
			if _, _, err := w.WriteBlob(func(out io.Writer) error { return copyVerified(out, r, d) }); err != nil {
				return Descriptor{}, diagnostic.Wrap(err, "layout %s", a.Layout.path)
			}
		}
	}
	desc, err := writeDocument(w, TypeIndex, index)
	if err != nil {
		return Descriptor{}, err
	}
	w.Add(desc, "")
	return desc, nil
}

func called(p *Package) string { return strings.TrimSpace(p.Name + " " + p.Version) }

// Marshal renders the index.
func (x Index) Marshal() ([]byte, error) { return marshal(x) }

// A Transcoder writes artifacts anew with gzip layers, for readers that know no zstd: what comes out is, to the byte,
// what Pack writes of the same tree with Gzip. A layer that several artifacts share is written once.
type Transcoder struct {
	Blobs BlobWriter // must take several blobs at a time

	layers map[v1.Hash]transcoded
}

type transcoded struct {
	desc  Descriptor
	files []string
}

// Transcode writes the artifact's layers, config and manifest and returns the manifest's descriptor. Artifacts that
// describe nothing are an error of kind Unsupported.
func (t *Transcoder) Transcode(a Artifact) (Descriptor, error) {
	if a.Config.Package == nil {
		return Descriptor{}, &diagnostic.Error{Kind: diagnostic.Unsupported, What: "layout " + a.Layout.path, Why: "it is no artifact of `ocipkg pack`", Do: "pack its files with `ocipkg pack`"}
	}
	if t.layers == nil {
		t.layers = map[v1.Hash]transcoded{}
	}
	pkg := *a.Config.Package
	pkg.Components = slices.Clone(pkg.Components)
	unpacked := map[string]int64{}
	for _, c := range pkg.Components {
		unpacked[c.Layer] = c.Unpacked
	}
	done := make([]transcoded, len(a.Manifest.Layers))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, layer := range a.Manifest.Layers {
		if known, ok := t.layers[layer.Digest]; ok {
			done[i] = known
			continue
		}
		group.Go(func() (err error) {
			size, ok := unpacked[layer.Digest.String()]
			if !ok {
				return &diagnostic.Error{Kind: diagnostic.Corrupt, What: "layout " + a.Layout.path, Why: fmt.Sprintf("its config does not know the layer %s", layer.Digest), Do: "pack it again"}
			}
			done[i], err = t.layer(a.Layout, layer, size)
			return diagnostic.Wrap(err, "layer %d of %d", i+1, len(a.Manifest.Layers))
		})
	}
	if err := group.Wait(); err != nil {
		return Descriptor{}, err
	}
	manifest := Manifest{SchemaVersion: 2, MediaType: TypeManifest, ArtifactType: TypeArtifact}
	config := Config{Layers: map[string][]string{}, Package: &pkg}
	for i, layer := range a.Manifest.Layers {
		t.layers[layer.Digest] = done[i]
		manifest.Layers = append(manifest.Layers, done[i].desc)
		config.Layers[done[i].desc.Digest.String()] = done[i].files
		for k := range pkg.Components {
			if pkg.Components[k].Layer == layer.Digest.String() {
				pkg.Components[k].Layer = done[i].desc.Digest.String()
			}
		}
	}
	return writeDocuments(t.Blobs, manifest, config)
}

// layer compresses a layer's tar anew, and lists its files: a config may say of them what it likes.
func (t *Transcoder) layer(l *Layout, layer Descriptor, unpacked int64) (transcoded, error) {
	blob, err := l.Open(layer)
	if err != nil {
		return transcoded{}, err
	}
	defer blob.Close()
	compressed := &countingReader{r: blob}
	var stream io.Reader
	if layer.MediaType == TypeLayerGzip {
		z, err := gzip.NewReader(compressed)
		if err != nil {
			return transcoded{}, notCompressed("gzip", err)
		}
		z.Multistream(false)
		stream = z
	} else {
		z, err := zstd.NewReader(compressed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return transcoded{}, notCompressed("zstd", err)
		}
		defer z.Close()
		stream = z
	}
	out := transcoded{desc: Descriptor{MediaType: TypeLayerGzip}}
	out.desc.Digest, out.desc.Size, err = t.Blobs.WriteBlob(func(w io.Writer) error {
		z, err := newCompressor(w, Gzip)
		if err != nil {
			return err
		}
		bounded := &boundedReader{r: stream, compressed: compressed, declared: unpacked, limit: DefaultLimits.Total, floor: DefaultLimits.Floor}
		sink := &sink{w: z}
		plain := io.TeeReader(bounded, sink)
		r := tar.NewReader(plain)
		for {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return sink.blame(err)
			}
			if h.Typeflag != tar.TypeDir {
				out.files = append(out.files, h.Name)
			}
		}
		if _, err := io.Copy(io.Discard, plain); err != nil {
			return sink.blame(err)
		}
		// The digest is known to be right when the last byte has been read, which a gzip reader need not do.
		if _, err := io.Copy(io.Discard, compressed); err != nil {
			return err
		}
		if bounded.n != unpacked {
			return badArchive("", fmt.Sprintf("it unpacks to %d bytes and its config declares %d", bounded.n, unpacked), nil)
		}
		return z.Close()
	})
	return out, err
}

// sink tells, of an error of a stream that is copied to it, whether reading or writing failed: a full disk is no fault of
// the archive.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

func (s *sink) blame(err error) error {
	if s.err != nil {
		return s.err
	}
	return readError(err)
}

// Gzipped reports whether all layers are gzip, which every reader of the format knows.
func (a Artifact) Gzipped() bool {
	return !slices.ContainsFunc(a.Manifest.Layers, func(d Descriptor) bool { return d.MediaType != TypeLayerGzip })
}

// Target is the triple of the artifact's platform; false where it has none, or says none.
func (a Artifact) Target() (Triple, bool) {
	if a.Config.Package == nil || a.Config.Package.Target == "" {
		return Triple{}, false
	}
	t, err := ParseTriple(a.Config.Package.Target)
	return t, err == nil
}

// writeDocuments writes config and manifest.
func writeDocuments(blobs BlobWriter, manifest Manifest, config Config) (Descriptor, error) {
	var err error
	if manifest.Config, err = writeDocument(blobs, TypeConfig, config); err != nil {
		return Descriptor{}, err
	}
	return writeDocument(blobs, TypeManifest, manifest)
}

func writeDocument(blobs BlobWriter, mediaType string, v any) (Descriptor, error) {
	data, err := marshal(v)
	if err != nil {
		return Descriptor{}, err
	}
	hash, size, err := blobs.WriteBlob(func(w io.Writer) error { _, err := w.Write(data); return err })
	return Descriptor{MediaType: mediaType, Digest: hash, Size: size}, err
}
