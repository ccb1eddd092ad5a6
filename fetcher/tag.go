package main

import (
	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// tagged is what `ocipkg tag --json` prints.
type tagged struct {
	Digest string          `json:"digest"`          // which all of the tags name
	Images []string        `json:"images"`          // the pinned references under the new tags, in the order in which they were given
	Moved  []library.Moved `json:"moved,omitempty"` // tags that stood for something else until now
}

func newTag() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "tag IMAGE TAG...",
		Short: "Give an image more tags",
		Long: `Make each TAG of the repository of IMAGE name what IMAGE names, in the registry: an index with all
its platforms, or a manifest. Only the manifest is sent. The digest stays, so signatures and
whatever else refers to it hold for the new tags, too; the gzip manifests for the ocipkg project's
crate (TAG-TRIPLE) do not follow. A tag that exists is moved, which is said where the registry
tells.

The pinned references are printed, one a line.`,
		Example: `  ocipkg tag ghcr.io/acme/zlib:1.3.1 1.3 latest
  ocipkg tag ghcr.io/acme/zlib@sha256:… stable`,
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			ref, err := registry.ParseReference(args[0])
			if err != nil {
				return err
			}
			client, err := newClient(t)
			if err != nil {
				return err
			}
			refs, moved, err := library.Tag(cmd.Context(), client, ref, args[1:])
			tellMoved(t, moved)
			if err != nil {
				return err
			}
			result := tagged{Digest: refs[0].Digest.String(), Moved: moved}
			for _, ref := range refs {
				result.Images = append(result.Images, ref.String())
			}
			return out.print(t, result, lines(refs))
		},
	}
	out.add(cmd)
	return cmd
}

func tellMoved(t *talk, moved []library.Moved) {
	for _, m := range moved {
		t.printf("moved tag %s: it was %s", m.Tag, m.Was)
	}
}
