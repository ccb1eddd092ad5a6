package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/workspacestatus"
)

// pushedImage is what `ocipkg push --json` prints.
type pushedImage struct {
	Image        string          `json:"image"`                  // the pinned reference
	Digest       string          `json:"digest"`                 // of what the image names: a manifest, or an index of several
	Tagged       []string        `json:"tagged,omitempty"`       // the pinned references under further tags
	Targets      []string        `json:"targets,omitempty"`      // the triples of its platforms; absent for headers alone
	UpstreamTags []string        `json:"upstreamTags,omitempty"` // the pinned references of the gzip manifests, one a triple
	Moved        []library.Moved `json:"moved,omitempty"`        // tags that stood for something else until now
}

func newPush() *cobra.Command {
	var out output
	var options library.PushOptions
	var mountFrom, repository string
	var tags, status, pushedBy []string
	cmd := &cobra.Command{
		Use:   "push LAYOUT... [IMAGE]",
		Short: "Push packed artifacts to a registry",
		Long: `Push the artifact in LAYOUT, an OCI layout as "ocipkg pack" writes it (archive or folder), to
the registry and name of IMAGE. IMAGE may be left out where pack was given --image.

Several LAYOUTs, of one library and version and each for another platform, get one name: IMAGE
becomes an index of them, and whoever fetches it gets what fits. Pushing them in another order,
or from another machine, gives the same digest. To add a platform later, push all of them again;
what the registry has already is not sent again.

For each platform a second manifest of the same files, compressed with gzip, is pushed under the
tag TAG-TRIPLE, such as 1.3.1-x86_64-unknown-linux-gnu: the Rust crate of the ocipkg project
knows neither indexes nor zstd and reads that one. --no-upstream-tags leaves these out.

Where an IMAGE is put together by a program, --to says its name without a tag, and --tag
its tag; without one, the tag is the library's version. Further tags name the same image; the gzip
manifests are beside the first one alone. A tag that exists is moved, which is said where the
registry tells. {KEY} in names and tags stands for a value of the files that are given with
--workspace-status, as Bazel writes them.

What the library needs has to be in its registry: it is asked for before anything is sent.
--no-dependency-check leaves that out.

Blobs that another repository of the same registry has, such as one for builds that are not
released, need not be sent: --mount-from names it.

The pinned reference is printed on standard output.`,
		Example: `  ocipkg push zlib.tar ghcr.io/acme/zlib:1.3.1
  ocipkg push zlib-amd64.tar zlib-arm64.tar ghcr.io/acme/zlib:1.3.1
  ocipkg push zlib.tar --to ghcr.io/acme/zlib --tag 1.3.1 --tag 1.3`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			paths, image := args, ""
			last := args[len(args)-1]
			layout, err := library.IsLayout(last)
			if err != nil {
				return err
			}
			if len(args) > 1 && !layout {
				paths, image = args[:len(args)-1], last
			}
			if image != "" && repository != "" {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "push " + image, Why: "--to says something else", Do: "name one of them; to add tags to an image, give them with --tag"}
			}
			var layouts []*artifact.Layout
			for _, p := range paths {
				layout, err := artifact.OpenLayout(p)
				if err != nil {
					return err
				}
				defer layout.Close()
				layouts = append(layouts, layout)
			}
			values, err := workspacestatus.Read(status)
			if err != nil {
				return err
			}
			for _, text := range append([]*string{&image, &repository}, pointers(tags)...) {
				if *text, err = values.Expand(*text); err != nil {
					return err
				}
			}
			more := tags
			if repository != "" {
				if image, more, err = library.ImageIn(repository, tags, layouts); err != nil {
					return err
				}
			}
			if image == "" {
				if image, err = library.ImageOf(layouts); err != nil {
					return err
				}
			}
			if image == "" {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "push " + paths[0], Why: "no image is named, and the layout names none", Do: "say where to: ocipkg push " + strings.Join(paths, " ") + " REGISTRY/NAME:TAG"}
			}
			ref, err := registry.ParseReference(image)
			if err != nil {
				return err
			}
			if err := library.CheckTags(registry.Reference{Repository: ref.Repository}, more); err != nil {
				return err
			}
			if mountFrom != "" {
				from, err := registry.ParseReference(mountFrom)
				if err != nil {
					return err
				}
				options.MountFrom = from.Repository
			}
			options.PushedBy = map[string]string{}
			for _, text := range pushedBy {
				name, command, ok := strings.Cut(text, "=")
				if !ok {
					return &diagnostic.Error{Kind: diagnostic.Usage, What: "--pushed-by " + text, Why: "it is not NAME=COMMAND", Do: "write --pushed-by 'zlib=bazel run //zlib:push'"}
				}
				options.PushedBy[name] = command
			}
			options.Progress = t.progress("push " + ref.String())
			client, err := newClient(t)
			if err != nil {
				return err
			}
			pushed, err := library.Push(cmd.Context(), client, layouts, ref, options)
			if err != nil {
				return err
			}
			if len(pushed.Targets) > 1 {
				t.printf("pushed for %s", strings.Join(pushed.Targets, ", "))
			}
			result := pushedImage{Image: pushed.Reference.String(), Digest: pushed.Reference.Digest.String(), Targets: pushed.Targets, Moved: pushed.Moved}
			for _, beside := range pushed.UpstreamTags {
				t.printf("for the ocipkg crate: %s", registry.Reference{Repository: beside.Repository, Tag: beside.Tag})
				result.UpstreamTags = append(result.UpstreamTags, beside.String())
			}
			if len(more) > 0 {
				tagged, moved, err := library.Tag(cmd.Context(), client, pushed.Reference, more)
				result.Moved = append(result.Moved, moved...)
				if err != nil {
					tellMoved(t, result.Moved) // these have moved, whatever became of the others
					return err
				}
				for _, ref := range tagged {
					t.printf("tagged %s", registry.Reference{Repository: ref.Repository, Tag: ref.Tag})
					result.Tagged = append(result.Tagged, ref.String())
				}
			}
			tellMoved(t, result.Moved)
			t.printf("pushed; in MODULE.bazel:\n  %s", library.ModuleLine(pushed.Reference, pushed.Name, pushed.Needs...))
			if len(pushed.Needs) > 0 {
				t.printf("with what it needs: ocipkg add %s", pushed.Reference)
			}
			return out.print(t, result, pushed.Reference.String())
		},
	}
	out.add(cmd)
	cmd.Flags().StringVar(&repository, "to", "", "name of the image without a tag, in place of IMAGE")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "tag of --to, or a further one of IMAGE; may be repeated")
	cmd.Flags().StringArrayVar(&status, "workspace-status", nil, "file with the values of {KEY}; may be repeated")
	cmd.Flags().StringVar(&mountFrom, "mount-from", "", "repository of the same registry that may have the blobs, such as ghcr.io/acme/zlib-ci")
	cmd.Flags().BoolVar(&options.NoUpstreamTags, "no-upstream-tags", false, "push no gzip manifests for the ocipkg project's crate")
	cmd.Flags().BoolVar(&options.Unchecked, "no-dependency-check", false, "push although what the library needs may not be where it says")
	cmd.Flags().StringArrayVar(&pushedBy, "pushed-by", nil, "NAME=COMMAND: what pushes a dependency, for the message where it is not there; may be repeated")
	return cmd
}

func pointers(texts []string) []*string {
	all := make([]*string, len(texts))
	for i := range texts {
		all[i] = &texts[i]
	}
	return all
}
