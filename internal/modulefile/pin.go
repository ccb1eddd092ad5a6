package modulefile

import (
	"context"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// A Resolver tells what a tag points to.
type Resolver interface {
	Resolve(ctx context.Context, ref registry.Reference) (v1.Descriptor, error)
}

// Pin looks up the digests that are missing and returns the images to write, by index in Libraries. names restricts
// it to libraries of those names; one that is not declared is an error of kind NotFound. With update, tags that have a
// digest are looked up too. Nothing is returned where any lookup fails: a file is pinned whole or not at all.
func (f *File) Pin(ctx context.Context, resolver Resolver, names []string, update bool) (map[int]string, error) {
	refs, err := f.references(names)
	if err != nil {
		return nil, err
	}
	images := map[int]string{}
	for i, l := range f.Libraries {
		ref, ok := refs[i]
		if !ok || ref.Pinned() && (!update || ref.Tag == "") {
			continue
		}
		found, err := resolver.Resolve(ctx, ref.WithDigest(v1.Hash{}))
		if err != nil {
			return nil, diagnostic.Wrap(err, "%s:%d: pin %s", f.path, l.Line, l.Name)
		}
		if found.Digest != ref.Digest {
			images[i] = ref.WithDigest(found.Digest).String()
		}
	}
	return images, nil
}

// Unpinned returns the indices in Libraries of those whose images have no digest, each with "" for the image that
// nobody was asked for. names is as for Pin.
func (f *File) Unpinned(names []string) (map[int]string, error) {
	refs, err := f.references(names)
	unpinned := map[int]string{}
	for i, ref := range refs {
		if !ref.Pinned() {
			unpinned[i] = ""
		}
	}
	return unpinned, err
}

// references parses the images of the libraries that are called names, of all where there are none.
func (f *File) references(names []string) (map[int]registry.Reference, error) {
	for _, name := range names {
		if !slices.ContainsFunc(f.Libraries, func(l Library) bool { return l.Name == name }) {
			return nil, &diagnostic.Error{Kind: diagnostic.NotFound, What: "pin " + name, Why: f.path + " declares no library of that name", Do: "name one that it declares, by its `name`, or none for all of them"}
		}
	}
	refs := map[int]registry.Reference{}
	for i, l := range f.Libraries {
		if len(names) > 0 && !slices.Contains(names, l.Name) {
			continue
		}
		if l.wrong != nil {
			return nil, l.wrong
		}
		ref, err := registry.ParseReference(l.Image)
		if err != nil {
			return nil, diagnostic.Wrap(err, "%s:%d", f.path, l.Line)
		}
		refs[i] = ref
	}
	return refs, nil
}
