package ocipkg

import (
	"log"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/rule"
)

// indexDirective names header indexes: files relative to the repository root, separated by white space. They add to
// those of the directories above; an empty value forgets them all. Of two that have the same header, the one named
// first wins.
const indexDirective = "ocipkg_index"

func (*ocipkgLang) KnownDirectives() []string { return []string{indexDirective} }

// Configure keeps in c.Exts the *indexList in force. Directories without a directive share that of their parent, which
// Gazelle has put there by copying the parent's configuration.
func (l *ocipkgLang) Configure(c *config.Config, rel string, f *rule.File) {
	if f == nil || !slices.ContainsFunc(f.Directives, func(d rule.Directive) bool { return d.Key == indexDirective }) {
		return
	}
	buildFile := path.Join(rel, filepath.Base(f.Path))
	var names []string
	if list := indexesOf(c); list != nil {
		for _, file := range list.files {
			names = append(names, file.name)
		}
	}
	for _, d := range f.Directives {
		if d.Key != indexDirective {
			continue
		}
		added := strings.Fields(d.Value)
		if len(added) == 0 {
			names = nil
		}
		for _, name := range added {
			if !filepath.IsLocal(filepath.FromSlash(name)) {
				// A file outside would make the BUILD files depend on the machine.
				log.Printf("%s: # gazelle:%s %s: the file is not in the repository. The path is relative to the repository root, and must not leave it.",
					buildFile, indexDirective, name)
				continue
			}
			if name = path.Clean(name); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	c.Exts[languageName] = l.indexes.list(names, c.RepoRoot, buildFile)
}

// indexesOf returns the indexes that are in force in a directory, nil where there are none.
func indexesOf(c *config.Config) *indexList {
	list, _ := c.Exts[languageName].(*indexList)
	return list
}
