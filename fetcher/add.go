package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/modulefile"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

func newAdd() *cobra.Command {
	var dryRun, keep bool
	var file, name string
	var out output
	cmd := &cobra.Command{
		Use:   "add IMAGE",
		Short: "Declare a library and all that it needs in MODULE.bazel",
		Long: `Write into MODULE.bazel the library IMAGE, pinned, and every library that it needs, each with its
deps: as ocipkg_library, or as tags of the module extension and names in its use_repo where the
file declares libraries so. What was there stays, comments and formatting included.

A library that is declared already is recognised by its digest, whatever it is called there; it
gets what its deps lack, and its digest if it has only a tag. So it does no harm to run it twice.
One that is declared with other content is an error; --keep leaves those that others need as they
are, which is right as long as they have the SONAMEs that are needed: the build says so if not.`,
		Example: `  ocipkg add ghcr.io/acme/curl:8.5.0
  ocipkg add ghcr.io/acme/curl:8.5.0 --dry-run | patch -p0`,
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			data, err := os.ReadFile(file)
			if err != nil {
				return &diagnostic.Error{Kind: diagnostic.NotFound, What: "read " + file, Err: err, Do: nameTheFile}
			}
			module, err := modulefile.Parse(file, data)
			if err != nil {
				return err
			}
			ref, err := registry.ParseReference(args[0])
			if err != nil {
				return err
			}
			if name != "" && name != modulefile.RepositoryName(name) {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "--name " + name, Why: "a repository cannot be called so", Do: "write it with letters, digits, _ and -, and begin with a letter"}
			}
			depot, err := newDepot(t, "add "+ref.String())
			if err != nil {
				return err
			}
			defer t.done()
			if !ref.Pinned() {
				found, err := depot.Registry.Resolve(cmd.Context(), ref)
				if err != nil {
					return err
				}
				ref = ref.WithDigest(found.Digest)
			}
			change, added, err := module.Add(modulefile.Wanted{Name: name, Image: ref}, keep, func(image registry.Reference) (string, []artifact.Dependency, error) {
				return depot.Needs(cmd.Context(), image)
			})
			if err != nil {
				return err
			}
			var text strings.Builder
			for _, a := range added {
				fmt.Fprintf(&text, "%s: %s: %s: %s\n", file, a.Name, a.Done, a.Image)
			}
			switch {
			case dryRun:
				text.Reset()
				text.WriteString(change.Diff())
			case change.Empty():
				t.printf("%s: everything is declared as it should be", file)
			default:
				if err := replaceFile(file, change.Bytes()); err != nil {
					return err
				}
			}
			return out.print(t, added, text.String())
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "name of the library's repository (default: that of its package)")
	f.StringVar(&file, "file", "MODULE.bazel", "the file to change")
	f.BoolVar(&dryRun, "dry-run", false, "print what would be written as a diff, and write nothing")
	f.BoolVar(&keep, "keep", false, "leave libraries that others need with the images that they are declared with")
	out.add(cmd)
	return cmd
}
