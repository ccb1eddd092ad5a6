package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

func newInspect() *cobra.Command {
	var target targetFlag
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect IMAGE|LAYOUT",
		Short: "Show what a library is",
		Long: `Show what the library IMAGE, or the packed artifact LAYOUT (an archive or folder), consists of:
platform, libraries with SONAME and symbol-version floors, sizes. Only the description is read;
of an artifact that the ocipkg project's own tools wrote, which has none, the files are fetched
and measured.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			want, err := target.triple()
			if err != nil {
				return err
			}
			var l *library.Library
			if _, err := os.Stat(args[0]); err == nil {
				l, err = library.Open(args[0])
				if err != nil {
					return err
				}
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			} else {
				ref, err := registry.ParseReference(args[0])
				if err != nil {
					return err
				}
				depot, err := newDepot(newTalk(cmd), "inspect "+ref.String())
				if err != nil {
					return err
				}
				if l, err = depot.Describe(cmd.Context(), ref, want); err != nil {
					return err
				}
				if l.Package == nil {
					if l, err = depot.Pull(cmd.Context(), ref, want); err != nil {
						return err
					}
				}
			}
			if asJSON {
				enc := json.NewEncoder(os.Stdout)
				enc.SetEscapeHTML(false)
				enc.SetIndent("", "  ")
				return enc.Encode(struct {
					Digest   string            `json:"digest"`
					Manifest artifact.Manifest `json:"manifest"`
					Package  *artifact.Package `json:"package"`
				}{l.Digest.String(), l.Manifest, l.Package})
			}
			fmt.Print(l.Summary())
			return nil
		},
	}
	target.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
