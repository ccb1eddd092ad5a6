// Package library brings the rooms together: it takes a library from a registry into the store, lays one out as an
// external repository for Bazel, and takes a packed one to a registry.
//
// Invariant: what it hands out was verified down to the last byte against the reference's digest; what is pinned and
// in the store is handed out without a network request; and where it fails, nothing is left at the destination.
package library

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
	"github.com/ocipkg/rules_ocipkg/internal/tree"
	"github.com/ocipkg/rules_ocipkg/internal/trust"
)

// Depot is where libraries come from: a registry, and the store in front of it.
type Depot struct {
	Registry *registry.Client
	Store    *store.Store
	Policy   trust.Policy

	// Show has Pull make the view for the ocipkg crate while the layers come; see View.
	Show bool
	// Doubt has what pulls a library, or reads one for a hub, warn of what the function Doubt tells.
	Doubt bool
	// Waiting, where not nil, is told that another process (0: unknown) is fetching what is wanted.
	Waiting func(pid int)
	// Warn, where not nil, is told of what went wrong and was mended, and of what is odd. It may be called concurrently, as
	// layers are looked for and come side by side.
	Warn func(message string)
	// Progress, where not nil, is told of bytes of layers as they arrive: done of total.
	Progress func(done, total int64)

	// Kept, where not "", is a folder of blobs, each called as the digits of its digest: those there are used, and those
	// that had to be fetched are left there.
	Kept string

	layouts layouts
}

// Library is a library whose every byte is in the store.
type Library struct {
	Reference   registry.Reference // as asked for, with the digest of what was found: the identity
	Digest      v1.Hash            // of the manifest, which differs from the reference's where that is an index's
	Manifest    artifact.Manifest
	Package     *artifact.Package
	Trees       []store.Tree      // one a layer, in the order in which they are laid over each other
	whole       *artifact.Package // before components were left out; nil where all are wanted
	foreign     bool
	listed      []string        // its files, where they are known without the layers
	declaration *Declaration    // it was pulled for; nil where nobody declared it
	shown       *shown          // the view that was made while it came; nil where there is none
	depot       *Depot          // it came from, and is fetched again from; nil where it cannot be
	target      artifact.Triple // it was asked for
}

// manifestLimit is the size in bytes of a manifest or a config that is still read.
const manifestLimit = 4 << 20

// parallelLayers is how many layers are downloaded at a time.
const parallelLayers = 3

// Pull brings the library that ref names into the store, for the target want.
func (d *Depot) Pull(ctx context.Context, ref registry.Reference, want artifact.Triple) (*Library, error) {
	return d.PullDeclared(ctx, ref, want, nil)
}

// PullDeclared is Pull for a library that is declared so: it brings those of its layers that are wanted, and none where a
// dependency is not declared, which is an error of kind NotFound. A nil decl wants all and checks nothing.
func (d *Depot) PullDeclared(ctx context.Context, ref registry.Reference, want artifact.Triple, decl *Declaration) (*Library, error) {
	l, err := d.pull(ctx, ref, want, decl)
	return l, diagnostic.Wrap(err, "pull %s", ref)
}

func (d *Depot) pull(ctx context.Context, ref registry.Reference, want artifact.Triple, decl *Declaration) (*Library, error) {
	// What is read here keeps its place until the name is set for good: a gc may be under way.
	hold := d.Store.Hold()
	defer hold.Release()
	l, config, err := d.describe(ctx, hold, ref, want)
	if err != nil {
		return nil, err
	}
	d.doubt(ref, decl, l.Package)
	if err := fits(l.Package, want); err != nil {
		return nil, err
	}
	if err := l.declare(decl); err != nil {
		return nil, err
	}
	// While the layers come: where there is no boot, each takes the disk some times its latency.
	var remembering sync.WaitGroup
	var unsettled error
	filling, giveUp := context.WithCancel(ctx)
	defer giveUp()
	remembering.Go(func() {
		if unsettled = hold.Settle(); unsettled != nil {
			giveUp()
			return
		}
		d.remember(ref, l.Reference)
	})
	show := func(*arrivals) {}
	if d.Show && !l.foreign { // others' artifacts may turn out to be for another platform
		show = func(a *arrivals) { l.show(filling, ref, a) }
	}
	err = d.fillWith(filling, l, config, show)
	remembering.Wait()
	if err := cmp.Or(unsettled, err); err != nil {
		return nil, err
	}
	d.remember(ref, l.Reference) // again, now that the trees are there: without locks a gc may have met the name before
	if l.foreign {
		if err := l.measure(); err != nil {
			return nil, err
		}
		if err := fits(l.Package, want); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// measure finds out what an artifact is that describes nothing, as those of others do: its bytes tell.
func (l *Library) measure() (err error) {
	l.Package, err = l.view().describe(artifact.Claims{Name: path.Base(l.Reference.Repository.RepositoryStr()), Version: l.Reference.Tag})
	return err
}

// view is the view of the library's trees.
func (l *Library) view() overlay {
	var view overlay
	for _, t := range l.Trees {
		view = append(view, t.Path())
	}
	return view
}

// remember lets the store know by which names it has the library, and that it was used. It is best effort: without a
// name it is listed by none and removed sooner, and in a store that cannot be written neither matters.
func (d *Depot) remember(asked, found registry.Reference) {
	if !asked.Pinned() {
		_ = d.Store.SetName(asked.String(), found.Digest)
	}
	_ = d.Store.SetName(found.String(), found.Digest)
}

// arrivals are the trees of a library that is being pulled.
type arrivals struct {
	trees []store.Tree
	there []chan struct{} // closed when the tree is
	ctx   context.Context // done when one of them will not come
}

// next waits for the i-th tree.
func (a *arrivals) next(i int) (store.Tree, error) {
	select {
	case <-a.there[i]:
		return a.trees[i], nil
	case <-a.ctx.Done():
		return store.Tree{}, a.ctx.Err()
	}
}

// fill gets the trees of the library's layers.
func (d *Depot) fill(ctx context.Context, l *Library, config artifact.Config) error {
	return d.fillWith(ctx, l, config, func(*arrivals) {})
}

// fillWith is fill with something that runs beside it, and has ended when it returns.
func (d *Depot) fillWith(ctx context.Context, l *Library, config artifact.Config, with func(*arrivals)) error {
	var total int64
	unpacked := map[string]int64{}
	if config.Package != nil {
		for _, c := range config.Package.Components {
			unpacked[c.Layer] = c.Unpacked
		}
	}
	l.Trees = make([]store.Tree, len(l.Manifest.Layers))
	coming, giveUp := context.WithCancel(ctx)
	defer giveUp()
	a := &arrivals{trees: l.Trees, there: make([]chan struct{}, len(l.Trees)), ctx: coming}
	for i := range a.there {
		a.there[i] = make(chan struct{})
	}
	var missing []int
	var mu sync.Mutex
	looking, ending := errgroup.WithContext(ctx)
	looking.SetLimit(parallelLayers) // some may have to be read through
	for i, layer := range l.Manifest.Layers {
		looking.Go(func() error {
			tree, err := d.Store.Tree(ending, layer.Digest)
			if damaged, ok := errors.AsType[*store.DamagedError](err); ok { // a power cut's work
				if err = d.setAside(damaged); err == nil {
					err = fs.ErrNotExist
				}
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				l.Trees[i] = tree
				close(a.there[i])
			case errors.Is(err, fs.ErrNotExist):
				missing = append(missing, i)
				total += layer.Size
			default:
				return err
			}
			return nil
		})
	}
	if err := looking.Wait(); err != nil {
		return err
	}
	slices.Sort(missing)
	// The largest first: what ends last should not be alone for long.
	slices.SortStableFunc(missing, func(a, b int) int { return cmp.Compare(l.Manifest.Layers[b].Size, l.Manifest.Layers[a].Size) })
	var beside sync.WaitGroup
	beside.Go(func() { with(a) })
	meter := newMeter(d.Progress, total)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLayers)
	for _, i := range missing {
		group.Go(func() error {
			layer := l.Manifest.Layers[i]
			size := unpacked[layer.Digest.String()]
			fill := func(w tree.Writer) error {
				if err := d.Store.Room(min(size, artifact.DefaultLimits.Total)); err != nil { // what declares more is refused
					return err
				}
				blob, err := d.blob(ctx, l.Reference, layer)
				if err != nil {
					return err
				}
				defer blob.Close()
				err = artifact.Unpack(meter.reader(blob), layer, w, l.foreign, artifact.Limits{Unpacked: size})
				return d.Registry.Blame(blob, err)
			}
			tree, err := d.Store.AddTree(ctx, layer.Digest, d.Waiting, fill)
			for errors.Is(err, registry.ErrMirrorLied) { // each time there is a mirror less
				tree, err = d.Store.AddTree(ctx, layer.Digest, d.Waiting, fill)
			}
			if damaged, ok := errors.AsType[*store.DamagedError](err); ok { // by another machine that went down since
				if err = d.setAside(damaged); err == nil {
					tree, err = d.Store.AddTree(ctx, layer.Digest, d.Waiting, fill)
				}
			}
			if err == nil {
				l.Trees[i] = tree
				close(a.there[i])
			}
			return diagnostic.Wrap(err, "layer %d of %d (%s)", i+1, len(l.Manifest.Layers), layer.Digest)
		})
	}
	err := group.Wait()
	if err != nil {
		giveUp()
	}
	beside.Wait()
	return err
}

// describe reads what a library is, from the store or the registry, without its layers, and has hold keep what it has
// read in the store. The package of an artifact that others wrote is nil.
func (d *Depot) describe(ctx context.Context, hold *store.Hold, ref registry.Reference, want artifact.Triple) (*Library, artifact.Config, error) {
	fail := func(err error) (*Library, artifact.Config, error) { return nil, artifact.Config{}, err }
	if err := d.Policy.Admit(ref.Pinned()); err != nil {
		return fail(d.suggest(ctx, ref, err))
	}
	ask := &asking{depot: d, hold: hold, ref: ref}
	defer ask.end()
	data, mediaType, digest, err := d.document(ctx, hold, ref, ask)
	if err != nil {
		return fail(err)
	}
	l := &Library{Reference: ref.WithDigest(digest), Digest: digest, depot: d, target: want}
	if artifact.IsIndex(mediaType) {
		index, err := artifact.ParseIndex(data)
		if err != nil {
			return fail(err)
		}
		chosen, err := index.Select(want)
		if err != nil {
			return fail(err)
		}
		l.Digest = chosen.Digest
		if data, mediaType, _, err = d.document(ctx, hold, ref.WithDigest(chosen.Digest), ask); err != nil {
			return fail(err)
		}
		if err := chosen.Check(data); err != nil {
			return fail(err)
		}
		if artifact.IsIndex(mediaType) {
			return fail(&diagnostic.Error{Kind: diagnostic.Unsupported, What: "index", Why: "it names another index, not a manifest", Do: "name one of the indexes in it by its digest, or have its author push one index of manifests"})
		}
	}
	if l.Manifest, err = artifact.ParseManifest(data); err != nil {
		return fail(err)
	}
	var config artifact.Config
	if data, err = d.config(ctx, hold, l, ask); err != nil {
		return fail(diagnostic.Wrap(err, "config %s", l.Manifest.Config.Digest))
	}
	if l.Manifest.V1() {
		config, err = artifact.ParseConfig(data)
	} else {
		err = artifact.RefuseContainer(data)
	}
	if err != nil {
		return fail(err)
	}
	l.Package, l.foreign = config.Package, config.Package == nil
	return l, config, nil
}

// askPatience is how long what another process asks the registry is waited for. Where that takes longer the registry is unwell, and
// the tries of all who wait would else come to their ends one after the other.
var askPatience = time.Second

// asking has one of many processes that want something ask the registry for what describes it, where the store has not got it,
// and the others wait for what comes of that. A nil one does not wait.
type asking struct {
	depot  *Depot
	hold   *store.Hold
	ref    registry.Reference // what they all want
	unlock func()             // nil before the first question
}

// blob is hold.Blob. Who gets an fs.ErrNotExist is to ask.
func (a *asking) blob(ctx context.Context, hold *store.Hold, d v1.Hash) ([]byte, error) {
	data, err := hold.Blob(d)
	if a == nil || a.unlock != nil || !errors.Is(err, fs.ErrNotExist) || !a.ref.Pinned() { // what a tag is now, everybody asks for himself
		return data, err
	}
	patient, enough := context.WithTimeout(ctx, askPatience)
	defer enough()
	if a.unlock, err = a.depot.Store.Lock(patient, "describe "+a.ref.Digest.String(), nil); err != nil {
		a.unlock = func() {}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return hold.Blob(d)
}

// end lets the next one look.
func (a *asking) end() {
	if a.unlock != nil {
		_ = a.hold.Settle() // who put it is told what went wrong
		a.unlock()
	}
}

// document reads a manifest or index, a pinned one from the store where it is there.
func (d *Depot) document(ctx context.Context, hold *store.Hold, ref registry.Reference, ask *asking) (data []byte, mediaType string, digest v1.Hash, err error) {
	if ref.Pinned() {
		data, err := ask.blob(ctx, hold, ref.Digest)
		if err == nil {
			return data, mediaTypeOf(data), ref.Digest, d.keepBytes(data, ref.Digest)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", v1.Hash{}, err
		}
	}
	doc, err := d.fetchDocument(ctx, ref)
	if err != nil {
		return nil, "", v1.Hash{}, bare(err)
	}
	// Only what is of use is kept: what a tag points to may be any container image.
	if !artifact.IsIndex(doc.MediaType) {
		if _, err := artifact.ParseManifest(doc.Bytes); err != nil {
			return nil, "", v1.Hash{}, err
		}
	}
	hold.PutBlob(doc.Bytes)
	return doc.Bytes, doc.MediaType, doc.Digest, d.keepBytes(doc.Bytes, doc.Digest)
}

// fetchDocument reads a manifest or index: one that is nearby, if it is pinned, else the registry's. What a tag
// points to now, the registry alone knows.
func (d *Depot) fetchDocument(ctx context.Context, ref registry.Reference) (registry.Document, error) {
	for ref.Pinned() && ctx.Err() == nil {
		blob, err := d.nearby(ref, artifact.Descriptor{Digest: ref.Digest, Size: unknownSize})
		if err != nil {
			break
		}
		data, err := io.ReadAll(io.LimitReader(blob, manifestLimit+1))
		blob.Close()
		if err == nil && len(data) <= manifestLimit {
			return registry.Document{MediaType: mediaTypeOf(data), Digest: ref.Digest, Bytes: data}, nil
		}
		if !errors.Is(err, registry.ErrMirrorLied) { // then there is a layout less
			break
		}
	}
	return d.Registry.Document(ctx, ref)
}

// mediaTypeOf tells a manifest from an index by what is in it: the type that a registry sent beside it is not part of
// its bytes, and the ocipkg project's manifests do not carry one.
func mediaTypeOf(data []byte) string {
	var probe struct {
		Manifests json.RawMessage `json:"manifests"`
	}
	if json.Unmarshal(data, &probe) == nil && probe.Manifests != nil {
		return artifact.TypeIndex
	}
	return artifact.TypeManifest
}

func (d *Depot) config(ctx context.Context, hold *store.Hold, l *Library, ask *asking) ([]byte, error) {
	desc := l.Manifest.Config
	data, err := ask.blob(ctx, hold, desc.Digest)
	if err == nil && int64(len(data)) != desc.Size {
		return nil, otherSize(int64(len(data)), desc.Size)
	}
	if err == nil {
		return data, d.keepBytes(data, desc.Digest)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if desc.Size > manifestLimit {
		return nil, &diagnostic.Error{Kind: diagnostic.Refused, Why: fmt.Sprintf("it has %d bytes; %d are possible", desc.Size, manifestLimit), Do: "this is no library's config; check that the reference is what you mean"}
	}
	data, err = d.read(ctx, l.Reference, desc)
	for errors.Is(err, registry.ErrMirrorLied) { // each time there is a mirror less
		data, err = d.read(ctx, l.Reference, desc)
	}
	if err != nil {
		return nil, err
	}
	hold.PutBlob(data)
	return data, nil
}

func (d *Depot) read(ctx context.Context, ref registry.Reference, desc artifact.Descriptor) ([]byte, error) {
	blob, err := d.blob(ctx, ref, desc)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	return readAll(blob, desc.Size)
}

// readAll reads what has to be of a size, to its end: the verdict on a digest comes with that.
func readAll(r io.Reader, size int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, size+1))
	if err == nil && int64(len(data)) != size {
		return nil, otherSize(int64(len(data)), size)
	}
	return data, err
}

func otherSize(have, want int64) error {
	return &diagnostic.Error{Kind: diagnostic.Corrupt, Why: fmt.Sprintf("it has %d bytes, and the manifest says %d", have, want), Do: "have its author push it again"}
}

// suggest adds to a policy's refusal of an unpinned reference the line that satisfies it, where that can be found out.
func (d *Depot) suggest(ctx context.Context, ref registry.Reference, refusal error) error {
	e, ok := errors.AsType[*diagnostic.Error](refusal)
	if !ok {
		return refusal
	}
	told := *e
	if found, err := d.Registry.Resolve(ctx, ref); err == nil {
		told.Do = fmt.Sprintf("write image = %q, or run `ocipkg pin`", ref.WithDigest(found.Digest))
	}
	return &told
}

func fits(p *artifact.Package, want artifact.Triple) error {
	if p == nil || p.Target == "" {
		return nil
	}
	have, err := artifact.ParseTriple(p.Target)
	if err != nil {
		return err
	}
	if !have.Fits(want) {
		return &diagnostic.Error{Kind: diagnostic.Mismatch, What: "platform", Why: fmt.Sprintf("the library is for %s, and %s was asked for", have, want),
			Do: fmt.Sprintf("ask its author for %s; to build for %s, say target = %q", want, have, have)}
	}
	return nil
}

func descriptor(d artifact.Descriptor) v1.Descriptor {
	return v1.Descriptor{MediaType: types.MediaType(d.MediaType), Digest: d.Digest, Size: d.Size}
}
