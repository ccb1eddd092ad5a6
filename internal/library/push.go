package library

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// pushed adapts a layout to what a registry client uploads.
type pushed struct {
	layout   *artifact.Layout
	document registry.Document
	blobs    []v1.Descriptor
}

func (p *pushed) Manifest() registry.Document               { return p.document }
func (p *pushed) Blobs() []v1.Descriptor                    { return p.blobs }
func (p *pushed) OpenBlob(h v1.Hash) (io.ReadCloser, error) { return p.layout.OpenBlob(h) }

// Push uploads the manifest that a layout holds, with its blobs, under ref, and returns ref with its digest.
func Push(ctx context.Context, client *registry.Client, layout *artifact.Layout, ref registry.Reference, progress func(done, total int64)) (registry.Reference, error) {
	pinned, err := push(ctx, client, layout, ref, progress)
	return pinned, diagnostic.Wrap(err, "push %s", ref)
}

func push(ctx context.Context, client *registry.Client, layout *artifact.Layout, ref registry.Reference, progress func(done, total int64)) (registry.Reference, error) {
	desc, _, err := layout.Manifest()
	if err != nil {
		return registry.Reference{}, err
	}
	data, err := layout.ReadBlob(desc.Digest, manifestLimit)
	if err != nil {
		return registry.Reference{}, err
	}
	m, err := artifact.ParseManifest(data)
	if err != nil {
		return registry.Reference{}, err
	}
	src := &pushed{layout: layout, document: registry.Document{MediaType: artifact.TypeManifest, Digest: desc.Digest, Bytes: data}}
	for _, d := range append([]artifact.Descriptor{m.Config}, m.Layers...) {
		src.blobs = append(src.blobs, descriptor(d))
	}
	if ref.Pinned() && ref.Digest != desc.Digest {
		return registry.Reference{}, &diagnostic.Error{Kind: diagnostic.Corrupt, Why: fmt.Sprintf("the layout holds %s", desc.Digest), Do: "leave the digest out of the reference"}
	}
	if err := client.Push(ctx, ref, src, progress); err != nil {
		return registry.Reference{}, err
	}
	return ref.WithDigest(desc.Digest), nil
}
