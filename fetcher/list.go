package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/library"
)

func newList() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the libraries in the store",
		Long: `List the libraries in the store: what each was asked for as, its platform, the size of its files,
when it was used last (to the hour), and its digest. Files that several share count for each.

Images that the ocipkg project's own tools have fetched into the same directory are listed as
well, and marked so.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := newTalk(cmd)
			s, err := openStore()
			if err != nil {
				return err
			}
			images, err := library.Images(s)
			if err != nil {
				return err
			}
			if out.json {
				return out.print(t, images, "")
			}
			if len(images) == 0 {
				t.printf("the store %s is empty", s.Root())
				return nil
			}
			var table strings.Builder
			if err := printImages(&table, images); err != nil {
				return err
			}
			return out.print(t, nil, table.String())
		},
	}
	out.add(cmd)
	return cmd
}

func printImages(w io.Writer, images []library.Image) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "IMAGE\tPLATFORM\tSIZE\tUSED\tDIGEST\t\n")
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
