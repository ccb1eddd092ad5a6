package library

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// ArtifactFile is where a repository says which artifact it is, for packages that depend on it: see KnownFromInspection.
const ArtifactFile = "artifact.json"

// Known is another artifact whose description is at hand, so that no registry is asked for it.
type Known struct {
	Name  string // of its package
	Image string // pinned reference

	index    artifact.Index               // of its platforms; empty where alone is all that there is
	packages map[string]*artifact.Package // by the digest in the index
	alone    *artifact.Package
}

// describe tells what it is for a platform. None for that platform is an error of kind Mismatch.
func (k Known) describe(want artifact.Triple) (*artifact.Package, error) {
	if k.alone != nil {
		return k.alone, fits(k.alone, want)
	}
	chosen, err := k.index.Select(want)
	return k.packages[chosen.Digest.String()], err
}

// add takes what it is on one platform.
func (k *Known) add(d artifact.Descriptor, p *artifact.Package) {
	if k.packages == nil {
		k.packages = map[string]*artifact.Package{}
	}
	k.index.Manifests = append(k.index.Manifests, artifact.Descriptor{Digest: d.Digest, Annotations: map[string]string{artifact.AnnotationTarget: p.Target}})
	k.packages[d.Digest.String()] = p
	k.Name = p.Name
}

// KnownFromLayout is the artifact in the layout at path, which is found under image once it is pushed. image has no
// digest, which is the layout's, and a tag only where it is to be in the reference.
func KnownFromLayout(image, path string) (Known, error) {
	k, err := knownFromLayout(image, path)
	return k, diagnostic.Wrap(err, "dependency in %s", path)
}

func knownFromLayout(image, path string) (k Known, err error) {
	if strings.Contains(image, "@") {
		return k, &diagnostic.Error{Kind: diagnostic.Usage, What: "image " + image, Why: "it has a digest, and the layout's is the one that counts", Do: "leave the digest out"}
	}
	layout, err := artifact.OpenLayout(path)
	if err != nil {
		return k, err
	}
	defer layout.Close()
	desc, _, err := layout.Manifest()
	if err != nil {
		return k, err
	}
	ref, err := registry.ParseReference(image + "@" + desc.Digest.String())
	if err != nil {
		return k, err
	}
	artifacts, err := layout.Artifacts()
	if err != nil {
		return k, err
	}
	for _, a := range artifacts {
		if a.Config.Package == nil {
			return k, &diagnostic.Error{Kind: diagnostic.Unsupported, What: "layout " + path, Why: "it does not describe its libraries, as artifacts of the ocipkg project's tools do not", Do: "pack its files with `ocipkg pack`"}
		}
		k.add(a.Descriptor, a.Config.Package)
		if !artifact.IsIndex(desc.MediaType) {
			k.alone = a.Config.Package
		}
	}
	k.Image = ref.String()
	return k, nil
}

// KnownFromInspection is the artifact that a JSON document tells of by the keys image and package, and platforms where
// it has several: what `ocipkg inspect --json` prints, and what a repository has in ArtifactFile.
func KnownFromInspection(data []byte) (k Known, err error) {
	bad := func(why string) (Known, error) {
		return k, &diagnostic.Error{Kind: diagnostic.Usage, What: "dependency", Why: why, Do: "write the file with `ocipkg inspect --json IMAGE`, where IMAGE has its digest"}
	}
	var x Inspection
	if err := json.Unmarshal(data, &x); err != nil {
		return bad("it is not what was inspected of an image: " + err.Error())
	}
	ref, err := registry.ParseReference(x.Image)
	if err != nil || !ref.Pinned() {
		return bad("it does not say which image was inspected, or not with its digest")
	}
	for _, p := range x.Platforms {
		if p.Package != nil {
			k.add(artifact.Descriptor{Digest: p.Digest}, p.Package)
		}
	}
	if len(x.Platforms) < 2 {
		if k.alone = x.Package; x.Package != nil {
			k.Name = x.Package.Name
		}
	}
	if k.Name == "" {
		return bad("it describes no library")
	}
	k.Image = ref.String()
	return k, nil
}

// describedAsArtifact is the content of ArtifactFile: the whole artifact, whatever of it is declared.
func (l *Library) describedAsArtifact() ([]byte, error) {
	p := l.whole
	if p == nil {
		p = l.Package
	}
	data, err := json.MarshalIndent(struct {
		Image   string            `json:"image"`
		Package *artifact.Package `json:"package"`
	}{l.Reference.String(), p}, "", "  ")
	return append(data, '\n'), err
}

// Dependencies settles what a package depends on: declared are references by name, known is what is at hand. It gives
// the pinned reference of each by its name, and what describes one of these for a platform. open gives the depot that
// is asked for what is not known; nil where no registry may be asked, and then such a dependency is an error of kind Usage.
func Dependencies(ctx context.Context, declared map[string]string, known []Known, open func() (*Depot, error)) (all map[string]string, describe func(image string, target artifact.Triple) (*artifact.Package, error), err error) {
	all = map[string]string{}
	at := map[string]Known{}
	for _, k := range known {
		if other := all[k.Name]; other != "" && other != k.Image {
			return nil, nil, twice(k.Name, other, k.Image)
		}
		all[k.Name], at[k.Image] = k.Image, k
	}
	asked := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		image := declared[name]
		if ref, err := registry.ParseReference(image); err == nil {
			image = ref.String()
		}
		switch {
		case all[name] == image:
		case all[name] != "":
			return nil, nil, twice(name, all[name], image)
		case open == nil:
			return nil, nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "dependency " + name, Why: fmt.Sprintf("nothing at hand says what %s is, and no registry may be asked", image),
				Do: "in Bazel, name it in `dependencies` of the ocipkg_package: @NAME of a library in MODULE.bazel, the ocipkg_push of a package, or a file that `ocipkg inspect --json` wrote; else give it with --dependency-layout or --dependency-inspected, or leave --offline out"}
		default:
			asked[name] = image
		}
	}
	var depot *Depot
	if len(asked) > 0 {
		if depot, err = open(); err != nil {
			return nil, nil, err
		}
		pinned, err := depot.Pinned(ctx, asked)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(all, pinned)
	}
	return all, func(image string, target artifact.Triple) (*artifact.Package, error) {
		if k, ok := at[image]; ok {
			return k.describe(target)
		}
		return depot.Describe(ctx, image, target)
	}, nil
}

func twice(name, image, other string) error {
	return &diagnostic.Error{Kind: diagnostic.Usage, What: "dependency " + name, Why: fmt.Sprintf("it is named as %s and as %s", image, other), Do: "keep one of them"}
}
