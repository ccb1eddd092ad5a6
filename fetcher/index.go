package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/buildfile"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/modulefile"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// indexed is what `ocipkg index --json` prints; the repository rule of the index that Gazelle has watches these files.
type indexed struct {
	Files     []string `json:"files"`
	Libraries int      `json:"libraries"`
	Output    string   `json:"output"`
}

func (i indexed) print(t *talk, out output) error {
	if !out.json {
		return nil
	}
	return out.print(t, i, "")
}

func newIndex() *cobra.Command {
	var file, written string
	var check bool
	var blobs string
	var lacking bool
	var mirrors []string
	var out output
	cmd := &cobra.Command{
		Use:   "index",
		Short: "Write the index by which Gazelle finds the libraries in MODULE.bazel",
		Long: `Write which label answers an #include, a name for pkg-config and a -l, for all libraries in
MODULE.bazel and the files that it includes together. Bazel makes this index by itself for a
Gazelle that it runs. In a file ocipkg_index.json at the root of the repository, which the Gazelle
extension reads in its place, it is there for every other Gazelle too, and without a registry.

Only what the images say of themselves is read, from the store or the registry; no library is
fetched, but for artifacts of other tools, which say nothing. Of two libraries that have the same
header the one that MODULE.bazel declares first answers.

With --check nothing is written, and the exit status is 1 where the file is not what would be.`,
		Example: `  ocipkg index
  ocipkg index --check           # in CI
  ocipkg index --output -        # to standard output`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := newTalk(cmd)
			if out.json && written == "-" {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "index", Why: "--json and --output - both print", Do: "give one of them"}
			}
			files, err := modulefile.Read(file, nameTheFile)
			if err != nil {
				return err
			}
			in := indexing{t: t, root: filepath.Dir(file), kept: blobs}
			if err := in.addMirrors(mirrors); err != nil {
				return err
			}
			if blobs != "" {
				return in.blobs(cmd.Context(), files, lacking)
			}
			done := indexed{Output: written}
			var indexes []buildfile.Index
			for _, module := range files {
				done.Files = append(done.Files, module.Path())
				for _, l := range module.Libraries {
					what := where(module, l)
					if !artifact.ValidLibraryName(l.Name) {
						return &diagnostic.Error{Kind: diagnostic.Usage, What: what, Why: "the library has no name that can be read", Do: `write name = "…" as one plain string`}
					}
					targets, err := in.of(cmd.Context(), l)
					if err != nil {
						return diagnostic.Wrap(err, "%s", what)
					}
					indexes = append(indexes, buildfile.Index{Repository: l.Repository, Targets: targets})
				}
			}
			done.Libraries = len(indexes)
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
				return done.print(t, out)
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
			return done.print(t, out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "file", "MODULE.bazel", "the file that declares the libraries")
	f.StringVarP(&written, "output", "o", "ocipkg_index.json", `the file to write; "-" is standard output`)
	f.BoolVar(&check, "check", false, "write nothing, and exit with 1 where something would have to be written")
	f.StringArrayVar(&mirrors, "mirror", nil, "DIGEST=PLACE: place to ask for the image with a digest, besides those in the file; may be repeated")
	f.StringVar(&blobs, "blobs", "", "write no index, but use the blobs in a folder, put there those that are read for pinned images, and print their digests")
	f.BoolVar(&lacking, "lacking", false, "with --blobs, ask nobody, and print what is there neither nor in the store, as far as is known")
	out.add(cmd)
	return cmd
}

func where(module *modulefile.File, l modulefile.Library) string {
	return fmt.Sprintf("index %s:%d", module.Path(), l.Line)
}

// indexing is how the images of one MODULE.bazel are read.
type indexing struct {
	t       *talk
	root    string              // the folder of the root module's MODULE.bazel
	mirrors map[string][]string // by digest, besides those of the declarations
	kept    string              // the folder of --blobs
}

func (in *indexing) addMirrors(texts []string) error {
	in.mirrors = map[string][]string{}
	for _, text := range texts {
		digest, place, ok := strings.Cut(text, "=")
		if !ok {
			return &diagnostic.Error{Kind: diagnostic.Usage, What: "--mirror " + text, Why: "it is not DIGEST=PLACE", Do: "write --mirror sha256:…=mirror.example.com:5000"}
		}
		in.mirrors[digest] = append(in.mirrors[digest], place)
	}
	return nil
}

// open gives what reads the image of a library.
func (in *indexing) open(l modulefile.Library) (*library.Depot, registry.Reference, artifact.Triple, error) {
	var want artifact.Triple
	ref, err := registry.ParseReference(l.Image)
	if err != nil {
		return nil, ref, want, err
	}
	root, err := filepath.Abs(in.root)
	if err != nil {
		return nil, ref, want, err
	}
	var places []string
	for _, place := range append(l.Strings("mirrors"), in.mirrors[ref.Digest.String()]...) {
		if place = strings.ReplaceAll(place, "%workspace%", filepath.ToSlash(root)); !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	mirrors, err := registry.MirrorsOf(ref, places)
	if err != nil {
		return nil, ref, want, err
	}
	if want, err = targetOf(l); err != nil {
		return nil, ref, want, err
	}
	depot, err := newDepot(in.t, "index", mirrors...)
	if err != nil {
		return nil, ref, want, err
	}
	depot.Kept = in.kept
	return depot, ref, want, nil
}

// of is what the repository of a library answers to.
func (in *indexing) of(ctx context.Context, l modulefile.Library) (map[string]string, error) {
	depot, ref, want, err := in.open(l)
	if err != nil {
		return nil, err
	}
	return depot.Index(ctx, ref, want, declared(l))
}

// blobs is for indexes what fetchBlobs is for a library. Of what a tag points to nobody but the registry knows.
func (in *indexing) blobs(ctx context.Context, files []*modulefile.File, lacking bool) error {
	defer in.t.done()
	var all []v1.Hash
	for _, module := range files {
		for _, l := range module.Libraries {
			depot, ref, want, err := in.open(l)
			switch {
			case err != nil || !ref.Pinned():
			case lacking:
				var found []v1.Hash
				found, err = depot.LackingIndex(ctx, ref, want)
				all = append(all, found...)
			default:
				_, err = depot.Index(ctx, ref, want, declared(l))
			}
			if err != nil {
				return diagnostic.Wrap(err, "%s", where(module, l))
			}
		}
	}
	if !lacking {
		var err error
		if all, err = (&library.Depot{Kept: in.kept}).KeptBlobs(); err != nil {
			return err
		}
	}
	slices.SortFunc(all, func(a, b v1.Hash) int { return strings.Compare(a.Hex, b.Hex) })
	return printBlobs(in.t, slices.Compact(all))
}

// targetOf is a platform that a library is declared for, which is asked of images that do not say whose they are: the
// first of several, and this one where none is named.
func targetOf(l modulefile.Library) (artifact.Triple, error) {
	for _, target := range append(l.Strings("target"), l.Strings("platforms")...) {
		return artifact.ParseTriple(target)
	}
	return artifact.HostTriple(), nil
}

// declared is what a declaration says that changes how headers are included.
func declared(l modulefile.Library) library.Declaration {
	decl := library.Declaration{Name: l.Name, Components: l.Strings("components"), Includes: l.Strings("includes")}
	if prefix := l.Strings("strip_include_prefix"); len(prefix) == 1 {
		decl.StripIncludePrefix = prefix[0]
	}
	return decl
}
