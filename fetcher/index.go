package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/buildfile"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/modulefile"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

func newIndex() *cobra.Command {
	var file, written string
	var check bool
	cmd := &cobra.Command{
		Use:   "index",
		Short: "Write the index by which Gazelle finds the libraries in MODULE.bazel",
		Long: `Write which label answers an #include, a name for pkg-config and a -l, for all libraries in
MODULE.bazel together. The Gazelle extension reads the file ocipkg_index.json at the root of the
repository without being told; commit it.

Only what the images say of themselves is read, from the store or the registry; no library is
fetched, but for artifacts of other tools, which say nothing. Of two libraries that have the same
header the one that MODULE.bazel declares first answers.

With --check nothing is written, and the exit status is 1 where the file is not what would be.`,
		Example: `  ocipkg index
  ocipkg index --check           # in CI
  ocipkg index --output -        # to standard output`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := newTalk(cmd)
			data, err := os.ReadFile(file)
			if err != nil {
				return &diagnostic.Error{Kind: diagnostic.NotFound, What: "read " + file, Err: err, Do: "run it where MODULE.bazel is, or name the file with --file"}
			}
			module, err := modulefile.Parse(file, data)
			if err != nil {
				return err
			}
			depot, err := newDepot(t, "index")
			if err != nil {
				return err
			}
			var indexes []buildfile.Index
			for _, l := range module.Libraries {
				what := fmt.Sprintf("index %s:%d", file, l.Line)
				if !artifact.ValidLibraryName(l.Name) {
					return &diagnostic.Error{Kind: diagnostic.Usage, What: what, Why: "the library has no name that can be read", Do: `write name = "…" as one plain string`}
				}
				ref, err := registry.ParseReference(l.Image)
				if err != nil {
					return diagnostic.Wrap(err, "%s", what)
				}
				targets, err := depot.Index(cmd.Context(), ref, artifact.HostTriple(), declared(l))
				if err != nil {
					return diagnostic.Wrap(err, "%s", what)
				}
				indexes = append(indexes, buildfile.Index{Repository: l.Repository, Targets: targets})
			}
			index, err := buildfile.JoinIndexes(indexes)
			if err != nil {
				return err
			}
			if written == "-" {
				return (&output{}).print(t, nil, string(index))
			}
			t.done()
			was, err := os.ReadFile(written)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return &diagnostic.Error{Kind: diagnostic.NotFound, What: "read " + written, Err: err}
			}
			if err == nil && bytes.Equal(was, index) {
				t.printf("%s: as it should be, for %d libraries", written, len(indexes))
				return nil
			}
			if check {
				return &diagnostic.Error{Kind: diagnostic.Failure, What: "check " + written, Why: "it is not the index of the libraries in " + file, Do: "run `ocipkg index` and commit the result"}
			}
			if errors.Is(err, fs.ErrNotExist) {
				err = os.WriteFile(written, index, 0o644)
			} else {
				err = replaceFile(written, index)
			}
			if err != nil {
				return &diagnostic.Error{Kind: diagnostic.Failure, What: "write " + written, Err: err}
			}
			t.printf("%s: written, for %d libraries", written, len(indexes))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "file", "MODULE.bazel", "the file that declares the libraries")
	f.StringVarP(&written, "output", "o", "ocipkg_index.json", `the file to write; "-" is standard output`)
	f.BoolVar(&check, "check", false, "write nothing, and exit with 1 where something would have to be written")
	return cmd
}

// declared is what a declaration says that changes how headers are included.
func declared(l modulefile.Library) library.Declaration {
	decl := library.Declaration{Name: l.Name, Components: l.Strings("components"), Includes: l.Strings("includes")}
	if prefix := l.Strings("strip_include_prefix"); len(prefix) == 1 {
		decl.StripIncludePrefix = prefix[0]
	}
	return decl
}
