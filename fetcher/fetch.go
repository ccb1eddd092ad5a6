package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/buildfile"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// fetched is what `ocipkg fetch` prints, for the repository rule.
type fetched struct {
	Image     string `json:"image"`     // the pinned reference
	WasPinned bool   `json:"wasPinned"` // whether the reference had a digest when it was asked for
}

func newFetch() *cobra.Command {
	var target targetFlag
	var dir, name string
	var repositories []string
	cmd := &cobra.Command{
		Use:   "fetch IMAGE --name NAME --output DIR",
		Short: "Make an external repository of a library (what the Bazel rule runs)",
		Long: `Fetch the library IMAGE and lay it out in DIR as the external repository NAME, with a
BUILD.bazel and a header index. This is what ocipkg_library runs; by hand, "ocipkg pull --output"
is the same with better defaults. A JSON object with the pinned reference is printed.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			labels := buildfile.Repositories{}
			for _, r := range repositories {
				from, to, ok := strings.Cut(r, "=")
				if !ok {
					return &diagnostic.Error{Kind: diagnostic.Usage, What: "--repository " + r, Why: "it is not NAME=PREFIX"}
				}
				labels[from] = to
			}
			ref, err := registry.ParseReference(args[0])
			if err != nil {
				return err
			}
			l, err := pull(cmd, t, args[0], target)
			if err != nil {
				return err
			}
			if _, err := library.Repository(cmd.Context(), l, dir, name, labels); err != nil {
				return err
			}
			out := output{json: true}
			return out.print(t, fetched{Image: l.Reference.String(), WasPinned: ref.Pinned()}, "")
		},
	}
	target.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&dir, "output", "o", "", "folder to make the repository in; must be empty or not exist")
	f.StringVar(&name, "name", "", "apparent name of the repository")
	f.StringArrayVar(&repositories, "repository", nil, "NAME=PREFIX: how labels of the repository NAME begin in the BUILD file; may be repeated")
	cobra.CheckErr(cmd.MarkFlagRequired("output"))
	cobra.CheckErr(cmd.MarkFlagRequired("name"))
	return cmd
}
