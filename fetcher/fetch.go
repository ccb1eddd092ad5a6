package main

import (
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	var decl library.Declaration
	var dir, linkage string
	var repositories, mirrors, platforms []string
	var blobs string
	var lacking, ofHub bool
	cmd := &cobra.Command{
		Use:   "fetch IMAGE --name NAME --output DIR",
		Short: "Make an external repository of a library (what the Bazel rule runs)",
		Long: `Fetch the library IMAGE and lay it out in DIR as the external repository NAME, with a
BUILD.bazel and a header index. This is what ocipkg_library runs, and the flags are its attributes;
by hand, "ocipkg pull --output" is the same with better defaults. A JSON object with the pinned
reference is printed.

Of the artifacts that the library needs, each has to be named with --dep, by a label whose target
is called as the artifact is; where one is not, nothing is fetched.

With --spoke the repository serves several platforms: what is built decides which of them is
used. A spoke is a target triple, and behind a = the repository that the library for it will be
in, of which no layer is fetched now and for which the image need not have anything; without one,
the library for it is laid out in a folder called like the triple.`,
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			labels := buildfile.Repositories{}
			for _, r := range repositories {
				from, to, ok := strings.Cut(r, "=")
				if !ok {
					return &diagnostic.Error{Kind: diagnostic.Usage, What: "--repository " + r, Why: "it is not NAME=PREFIX", Do: "write --repository rules_cc=@@rules_cc+"}
				}
				labels[from] = to
			}
			ref, err := registry.ParseReference(args[0])
			if err != nil {
				return err
			}
			want, err := target.triple()
			if err != nil {
				return err
			}
			if decl.Linkage, err = parseLinkage(linkage); err != nil {
				return err
			}
			spokes, err := parseSpokes(platforms)
			if err != nil {
				return err
			}
			if len(spokes) > 0 && target.text != "" {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "--target and --spoke", Why: "a repository is for one platform or for several", Do: "give one of them"}
			}
			elsewhere, err := registry.MirrorsOf(ref, mirrors)
			if err != nil {
				return err
			}
			depot, err := newDepot(t, "pull "+ref.String(), elsewhere...)
			if err != nil {
				return err
			}
			defer t.done()
			if blobs != "" {
				depot.Kept = blobs
				return fetchBlobs(cmd, t, depot, ref, want, spokes, &decl, lacking)
			}
			if dir == "" {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "fetch " + ref.String(), Why: "no output is named", Do: "add --output DIR"}
			}
			depot.Doubt = !ofHub
			found := ref
			if len(spokes) > 0 {
				if found, err = depot.Hub(cmd.Context(), ref, dir, decl.Name, spokes, &decl, labels); err != nil {
					return err
				}
			} else {
				l, err := depot.PullDeclared(cmd.Context(), ref, want, &decl)
				if err != nil {
					return err
				}
				if _, err := library.Repository(cmd.Context(), l, dir, decl.Name, labels); err != nil {
					return err
				}
				found = l.Reference
			}
			t.done()
			out := output{json: true}
			return out.print(t, fetched{Image: found.String(), WasPinned: ref.Pinned()}, "")
		},
	}
	target.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&dir, "output", "o", "", "folder to make the repository in; must be empty or not exist")
	f.StringVar(&decl.Name, "name", "", "apparent name of the repository")
	f.StringArrayVar(&decl.Deps, "dep", nil, "label of a library that this one needs, such as @zlib; may be repeated")
	f.StringArrayVar(&decl.Components, "component", nil, "component to fetch: headers, static or shared (default: all); may be repeated")
	f.StringArrayVar(&mirrors, "mirror", nil, "place to ask before the registry, as in the configuration file; may be repeated")
	f.StringArrayVar(&decl.Includes, "include", nil, "folder to search for headers, in place of those that the artifact names; may be repeated")
	f.StringArrayVar(&decl.Defines, "define", nil, "preprocessor definition that consumers get, in place of the artifact's; may be repeated")
	f.StringArrayVar(&decl.Linkopts, "linkopt", nil, "linker flag that consumers get, in place of the artifact's; may be repeated")
	f.StringVar(&decl.StripIncludePrefix, "strip-include-prefix", "", "folder whose headers, and no others, are included by their paths in it")
	f.StringVar(&decl.BuildFile, "build-file", "", "file to take in place of a generated BUILD.bazel")
	f.StringArrayVar(&repositories, "repository", nil, "NAME=PREFIX: how labels of the repository NAME begin in the BUILD file; may be repeated")
	f.StringVar(&blobs, "blobs", "", "make no repository, but use the blobs in a folder, put there those that are fetched, and print their digests")
	f.BoolVar(&lacking, "lacking", false, "with --blobs, fetch nothing, and print what is there neither nor in the store, as far as is known")
	f.BoolVar(&ofHub, "of-hub", false, "make the repository of one of a hub's platforms: what is odd about the image was said for the hub")
	f.StringVar(&linkage, "linkage", "", "auto, static or shared: what the targets link whatever the flag //rules:linkage says")
	f.StringArrayVar(&platforms, "spoke", nil, "TRIPLE or TRIPLE=REPOSITORY: a platform to serve; may be repeated")
	cobra.CheckErr(cmd.MarkFlagRequired("name"))
	return cmd
}

// fetchedBlobs is what `ocipkg fetch --blobs` and `ocipkg index --blobs` print, for the repository rules.
type fetchedBlobs struct {
	Blobs []string `json:"blobs"` // digits of digests
}

// fetchBlobs brings a library into the store by way of a folder of blobs. The rule has Bazel's own cache fill the folder
// and takes from there what that lacks.
func fetchBlobs(cmd *cobra.Command, t *talk, depot *library.Depot, ref registry.Reference, want artifact.Triple, spokes []library.Spoke, decl *library.Declaration, lacking bool) error {
	var digests []v1.Hash
	var err error
	switch {
	case lacking && len(spokes) > 0:
		digests, err = depot.LackingHub(cmd.Context(), ref, spokes, decl)
	case lacking:
		digests, err = depot.Lacking(cmd.Context(), ref, want, decl)
	default:
		if len(spokes) > 0 {
			err = depot.PullHub(cmd.Context(), ref, spokes, decl)
		} else {
			_, err = depot.PullDeclared(cmd.Context(), ref, want, decl)
		}
		if err == nil {
			digests, err = depot.KeptBlobs()
		}
	}
	if err != nil {
		return err
	}
	return printBlobs(t, digests)
}

func printBlobs(t *talk, digests []v1.Hash) error {
	found := fetchedBlobs{Blobs: []string{}}
	for _, d := range digests {
		found.Blobs = append(found.Blobs, d.Hex)
	}
	out := output{json: true}
	return out.print(t, found, "")
}

func parseLinkage(text string) (ccplan.Linkage, error) {
	switch l := ccplan.Linkage(text); l {
	case ccplan.ByFlag, ccplan.Auto, ccplan.Static, ccplan.Shared:
		return l, nil
	}
	return "", &diagnostic.Error{Kind: diagnostic.Usage, What: "--linkage " + text, Why: "it is not auto, static or shared", Do: "write one of these three"}
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
			return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "--spoke " + text, Why: "it names no repository, or a platform for the second time", Do: "write TRIPLE or TRIPLE=REPOSITORY, each triple once"}
		}
		spokes = append(spokes, library.Spoke{Target: target, Repository: repository})
	}
	return spokes, nil
}
