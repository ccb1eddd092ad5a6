package main

import (
	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// pushedImage is what `ocipkg push --json` prints.
type pushedImage struct {
	Image  string `json:"image"`  // the pinned reference
	Digest string `json:"digest"` // of what the image names
}

func newPush() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "push LAYOUT [IMAGE]",
		Short: "Push a packed artifact to a registry",
		Long: `Push the artifact in LAYOUT, an OCI layout as "ocipkg pack" writes it (archive or folder), to
the registry and name of IMAGE. IMAGE may be left out where pack was given --tag.

What the registry has already is not sent again. The pinned reference is printed on standard
output.`,
		Example: `  ocipkg push zlib.tar ghcr.io/acme/zlib:1.3.1`,
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			layout, err := artifact.OpenLayout(args[0])
			if err != nil {
				return err
			}
			defer layout.Close()
			_, image, err := layout.Manifest()
			if err != nil {
				return err
			}
			if len(args) == 2 {
				image = args[1]
			}
			if image == "" {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "push " + args[0], Why: "no image is named, and the layout names none", Do: "say where to: ocipkg push " + args[0] + " REGISTRY/NAME:TAG"}
			}
			ref, err := registry.ParseReference(image)
			if err != nil {
				return err
			}
			pinned, err := library.Push(cmd.Context(), newClient(t), layout, ref, t.progress("push "+ref.String()))
			if err != nil {
				return err
			}
			t.printf("pushed; in MODULE.bazel:\n  ocipkg_library(name = %q, image = %q)", library.Name(ref), pinned)
			return out.print(t, pushedImage{Image: pinned.String(), Digest: pinned.Digest.String()}, pinned.String())
		},
	}
	out.add(cmd)
	return cmd
}
