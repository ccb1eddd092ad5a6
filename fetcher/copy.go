package main

import (
	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/library"
)

func newCopy() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "copy IMAGE|LAYOUT IMAGE|LAYOUT",
		Short: "Copy a library and all that belongs to it between registries, archives and folders",
		Long: `Copy the library that the first argument names to the place that the second one names, byte for
byte, so that its digest and every pin of it stay right: the index, the manifests of all its
platforms, their blobs, and what belongs to any of them, which is referrers such as signatures and
bills of materials (by the referrers API or its fallback tag), cosign's tags (sha256-….sig, .att,
.sbom), and the gzip manifests for the ocipkg project's crate (TAG-TRIPLE).

Across an air gap, copy to an archive on one side and from it on the other; "ocipkg push" of such an
archive sends the library alone, without what accompanies it.

An argument is a LAYOUT where it exists as a file or folder, ends in .tar or a slash, or begins with
a dot or a slash. A destination without a tag gets the tag of the source. There is no choice of
platforms: an index without some of its manifests is another index, with another digest.

Every blob is verified. What the destination has is not sent again, so that a copy that was
interrupted is continued by running it again; an archive is written in one piece, a folder blob by
blob. Between repositories of one registry blobs are mounted. The tag is set last.

The pinned reference of the copy is printed; of a layout, the digest.`,
		Example: `  ocipkg copy ghcr.io/acme/zlib:1.3.1 zlib-1.3.1.tar
  ocipkg copy zlib-1.3.1.tar registry.internal/mirror/zlib
  ocipkg copy ghcr.io/acme/zlib@sha256:… registry.internal/mirror/zlib:1.3.1`,
		ValidArgsFunction: completeImagesAndFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			from, err := library.ParsePlace(args[0])
			if err != nil {
				return err
			}
			to, err := library.ParsePlace(args[1])
			if err != nil {
				return err
			}
			client, err := newClient(t)
			if err != nil {
				return err
			}
			copied, err := library.Copy(cmd.Context(), client, from, to, t.progress("copy "+from.String()))
			if err != nil {
				return err
			}
			t.printf("copied: %d blobs (%s, of which %s had to be sent) and %d manifests or indexes, %d of which accompany it", copied.Blobs, library.Size(copied.Size), library.Size(copied.Sent), copied.Manifests, copied.Accompanying)
			if copied.Image == "" {
				return out.print(t, copied, copied.Digest.String())
			}
			return out.print(t, copied, copied.Image)
		},
	}
	out.add(cmd)
	return cmd
}
