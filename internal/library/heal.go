package library

import (
	"context"
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// healing does use, which puts the library's trees to use. What of them turns out to be damaged is set aside and
// fetched again, and use done once more; no more often, since a disk that damages everything heals nothing.
func (l *Library) healing(ctx context.Context, use func() error) error {
	err := use()
	for range len(l.Trees) {
		damaged, ok := errors.AsType[*store.DamagedError](err)
		if !ok || l.depot == nil {
			return err
		}
		if healErr := l.depot.heal(ctx, l, damaged); healErr != nil {
			return healErr
		}
		err = use()
	}
	return err
}

func (d *Depot) heal(ctx context.Context, l *Library, damaged *store.DamagedError) error {
	l.shown = nil
	if err := d.setAside(damaged); err != nil {
		return err
	}
	for _, t := range l.Trees {
		t.Release()
	}
	hold := d.Store.Hold()
	defer hold.Release()
	again, config, err := d.describe(ctx, hold, l.Reference.WithDigest(l.Digest), l.target)
	if err != nil {
		return err
	}
	again.Manifest = l.Manifest // without the components that were left out
	if err := d.fill(ctx, again, config); err != nil {
		return err
	}
	if err := hold.Settle(); err != nil {
		return err
	}
	l.Trees = again.Trees
	return nil
}

// setAside takes something damaged out of the way of the fetch that follows.
func (d *Depot) setAside(damaged *store.DamagedError) error {
	if d.Warn != nil {
		message := damaged.Error() + "; fetching it again"
		if linked, err := d.Store.LinkedOutside([]v1.Hash{damaged.Digest}); err == nil && damaged.Tree && linked[damaged.Digest] {
			message += ". An external repository, or a folder of `ocipkg pull --output`, is linked to these files; fetch it again with `bazel fetch --force`, or pull into a new folder"
		}
		d.Warn(message)
	}
	if err := d.Store.SetAside(damaged); err != nil {
		return err
	}
	// The crate's views of it are linked to the damaged files; the next pull makes them again.
	inv, err := takeInventory(d.Store)
	if err == nil {
		_, err = inv.dropViews(damaged)
	}
	return err
}
