package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/buildfile"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
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
	var dir, name, linkage string
	var repositories, platforms []string
	cmd := &cobra.Command{
		Use:   "fetch IMAGE --name NAME --output DIR",
		Short: "Make an external repository of a library (what the Bazel rule runs)",
		Long: `Fetch the library IMAGE and lay it out in DIR as the external repository NAME, with a
BUILD.bazel and a header index. This is what ocipkg_library runs; by hand, "ocipkg pull --output"
is the same with better defaults. A JSON object with the pinned reference is printed.

With --spoke the repository serves several platforms: what is built decides which of them is
used. A spoke is a target triple, and behind a = the repository that the library for it will be
in, of which no layer is fetched now and for which the image need not have anything; without one,
the library for it is laid out in a folder called like the triple.`,
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
			as, err := parseLinkage(linkage)
			if err != nil {
				return err
			}
			spokes, err := parseSpokes(platforms)
			if err != nil {
				return err
			}
			if len(spokes) > 0 && target.text != "" {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "--target and --spoke", Why: "a repository is for one platform or for several", Do: "give one of them"}
			}
			found := ref
			if len(spokes) > 0 {
				depot, err := newDepot(t, "pull "+ref.String())
				if err != nil {
					return err
				}
				defer t.done()
				if found, err = depot.Hub(cmd.Context(), ref, dir, name, spokes, as, labels); err != nil {
					return err
				}
			} else {
				l, err := pull(cmd, t, args[0], target)
				if err != nil {
					return err
				}
				l.Linkage = as
				if _, err := library.Repository(cmd.Context(), l, dir, name, labels); err != nil {
					return err
				}
				found = l.Reference
			}
			out := output{json: true}
			return out.print(t, fetched{Image: found.String(), WasPinned: ref.Pinned()}, "")
		},
	}
	target.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&dir, "output", "o", "", "folder to make the repository in; must be empty or not exist")
	f.StringVar(&name, "name", "", "apparent name of the repository")
	f.StringArrayVar(&repositories, "repository", nil, "NAME=PREFIX: how labels of the repository NAME begin in the BUILD file; may be repeated")
	f.StringVar(&linkage, "linkage", "", "auto, static or shared: what the targets link whatever the flag //rules:linkage says")
	f.StringArrayVar(&platforms, "spoke", nil, "TRIPLE or TRIPLE=REPOSITORY: a platform to serve; may be repeated")
	cobra.CheckErr(cmd.MarkFlagRequired("output"))
	cobra.CheckErr(cmd.MarkFlagRequired("name"))
	return cmd
}

func parseLinkage(text string) (ccplan.Linkage, error) {
	switch l := ccplan.Linkage(text); l {
	case ccplan.ByFlag, ccplan.Auto, ccplan.Static, ccplan.Shared:
		return l, nil
	}
	return "", &diagnostic.Error{Kind: diagnostic.Usage, What: "--linkage " + text, Why: "it is not auto, static or shared"}
}

func parseSpokes(texts []string) ([]library.Spoke, error) {
	var spokes []library.Spoke
	for _, text := range texts {
		triple, repository, elsewhere := strings.Cut(text, "=")
		target, err := artifact.ParseTriple(triple)
		if err != nil {
			return nil, err
		}
		if elsewhere && repository == "" || slices.ContainsFunc(spokes, func(s library.Spoke) bool { return s.Target == target }) {
			return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "--spoke " + text, Why: "it names no repository, or a platform for the second time"}
		}
		spokes = append(spokes, library.Spoke{Target: target, Repository: repository})
	}
	return spokes, nil
}
