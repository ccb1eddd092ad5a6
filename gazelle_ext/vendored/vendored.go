// Package vendored is what the Gazelle language "ocipkg_prebuilt" tells the language "ocipkg": which libraries lie in the
// workspace, and what they answer to. Neither imports the other, because the former measures libraries, and few want to
// compile that.
//
// Invariant: Libraries is complete when Gazelle has walked the folders, and not before: the language for Go generates the
// rules of app/ when nobody has seen third_party/ yet.
package vendored

import (
	"cmp"
	"slices"
	"sync"

	"github.com/bazelbuild/bazel-gazelle/config"
)

// Library is a folder with # gazelle:ocipkg_prebuilt. Pkg is its path from the root of the repository, slash-separated;
// Name that of the main target.
type Library struct {
	Pkg, Name string
	// Others are the names of the rules in its BUILD file that are not of the language's kinds.
	Others []string
	// Index gives the target for each key of internal/headerindex that the library answers to. It measures the library when
	// it is first called, where that was not done to write its targets.
	Index func() map[string]string
}

// Libraries are those that were met so far. Safe for concurrent use.
type Libraries struct {
	// ToIndex are the folders that Gazelle has to be told of for their libraries to be met, where it reads none but those
	// that a language asks for (-index=lazy).
	ToIndex func(c *config.Config) []string

	mu  sync.Mutex
	all map[string]Library
}

const key = "ocipkg_prebuilt.libraries"

// Put has all configurations that are made from c find the libraries.
func (l *Libraries) Put(c *config.Config) { c.Exts[key] = l }

// Of gives the libraries of a run, nil where the language "ocipkg_prebuilt" is not among its languages.
func Of(c *config.Config) *Libraries {
	l, _ := c.Exts[key].(*Libraries)
	return l
}

// Add says that a library is there. Of one that was met before the last word counts.
func (l *Libraries) Add(lib Library) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[string]Library{}
	}
	l.all[lib.Pkg] = lib
}

// All are the libraries, by their paths.
func (l *Libraries) All() []Library {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Library
	for _, lib := range l.all {
		all = append(all, lib)
	}
	slices.SortFunc(all, func(a, b Library) int { return cmp.Compare(a.Pkg, b.Pkg) })
	return all
}
