package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/modulefile"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

func newPin() *cobra.Command {
	var update, dryRun bool
	var file string
	cmd := &cobra.Command{
		Use:   "pin [NAME...]",
		Short: "Write digests into MODULE.bazel",
		Long: `Ask the registries what the tags of the libraries in MODULE.bazel point to, and write the
digests behind the tags. Only the image strings change; comments and formatting stay. NAMEs
restrict it to those libraries.

Images that have a digest are left alone; with --update their tags are looked up anew.`,
		Example: `  ocipkg pin
  ocipkg pin --update zlib`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			data, err := os.ReadFile(file)
			if err != nil {
				return &diagnostic.Error{Kind: diagnostic.NotFound, What: "read " + file, Err: err, Do: "run it where MODULE.bazel is, or name the file with --file"}
			}
			module, err := modulefile.Parse(file, data)
			if err != nil {
				return err
			}
			if len(module.Libraries) == 0 {
				return &diagnostic.Error{Kind: diagnostic.NotFound, What: "pin " + file, Why: "it declares no libraries", Do: `declare one: ocipkg_library = use_repo_rule("@rules_ocipkg//rules:defs.bzl", "ocipkg_library")`}
			}
			client, err := newClient(t)
			if err != nil {
				return err
			}
			images, err := module.Pin(cmd.Context(), client, args, update)
			if err != nil {
				return err
			}
			for i, image := range images {
				fmt.Printf("%s:%d: %s: %s\n", file, module.Libraries[i].Line, module.Libraries[i].Name, image)
			}
			if len(images) == 0 {
				t.printf("%s: every image is pinned as it should be", file)
			}
			if dryRun || len(images) == 0 {
				return nil
			}
			return replaceFile(file, module.Replace(images))
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "file", "MODULE.bazel", "the file to rewrite")
	f.BoolVar(&update, "update", false, "move the pins of images that have a tag and a digest")
	f.BoolVar(&dryRun, "dry-run", false, "print what would be written, and write nothing")
	return cmd
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
