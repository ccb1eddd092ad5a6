package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// pulled is what `ocipkg pull --json` prints.
type pulled struct {
	Image  string `json:"image"`            // the pinned reference
	Digest string `json:"digest"`           // of the manifest, which is not the image's where that is an index
	Target string `json:"target,omitempty"` // the triple of what was fetched; absent for headers alone
	Output string `json:"output,omitempty"` // the folder that was written; absent without --output
}

func newPull() *cobra.Command {
	var target targetFlag
	var out output
	var dir string
	cmd := &cobra.Command{
		Use:   "pull IMAGE",
		Short: "Fetch a library into the store",
		Long: `Fetch the library IMAGE into the store, verified by digest, and print its pinned reference on
standard output. What the store has already is not fetched again; a pinned image that is in the
store costs no network request.

The store then has a directory of its files, too, in which the ocipkg project's Rust crate finds
them; what that crate has fetched by itself is used after verification and not fetched again.

With --output its files are put into a folder as well, with the BUILD.bazel that they have as an
external repository, and a .bazelignore: a BUILD.bazel of your own that has globs wants it gone.
Where the file system allows, they are the store's own files under other names, and read-only: to
change one, put a copy in its place.`,
		Example: `  ocipkg pull ghcr.io/acme/zlib:1.3.1
  ocipkg pull ghcr.io/acme/zlib:1.3.1 --output third_party/zlib`,
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			if dir != "" {
				if _, err := library.Vacant(dir); err != nil {
					return diagnostic.Wrap(err, "pull %s", args[0])
				}
			}
			l, err := pull(cmd, t, args[0], target)
			if err != nil {
				return err
			}
			ref, err := registry.ParseReference(args[0])
			if err != nil {
				return err
			}
			if err := showToCrate(cmd.Context(), t, l, ref); err != nil {
				return err
			}
			if dir != "" {
				if _, err := library.Repository(cmd.Context(), l, dir, library.Name(l.Reference, l.Package.Name), nil); err != nil {
					return err
				}
				t.printf("wrote %s", dir)
			}
			return out.print(t, pulled{Image: l.Reference.String(), Digest: l.Digest.String(), Target: l.Package.Target, Output: dir}, l.Reference.String())
		},
	}
	target.add(cmd)
	out.add(cmd)
	cmd.Flags().StringVarP(&dir, "output", "o", "", "folder to put the files into; must be empty or not exist")
	return cmd
}

// showToCrate makes the view that the ocipkg crate finds. Without one, as in a store that cannot be written, the library
// is as good for everyone else.
func showToCrate(ctx context.Context, t *talk, l *library.Library, ref registry.Reference) error {
	_, err := l.View(ctx, ref)
	switch kind := diagnostic.KindOf(err); {
	case err == nil:
		return nil
	case library.SkippedView(err):
		t.printf("not shown to the ocipkg crate: %v", err)
		return nil
	case kind == diagnostic.Corrupt || kind == diagnostic.Interrupted || ctx.Err() != nil:
		return err
	}
	t.printf("the ocipkg crate will not find it: %v", err)
	return nil
}

func pull(cmd *cobra.Command, t *talk, image string, target targetFlag) (*library.Library, error) {
	ref, err := registry.ParseReference(image)
	if err != nil {
		return nil, err
	}
	want, err := target.triple()
	if err != nil {
		return nil, err
	}
	depot, err := newDepot(t, "pull "+ref.String())
	if err != nil {
		return nil, err
	}
	defer t.done()
	depot.Show, depot.Doubt = true, true
	return depot.Pull(cmd.Context(), ref, want)
}
