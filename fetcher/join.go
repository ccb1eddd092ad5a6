package main

import (
	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
)

// joinedLayout is what `ocipkg join --json` prints.
type joinedLayout struct {
	Digest  string   `json:"digest"`  // of the index
	Layout  string   `json:"layout"`  // the archive or folder that was written
	Targets []string `json:"targets"` // the triples of its platforms, in the order of the layouts
}

func newJoin() *cobra.Command {
	var out output
	var output, digestFile string
	cmd := &cobra.Command{
		Use:   "join LAYOUT... -o OUTPUT",
		Short: "Join artifacts of several platforms into one layout",
		Long: `Write one layout with the artifacts of all LAYOUTs, which are of one library and version and each
for another platform, and an index of them: what "ocipkg push LAYOUT..." makes of them, as a file.
Pushing it gives the same digest. OUTPUT is a tar archive where it ends in .tar, else a folder.

The index does not depend on the order of the layouts.`,
		Example: `  ocipkg join zlib-amd64.tar zlib-arm64.tar -o zlib.tar
  ocipkg push zlib.tar ghcr.io/acme/zlib:1.3.1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			if output == "" {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "join " + args[0], Why: "no output is named", Do: "add -o NAME.tar"}
			}
			desc, targets, err := library.Join(args, output)
			if err != nil {
				return err
			}
			result := joinedLayout{Digest: desc.Digest.String(), Layout: output, Targets: targets}
			t.printf("wrote %s", output)
			return out.printDigest(t, digestFile, result, result.Digest)
		},
	}
	out.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "where to write: NAME.tar or a folder")
	cmd.Flags().StringVar(&digestFile, "digest-file", "", "file to write the digest to, in place of standard output")
	return cmd
}
