package library

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// Place is where an artifact is or goes: an image of a registry, or a layout, which is an archive or a folder.
type Place struct {
	Image  registry.Reference
	Layout string // "" for an image
	// Untagged is whether a person wrote neither tag nor digest, which ParseReference completes.
	Untagged bool
}

// ParsePlace reads what a person writes where an image or a layout may stand (see IsLayout).
func ParsePlace(arg string) (Place, error) {
	layout, err := IsLayout(arg)
	if err != nil {
		return Place{}, err
	}
	if layout {
		return Place{Layout: arg}, nil
	}
	ref, err := registry.ParseReference(arg)
	return Place{Image: ref, Untagged: ref.Tag == "latest" && !ref.Pinned() && !strings.HasSuffix(arg, ":latest")}, err
}

func (p Place) String() string {
	if p.Layout != "" {
		return p.Layout
	}
	return p.Image.String()
}

// The bounds of what belongs to one artifact. A registry decides what it lists, and may list without end.
const (
	maxNesting       = 4        // indexes within indexes
	maxDocuments     = 2048     // manifests and indexes
	maxDocumentBytes = 64 << 20 // of all manifests and indexes
)

// signatureSuffixes are those of cosign's tags: sha256-<hex> and one of these name signatures, attestations and bills
// of materials of a digest.
var signatureSuffixes = []string{".sig", ".att", ".sbom"}

// Copied is what Copy did, as `ocipkg copy --json` prints it.
type Copied struct {
	// Image is the pinned reference of the copy; absent where it went to a layout.
	Image string `json:"image,omitempty"`
	// Layout is the archive or folder of the copy; absent where it went to a registry.
	Layout string  `json:"layout,omitempty"`
	Digest v1.Hash `json:"digest"`
	// Manifests counts manifests and indexes, those that belong to the artifact included.
	Manifests int `json:"manifests"`
	// Accompanying counts, of these, the signatures and other referrers and what upstream's tags name.
	Accompanying int `json:"accompanying"`
	// Tags are what the copy has beside its own: cosign's and upstream's.
	Tags  []string `json:"tags,omitempty"`
	Blobs int      `json:"blobs"`
	// Size is the sum of the blobs, Sent what of it had to be sent or written, both in bytes.
	Size int64 `json:"size"`
	Sent int64 `json:"sent"`
}

// Copy takes the artifact at from to the place to, byte for byte: an index with the manifests of all its platforms, their
// blobs, and what belongs to any of them: referrers, cosign's tags and upstream's gzip manifests <tag>-<triple>. What
// the destination has is not sent again; blobs of another repository of one registry are mounted. The tag comes last,
// so that who finds it finds everything. Of mirrors of the source that hand out wrong bytes nothing is copied: the blob is
// read again from elsewhere.
//
// What belongs to an artifact is what the source says belongs to it: signatures are carried, not judged.
func Copy(ctx context.Context, client *registry.Client, from, to Place, progress func(done, total int64)) (*Copied, error) {
	copied, err := copyArtifact(ctx, client, from, to, progress)
	return copied, diagnostic.Wrap(err, "copy %s", from)
}

func copyArtifact(ctx context.Context, client *registry.Client, from, to Place, progress func(done, total int64)) (*Copied, error) {
	source, root, err := openSource(ctx, client, from)
	if err != nil {
		return nil, err
	}
	defer source.close()
	c := &collector{source: source, found: map[v1.Hash]*parcel{}, read: map[v1.Hash][]byte{}}
	if err := c.collect(ctx, root); err != nil {
		return nil, err
	}
	if to.Untagged {
		to.Image.Tag = root.ref.Tag
	}
	if to.Image.Pinned() && to.Image.Digest != root.doc.Digest {
		return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "to " + to.String(), Why: fmt.Sprintf("what is copied has the digest %s", root.doc.Digest), Do: "leave the digest out of the destination"}
	}
	copied := &Copied{Layout: to.Layout, Digest: root.doc.Digest, Manifests: len(c.parcels), Accompanying: c.accompanying}
	blobs := map[v1.Hash]bool{}
	for _, p := range c.parcels {
		for _, d := range p.blobs {
			if !blobs[d.Digest] {
				blobs[d.Digest] = true
				copied.Size += d.Size
			}
		}
	}
	copied.Blobs = len(blobs)
	if to.Layout != "" {
		err = c.toLayout(ctx, to.Layout, root, copied, progress)
	} else {
		err = c.toRegistry(ctx, client, from, to.Image, root, copied, progress)
	}
	if err != nil {
		return nil, diagnostic.Wrap(err, "to %s", to)
	}
	return copied, nil
}

// artifactRoot is the document that is copied, and the reference that it has at its source, the zero one for none.
type artifactRoot struct {
	ref registry.Reference
	doc registry.Document
}

// copySource is a registry's repository or a layout. Everything it hands out is verified. What is not there is an
// error of kind NotFound.
type copySource interface {
	document(ctx context.Context, digest v1.Hash) (registry.Document, error)
	tagged(ctx context.Context, tag string) (registry.Document, error)
	referrers(ctx context.Context, digest v1.Hash) ([]v1.Hash, error)
	blob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error)
	close()
}

func openSource(ctx context.Context, client *registry.Client, from Place) (copySource, artifactRoot, error) {
	if from.Layout == "" {
		doc, err := client.Document(ctx, from.Image)
		return repositorySource{client, from.Image.Repository}, artifactRoot{from.Image, doc}, bare(err)
	}
	layout, err := artifact.OpenLayout(from.Layout)
	if err != nil {
		return nil, artifactRoot{}, err
	}
	s := &layoutSource{layout: layout}
	root, err := s.open()
	if err != nil {
		layout.Close()
		return nil, artifactRoot{}, err
	}
	return s, root, nil
}

type repositorySource struct {
	client *registry.Client
	repo   name.Repository
}

func (s repositorySource) close() {}

func (s repositorySource) document(ctx context.Context, digest v1.Hash) (registry.Document, error) {
	return s.client.Document(ctx, registry.Reference{Repository: s.repo, Digest: digest})
}

func (s repositorySource) tagged(ctx context.Context, tag string) (registry.Document, error) {
	return s.client.Document(ctx, registry.Reference{Repository: s.repo, Tag: tag})
}

func (s repositorySource) referrers(ctx context.Context, digest v1.Hash) ([]v1.Hash, error) {
	list, err := s.client.Referrers(ctx, s.repo, digest)
	var digests []v1.Hash
	for _, d := range list {
		digests = append(digests, d.Digest)
	}
	return digests, err
}

func (s repositorySource) blob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	return s.client.Blob(ctx, s.repo, desc)
}

// layoutSource reads what MirrorLayout writes, and what other tools write of the same kind: a referrer is an entry of
// index.json whose document names its subject, or is listed by an entry that is called like a referrers tag.
type layoutSource struct {
	layout   *artifact.Layout
	byTag    map[string]artifact.Descriptor
	subjects map[v1.Hash][]v1.Hash
}

func (s *layoutSource) open() (artifactRoot, error) {
	desc, refName, err := s.layout.Manifest()
	if err != nil {
		return artifactRoot{}, err
	}
	s.byTag, s.subjects = map[string]artifact.Descriptor{}, map[v1.Hash][]v1.Hash{}
	entries := s.layout.Entries()
	if len(entries) > maxDocuments {
		return artifactRoot{}, tooMany(fmt.Sprintf("its index.json names %d manifests; %d are possible", len(entries), maxDocuments))
	}
	for _, e := range entries {
		tag := tagOf(e.RefName())
		if tag != "" {
			s.byTag[tag] = e
		}
		doc, err := s.document(context.Background(), e.Digest)
		if err != nil {
			return artifactRoot{}, err
		}
		o, err := outlineOf(doc)
		if err != nil {
			return artifactRoot{}, err
		}
		// What else lies in the folder is not copied, and may be what it wants.
		if e.Digest == desc.Digest || tag != "" || o.Subject != nil {
			if err := e.Check(doc.Bytes); err != nil {
				return artifactRoot{}, err
			}
		}
		if o.Subject != nil {
			s.subjects[o.Subject.Digest] = append(s.subjects[o.Subject.Digest], e.Digest)
		}
	}
	doc, err := s.document(context.Background(), desc.Digest)
	if err != nil {
		return artifactRoot{}, err
	}
	ref, err := registry.ParseReference(refName)
	if err != nil || refName == "" {
		ref = registry.Reference{Tag: tagOf(refName)}
	}
	return artifactRoot{ref, doc}, nil
}

// tagOf is the tag in what an entry of index.json is called, which is a full reference or a tag alone.
func tagOf(refName string) string {
	if ref, err := registry.ParseReference(refName); err == nil && strings.ContainsAny(refName, "/:@") {
		return ref.Tag
	}
	if ref, err := registry.ParseReference("localhost/x:" + refName); err == nil && !ref.Pinned() {
		return ref.Tag
	}
	return ""
}

func (s *layoutSource) close() { s.layout.Close() }

func (s *layoutSource) document(_ context.Context, digest v1.Hash) (registry.Document, error) {
	data, err := s.layout.ReadBlob(digest, registry.MaxDocument)
	if err != nil {
		return registry.Document{}, err
	}
	var own struct {
		MediaType string `json:"mediaType"`
	}
	mediaType := mediaTypeOf(data)
	if json.Unmarshal(data, &own) == nil && own.MediaType != "" {
		mediaType = own.MediaType
	}
	return registry.Document{MediaType: mediaType, Digest: digest, Bytes: data}, nil
}

func (s *layoutSource) tagged(ctx context.Context, tag string) (registry.Document, error) {
	d, ok := s.byTag[tag]
	if !ok {
		return registry.Document{}, &diagnostic.Error{Kind: diagnostic.NotFound, What: "tag " + tag, Why: "the layout has none", Do: "name one that it has, or leave the tag out: `ocipkg inspect` shows what is in a layout"}
	}
	return s.document(ctx, d.Digest)
}

func (s *layoutSource) referrers(ctx context.Context, digest v1.Hash) ([]v1.Hash, error) {
	digests := slices.Clone(s.subjects[digest])
	doc, err := s.tagged(ctx, registry.ReferrersTag(digest))
	if err != nil {
		if diagnostic.KindOf(err) == diagnostic.NotFound {
			err = nil
		}
		return digests, err
	}
	o, err := outlineOf(doc)
	for _, d := range o.Manifests {
		if !slices.Contains(digests, d.Digest) {
			digests = append(digests, d.Digest)
		}
	}
	return digests, err
}

func (s *layoutSource) blob(_ context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	return s.layout.Open(artifact.Descriptor{Digest: desc.Digest, Size: desc.Size})
}

// outline is of a document what copying has to know. The artifact may be anyone's: only its links count.
type outline struct {
	Config    *v1.Descriptor  `json:"config"`
	Layers    []v1.Descriptor `json:"layers"`
	Manifests []v1.Descriptor `json:"manifests"`
	Subject   *v1.Descriptor  `json:"subject"`
}

func outlineOf(doc registry.Document) (outline, error) {
	var o outline
	what := fmt.Sprintf("manifest %s", doc.Digest)
	if err := json.Unmarshal(doc.Bytes, &o); err != nil {
		return o, &diagnostic.Error{Kind: diagnostic.Unsupported, What: what, Why: "it is not the JSON of a manifest: " + err.Error(), Do: "have its author push it again", Err: err}
	}
	index := types.MediaType(doc.MediaType).IsIndex()
	if !index && !types.MediaType(doc.MediaType).IsImage() {
		return o, &diagnostic.Error{Kind: diagnostic.Unsupported, What: what, Why: fmt.Sprintf("its media type is %q, which is neither an image manifest nor an index", doc.MediaType), Do: "check the reference: libraries, images and what accompanies them can be copied"}
	}
	if index && (o.Config != nil || o.Layers != nil) || !index && o.Manifests != nil {
		return o, &diagnostic.Error{Kind: diagnostic.Refused, What: what, Why: "it is a manifest and an index at once, so that two readers may see two contents", Do: "do not use it"}
	}
	links := slices.Concat(o.Layers, o.Manifests)
	if o.Config != nil {
		links = append(links, *o.Config)
	}
	for _, d := range links {
		if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 || d.Size < 0 {
			return o, &diagnostic.Error{Kind: diagnostic.Unsupported, What: what, Why: fmt.Sprintf("it names a blob of digest %q and size %d", d.Digest, d.Size), Do: "have its author push it again with a current tool"}
		}
	}
	return o, nil
}

// parcel is a document with what it needs beside the documents that come before it.
type parcel struct {
	doc     registry.Document
	blobs   []v1.Descriptor
	subject v1.Hash  // zero where it is about nothing
	tags    []string // beside its digest; the root's own tag is not one of them
	beside  bool     // whether it is found by its tag or its subject alone, and by no index
}

// collector finds everything that belongs to an artifact.
type collector struct {
	source  copySource
	found   map[v1.Hash]*parcel
	read    map[v1.Hash][]byte // blobs that had to be looked at
	parcels []*parcel          // each behind those it needs
	bytes   int

	accompanying int
	strangers    int // documents that a list of referrers names and that are about something else
}

func tooMany(why string) error {
	return &diagnostic.Error{Kind: diagnostic.Refused, Why: why, Do: "this is no library's; ask whoever made it"}
}

func (c *collector) collect(ctx context.Context, root artifactRoot) error {
	if err := c.take(ctx, root.doc, 0); err != nil {
		return err
	}
	n := len(c.parcels)
	// Upstream's gzip manifests have no link to the index but their name. Where the tag has moved on they are another's.
	if tag := root.ref.Tag; tag != "" {
		now, err := c.source.tagged(ctx, tag)
		if err != nil && diagnostic.KindOf(err) != diagnostic.NotFound {
			return err
		}
		if err == nil && now.Digest == root.doc.Digest {
			targets, err := c.targets(ctx, root.doc)
			if err != nil {
				return err
			}
			for _, target := range targets {
				if err := c.takeTag(ctx, tag+"-"+target); err != nil {
					return err
				}
			}
		}
	}
	// What belongs to any of them, and to what belongs to them.
	for i := 0; i < len(c.parcels); i++ {
		if err := c.takeBeside(ctx, c.parcels[i].doc.Digest); err != nil {
			return err
		}
	}
	c.accompanying = len(c.parcels) - n
	return nil
}

// take adds a document behind everything that it needs. What is there already is not looked at again, so that no
// circle, which only a registry that lies could make, is followed twice.
func (c *collector) take(ctx context.Context, doc registry.Document, depth int) error {
	if c.found[doc.Digest] != nil {
		return nil
	}
	o, err := outlineOf(doc)
	if err != nil {
		return err
	}
	p := &parcel{doc: doc, blobs: o.Layers}
	if o.Config != nil {
		p.blobs = append([]v1.Descriptor{*o.Config}, o.Layers...)
	}
	if o.Subject != nil {
		p.subject = o.Subject.Digest
	}
	c.found[doc.Digest] = p
	c.bytes += len(doc.Bytes)
	if len(c.found) > maxDocuments || c.bytes > maxDocumentBytes {
		return tooMany(fmt.Sprintf("more than %d manifests, or %s of them, belong to it", maxDocuments, Size(maxDocumentBytes)))
	}
	if len(o.Manifests) > 0 && depth == maxNesting {
		return tooMany(fmt.Sprintf("indexes lie in it more than %d deep", maxNesting))
	}
	for _, d := range o.Manifests {
		child, err := c.source.document(ctx, d.Digest)
		if err != nil {
			return err
		}
		if err := (artifact.Descriptor{MediaType: string(d.MediaType), Digest: d.Digest, Size: d.Size}).Check(child.Bytes); err != nil {
			return err
		}
		if err := c.take(ctx, child, depth+1); err != nil {
			return err
		}
	}
	c.parcels = append(c.parcels, p)
	return nil
}

// takeTag adds what a tag names, where it names something.
func (c *collector) takeTag(ctx context.Context, tag string) error {
	doc, err := c.source.tagged(ctx, tag)
	if err != nil {
		if diagnostic.KindOf(err) == diagnostic.NotFound {
			return nil
		}
		return err
	}
	return c.takeTagged(ctx, tag, doc)
}

func (c *collector) takeTagged(ctx context.Context, tag string, doc registry.Document) error {
	known := c.found[doc.Digest] != nil
	if err := c.take(ctx, doc, 0); err != nil {
		return err
	}
	p := c.found[doc.Digest]
	p.beside = p.beside || !known
	p.tags = append(p.tags, tag)
	return nil
}

// takeBeside adds what refers to a digest, and what cosign's tags name for it.
func (c *collector) takeBeside(ctx context.Context, digest v1.Hash) error {
	var referrers []v1.Hash
	signatures := make([]*registry.Document, len(signatureSuffixes))
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		referrers, err = c.source.referrers(groupCtx, digest)
		return err
	})
	for i, suffix := range signatureSuffixes {
		group.Go(func() error {
			doc, err := c.source.tagged(groupCtx, registry.ReferrersTag(digest)+suffix)
			if err == nil {
				signatures[i] = &doc
			} else if diagnostic.KindOf(err) != diagnostic.NotFound {
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, doc := range signatures {
		if doc != nil {
			if err := c.takeTagged(ctx, registry.ReferrersTag(digest)+signatureSuffixes[i], *doc); err != nil {
				return err
			}
		}
	}
	for _, h := range referrers {
		if c.found[h] != nil {
			continue
		}
		doc, err := c.source.document(ctx, h)
		if err != nil {
			if diagnostic.KindOf(err) == diagnostic.NotFound {
				continue // a list may name what was deleted since
			}
			return err
		}
		o, err := outlineOf(doc)
		if err != nil {
			return err
		}
		if o.Subject == nil || o.Subject.Digest != digest {
			// The list is a claim; the manifest says what it is about.
			if c.strangers++; c.strangers > maxDocuments {
				return tooMany(fmt.Sprintf("lists of what belongs to it name more than %d manifests that do not", maxDocuments))
			}
			continue
		}
		if err := c.take(ctx, doc, 0); err != nil {
			return err
		}
		c.found[h].beside = true
	}
	return nil
}

// targets are the triples of an artifact, which its upstream tags end in.
func (c *collector) targets(ctx context.Context, root registry.Document) ([]string, error) {
	if types.MediaType(root.MediaType).IsIndex() {
		var index artifact.Index
		if err := json.Unmarshal(root.Bytes, &index); err != nil {
			return nil, err
		}
		var targets []string
		for _, d := range index.Manifests {
			if t, err := artifact.ParseTriple(d.Annotations[artifact.AnnotationTarget]); err == nil && !slices.Contains(targets, t.String()) {
				targets = append(targets, t.String())
			}
		}
		return targets, nil
	}
	p := c.found[root.Digest]
	if len(p.blobs) == 0 || p.blobs[0].MediaType != artifact.TypeConfig || p.blobs[0].Size > manifestLimit {
		return nil, nil
	}
	data, err := c.readBlob(ctx, p.blobs[0])
	if err != nil {
		return nil, err
	}
	config, err := artifact.ParseConfig(data)
	if err != nil || config.Package == nil {
		return nil, nil // a config that this version cannot read is copied all the same
	}
	if t, err := artifact.ParseTriple(config.Package.Target); err == nil {
		return []string{t.String()}, nil
	}
	return nil, nil
}

// readBlob reads a small blob whole, and keeps it for open.
func (c *collector) readBlob(ctx context.Context, desc v1.Descriptor) ([]byte, error) {
	read := func() ([]byte, error) {
		r, err := c.source.blob(ctx, desc)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readAll(r, desc.Size)
	}
	data, err := read()
	for mirrorLied(err) {
		data, err = read()
	}
	if err == nil {
		c.read[desc.Digest] = data
	}
	return data, err
}

// mirrorLied reports whether a blob has to be asked for again, and will come from elsewhere: each time there is a mirror
// less.
func mirrorLied(err error) bool { return errors.Is(err, registry.ErrMirrorLied) }

// open opens a blob on its way to the destination.
func (c *collector) open(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	if data, ok := c.read[desc.Digest]; ok {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return c.source.blob(ctx, desc)
}

// newTag is what a tag of the source is called at the destination: upstream's begin with the artifact's own.
func newTag(tag string, root artifactRoot, to string) (string, bool) {
	if rest, ok := strings.CutPrefix(tag, root.ref.Tag+"-"); ok && root.ref.Tag != "" && !strings.HasPrefix(tag, "sha256-") {
		return to + "-" + rest, to != ""
	}
	return tag, true
}

// descriptor is the document's descriptor for index.json.
func (p *parcel) descriptor() artifact.Descriptor {
	return artifact.Descriptor{MediaType: p.doc.MediaType, Digest: p.doc.Digest, Size: int64(len(p.doc.Bytes))}
}

func (c *collector) toLayout(ctx context.Context, dest string, root artifactRoot, copied *Copied, progress func(done, total int64)) error {
	own := c.found[root.doc.Digest].descriptor()
	repository, refName := "", ""
	if root.ref.Repository.RepositoryStr() != "" {
		repository = registry.Reference{Repository: root.ref.Repository}.String()
		refName = root.ref.String()
		if root.ref.Tag != "" {
			refName = registry.Reference{Repository: root.ref.Repository, Tag: root.ref.Tag}.String()
		}
		repository += ":"
	} else {
		refName = root.ref.Tag
	}
	entries := []artifact.Descriptor{own.Named(refName)}
	var blobs []artifact.Descriptor
	documents := map[v1.Hash][]byte{}
	for _, p := range c.parcels {
		documents[p.doc.Digest] = p.doc.Bytes
		blobs = append(blobs, p.descriptor())
		for _, d := range p.blobs {
			blobs = append(blobs, artifact.Descriptor{MediaType: string(d.MediaType), Digest: d.Digest, Size: d.Size})
		}
		for _, tag := range p.tags {
			entries = append(entries, p.descriptor().Accompanying(own, repository+tag))
			copied.Tags = append(copied.Tags, tag)
		}
		if p.beside && len(p.tags) == 0 {
			entries = append(entries, p.descriptor().Accompanying(own, ""))
		}
	}
	meter := newMeter(progress, copied.Size)
	var sent atomic.Int64
	err := artifact.MirrorLayout(ctx, dest, entries, blobs, func(ctx context.Context, d artifact.Descriptor) (io.ReadCloser, error) {
		if data, ok := documents[d.Digest]; ok {
			return io.NopCloser(bytes.NewReader(data)), nil
		}
		r, err := c.open(ctx, descriptor(d))
		if err != nil {
			return nil, err
		}
		return &measuredBlob{meter.reader(&countedReader{r, &sent}), r}, nil
	}, mirrorLied)
	copied.Sent = sent.Load()
	return err
}

type measuredBlob struct {
	io.Reader
	io.Closer
}

// carried is a parcel on its way to a registry.
type carried struct {
	*parcel
	ctx  context.Context
	open func(context.Context, v1.Descriptor) (io.ReadCloser, error)
	from name.Repository // zero where it comes from a layout
	sent *atomic.Int64
}

func (p *carried) Manifest() registry.Document { return p.doc }
func (p *carried) Blobs() []v1.Descriptor      { return p.parcel.blobs }
func (p *carried) MountFrom() name.Repository  { return p.from }

func (p *carried) OpenBlob(h v1.Hash) (io.ReadCloser, error) {
	for _, d := range p.parcel.blobs {
		if d.Digest == h {
			r, err := p.open(p.ctx, d)
			if err != nil {
				return nil, err
			}
			return &measuredBlob{&countedReader{r, p.sent}, r}, nil
		}
	}
	return nil, &diagnostic.Error{Kind: diagnostic.NotFound, What: "blob " + h.String(), Why: "the manifest does not name it", Do: "this is a mistake of ocipkg's: report it, with the command"}
}

type countedReader struct {
	io.Reader
	n *atomic.Int64
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n.Add(int64(n))
	return n, err
}

func (c *collector) toRegistry(ctx context.Context, client *registry.Client, from Place, to registry.Reference, root artifactRoot, copied *Copied, progress func(done, total int64)) error {
	byDigest := registry.Reference{Repository: to.Repository}
	var done, total int64
	for _, p := range c.parcels {
		total += p.weight()
	}
	var sent atomic.Int64
	push := func(ref registry.Reference, src registry.Source) error {
		var report func(done, total int64)
		if progress != nil {
			report = func(now, _ int64) { progress(done+now, total) }
		}
		return client.Push(ctx, ref, src, report)
	}
	// One after the other, not only because each needs those before it: a registry without the referrers API keeps the
	// list of referrers in a document that each of them changes.
	for _, p := range c.parcels {
		if err := push(byDigest.WithDigest(p.doc.Digest), &carried{parcel: p, ctx: ctx, open: c.open, from: from.Image.Repository, sent: &sent}); err != nil {
			return err
		}
		done += p.weight()
		if p.subject != (v1.Hash{}) {
			if err := listed(ctx, client, byDigest.WithDigest(p.doc.Digest), p); err != nil {
				return err
			}
		}
		for _, tag := range p.tags {
			tag, ok := newTag(tag, root, to.Tag)
			if !ok {
				continue
			}
			if err := client.Push(ctx, registry.Reference{Repository: to.Repository, Tag: tag}, manifestAlone{p.doc}, nil); err != nil {
				return err
			}
			copied.Tags = append(copied.Tags, tag)
		}
	}
	if to.Tag != "" {
		if err := client.Push(ctx, registry.Reference{Repository: to.Repository, Tag: to.Tag}, manifestAlone{root.doc}, nil); err != nil {
			return err
		}
	}
	copied.Sent = sent.Load()
	copied.Image = to.WithDigest(root.doc.Digest).String()
	return nil
}

// weight is what there may be to send of a parcel, in bytes.
func (p *parcel) weight() int64 {
	n := int64(len(p.doc.Bytes))
	for _, d := range p.blobs {
		n += d.Size
	}
	return n
}

// listed makes sure that a registry lists a manifest among its subject's referrers: an earlier copy may have been
// interrupted between sending the one and writing the other.
func listed(ctx context.Context, client *registry.Client, ref registry.Reference, p *parcel) error {
	list, err := client.Referrers(ctx, ref.Repository, p.subject)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(d v1.Descriptor) bool { return d.Digest == p.doc.Digest }) {
		return nil
	}
	return client.PutManifest(ctx, ref, p.doc)
}

// bare is a registry's error without the image's name, which whoever asked says.
func bare(err error) error {
	e, ok := errors.AsType[*diagnostic.Error](err)
	if !ok {
		return err
	}
	told := *e
	told.What = ""
	return &told
}
