// Package workspacestatus reads the files in which Bazel keeps what a build is stamped with (stable-status.txt and
// volatile-status.txt), and puts their values into text. It knows nothing of images.
//
// Invariant: text either has all its values or is an error; no `{KEY}` is left in it, and none becomes empty unseen.
package workspacestatus

import (
	"fmt"
	"os"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
)

// Values gives the values by key, such as STABLE_VERSION.
type Values map[string]string

// Read reads the files, of which each line is a key, a space and a value. Of a key that is in two files the last one
// counts.
func Read(files []string) (Values, error) {
	v := Values{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, &diagnostic.Error{Kind: diagnostic.NotFound, What: "workspace status " + file, Err: err}
		}
		for line := range strings.Lines(string(data)) {
			key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
			if key != "" {
				v[key] = value
			}
		}
	}
	return v, nil
}

var placeholder = lazyregexp.New(`\{([^{}]*)\}`)

// Expand replaces each `{KEY}` in text by the key's value. A key that has none, or an empty one, is an error of kind
// Usage.
func (v Values) Expand(text string) (string, error) {
	var failed error
	expanded := placeholder().ReplaceAllStringFunc(text, func(word string) string {
		key := word[1 : len(word)-1]
		value := v[key]
		if value == "" && failed == nil {
			failed = &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("%q", text), Why: fmt.Sprintf("no value is known of %s", key),
				Do: "run Bazel with --stamp, and with a --workspace_status_command that prints a line `" + key + " VALUE`"}
		}
		return value
	})
	if failed != nil {
		return "", failed
	}
	return expanded, nil
}
