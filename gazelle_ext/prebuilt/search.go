package prebuilt

import (
	"bytes"
	"cmp"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/bazelbuild/bazel-gazelle/config"
	"golang.org/x/sync/errgroup"
)

// sources are the extensions of files for which other languages may ask for headers.
var sources = strings.Fields(".c .cc .cpp .cxx .c++ .cu .m .mm .S .h .hh .hpp .hxx .h++ .cuh .inc .inl .ipp")

// toIndex are the folders with the directive, where Gazelle was told to read none but those that somebody asks for
// (-index=lazy) and some of these files may include their headers. In which of the folders a header is cannot be told
// from an #include, so it is all of them.
func (l *prebuiltLang) toIndex(c *config.Config, files []string) []string {
	if !slices.ContainsFunc(files, func(name string) bool { return slices.Contains(sources, path.Ext(name)) }) {
		return nil
	}
	return l.search(c)
}

// search gives the folders, or none where Gazelle reads them all.
func (l *prebuiltLang) search(c *config.Config) []string {
	if !c.IndexLazy {
		return nil
	}
	l.searched.Do(func() { l.trees = search(cmp.Or(c.ReadBuildFilesDir, c.RepoRoot), c.ValidBuildFileNames) })
	return l.trees
}

// search finds the BUILD files that seem to have the directive. To parse them all would take longer than not to be lazy;
// Gazelle parses those that are found, and passes over folders that are excluded.
func search(root string, buildFiles []string) []string {
	ignored := map[string]bool{".git": true}
	if data, err := os.ReadFile(filepath.Join(root, ".bazelignore")); err == nil {
		for line := range strings.Lines(string(data)) {
			ignored[path.Clean(strings.TrimSpace(line))] = true
		}
	}
	var mu sync.Mutex
	var found []string
	var group errgroup.Group
	group.SetLimit(16)
	var visit func(rel string) error
	visit = func(rel string) error {
		dir := filepath.Join(root, filepath.FromSlash(rel))
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil // whoever needs it says so
		}
		for _, e := range entries {
			if below := path.Join(rel, e.Name()); e.IsDir() && !ignored[below] {
				if !group.TryGo(func() error { return visit(below) }) {
					visit(below)
				}
			} else if slices.Contains(buildFiles, e.Name()) {
				if data, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil && bytes.Contains(data, []byte("gazelle:"+directive)) {
					mu.Lock()
					found = append(found, rel)
					mu.Unlock()
				}
			}
		}
		return nil
	}
	visit("")
	group.Wait()
	slices.Sort(found)
	return slices.Compact(found)
}
