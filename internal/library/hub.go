package library

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/buildfile"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// Spoke is a platform that a hub leads to. Repository is the name by which the hub knows the repository that the
// library for this platform will be laid out in, when something is built for it; "" lays it out now, in a folder of the
// hub.
type Spoke struct {
	Target     artifact.Triple
	Repository string
}

// Hub makes in dir, an empty or missing directory, a repository called name whose targets choose a spoke by the
// platform. Of platforms in repositories of their own it reads what they are and nothing of their layers; those for
// which the image has nothing are left out. What it cannot know without the layers, as of artifacts that describe nothing, it
// fetches. decl is as for PullDeclared. It returns the pinned reference. Where it fails dir is as it was.
func (d *Depot) Hub(ctx context.Context, ref registry.Reference, dir, name string, spokes []Spoke, decl *Declaration, repositories buildfile.Repositories) (found registry.Reference, err error) {
	spokes = slices.SortedFunc(slices.Values(spokes), func(a, b Spoke) int {
		return strings.Compare(a.Target.String(), b.Target.String())
	})
	libraries, left, err := d.platforms(ctx, ref, spokes, decl)
	if err != nil {
		return ref, diagnostic.Wrap(err, "pull %s", ref)
	}
	restore, err := claim(dir, name)
	if err != nil {
		return ref, err
	}
	defer func() { err = restore(err) }()
	if err = os.MkdirAll(dir, 0o755); err != nil {
		return ref, err
	}
	in := ccplan.HubInput{Name: name, LeftOut: left, Files: []string{HeaderIndexFile}}
	var first *Library
	var ignore []byte
	for i, l := range libraries {
		if l == nil {
			continue
		}
		target := spokes[i].Target.String()
		spoke := ccplan.Spoke{Target: target, Package: "@" + spokes[i].Repository + "//"}
		if spokes[i].Repository == "" {
			spoke.Package = "//" + target
			if _, err := repository(ctx, l, filepath.Join(dir, target), name, repositories, false); err != nil {
				return ref, diagnostic.Wrap(err, "%s", target)
			}
			ignore = append(ignore, ignored(target+"/", l.listed)...)
		}
		if err := consistent(l.Package, name, l.listed); err != nil {
			return ref, diagnostic.Wrap(err, "%s", target)
		}
		if spoke.Plan, err = l.plan(name, l.listed); err != nil {
			return ref, diagnostic.Wrap(err, "%s", target)
		}
		everywhere := l.Package.Target == ""
		if everywhere {
			spoke.Target = ""
		}
		in.Spokes = append(in.Spokes, spoke)
		if first == nil {
			first = l
		}
		if everywhere {
			break // headers alone: one spoke serves every platform
		}
	}
	in.What = first.title()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ref, err
	}
	defer root.Close()
	found = first.Reference
	if len(ignore) > 0 && (decl == nil || decl.BuildFile == "") {
		if err := create(root, ignoreFile, ignore); err != nil {
			return ref, err
		}
	}
	return found, writePlan(root, first, name, ccplan.Hub(in), repositories)
}

// PullHub brings into the store what Hub reads for these spokes, so that it asks nobody then. decl is as for PullDeclared.
func (d *Depot) PullHub(ctx context.Context, ref registry.Reference, spokes []Spoke, decl *Declaration) error {
	_, _, err := d.platforms(ctx, ref, spokes, decl)
	return diagnostic.Wrap(err, "pull %s", ref)
}

// parallelDocuments is how many platforms are asked about at a time.
const parallelDocuments = 4

// platforms finds out what the library is on each spoke's platform; nil where the image has nothing for it, which is an
// error of kind Mismatch where the spoke has no repository of its own, and where nothing is left. left are the triples of
// manifests that no spoke has.
func (d *Depot) platforms(ctx context.Context, ref registry.Reference, spokes []Spoke, decl *Declaration) (libraries []*Library, left []string, err error) {
	if err := d.Policy.Admit(ref.Pinned()); err != nil {
		return nil, nil, d.suggest(ctx, ref, err)
	}
	hold := d.Store.Hold() // of what is read, until the name is set: a gc may be under way
	defer hold.Release()
	data, mediaType, digest, err := d.document(ctx, hold, ref, nil)
	if err != nil {
		return nil, nil, err
	}
	found := ref.WithDigest(digest)
	libraries = make([]*Library, len(spokes))
	configs := make([]artifact.Config, len(spokes))
	var doubt sync.Once // all platforms are of one library
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelDocuments)
	if !artifact.IsIndex(mediaType) {
		group.SetLimit(1) // all spokes ask for one config, which the first puts into the store
	}
	for i, s := range spokes {
		group.Go(func() (err error) {
			libraries[i], configs[i], err = d.describe(groupCtx, hold, found, s.Target)
			if s.Repository != "" && diagnostic.KindOf(err) == diagnostic.Mismatch {
				return nil // and no library
			}
			if err != nil {
				return err
			}
			if p := libraries[i].Package; p != nil {
				doubt.Do(func() { d.doubt(ref, decl, p) })
			}
			return libraries[i].declare(decl)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	measured := map[v1.Hash]*Library{}
	for i, l := range libraries {
		if l == nil {
			continue
		}
		if l.foreign {
			// Its layers alone tell what it is.
			known := measured[l.Digest]
			if known == nil {
				if err := d.fill(ctx, l, configs[i]); err != nil {
					return nil, nil, err
				}
				if err := l.measure(); err != nil {
					return nil, nil, err
				}
				known = l
				measured[l.Digest] = l
			}
			l.Package, l.Trees = known.Package, known.Trees
		}
		if err := fits(l.Package, spokes[i].Target); err != nil {
			if spokes[i].Repository == "" {
				return nil, nil, err
			}
			libraries[i] = nil
			continue
		}
		if l.listed, err = l.list(configs[i]); err != nil {
			return nil, nil, err
		}
		if spokes[i].Repository == "" && !l.foreign {
			if err := d.fill(ctx, l, configs[i]); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := hold.Settle(); err != nil {
		return nil, nil, err
	}
	d.remember(ref, found)
	var have []string
	if artifact.IsIndex(mediaType) {
		index, err := artifact.ParseIndex(data)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range index.Manifests {
			called := m.Annotations[artifact.AnnotationTarget]
			if called == "" && m.Platform != nil {
				called = m.Platform.String()
			}
			if called == "" {
				continue
			}
			have = append(have, called)
			if !slices.ContainsFunc(libraries, func(l *Library) bool { return l != nil && l.Digest == m.Digest }) {
				left = append(left, called)
			}
		}
	} else if l, _, err := d.describe(ctx, hold, found, spokes[0].Target); err == nil {
		if known := measured[l.Digest]; known != nil {
			l = known
		}
		have = []string{l.Package.Target}
	}
	if !slices.ContainsFunc(libraries, func(l *Library) bool { return l != nil }) {
		var wanted []string
		for _, s := range spokes {
			wanted = append(wanted, s.Target.String())
		}
		return nil, nil, &diagnostic.Error{Kind: diagnostic.Mismatch, What: "platforms", Why: fmt.Sprintf("the library is for %q, and is wanted for %q", have, wanted),
			Do: "ask its author for one of these platforms, or choose others with platforms = [...]"}
	}
	return libraries, left, nil
}

// list gives the files of the library as its config names them, sorted, and of an artifact that describes nothing those
// of its trees; without those that a repository has its own of.
func (l *Library) list(config artifact.Config) ([]string, error) {
	var files []string
	for _, layer := range l.Manifest.Layers {
		files = append(files, config.Layers[layer.Digest.String()]...)
	}
	if l.foreign {
		tree, err := l.view().tree()
		if err != nil {
			return nil, err
		}
		files = slices.Collect(maps.Keys(tree))
	}
	files = slices.DeleteFunc(files, func(f string) bool {
		top, _, _ := strings.Cut(f, "/")
		return !fs.ValidPath(f) || slices.Contains(ownFiles, top) || slices.Contains(packageMarkers, path.Base(f))
	})
	slices.Sort(files)
	return slices.Compact(files), nil
}
