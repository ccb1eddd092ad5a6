package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

func newInspect() *cobra.Command {
	var target targetFlag
	var out output
	cmd := &cobra.Command{
		Use:   "inspect IMAGE|LAYOUT",
		Short: "Show what a library is",
		Long: `Show what the library IMAGE, or the packed artifact LAYOUT (an archive or folder), consists of:
its platforms and, for this machine's or the one that --target names, the sizes of its parts,
libraries with what they need at run time, which of them need each other, whether it is in the
store, and the line for MODULE.bazel. --json prints the same, and more, of all platforms.

Only descriptions are read; of an artifact that the ocipkg project's own tools wrote, which has
none, the files are fetched and measured. An image that is pinned and in the store costs no network
request; of its other platforms only those are described that the store knows, too.`,
		Example: `  ocipkg inspect ghcr.io/acme/zlib:1.3.1
  ocipkg inspect zlib.tar --json`,
		ValidArgsFunction: completeImagesAndFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			inspection, err := inspect(cmd, t, args[0], target)
			if err != nil {
				return err
			}
			return out.print(t, inspection, inspection.Summary())
		},
	}
	target.add(cmd)
	out.add(cmd)
	return cmd
}

func inspect(cmd *cobra.Command, t *talk, arg string, target targetFlag) (*library.Inspection, error) {
	want, err := target.triple()
	if err != nil {
		return nil, err
	}
	layout, err := library.IsLayout(arg)
	if err != nil {
		return nil, err
	}
	if layout {
		s, err := existingStore()
		if err != nil {
			return nil, err
		}
		return library.InspectLayout(cmd.Context(), s, arg, want, target.text != "")
	}
	ref, err := registry.ParseReference(arg)
	if err != nil {
		return nil, err
	}
	depot, err := newDepot(t, "inspect "+ref.String())
	if err != nil {
		return nil, err
	}
	defer t.done()
	return depot.Inspect(cmd.Context(), ref, want, target.text != "")
}

// existingStore is the store, nil where there is none yet: looking does not make one.
func existingStore() (*store.Store, error) {
	root, err := store.DefaultRoot()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(root); err != nil {
		return nil, nil
	}
	return store.Open(root)
}
