package library

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// Image is one library in the store, for one platform, as a list shows it.
type Image struct {
	Reference string    `json:"reference"`        // what it was asked for as, without the digest unless there is nothing else
	Digest    string    `json:"digest,omitempty"` // of its manifest or index: the identity; "" where the crate does not tell
	Target    string    `json:"target,omitempty"` // triple; "" for headers alone, and where it is not known
	Size      int64     `json:"size"`             // bytes of its files; what several images share counts for each
	Used      time.Time `json:"used"`             // last use, to the hour; of the crate's images, when it was made
	Complete  bool      `json:"complete"`         // every byte of it is there
	Crate     bool      `json:"crate"`            // the ocipkg crate fetched it, and it is not ours
}

// held is what the store has under one name.
type held struct {
	name store.Named
	ref  registry.Reference
	root v1.Hash
	// One for each manifest that is there; of an index these may be none.
	manifests []heldManifest
	// Everything that the name keeps, whether it is there or not.
	blobs, trees map[v1.Hash]bool
	// Manifests and indexes that were not there to be read: what they keep is not known.
	missing []v1.Hash
}

type heldManifest struct {
	digest   v1.Hash
	target   string
	layers   []v1.Hash
	complete bool
}

// inventory is a look at a store. What changes meanwhile may be in it or not.
type inventory struct {
	store *store.Store
	held  []*held
	trees map[v1.Hash]store.Object
	blobs map[v1.Hash]store.Object
	sizes map[v1.Hash]int64 // of trees, as far as they were asked for

	damaged []v1.Hash // manifests and indexes of names that are there and cannot be read
}

func takeInventory(s *store.Store) (*inventory, error) {
	inv := &inventory{store: s, trees: map[v1.Hash]store.Object{}, blobs: map[v1.Hash]store.Object{}, sizes: map[v1.Hash]int64{}}
	trees, err := s.Trees()
	if err != nil {
		return nil, err
	}
	for _, o := range trees {
		inv.trees[o.Digest] = o
	}
	blobs, err := s.Blobs()
	if err != nil {
		return nil, err
	}
	for _, o := range blobs {
		inv.blobs[o.Digest] = o
	}
	names, err := s.Names()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		inv.held = append(inv.held, inv.follow(n))
	}
	return inv, nil
}

// follow finds out what a name keeps.
func (inv *inventory) follow(n store.Named) *held {
	h := &held{name: n, root: n.Digest, blobs: map[v1.Hash]bool{n.Digest: true}, trees: map[v1.Hash]bool{}}
	h.ref, _ = registry.ParseReference(n.Ref) // whatever else it is, it is a name
	data, err := inv.store.PeekBlob(n.Digest)
	if err != nil {
		inv.unread(h, n.Digest)
		return h
	}
	if !artifact.IsIndex(mediaTypeOf(data)) {
		inv.manifest(h, n.Digest, "", data)
		return h
	}
	index, err := artifact.ParseIndex(data)
	if err != nil {
		return h
	}
	for _, d := range index.Manifests {
		h.blobs[d.Digest] = true
		if data, err := inv.store.PeekBlob(d.Digest); err == nil {
			inv.manifest(h, d.Digest, d.Annotations[artifact.AnnotationTarget], data)
		} else if inv.unread(h, d.Digest) {
			h.manifests = append(h.manifests, heldManifest{digest: d.Digest, target: d.Annotations[artifact.AnnotationTarget]})
		}
	}
	return h
}

// unread notes that a manifest of h cannot be read, and reports whether it is there, that is, damaged.
func (inv *inventory) unread(h *held, d v1.Hash) bool {
	h.missing = append(h.missing, d)
	_, damaged := errors.AsType[*store.DamagedError](inv.store.VerifyBlob(d))
	if damaged {
		inv.damaged = append(inv.damaged, d)
	}
	return damaged
}

// arrived reports whether something of h that was not there to be read is there now.
func (inv *inventory) arrived(h *held) bool {
	return slices.ContainsFunc(h.missing, func(d v1.Hash) bool { _, err := inv.store.PeekBlob(d); return err == nil })
}

// readable is an error where a manifest is damaged: what it keeps is not known, so that nothing can be removed.
func (inv *inventory) readable(what string) error {
	if len(inv.damaged) == 0 {
		return nil
	}
	return &diagnostic.Error{Kind: diagnostic.Corrupt, What: what, Why: fmt.Sprintf("the manifest %s in the store is damaged, so that nobody knows what belongs to it", inv.damaged[0]),
		Do: "run `ocipkg store verify` first, which fetches it again"}
}

func (inv *inventory) manifest(h *held, digest v1.Hash, target string, data []byte) {
	m, err := artifact.ParseManifest(data)
	if err != nil {
		return
	}
	found := heldManifest{digest: digest, target: target, complete: true}
	h.blobs[m.Config.Digest] = true
	if config, err := inv.store.PeekBlob(m.Config.Digest); err != nil {
		found.complete = false
	} else if c, err := artifact.ParseConfig(config); err == nil && m.V1() && c.Package != nil {
		found.target = c.Package.Target
	}
	for _, l := range m.Layers {
		found.layers = append(found.layers, l.Digest)
		h.trees[l.Digest] = true
		if _, there := inv.trees[l.Digest]; !there {
			found.complete = false
		}
	}
	h.manifests = append(h.manifests, found)
}

// treeSize is 0 for a tree that is not there.
func (inv *inventory) treeSize(d v1.Hash) int64 {
	if _, there := inv.trees[d]; !there {
		return 0
	}
	if n, ok := inv.sizes[d]; ok {
		return n
	}
	n, err := inv.store.TreeSize(d)
	if err != nil {
		n = 0 // gone since
	}
	inv.sizes[d] = n
	return n
}

func (h *held) image(m heldManifest) Image {
	bare := h.ref
	if bare.Tag != "" {
		bare.Digest = v1.Hash{}
	}
	text := bare.String()
	if h.ref == (registry.Reference{}) {
		text = h.name.Ref
	}
	return Image{Reference: text, Digest: h.root.String(), Target: m.target, Used: h.name.Used, Complete: m.complete}
}

// same reports whether two names stand for one image: a tag does, and the same tag with its digest.
func (i Image) same(o Image) bool {
	return i.Reference == o.Reference && i.Digest == o.Digest && i.Target == o.Target
}

// images lists what a name is, one image a platform. Of those that have been fetched beside others, only these: a hub has what
// the others are read, and they are neither there nor missing.
func (inv *inventory) images(h *held) []Image {
	if len(h.manifests) == 0 {
		return []Image{h.image(heldManifest{})}
	}
	fetched := slices.ContainsFunc(h.manifests, func(m heldManifest) bool { return m.complete })
	var all []Image
	for _, m := range h.manifests {
		if fetched && !m.complete {
			continue
		}
		image := h.image(m)
		for _, l := range m.layers {
			image.Size += inv.treeSize(l)
		}
		all = append(all, image)
	}
	return all
}

// Images lists the libraries in the store and the ocipkg crate's beside them, by reference.
func Images(s *store.Store) ([]Image, error) {
	inv, err := takeInventory(s)
	if err != nil {
		return nil, err
	}
	all := []Image{}
	for _, h := range inv.held {
		for _, image := range inv.images(h) {
			i := slices.IndexFunc(all, image.same)
			if i < 0 {
				all = append(all, image)
			} else if image.Used.After(all[i].Used) {
				all[i].Used = image.Used
			}
		}
	}
	views, err := s.Views()
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		if v.Ours {
			continue
		}
		dir := filepath.Join(s.Root(), filepath.FromSlash(v.Path))
		size, err := store.DirectorySize(dir)
		if err != nil {
			continue // gone since
		}
		image := Image{Reference: crateReference(v.Path), Size: size, Used: v.Made, Complete: true, Crate: true}
		if layout, err := artifact.OpenLayout(filepath.Join(dir, ".oci-dir")); err == nil {
			if d, _, err := layout.Manifest(); err == nil {
				image.Digest = d.Digest.String()
			}
			layout.Close()
		}
		all = append(all, image)
	}
	slices.SortStableFunc(all, func(a, b Image) int {
		return cmp.Or(strings.Compare(a.Reference, b.Reference), strings.Compare(a.Target, b.Target), b.Used.Compare(a.Used))
	})
	return all, nil
}

// find returns the names that an image goes by: of a tag, it and itself pinned; of a digest, whatever has it in the
// repository, or with a digest alone ("sha256:" and at least eight of its digits) in any.
func (inv *inventory) find(image string) ([]*held, error) {
	var found []*held
	if hex, ok := strings.CutPrefix(image, "sha256:"); ok && len(hex) >= 8 && strings.Trim(hex, "0123456789abcdef") == "" {
		roots := map[v1.Hash]bool{}
		for _, h := range inv.held {
			if strings.HasPrefix(h.root.Hex, hex) {
				roots[h.root] = true
				found = append(found, h)
			}
		}
		if len(roots) > 1 {
			return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: image, Why: fmt.Sprintf("%d images have digests that begin so", len(roots)), Do: "give more digits; `ocipkg list --json` has all of them"}
		}
	} else {
		ref, err := registry.ParseReference(image)
		if err != nil {
			return nil, err
		}
		for _, h := range inv.held {
			same := h.ref.Repository == ref.Repository
			switch {
			case !same:
			case ref.Pinned() && h.root == ref.Digest, !ref.Pinned() && h.ref.Tag == ref.Tag:
				found = append(found, h)
			}
		}
	}
	if len(found) == 0 {
		return nil, notHeld(image)
	}
	return found, nil
}

func notHeld(image string) error {
	return &diagnostic.Error{Kind: diagnostic.NotFound, What: image, Why: "it is not in the store", Do: "`ocipkg list` shows what is, `ocipkg pull` fetches what is not"}
}

// MarshalJSON writes the time as everybody reads it: in UTC, to the second.
func (i Image) MarshalJSON() ([]byte, error) {
	type plain Image
	p := plain(i)
	p.Used = p.Used.UTC().Truncate(time.Second)
	return json.Marshal(p)
}

// isInUse drops the error of something that was left alone because a process uses it, and tells of it.
func isInUse(err error) (bool, error) {
	if errors.Is(err, store.ErrInUse) {
		return true, nil
	}
	return false, err
}
