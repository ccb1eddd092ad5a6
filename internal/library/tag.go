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

// Tag makes tags of the repository of ref name what ref names, an index or a manifest, in the registry: no blob is
// moved, and what refers to the digest goes on doing so. It returns the pinned references under the new tags. Of tags
// that cannot be tags none is set: an error of kind Usage.
func Tag(ctx context.Context, client *registry.Client, ref registry.Reference, tags []string) ([]registry.Reference, error) {
	tagged, err := tag(ctx, client, ref, tags)
	return tagged, diagnostic.Wrap(err, "tag %s", ref)
}

func tag(ctx context.Context, client *registry.Client, ref registry.Reference, tags []string) ([]registry.Reference, error) {
	tagged, err := tagsOf(ref, tags)
	if err != nil {
		return nil, err
	}
	doc, err := client.Document(ctx, ref)
	if err != nil {
		return nil, bare(err)
	}
	for i, named := range tagged {
		tagged[i] = named.WithDigest(doc.Digest)
		if err := client.Push(ctx, tagged[i], manifestAlone{doc}, nil); err != nil {
			return nil, err
		}
	}
	return tagged, nil
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
