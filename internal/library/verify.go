package library

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// Verified says what a look at every byte of a store has found.
type Verified struct {
	Blobs   int     `json:"blobs"`
	Trees   int     `json:"trees"`
	Bytes   int64   `json:"bytes"` // that were read
	Damaged []Found `json:"damaged"`
}

// Found is one damaged thing.
type Found struct {
	Digest  string         `json:"digest"`
	Kind    string         `json:"kind"`              // "tree" or "blob"
	Images  []string       `json:"images"`            // references that need it
	Damage  []store.Damage `json:"damage"`            // at least one
	Linked  bool           `json:"linked"`            // an external repository links to its files, and so has them too
	Mended  bool           `json:"mended"`            // it was fetched again, or nothing needs it and it was set aside
	Problem string         `json:"problem,omitempty"` // why it was not
}

// Verify reads everything in the store and compares it with what it was when it was verified. With mend, what is damaged
// is set aside and fetched again from where it came, and the modes of files are set right; a Found that is not mended is
// an error of kind Corrupt. Without, nothing in the store is changed.
func (d *Depot) Verify(ctx context.Context, mend bool) (Verified, error) {
	v := Verified{Damaged: []Found{}}
	inv, err := takeInventory(d.Store)
	if err != nil {
		return v, err
	}
	verifyTree := d.Store.VerifyTree
	if mend {
		verifyTree = d.Store.CorrectTree
	}
	damaged, err := d.hashAll(ctx, inv, verifyTree, &v)
	if err != nil {
		return v, err
	}
	var trees []v1.Hash
	for _, e := range damaged {
		if e.Tree {
			trees = append(trees, e.Digest)
		}
	}
	linked := map[v1.Hash]bool{}
	if len(trees) > 0 {
		if linked, err = d.Store.LinkedOutside(trees); err != nil {
			return v, err
		}
	}
	for _, e := range damaged {
		f := Found{Digest: e.Digest.String(), Kind: "blob", Images: []string{}, Damage: e.Damage, Linked: e.Tree && linked[e.Digest]}
		if e.Tree {
			f.Kind = "tree"
		}
		for _, h := range inv.held {
			if h.blobs[e.Digest] || h.trees[e.Digest] {
				text := h.image(heldManifest{}).Reference
				if !slices.Contains(f.Images, text) {
					f.Images = append(f.Images, text)
				}
			}
		}
		v.Damaged = append(v.Damaged, f)
	}
	if len(damaged) > 0 && mend {
		err = d.mend(ctx, inv, damaged, v.Damaged)
	}
	if mend {
		err = errors.Join(err, d.Store.KeepViews())
	}
	left := 0
	for _, f := range v.Damaged {
		if !f.Mended {
			left++
		}
	}
	if err == nil && left > 0 {
		do := "leave out --no-repair to fetch it again"
		if mend {
			do = "it was set aside, and the next fetch brings it back; try again when the registry can be reached"
		}
		err = &diagnostic.Error{Kind: diagnostic.Corrupt, What: "verify the store " + d.Store.Root(), Why: damagedCount(left), Do: do}
	}
	return v, err
}

func damagedCount(n int) string {
	if n == 1 {
		return "one object is damaged"
	}
	return fmt.Sprintf("%d objects are damaged", n)
}

// hashAll hashes everything, a few at a time.
func (d *Depot) hashAll(ctx context.Context, inv *inventory, verifyTree func(context.Context, v1.Hash) error, v *Verified) ([]*store.DamagedError, error) {
	var mu sync.Mutex
	var damaged []*store.DamagedError
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(runtime.GOMAXPROCS(0), 4))
	look := func(count *int, size func() int64, verify func() error) {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := verify()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile
			}
			mu.Lock()
			defer mu.Unlock()
			*count++
			v.Bytes += size()
			if e, ok := errors.AsType[*store.DamagedError](err); ok {
				damaged = append(damaged, e)
				return nil
			}
			return err
		})
	}
	for h, o := range inv.blobs {
		look(&v.Blobs, func() int64 { return o.Size }, func() error { return d.Store.VerifyBlob(h) })
	}
	for h := range inv.trees {
		look(&v.Trees, func() int64 { return inv.treeSize(h) }, func() error { return verifyTree(ctx, h) })
	}
	err := group.Wait()
	slices.SortFunc(damaged, func(a, b *store.DamagedError) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return damaged, err
}

// mend sets everything damaged aside, then pulls each image that needs some of it, for each platform it was there for.
func (d *Depot) mend(ctx context.Context, inv *inventory, damaged []*store.DamagedError, found []Found) error {
	for _, e := range damaged {
		if err := d.Store.SetAside(e); err != nil {
			return err
		}
	}
	views, err := inv.dropViews(damaged...)
	if err != nil {
		return err
	}
	// A tag, and the tag with its digest, are two names of one image, which is fetched once.
	problems := map[string]error{}
	for _, h := range inv.held {
		if !slices.ContainsFunc(damaged, func(e *store.DamagedError) bool { return h.blobs[e.Digest] || h.trees[e.Digest] }) {
			continue
		}
		image := h.image(heldManifest{}).Reference
		if problem, tried := problems[image]; !tried || problem == nil {
			problems[image] = d.pullAgain(ctx, h, views[h])
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for i, e := range damaged {
		f := &found[i]
		verify := d.Store.VerifyBlob
		if e.Tree {
			verify = func(h v1.Hash) error { return d.Store.VerifyTree(ctx, h) }
		}
		err := verify(e.Digest)
		f.Mended = err == nil || len(f.Images) == 0 && errors.Is(err, fs.ErrNotExist)
		for _, name := range f.Images {
			if !f.Mended && problems[name] != nil {
				f.Problem = problems[name].Error()
			}
		}
	}
	return nil
}

// dropViews takes away the directories that show what is damaged: they are linked to it. It returns whose they were.
func (inv *inventory) dropViews(damaged ...*store.DamagedError) (map[*held]bool, error) {
	dropped := map[*held]bool{}
	r := inv.store.Remove()
	for _, h := range inv.held {
		p, ok := cratePath(h.ref)
		if !ok || !slices.ContainsFunc(damaged, func(e *store.DamagedError) bool { return h.trees[e.Digest] }) {
			continue
		}
		was, err := r.View(p)
		if err != nil {
			return dropped, errors.Join(err, r.Finish())
		}
		dropped[h] = was
	}
	return dropped, r.Finish()
}

// pullAgain pulls what a name stands for, and makes the view of it again if there was one.
func (d *Depot) pullAgain(ctx context.Context, h *held, view bool) error {
	if h.ref == (registry.Reference{}) {
		return &diagnostic.Error{Kind: diagnostic.Unsupported, What: h.name.Ref, Why: "it is not a reference", Do: "pull the library again, by its reference"}
	}
	targets := []artifact.Triple{}
	for _, m := range h.manifests {
		if t, err := artifact.ParseTriple(m.target); err == nil {
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		targets = append(targets, artifact.HostTriple())
	}
	var errs []error
	for _, t := range targets {
		l, err := d.Pull(ctx, h.ref.WithDigest(h.root), t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if view {
			if _, err := l.View(ctx, h.ref); err != nil && !SkippedView(err) {
				errs = append(errs, err)
			}
		}
		for _, t := range l.Trees {
			t.Release()
		}
	}
	return errors.Join(errs...)
}

// Locate returns the directory with all files of an image that is in the store, made of links if need be. It asks no
// registry but for what turns out to be damaged; an image that is not there, or not whole, is an error of kind NotFound.
func (d *Depot) Locate(ctx context.Context, image string, want artifact.Triple) (*Library, string, error) {
	inv, err := takeInventory(d.Store)
	if err != nil {
		return nil, "", err
	}
	found, err := inv.find(image)
	if err != nil {
		return nil, "", err
	}
	// Of a tag that has moved there are several; the one that it resolved to last is meant.
	h := found[0]
	for _, other := range found {
		if !other.ref.Pinned() {
			h = other
		}
	}
	if h.ref.Pinned() && len(found) > 1 {
		h = slices.MaxFunc(found, func(a, b *held) int { return a.name.Used.Compare(b.name.Used) })
	}
	l, err := d.held(ctx, h, want)
	if err != nil {
		return nil, "", diagnostic.Wrap(err, "%s", image)
	}
	for _, as := range []registry.Reference{h.ref, {Repository: h.ref.Repository, Digest: h.root}} {
		dir, err := l.View(ctx, as)
		if err == nil || !SkippedView(err) && len(l.Trees) != 1 {
			return l, dir, err
		}
	}
	if len(l.Trees) == 1 {
		return l, l.Trees[0].Path(), nil
	}
	return nil, "", &diagnostic.Error{Kind: diagnostic.Unsupported, What: image, Why: "its files lie in several trees, and the store cannot show them as one",
		Do: "put them into a folder with `ocipkg pull --output`"}
}

// held pulls what an inventory has found whole, which needs nothing but the store.
func (d *Depot) held(ctx context.Context, h *held, want artifact.Triple) (*Library, error) {
	for _, m := range h.manifests {
		t, err := artifact.ParseTriple(m.target)
		if m.complete && (err != nil || t.Fits(want)) {
			return d.pull(ctx, h.ref.WithDigest(h.root), want, nil)
		}
	}
	for _, m := range h.manifests {
		if m.complete {
			return nil, &diagnostic.Error{Kind: diagnostic.NotFound, Why: "it is in the store for " + m.target + ", not for " + want.String(),
				Do: "say --target, or fetch it with `ocipkg pull`"}
		}
	}
	return nil, &diagnostic.Error{Kind: diagnostic.NotFound, Why: "not all of it is in the store", Do: "fetch it with `ocipkg pull`", Err: os.ErrNotExist}
}
