package library

import (
	"context"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// Index tells which target of a repository called name answers an #include, a name for pkg-config or a -l, for every
// platform that the image ref is for: the Index of ccplan.Plan. It reads what the image says of itself and none of its
// layers, but for artifacts that say nothing, which it fetches for the target want.
func (d *Depot) Index(ctx context.Context, ref registry.Reference, want artifact.Triple, name string) (map[string]string, error) {
	index, err := d.index(ctx, ref, want, name)
	return index, diagnostic.Wrap(err, "index %s", ref)
}

func (d *Depot) index(ctx context.Context, ref registry.Reference, want artifact.Triple, name string) (map[string]string, error) {
	targets, pinned, err := d.targets(ctx, ref, want)
	if err != nil {
		return nil, err
	}
	index := map[string]string{}
	for _, target := range targets {
		l, config, err := d.describe(ctx, pinned, target)
		if err != nil {
			return nil, diagnostic.Wrap(err, "%s", target)
		}
		var files []string
		for _, layer := range l.Manifest.Layers {
			files = append(files, config.Layers[layer.Digest.String()]...)
		}
		if l.foreign {
			if l, err = d.pull(ctx, pinned, target); err != nil {
				return nil, diagnostic.Wrap(err, "%s", target)
			}
			files = nil
			for _, t := range l.Trees {
				err := fs.WalkDir(os.DirFS(t.Path()), ".", func(p string, e fs.DirEntry, err error) error {
					if err == nil && !e.IsDir() {
						files = append(files, p)
					}
					return err
				})
				if err != nil {
					return nil, err
				}
			}
		}
		files = slices.DeleteFunc(files, func(f string) bool {
			return !fs.ValidPath(f) || f == HeaderIndexFile || slices.Contains(packageMarkers, path.Base(f))
		})
		slices.Sort(files)
		files = slices.Compact(files)
		if err := consistent(l.Package, name, files); err != nil {
			return nil, diagnostic.Wrap(err, "%s", target)
		}
		for key, answer := range ccplan.New(ccplan.Input{Name: name, Package: l.Package, Files: files}).Index {
			if _, there := index[key]; !there {
				index[key] = answer
			}
		}
	}
	return index, nil
}

// targets are the platforms that an image is for, and the image with its digest. Of a single manifest, and of platforms
// that nobody names, it is the one that is wanted.
func (d *Depot) targets(ctx context.Context, ref registry.Reference, want artifact.Triple) ([]artifact.Triple, registry.Reference, error) {
	if err := d.Policy.Admit(ref.Pinned()); err != nil {
		return nil, ref, d.suggest(ctx, ref, err)
	}
	data, mediaType, digest, err := d.document(ctx, ref)
	if err != nil {
		return nil, ref, err
	}
	pinned := ref.WithDigest(digest)
	d.remember(ref, pinned)
	var targets []artifact.Triple
	if artifact.IsIndex(mediaType) {
		index, err := artifact.ParseIndex(data)
		if err != nil {
			return nil, ref, err
		}
		for _, m := range index.Manifests {
			if t, err := artifact.ParseTriple(m.Annotations[artifact.AnnotationTarget]); err == nil && !slices.Contains(targets, t) {
				targets = append(targets, t)
			}
		}
	}
	if len(targets) == 0 {
		targets = []artifact.Triple{want}
	}
	return targets, pinned, nil
}
