package library

import (
	"context"
	"slices"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// Index tells which target of the repository of a declaration answers an #include, a name for pkg-config or a -l, for every
// platform that the image ref is for: the Index of ccplan.Plan. Deps and BuildFile of the declaration do not matter. It reads what the image says of itself and none of its
// layers, but for artifacts that say nothing, which it fetches; a single one of those for the target want.
func (d *Depot) Index(ctx context.Context, ref registry.Reference, want artifact.Triple, decl Declaration) (map[string]string, error) {
	index, err := d.index(ctx, ref, want, decl)
	return index, diagnostic.Wrap(err, "index %s", ref)
}

func (d *Depot) index(ctx context.Context, ref registry.Reference, want artifact.Triple, decl Declaration) (map[string]string, error) {
	hold := d.Store.Hold() // of what is read, until the name is set: a gc may be under way
	defer hold.Release()
	pinned, targets, err := d.targets(ctx, hold, ref, want)
	if err != nil {
		return nil, err
	}
	index := map[string]string{}
	for _, target := range targets {
		l, config, err := d.describe(ctx, hold, pinned, target)
		if err == nil && len(decl.Components) > 0 {
			err = l.leaveOut(decl.Components)
		}
		if err == nil && l.foreign {
			if err = d.fill(ctx, l, config); err == nil {
				err = l.measure()
			}
		}
		if err != nil {
			return nil, diagnostic.Wrap(err, "%s", target)
		}
		files, err := l.list(config)
		if err != nil {
			return nil, err
		}
		if err := consistent(l.Package, decl.Name, files); err != nil {
			return nil, diagnostic.Wrap(err, "%s", target)
		}
		asked := decl
		asked.Deps, asked.BuildFile = nil, ""
		for _, dependency := range l.Package.Dependencies {
			asked.Deps = append(asked.Deps, dependencyLabel(dependency.Name)) // what is missing is said when it is fetched
		}
		l.declaration = &asked
		plan, err := l.plan(decl.Name, files)
		if err != nil {
			return nil, diagnostic.Wrap(err, "%s", target)
		}
		ccplan.JoinIndex(index, plan.Index, decl.Name)
	}
	if err := hold.Settle(); err != nil {
		return nil, err
	}
	d.remember(ref, pinned)
	return index, nil
}

// targets finds the platforms that an image is for, and its digest. Of a single manifest, and of platforms that are not
// named, it is the one that is wanted.
func (d *Depot) targets(ctx context.Context, hold *store.Hold, ref registry.Reference, want artifact.Triple) (registry.Reference, []artifact.Triple, error) {
	if err := d.Policy.Admit(ref.Pinned()); err != nil {
		return ref, nil, d.suggest(ctx, ref, err)
	}
	data, mediaType, digest, err := d.document(ctx, hold, ref, nil)
	if err != nil {
		return ref, nil, err
	}
	targets, err := targetsOf(data, mediaType, want)
	return ref.WithDigest(digest), targets, err
}

// targetsOf is targets for a document that is there.
func targetsOf(data []byte, mediaType string, want artifact.Triple) ([]artifact.Triple, error) {
	var targets []artifact.Triple
	if artifact.IsIndex(mediaType) {
		index, err := artifact.ParseIndex(data)
		if err != nil {
			return nil, err
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
	return targets, nil
}
