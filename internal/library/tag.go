package library

import (
	"context"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// manifestAlone is a document whose blobs are where it goes.
type manifestAlone struct{ registry.Document }

func (m manifestAlone) Manifest() registry.Document { return m.Document }
func (m manifestAlone) Blobs() []v1.Descriptor      { return nil }
func (m manifestAlone) OpenBlob(h v1.Hash) (io.ReadCloser, error) {
	return nil, &diagnostic.Error{Kind: diagnostic.Failure, What: "blob " + h.String(), Why: "only the manifest is sent", Do: "this is a mistake of ocipkg's: report it, with the command"}
}

// Moved is a tag that stood for something else before it was set.
type Moved struct {
	Tag string  `json:"tag"`
	Was v1.Hash `json:"was"` // what it stood for until then, as the registry says
}

// movedTag tells, before a tag is set to a digest, whether it thereby moves: nil where it does not, and where that cannot be found
// out, which is no reason not to set it, nor to wait for long.
func movedTag(ctx context.Context, client *registry.Client, ref registry.Reference, digest v1.Hash) []Moved {
	if ref.Tag == "" {
		return nil
	}
	was, err := client.Tagged(ctx, ref)
	if err != nil || was == digest {
		return nil
	}
	return []Moved{{ref.Tag, was}}
}

// Tag makes tags of the repository of ref name what ref names, an index or a manifest, in the registry: no blob is
// moved, and what refers to the digest goes on doing so. It returns the pinned references under the new tags, and which of
// these stood for something else; the latter also with an error that ends it half way. Of tags that cannot be tags none is
// set: an error of kind Usage.
func Tag(ctx context.Context, client *registry.Client, ref registry.Reference, tags []string) ([]registry.Reference, []Moved, error) {
	tagged, moved, err := tag(ctx, client, ref, tags)
	return tagged, moved, diagnostic.Wrap(err, "tag %s", ref)
}

func tag(ctx context.Context, client *registry.Client, ref registry.Reference, tags []string) (tagged []registry.Reference, moved []Moved, err error) {
	if tagged, err = tagsOf(ref, tags); err != nil {
		return nil, nil, err
	}
	doc, err := client.Document(ctx, ref)
	if err != nil {
		return nil, nil, bare(err)
	}
	for i, named := range tagged {
		moves := movedTag(ctx, client, named, doc.Digest)
		tagged[i] = named.WithDigest(doc.Digest)
		if err := client.Push(ctx, tagged[i], manifestAlone{doc}, nil); err != nil {
			return nil, moved, err
		}
		moved = append(moved, moves...)
	}
	return tagged, moved, nil
}

// CheckTags reports the first of the tags that cannot be one, an error of kind Usage.
func CheckTags(ref registry.Reference, tags []string) error {
	_, err := tagsOf(ref, tags)
	return diagnostic.Wrap(err, "tag %s", ref)
}

// tagsOf gives the references of tags in the repository of ref.
func tagsOf(ref registry.Reference, tags []string) ([]registry.Reference, error) {
	var named []registry.Reference
	for _, t := range tags {
		r, err := registry.ParseReference(registry.Reference{Repository: ref.Repository, Tag: t}.String())
		if err != nil || r.Tag != t || r.Pinned() {
			return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "new tag " + t, Why: "it is no tag", Do: "write the tag alone, for example 1.3; it is set in the repository of the image, and `ocipkg copy` takes an image to another one"}
		}
		named = append(named, r)
	}
	return named, nil
}
