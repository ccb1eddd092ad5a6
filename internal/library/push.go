package library

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// PushOptions say how Push goes about it.
type PushOptions struct {
	// NoUpstreamTags leaves out the gzip manifests that the ocipkg project's crate reads.
	NoUpstreamTags bool
	// MountFrom is a repository that may have the blobs, and then gives them without their being sent; it has to be of ref's
	// registry. The zero value is none.
	MountFrom name.Repository
	// Unchecked leaves out the question whether what the artifact needs is where it says.
	Unchecked bool
	// PushedBy are commands that push what it needs, by name, for the message where that is not there.
	PushedBy map[string]string
	// Progress, where not nil, is told of bytes as they are sent: done of total.
	Progress func(done, total int64)
}

// Pushed is what a registry has after Push.
type Pushed struct {
	Reference    registry.Reference   // pinned
	Targets      []string             // the triples of its platforms, in the order of the layouts; none for headers alone
	UpstreamTags []registry.Reference // of the gzip manifests, one a triple, pinned
	Name         string               // of the package; "" where it says none
	Moved        []Moved              // the tag, where it stood for something else until now
	// Needs are the other artifacts that it needs on any of its platforms, each name once.
	Needs []artifact.Dependency
}

// Push uploads what the layouts hold under ref: of one layout its manifest or index as it is, of several an index of
// their artifacts (artifact.Join). Beside it each triple gets a gzip manifest of the same tree under the tag
// <tag>-<triple>, unless ref has no tag. What ref names comes last, so that who finds it finds all of it.
func Push(ctx context.Context, client *registry.Client, layouts []*artifact.Layout, ref registry.Reference, options PushOptions) (*Pushed, error) {
	pushed, err := push(ctx, client, layouts, ref, options)
	return pushed, diagnostic.Wrap(err, "push %s", ref)
}

func push(ctx context.Context, client *registry.Client, layouts []*artifact.Layout, ref registry.Reference, options PushOptions) (*Pushed, error) {
	var artifacts []artifact.Artifact
	for _, l := range layouts {
		some, err := l.Artifacts()
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, some...)
	}
	named, err := nameOf(layouts, artifacts)
	if err != nil {
		return nil, err
	}
	if ref.Pinned() && ref.Digest != named.Digest {
		return nil, &diagnostic.Error{Kind: diagnostic.Corrupt, Why: fmt.Sprintf("what is to be pushed has the digest %s", named.Digest), Do: "leave the digest out of the reference"}
	}
	if from := options.MountFrom; from != (name.Repository{}) && from.RegistryStr() != ref.Repository.RegistryStr() {
		return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "mount from " + from.Name(), Why: "a registry mounts blobs of its own repositories alone", Do: "name a repository of " + ref.Repository.RegistryStr() + ", or leave --mount-from out"}
	}
	pushed := &Pushed{Reference: ref.WithDigest(named.Digest)}
	for _, a := range artifacts {
		if t, ok := a.Target(); ok {
			pushed.Targets = append(pushed.Targets, t.String())
		}
		if a.Config.Package == nil {
			continue
		}
		pushed.Name = cmp.Or(pushed.Name, a.Config.Package.Name)
		for _, d := range a.Config.Package.Dependencies {
			if !slices.ContainsFunc(pushed.Needs, func(other artifact.Dependency) bool { return other.Name == d.Name }) {
				pushed.Needs = append(pushed.Needs, d)
			}
		}
	}

	if !options.Unchecked {
		for _, d := range pushed.Needs {
			if err := needed(ctx, client, d, options.PushedBy[d.Name]); err != nil {
				return nil, err
			}
		}
	}

	var uploads []upload
	if named.Digest != artifacts[0].Descriptor.Digest {
		for _, a := range artifacts {
			uploads = append(uploads, upload{registry.Reference{Repository: ref.Repository}.WithDigest(a.Descriptor.Digest), sourceOf(a)})
		}
	}
	if ref.Tag != "" && !options.NoUpstreamTags {
		beside, done, err := upstream(ctx, artifacts, ref)
		if err != nil {
			return nil, err
		}
		defer done()
		for _, u := range beside {
			pushed.UpstreamTags = append(pushed.UpstreamTags, u.ref.WithDigest(u.src.document.Digest))
		}
		uploads = append(uploads, beside...)
	}
	last := &source{document: named}
	if len(artifacts) == 1 && named.Digest == artifacts[0].Descriptor.Digest {
		last = sourceOf(artifacts[0])
	}
	uploads = append(uploads, upload{ref, last})
	for _, u := range uploads {
		u.src.from = options.MountFrom
	}
	pushed.Moved = movedTag(ctx, client, ref, named.Digest)
	return pushed, run(ctx, client, uploads, options.Progress)
}

// needed is an error where a dependency cannot be had: who finds an artifact is to find all that it needs.
func needed(ctx context.Context, client *registry.Client, d artifact.Dependency, pushedBy string) error {
	ref, err := registry.ParseReference(d.Image)
	if err != nil {
		return diagnostic.Wrap(err, "dependency %s", d.Name)
	}
	if _, err := client.Resolve(ctx, ref); err != nil {
		do := "push it first"
		if pushedBy != "" {
			do = "run `" + pushedBy + "` first"
		}
		return &diagnostic.Error{Kind: diagnostic.KindOf(err), What: "dependency " + d.Name, Why: fmt.Sprintf("%s, which it needs, cannot be had", ref),
			Do: do + "; where it is pushed later, or cannot be reached from here, say --no-dependency-check", Err: err}
	}
	return nil
}

// nameOf is the document that the name will mean: the one that a single layout is about, byte for byte, else an index
// of all artifacts.
func nameOf(layouts []*artifact.Layout, artifacts []artifact.Artifact) (registry.Document, error) {
	if len(layouts) > 1 {
		index, err := artifact.Join(artifacts)
		if err != nil {
			return registry.Document{}, err
		}
		data, err := index.Marshal()
		if err != nil {
			return registry.Document{}, err
		}
		digest, _, err := v1.SHA256(strings.NewReader(string(data)))
		return registry.Document{MediaType: artifact.TypeIndex, Digest: digest, Bytes: data}, err
	}
	desc, _, err := layouts[0].Manifest()
	if err != nil {
		return registry.Document{}, err
	}
	if !artifact.IsIndex(desc.MediaType) {
		return documentOf(artifacts[0]), nil
	}
	data, err := layouts[0].Read(desc, manifestLimit)
	return registry.Document{MediaType: desc.MediaType, Digest: desc.Digest, Bytes: data}, err
}

// upload is one document with its blobs, and where it goes.
type upload struct {
	ref registry.Reference
	src *source
}

// source adapts an artifact to what a registry client uploads.
type source struct {
	layout   *artifact.Layout
	document registry.Document
	blobs    []v1.Descriptor
	from     name.Repository // to mount the blobs from
}

func (s *source) MountFrom() name.Repository                { return s.from }
func (s *source) Manifest() registry.Document               { return s.document }
func (s *source) Blobs() []v1.Descriptor                    { return s.blobs }
func (s *source) OpenBlob(h v1.Hash) (io.ReadCloser, error) { return s.layout.OpenBlob(h) }

// size is what there is to send, in bytes.
func (s *source) size() int64 {
	n := int64(len(s.document.Bytes))
	for _, b := range s.blobs {
		n += b.Size
	}
	return n
}

func documentOf(a artifact.Artifact) registry.Document {
	return registry.Document{MediaType: artifact.TypeManifest, Digest: a.Descriptor.Digest, Bytes: a.Bytes}
}

func sourceOf(a artifact.Artifact) *source {
	s := &source{layout: a.Layout, document: documentOf(a)}
	for _, d := range append([]artifact.Descriptor{a.Manifest.Config}, a.Manifest.Layers...) {
		s.blobs = append(s.blobs, descriptor(d))
	}
	return s
}

// upstream makes the gzip manifests that go beside the tag of ref; done removes what was written for them.
func upstream(ctx context.Context, artifacts []artifact.Artifact, ref registry.Reference) (uploads []upload, done func(), err error) {
	dir, err := os.MkdirTemp("", "ocipkg-push-")
	if err != nil {
		return nil, nil, err
	}
	var layout *artifact.Layout
	cleanup := func() {
		if layout != nil {
			layout.Close()
		}
		os.RemoveAll(dir)
	}
	defer func() {
		if err != nil {
			cleanup()
		}
	}()
	w, err := artifact.CreateLayout(filepath.Join(dir, "gzip"))
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	transcoder := artifact.Transcoder{Blobs: interruptible{ctx, w}}
	var made []artifact.Descriptor
	for i, a := range artifacts {
		target, ok := a.Target()
		if !ok {
			continue
		}
		beside, err := registry.ParseReference(registry.Reference{Repository: ref.Repository, Tag: ref.Tag + "-" + target.String()}.String())
		if err != nil {
			return nil, nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "tag " + ref.Tag + "-" + target.String(), Why: "it is longer than the 128 characters of a tag", Do: "choose a shorter tag, or leave out those for the ocipkg project's crate with --no-upstream-tags"}
		}
		if a.Gzipped() {
			uploads = append(uploads, upload{beside, sourceOf(artifacts[i])})
			continue
		}
		desc, err := transcoder.Transcode(a)
		if err != nil {
			return nil, nil, err
		}
		w.Add(desc, "")
		made = append(made, desc)
		uploads = append(uploads, upload{beside, nil})
	}
	if len(made) == 0 {
		return uploads, cleanup, nil
	}
	if err := w.Commit(); err != nil {
		return nil, nil, err
	}
	if layout, err = artifact.OpenLayout(filepath.Join(dir, "gzip")); err != nil {
		return nil, nil, err
	}
	for i := range uploads {
		if uploads[i].src != nil {
			continue
		}
		a, err := layout.Artifact(made[0])
		if err != nil {
			return nil, nil, err
		}
		made = made[1:]
		uploads[i].src = sourceOf(a)
	}
	return uploads, cleanup, nil
}

// interruptible ends the writing of blobs when its context ends: compressing much takes a while.
type interruptible struct {
	ctx context.Context
	artifact.BlobWriter
}

// WriteBlob implements artifact.BlobWriter.
func (i interruptible) WriteBlob(write func(io.Writer) error) (v1.Hash, int64, error) {
	return i.BlobWriter.WriteBlob(func(w io.Writer) error { return write(interruptibleWriter{i.ctx, w}) })
}

type interruptibleWriter struct {
	ctx context.Context
	w   io.Writer
}

func (i interruptibleWriter) Write(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.w.Write(p)
}

// run sends one after the other: blobs that they share are there when the next one asks.
func run(ctx context.Context, client *registry.Client, uploads []upload, progress func(done, total int64)) error {
	var sent, total int64
	for _, u := range uploads {
		total += u.src.size()
	}
	for _, u := range uploads {
		var report func(done, total int64)
		if progress != nil {
			report = func(done, _ int64) { progress(sent+done, total) }
		}
		if err := client.Push(ctx, u.ref, u.src, report); err != nil {
			return err
		}
		sent += u.src.size()
	}
	return nil
}

// ImageOf is the reference that layouts were packed under, "" where none was given or where it says no registry: what
// other tools write there is often a bare tag, which would be read as an image of Docker Hub.
func ImageOf(layouts []*artifact.Layout) (string, error) {
	image := ""
	for _, l := range layouts {
		_, name, err := l.Manifest()
		if err != nil {
			return "", err
		}
		host, _, ok := strings.Cut(name, "/")
		if !ok || host != "localhost" && !strings.ContainsAny(host, ".:") {
			return "", nil
		}
		if image != "" && name != image {
			return "", &diagnostic.Error{Kind: diagnostic.Usage, What: "push", Why: fmt.Sprintf("the layouts were packed for %s and for %s", image, name), Do: "say where to, behind the layouts: REGISTRY/NAME:TAG"}
		}
		image = name
	}
	return image, nil
}

// ImageIn is the reference in a repository, which is written without a tag, under which layouts are pushed, and the
// tags that it gets besides: the first of the tags counts, and where there are none the library's version.
func ImageIn(repository string, tags []string, layouts []*artifact.Layout) (image string, more []string, err error) {
	wrong := func(why, do string) (string, []string, error) {
		return "", nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "repository " + repository, Why: why, Do: do}
	}
	ref, err := registry.ParseReference(repository)
	if err != nil {
		return "", nil, err
	}
	if named := (registry.Reference{Repository: ref.Repository, Tag: "latest"}); ref != named || strings.HasSuffix(repository, ":latest") {
		return wrong("it has a tag or a digest, and names no repository", "give the tag with --tag")
	}
	if len(tags) == 0 {
		artifacts, err := layouts[0].Artifacts()
		if err != nil {
			return "", nil, err
		}
		p := artifacts[0].Config.Package
		if p == nil || p.Version == "" {
			return wrong("no tag is given, and the library has no version to take for one", "give one with --tag")
		}
		tags = []string{p.Version}
	}
	if err := CheckTags(registry.Reference{Repository: ref.Repository}, tags[:1]); err != nil {
		return "", nil, err
	}
	ref.Tag = tags[0]
	return ref.String(), tags[1:], nil
}
