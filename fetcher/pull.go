package main

import (
	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// pulled is what `ocipkg pull --json` prints.
type pulled struct {
	Image  string `json:"image"`            // the pinned reference
	Digest string `json:"digest"`           // of the manifest, which is not the image's where that is an index
	Target string `json:"target,omitempty"` // the triple of what was fetched; absent for headers alone
	Output string `json:"output,omitempty"` // the folder that was written; absent without --output
}

func newPull() *cobra.Command {
	var target targetFlag
	var out output
	var dir string
	cmd := &cobra.Command{
		Use:   "pull IMAGE",
		Short: "Fetch a library into the store",
		Long: `Fetch the library IMAGE into the store, verified by digest, and print its pinned reference on
standard output. What the store has already is not fetched again; a pinned image that is in the
store costs no network request.

With --output its files are put into a folder as well, with the BUILD.bazel that they have as an
external repository.`,
		Example: `  ocipkg pull ghcr.io/acme/zlib:1.3.1
  ocipkg pull ghcr.io/acme/zlib:1.3.1 --output third_party/zlib`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			l, err := pull(cmd, t, args[0], target)
			if err != nil {
				return err
			}
			if dir != "" {
				if _, err := library.Repository(cmd.Context(), l, dir, library.Name(l.Reference), nil); err != nil {
					return err
				}
				t.printf("wrote %s", dir)
			}
			return out.print(t, pulled{Image: l.Reference.String(), Digest: l.Digest.String(), Target: l.Package.Target, Output: dir}, l.Reference.String())
		},
	}
	target.add(cmd)
	out.add(cmd)
	cmd.Flags().StringVarP(&dir, "output", "o", "", "folder to put the files into; must be empty or not exist")
	return cmd
}

func pull(cmd *cobra.Command, t *talk, image string, target targetFlag) (*library.Library, error) {
	ref, err := registry.ParseReference(image)
	if err != nil {
		return nil, err
	}
	want, err := target.triple()
	if err != nil {
		return nil, err
	}
	depot, err := newDepot(t, "pull "+ref.String())
	if err != nil {
		return nil, err
	}
	defer t.done()
	return depot.Pull(cmd.Context(), ref, want)
}
