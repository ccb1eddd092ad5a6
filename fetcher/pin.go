package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/modulefile"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// pinned is an element of the array that `ocipkg pin --json` prints: a library whose image changes or, with --check,
// would have to.
type pinned struct {
	Name  string `json:"name"`
	File  string `json:"file"`
	Line  int    `json:"line"`            // from 1, of the declaration
	Was   string `json:"was"`             // the image that the file has
	Image string `json:"image,omitempty"` // the image that it gets; absent with --check, which asks nobody, unless --update is there
}

// nameTheFile is what to do where the file of --file cannot be read.
const nameTheFile = "run it where MODULE.bazel is, or name the file with --file"

func newPin() *cobra.Command {
	var update, dryRun, check bool
	var file string
	var out output
	cmd := &cobra.Command{
		Use:   "pin [NAME...]",
		Short: "Write digests into MODULE.bazel",
		Long: `Ask the registries what the tags of the libraries in MODULE.bazel point to, and write the
digests behind the tags. Only the image strings change; comments and formatting stay. NAMEs
restrict it to those libraries. The images that change are printed.

Images that have a digest are left alone; with --update their tags are looked up anew. Of a digest
that seems to be another library's, as far as the store knows it, there is a warning.

With --dry-run nothing is written, and the change is printed as a diff. With --check nothing is
written either, and the exit status is 1 where an image has no digest, or, with --update, where
one's tag has moved on; without --update that asks no registry.`,
		Example: `  ocipkg pin
  ocipkg pin --update zlib
  ocipkg pin --check           # in CI`,
		ValidArgsFunction: completeLibraries,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			if check && dryRun {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "pin", Why: "--check and --dry-run print different things", Do: "give one of them; neither writes"}
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return &diagnostic.Error{Kind: diagnostic.NotFound, What: "read " + file, Err: err, Do: nameTheFile}
			}
			module, err := modulefile.Parse(file, data)
			if err != nil {
				return err
			}
			if len(module.Libraries) == 0 {
				return &diagnostic.Error{Kind: diagnostic.NotFound, What: "pin " + file, Why: "it declares no libraries", Do: `declare one: ocipkg_library = use_repo_rule("@rules_ocipkg//rules:defs.bzl", "ocipkg_library")`}
			}
			var images map[int]string
			if check && !update {
				images, err = module.Unpinned(args)
			} else {
				var client *registry.Client
				if client, err = newClient(t); err == nil {
					images, err = module.Pin(cmd.Context(), client, args, update)
				}
			}
			if err != nil {
				return err
			}
			warnOfDoubts(t, module, args, update)
			changes := []pinned{} // an empty array, not null
			var text strings.Builder
			for _, i := range slices.Sorted(maps.Keys(images)) {
				l := module.Libraries[i]
				changes = append(changes, pinned{Name: l.Name, File: file, Line: l.Line, Was: l.Image, Image: images[i]})
				shown := images[i]
				if shown == "" {
					shown = l.Image + " has no digest"
				}
				fmt.Fprintf(&text, "%s:%d: %s: %s\n", file, l.Line, l.Name, shown)
			}
			switch {
			case len(images) == 0:
				t.printf("%s: every image has a digest", file)
			case dryRun:
				text.Reset()
				text.WriteString(module.Replace(images).Diff())
			case !check:
				if err := replaceFile(file, module.Replace(images).Bytes()); err != nil {
					return err
				}
			}
			if err := out.print(t, changes, text.String()); err != nil {
				return err
			}
			if check && len(images) > 0 {
				return &diagnostic.Error{Kind: diagnostic.Failure, What: "check " + file, Why: fmt.Sprintf("%d of %d images are not pinned as they should be", len(images), len(module.Libraries)), Do: "run `ocipkg pin" + map[bool]string{true: " --update"}[update] + "` and commit the result"}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "file", "MODULE.bazel", "the file to rewrite")
	f.BoolVar(&update, "update", false, "move the pins of images that have a tag and a digest")
	f.BoolVar(&dryRun, "dry-run", false, "print what would be written as a diff, and write nothing")
	f.BoolVar(&check, "check", false, "write nothing, and exit with 1 where something would have to be written")
	out.add(cmd)
	return cmd
}

// warnOfDoubts warns of digests that are left as they are and seem to be of something else, as far as the store knows. Who
// pins does not wait for registries that need not be asked, and a fetch says the same.
func warnOfDoubts(t *talk, module *modulefile.File, names []string, update bool) {
	s, err := existingStore()
	if err != nil || s == nil {
		return // what is needed of the store, others tell
	}
	for _, l := range module.Libraries {
		if len(names) > 0 && !slices.Contains(names, l.Name) {
			continue
		}
		ref, err := registry.ParseReference(l.Image)
		if err != nil || !ref.Pinned() || update && ref.Tag != "" {
			continue
		}
		if doubt := library.DoubtStored(s, ref, l.Name); doubt != "" {
			t.warnf("%s", doubt)
		}
	}
}

// replaceFile replaces a file's content at one instant and keeps its mode.
func replaceFile(name string, data []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".MODULE.bazel.*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

var _ modulefile.Resolver = (*registry.Client)(nil)
