package library

import (
	"context"
	"errors"

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
		if l.depot.Warn != nil {
			l.depot.Warn(damaged.Error() + "; fetching it again")
		}
		if healErr := l.depot.heal(ctx, l, damaged); healErr != nil {
			return healErr
		}
		err = use()
	}
	return err
}

func (d *Depot) heal(ctx context.Context, l *Library, damaged *store.DamagedError) error {
	if err := d.Store.SetAside(damaged); err != nil {
		return err
	}
	// The crate's views of it are linked to the damaged files; the next pull makes them again.
	l.shown = nil
	inv, err := takeInventory(d.Store)
	if err == nil {
		_, err = inv.dropViews(damaged)
	}
	if err != nil {
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
