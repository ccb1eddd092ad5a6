package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// output is what a command is asked for: it goes to standard output and nothing else does.
type output struct{ json bool }

func (o *output) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.json, "json", false, "print the result as JSON; its keys are in docs/cli/json.md")
}

// print writes the result: text, or with --json v. That it was written is part of the job: a script that reads an empty
// file and an exit status of 0 would go on.
func (o *output) print(t *talk, v any, text string) error {
	t.done()
	if o.json {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return err
		}
		text = b.String()
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if _, err := os.Stdout.WriteString(text); err != nil {
		return &diagnostic.Error{Kind: diagnostic.Failure, What: "print the result", Err: err}
	}
	return nil
}

// printDigest is print for results that are known by a digest. With a file, the digest goes there and no text is
// printed: an action of a build system has outputs, and what it prints is taken for a complaint.
func (o *output) printDigest(t *talk, file string, v any, digest string) error {
	if file == "" {
		return o.print(t, v, digest)
	}
	if err := os.WriteFile(file, []byte(digest+"\n"), 0o666); err != nil {
		return &diagnostic.Error{Kind: diagnostic.Failure, What: "write the digest", Err: err}
	}
	return o.print(t, v, "")
}

// lines is one string a line.
func lines[T fmt.Stringer](values []T) string {
	var b strings.Builder
	for _, v := range values {
		b.WriteString(v.String() + "\n")
	}
	return b.String()
}
