package main

import (
	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/library"
)

func newRemove() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "rm IMAGE...",
		Short: "Remove libraries from the store",
		Long: `Remove each IMAGE, a reference or a digest (sha256: and at least eight of its digits), from the
store: for all platforms, with the directory in which the ocipkg project's crate found it. Files
that other images share stay. Nothing is removed unless all of them are there.

External repositories that Bazel has made of it keep their files.`,
		Example: `  ocipkg rm ghcr.io/acme/zlib:1.3.1
  ocipkg rm sha256:44136fa355b3`,
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			s, err := openStore()
			if err != nil {
				return err
			}
			removed, err := library.Remove(s, args...)
			if err != nil {
				return err
			}
			if out.json {
				return out.print(t, removed, "")
			}
			if err := out.print(t, nil, imageNames(removed.Images)); err != nil {
				return err
			}
			t.printf("%s freed", library.Size(removed.Bytes))
			tellInUse(t, removed)
			return nil
		},
	}
	out.add(cmd)
	return cmd
}

func tellInUse(t *talk, removed library.Removed) {
	if removed.InUse > 0 {
		t.printf("layers left because another process uses them: %d; a later `ocipkg store gc` takes them", removed.InUse)
	}
}
