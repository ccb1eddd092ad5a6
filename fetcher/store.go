package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
)

func newStore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store COMMAND",
		Short: "Look after the store",
		Long: `The store keeps what was fetched, for all projects of a user: in $XDG_DATA_HOME/ocipkg, or where
OCIPKG_STORE says. "ocipkg list" shows what is in it, "ocipkg rm" removes an image. All of these
can run while others fetch and build.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStorePath(), newStoreGC(), newStoreVerify())
	return cmd
}

func newStorePath() *cobra.Command {
	var target targetFlag
	var out output
	cmd := &cobra.Command{
		Use:   "path IMAGE",
		Short: "Print the directory with the files of a library in the store",
		Long: `Print the directory that has the files of IMAGE, a reference or a digest, for scripts and other
build systems. It is read-only, and there until the image is removed. Nothing is fetched, but what
of it was damaged: an image that is not in the store is an error (exit status 3).`,
		Example:           `  cc app.c -I"$(ocipkg store path ghcr.io/acme/zlib:1.3.1)/include"`,
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			want, err := target.triple()
			if err != nil {
				return err
			}
			t := newTalk(cmd)
			depot, err := newDepot(t, "")
			if err != nil {
				return err
			}
			l, dir, err := depot.Locate(cmd.Context(), args[0], want)
			if err != nil {
				return err
			}
			if out.json {
				trees := []string{}
				for _, tree := range l.Trees {
					trees = append(trees, tree.Path())
				}
				return out.print(t, struct {
					Image string   `json:"image"`
					Path  string   `json:"path"`
					Trees []string `json:"trees"` // one a layer
				}{l.Reference.String(), dir, trees}, "")
			}
			return out.print(t, nil, dir)
		},
	}
	target.add(cmd)
	out.add(cmd)
	return cmd
}

func newStoreGC() *cobra.Command {
	var olderThan, maxSize string
	var dryRun bool
	var out output
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove from the store what has not been used for long",
		Long: `Remove libraries that have not been used for 30 days, or for as long as --older-than says. With
--max-size, what was used longest ago goes until the rest fits; with both, whatever either names.

What another process is using stays, and so does what an external repository on the same file
system is linked to, since its bytes would stay on the disk anyway. External repositories keep
their files in any case.`,
		Example: `  ocipkg store gc --older-than 7d
  ocipkg store gc --max-size 10GiB --dry-run`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := newTalk(cmd)
			gc := library.GC{OlderThan: -1, MaxSize: -1, DryRun: dryRun}
			var err error
			switch {
			case olderThan != "":
				if gc.OlderThan, err = parseAge(olderThan); err != nil {
					return err
				}
			case maxSize == "":
				gc.OlderThan = library.DefaultAge
			}
			if maxSize != "" {
				if gc.MaxSize, err = parseSize(maxSize); err != nil {
					return err
				}
			}
			s, err := openStore()
			if err != nil {
				return err
			}
			done, err := library.Collect(s, gc)
			if err != nil {
				return err
			}
			if out.json {
				return out.print(t, done, "")
			}
			if err := out.print(t, nil, imageNames(done.Images)); err != nil {
				return err
			}
			verb := "freed"
			if dryRun {
				verb = "would be freed"
			}
			t.printf("%s %s; images that stay: %d", library.Size(done.Bytes), verb, done.Kept)
			if done.Linked > 0 {
				t.printf("kept because external repositories are linked to them: %d", done.Linked)
			}
			tellInUse(t, done.Removed)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&olderThan, "older-than", "", "age since the last use, such as 30d, 12h or 0 (default 30d without --max-size)")
	f.StringVar(&maxSize, "max-size", "", "size that the store may keep, such as 500MiB or 10GiB")
	f.BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	out.add(cmd)
	return cmd
}

// parseAge reads a duration: Go's, or a number of days.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, &diagnostic.Error{Kind: diagnostic.Usage, What: "--older-than " + s, Why: "it is not a duration", Do: "write days or hours: 30d, 12h, 0"}
	}
	return d, nil
}

// parseSize reads a number of bytes, with a unit of 1024 (KiB, MiB, GiB, TiB) or 1000 (kB, MB, GB, TB).
func parseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "kKMGTiB")
	unit := map[string]float64{"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[s[len(number):]]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || unit == 0 || n < 0 || math.IsNaN(n) || n*unit >= math.MaxInt64 {
		return 0, &diagnostic.Error{Kind: diagnostic.Usage, What: "--max-size " + s, Why: "it is not a size", Do: "write a number of bytes with a unit: 500MiB, 10GiB"}
	}
	return int64(n * unit), nil
}

func newStoreVerify() *cobra.Command {
	var noRepair bool
	var out output
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare every byte in the store with what it should be, and fetch again what differs",
		Long: `Read everything in the store and compare it with what it was when it was fetched and verified:
every byte and every name. What differs is set aside and fetched again from its registry. A file's
mode or time that differs is no damage; the mode is set right. What is whole is on the disk
afterwards, and is not read through when the machine has started anew.

With --no-repair nothing in the store is changed. The exit status is 6 if damage was found and not
repaired. That files of an image are missing is no damage, since the store may hold a part of one:
it is said how many images that is true of, and the exit status is 0.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := newTalk(cmd)
			depot, err := newDepot(t, "repair")
			if err != nil {
				return err
			}
			found, err := depot.Verify(cmd.Context(), !noRepair)
			if out.json {
				if jsonErr := out.print(t, found, ""); jsonErr != nil {
					return jsonErr
				}
				return err
			}
			for _, f := range found.Damaged {
				fmt.Printf("%s %s: ", f.Kind, f.Digest)
				switch {
				case f.Mended && len(f.Images) == 0:
					fmt.Println("damaged; set aside, since nothing needs it")
				case f.Mended:
					fmt.Println("damaged; fetched again")
				default:
					fmt.Println("damaged")
				}
				for _, image := range f.Images {
					fmt.Println("  of " + image)
				}
				for _, d := range f.Damage {
					fmt.Println("  " + strings.TrimPrefix(d.Path+": "+d.What, ": "))
				}
				if f.Linked {
					fmt.Fprintln(os.Stderr, "ocipkg: warning: an external repository, or a folder of `ocipkg pull --output`, is linked to these files; fetch it again with `bazel fetch --force`, or pull into a new folder")
				}
				if f.Problem != "" {
					fmt.Fprintln(os.Stderr, "ocipkg: "+f.Problem)
				}
			}
			t.printf("%d trees and %d documents read, %s; %d damaged", found.Trees, found.Blobs, library.Size(found.Bytes), len(found.Damaged))
			if images, listErr := library.Images(depot.Store); listErr == nil {
				n := 0
				for _, i := range images {
					if !i.Complete {
						n++
					}
				}
				if n > 0 {
					t.printf("images without all of their files: %d, see `ocipkg list`; what is missing is fetched when it is wanted", n)
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&noRepair, "no-repair", false, "only say what is damaged")
	out.add(cmd)
	return cmd
}
