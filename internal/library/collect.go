package library

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// Removed says what a removal took.
type Removed struct {
	Images []Image `json:"images"`
	Bytes  int64   `json:"bytes"` // of files and documents that nothing else needs
	Trees  int     `json:"trees"`
	Blobs  int     `json:"blobs"`
	InUse  int     `json:"inUse"` // trees that were left because another process uses them; a later gc takes them
}

// Remove takes images out of the store: names, what of them no other name needs, and the directories that the ocipkg
// crate found them in. Each image is a reference, or a digest. If one of them is not there, nothing is removed.
func Remove(s *store.Store, images ...string) (Removed, error) {
	inv, err := takeInventory(s)
	if err != nil {
		return Removed{}, err
	}
	if err := inv.readable("remove"); err != nil {
		return Removed{}, err
	}
	doomed := map[*held]bool{}
	for _, image := range images {
		found, err := inv.find(image)
		if err != nil {
			return Removed{}, err
		}
		for _, h := range found {
			doomed[h] = true
		}
	}
	return inv.remove(doomed, nil, false)
}

// A GC says what of a store is to go.
type GC struct {
	OlderThan time.Duration // what was not used for so long; negative: whatever its age
	MaxSize   int64         // bytes; of the rest, what was used last goes last, until what stays fits; negative: no limit
	DryRun    bool          // only say what would go
}

// Collected says what a GC took, and what it left.
type Collected struct {
	Removed
	Kept     int   `json:"kept"`     // images that stay
	Linked   int   `json:"linked"`   // of these, due to go, and kept because external repositories link their files
	Size     int64 `json:"size"`     // bytes of what stays
	SetAside int   `json:"setAside"` // damaged things that were kept until now
}

// unit is what goes or stays together: a name with what it keeps, or a thing without a name.
type unit struct {
	held  *held
	blobs []v1.Hash
	trees []v1.Hash
	used  time.Time
}

// Collect removes what has not been used, never what another process is using, nor what an external repository on the
// same file system is linked to: its bytes would stay on the disk, and the next repository would have to fetch them.
func Collect(s *store.Store, gc GC) (Collected, error) {
	now := time.Now()
	if !gc.DryRun {
		s.Sweep()
	}
	inv, err := takeInventory(s)
	if err != nil {
		return Collected{}, err
	}
	if err := inv.readable("gc"); err != nil {
		return Collected{}, err
	}
	units := inv.units()
	var all []v1.Hash
	for d := range inv.trees {
		all = append(all, d)
	}
	// Only what is due has to be looked at, which costs a stat a file.
	due := func(u *unit) bool { return gc.OlderThan >= 0 && now.Sub(u.used) >= gc.OlderThan }
	if gc.MaxSize < 0 && !slices.ContainsFunc(units, due) {
		all = nil
	}
	linked, err := s.LinkedOutside(all)
	if err != nil {
		return Collected{}, err
	}
	c := Collected{}
	doomed := map[*held]bool{}
	var linkedNames []*held
	loose := map[v1.Hash]bool{} // doomed things without a name
	// How many units want each thing: it goes with the last of them.
	wanted := map[v1.Hash]int{}
	for _, u := range units {
		for _, d := range slices.Concat(u.blobs, u.trees) {
			wanted[d]++
		}
	}
	for d := range wanted {
		c.Size += inv.size(d)
	}
	total := c.Size
	doom := func(u *unit) {
		if u.held != nil {
			doomed[u.held] = true
		}
		for _, d := range slices.Concat(u.blobs, u.trees) {
			if u.held == nil {
				loose[d] = true
			}
			if wanted[d]--; wanted[d] == 0 {
				c.Size -= inv.size(d)
			}
		}
	}
	for _, u := range units {
		if !due(u) && (gc.MaxSize < 0 || c.Size <= gc.MaxSize) {
			continue
		}
		if slices.ContainsFunc(u.trees, func(d v1.Hash) bool { return linked[d] }) {
			if u.held != nil {
				linkedNames = append(linkedNames, u.held)
			}
			continue
		}
		doom(u)
	}
	c.Linked = inv.count(linkedNames)
	c.Removed, err = inv.remove(doomed, loose, gc.DryRun)
	c.Kept = inv.count(slices.DeleteFunc(slices.Clone(inv.held), func(h *held) bool { return doomed[h] }))
	c.Size = total - c.Bytes
	if err != nil {
		return c, err
	}
	age := gc.OlderThan
	if age < 0 {
		age = DefaultAge
	}
	r := s.Remove()
	c.SetAside, err = r.SetAside(now.Add(-age), gc.DryRun)
	if err == nil && !gc.DryRun {
		err = removeNameless(s, r, now.Add(-age))
	}
	return c, errors.Join(err, r.Finish())
}

// removeNameless removes views of ours that no name stands for, as they are left when someone deletes the store and not
// what is beside it, or dies while removing.
func removeNameless(s *store.Store, r *store.Removal, before time.Time) error {
	names, err := s.Names()
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, n := range names {
		if ref, err := registry.ParseReference(n.Ref); err == nil {
			if p, ok := cratePath(ref); ok {
				named[p] = true
			}
		}
	}
	views, err := s.Views()
	if err != nil {
		return err
	}
	for _, v := range views {
		if v.Ours && !named[v.Path] && !v.Made.After(before) {
			if _, err := r.View(v.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// DefaultAge is how long a gc keeps what is not used, where nothing else is said.
const DefaultAge = 30 * 24 * time.Hour

// count says how many images some names are.
func (inv *inventory) count(names []*held) int {
	var all []Image
	for _, h := range names {
		for _, image := range inv.images(h) {
			if !slices.ContainsFunc(all, image.same) {
				all = append(all, image)
			}
		}
	}
	return len(all)
}

// size is what a blob or a tree takes, 0 if it is not there.
func (inv *inventory) size(d v1.Hash) int64 { return inv.treeSize(d) + inv.blobs[d].Size }

// units returns everything in the store, what was used longest ago first.
func (inv *inventory) units() []*unit {
	var all []*unit
	named := map[v1.Hash]bool{}
	for _, h := range inv.held {
		u := &unit{held: h, used: h.name.Used}
		for d := range h.blobs {
			named[d] = true
			u.blobs = append(u.blobs, d)
		}
		for d := range h.trees {
			named[d] = true
			u.trees = append(u.trees, d)
		}
		all = append(all, u)
	}
	for d, o := range inv.blobs {
		if !named[d] {
			all = append(all, &unit{blobs: []v1.Hash{d}, used: o.Made})
		}
	}
	for d, o := range inv.trees {
		if !named[d] {
			all = append(all, &unit{trees: []v1.Hash{d}, used: o.Made})
		}
	}
	slices.SortStableFunc(all, func(a, b *unit) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.label(), b.label())) })
	return all
}

func (u *unit) label() string {
	if u.held != nil {
		return u.held.name.Ref
	}
	return slices.Concat(u.blobs, u.trees)[0].String()
}

// remove takes doomed names and loose things, and what of theirs no other name keeps. What was used since the inventory
// stays, and is doomed no longer.
//
// First go the names: should it be killed, then whatever has a name is whole, and what has none goes with the next gc.
func (inv *inventory) remove(doomed map[*held]bool, loose map[v1.Hash]bool, dry bool) (Removed, error) {
	done := Removed{Images: []Image{}}
	r := inv.store.Remove()
	known := map[string]*held{} // the names whose keep is in kept
	kept := map[v1.Hash]bool{}
	going := maps.Clone(loose)
	if going == nil {
		going = map[v1.Hash]bool{}
	}
	inUse := map[v1.Hash]bool{} // trees
	// Several tags of one digest have one view by that digest: it goes with the last of them.
	viewed := map[string]int{}
	for _, h := range inv.held {
		if p, ok := cratePath(h.ref); ok {
			viewed[p]++
		}
		if !doomed[h] {
			known[h.name.Ref] = h
			keep(kept, h)
		}
	}
	for _, h := range inv.held {
		if !doomed[h] {
			continue
		}
		if !dry {
			err := r.Name(h.name, func() error {
				p, ok := cratePath(h.ref)
				if !ok || h.ref == (registry.Reference{}) {
					return nil
				}
				if viewed[p]--; viewed[p] > 0 {
					return nil
				}
				_, err := r.View(p)
				return err
			})
			left, err := isInUse(err)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return done, errors.Join(err, r.Finish())
			}
			if left {
				delete(doomed, h)
				for d := range h.trees {
					if _, there := inv.trees[d]; there && !kept[d] {
						inUse[d] = true
					}
				}
				continue
			}
		}
		keep(going, h)
		for _, image := range inv.images(h) {
			// A tag, and the tag with its digest, are two names of one image.
			if !slices.ContainsFunc(done.Images, image.same) {
				done.Images = append(done.Images, image)
			}
		}
	}
	// A process that pulled something since the inventory has set its name while it held what the name needs. So this is
	// asked again for each thing, when nobody can take hold of it any more.
	wanted := func(d v1.Hash) (bool, error) {
		names, err := inv.store.Names()
		if err != nil {
			return false, err
		}
		for _, n := range names {
			if h := known[n.Ref]; h != nil && h.root == n.Digest && !inv.arrived(h) {
				continue
			}
			h := inv.follow(n)
			if err := inv.readable("remove from the store"); err != nil {
				return false, err
			}
			keep(kept, h)
			known[n.Ref] = h
		}
		return kept[d], nil
	}
	take := func(d v1.Hash, remove func(v1.Hash, func() (bool, error)) error) (taken, left bool, err error) {
		if kept[d] || dry {
			return !kept[d], false, nil
		}
		left, err = isInUse(remove(d, func() (bool, error) { return wanted(d) }))
		if errors.Is(err, fs.ErrNotExist) {
			return false, false, nil
		}
		return err == nil && !left && !kept[d], left, err
	}
	trees, blobs := inv.order(going)
	err := func() error {
		for _, d := range trees {
			size := inv.treeSize(d)
			taken, left, err := take(d, r.Tree)
			if err != nil {
				return err
			}
			if left {
				inUse[d] = true
			}
			if taken {
				done.Trees++
				done.Bytes += size
			}
		}
		for _, d := range blobs {
			taken, _, err := take(d, r.Blob)
			if err != nil {
				return err
			}
			if taken {
				done.Blobs++
				done.Bytes += inv.blobs[d].Size
			}
		}
		return nil
	}()
	done.InUse = len(inUse)
	return done, errors.Join(err, r.Finish())
}

// order says in which order things are removed: trees, which take the space, then configs, then manifests, and indexes
// last. So as long as a tree or a config is left, the documents are there by which a name that is set again meanwhile
// is followed to it.
func (inv *inventory) order(going map[v1.Hash]bool) (trees, blobs []v1.Hash) {
	rank := map[v1.Hash]int{}
	for d := range going {
		if _, there := inv.trees[d]; there {
			trees = append(trees, d)
		}
		if _, there := inv.blobs[d]; there {
			blobs = append(blobs, d)
			data, err := inv.store.PeekBlob(d)
			if err != nil {
				continue
			}
			if artifact.IsIndex(mediaTypeOf(data)) {
				rank[d] = 2
			} else if _, err := artifact.ParseManifest(data); err == nil {
				rank[d] = 1
			}
		}
	}
	byText := func(a, b v1.Hash) int { return cmp.Compare(a.Hex, b.Hex) }
	slices.SortFunc(trees, byText)
	slices.SortFunc(blobs, func(a, b v1.Hash) int { return cmp.Or(cmp.Compare(rank[a], rank[b]), byText(a, b)) })
	return trees, blobs
}

func keep(set map[v1.Hash]bool, h *held) {
	for d := range h.blobs {
		set[d] = true
	}
	for d := range h.trees {
		set[d] = true
	}
}
