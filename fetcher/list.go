package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/library"
)

func newList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the libraries in the store",
		Long: `List the libraries in the store: what each was asked for as, its platform, the size of its files,
when it was used last (to the hour), and its digest. Files that several share count for each.

Images that the ocipkg project's own tools have fetched into the same directory are listed as
well, and marked so.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openStore()
			if err != nil {
				return err
			}
			images, err := library.Images(s)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(images)
			}
			if len(images) == 0 {
				newTalk(cmd).printf("the store %s is empty", s.Root())
				return nil
			}
			return printImages(os.Stdout, images)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func printImages(w io.Writer, images []library.Image) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tPLATFORM\tSIZE\tUSED\tDIGEST\t")
	for _, i := range images {
		target, digest, remark := i.Target, i.Digest, ""
		if target == "" {
			target = "-"
		}
		if len(digest) > len("sha256:")+12 {
			digest = digest[:len("sha256:")+12] // enough for `ocipkg rm`
		}
		if digest == "" {
			digest = "-"
		}
		switch {
		case i.Crate:
			remark = "fetched by the ocipkg crate"
		case !i.Complete:
			remark = "incomplete"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", i.Reference, target, library.Size(i.Size), ago(time.Since(i.Used)), digest, remark)
	}
	return table.Flush()
}

// ago tells a time as well as the store knows it.
func ago(d time.Duration) string {
	switch {
	case d < time.Hour:
		return "this hour"
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// imageNames lists images as messages do.
func imageNames(images []library.Image) string {
	var names []string
	for _, i := range images {
		name := i.Reference
		if i.Target != "" {
			name += " (" + i.Target + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, "\n")
}
