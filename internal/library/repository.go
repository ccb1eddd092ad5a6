package library

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/buildfile"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// HeaderIndexFile is where a repository says which label answers each #include.
const HeaderIndexFile = "header_index.json"

// packageMarkers are files that would cut a repository into pieces; no library needs them.
var packageMarkers = []string{"BUILD", "BUILD.bazel", "WORKSPACE", "WORKSPACE.bazel", "WORKSPACE.bzlmod", "MODULE.bazel", "REPO.bazel"}

// targetName is what a library may be called to become part of a label.
var targetName = regexp.MustCompile(`^[A-Za-z0-9_.+-]+$`)

// Repository lays a library out in dir, an empty or missing directory, as a repository called name. Where it fails dir
// is as it was.
func Repository(ctx context.Context, l *Library, dir, name string, repositories buildfile.Repositories) (stats store.Stats, err error) {
	what := "repository " + name
	entries, err := os.ReadDir(dir)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return stats, diagnostic.Wrap(err, "%s", what)
	}
	if len(entries) > 0 {
		return stats, &diagnostic.Error{Kind: diagnostic.Usage, What: what, Why: fmt.Sprintf("the folder %s is not empty", dir), Do: "name an empty one, or one that does not exist yet"}
	}
	defer func() {
		if err == nil {
			return
		}
		err = diagnostic.Wrap(err, "%s", what)
		if missing {
			os.RemoveAll(dir)
			return
		}
		made, _ := os.ReadDir(dir)
		for _, e := range made {
			os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}()
	if stats, err = store.Materialise(dir, l.foreign, l.Trees...); err != nil {
		return stats, err
	}
	if err = ctx.Err(); err != nil {
		return stats, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return stats, err
	}
	defer root.Close()
	files, err := listFiles(root)
	if err != nil {
		return stats, err
	}
	if err = consistent(l.Package, files); err != nil {
		return stats, err
	}
	plan := ccplan.New(ccplan.Input{Name: name, Package: l.Package, Files: files})
	index, err := buildfile.HeaderIndex(plan, name)
	if err != nil {
		return stats, err
	}
	if err = root.WriteFile(HeaderIndexFile, index, 0o644); err != nil {
		return stats, err
	}
	title := l.Package.Name
	if l.Package.Version != "" {
		title += " " + l.Package.Version
	}
	header := fmt.Sprintf("%s, from %s.\nWritten by ocipkg; changes are lost with the next fetch.", title, l.Reference)
	return stats, root.WriteFile("BUILD.bazel", buildfile.Render(plan, header, repositories), 0o644)
}

// listFiles lists files and links, sorted, and takes away package markers.
func listFiles(root *os.Root) ([]string, error) {
	var files []string
	err := fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if slices.Contains(packageMarkers, path.Base(p)) {
			return root.Remove(p)
		}
		files = append(files, p)
		return nil
	})
	slices.Sort(files)
	return files, err
}

// consistent checks a description against the tree it came with: whoever wrote the config may have written anything.
func consistent(p *artifact.Package, files []string) error {
	refuse := func(why string) error {
		return &diagnostic.Error{Kind: diagnostic.Refused, What: "config", Why: why, Do: "the artifact is damaged or made to do harm; tell its author"}
	}
	has := func(f string) bool { _, ok := slices.BinarySearch(files, f); return ok }
	for _, l := range p.Libraries {
		if !targetName.MatchString(l.Name) {
			return refuse(fmt.Sprintf("it names a library %q", l.Name))
		}
		if l.Static != nil && !has(l.Static.Path) {
			return refuse(fmt.Sprintf("it names the library %q, which is not in its layers", l.Static.Path))
		}
		if s := l.Shared; s != nil && (!has(s.Path) || s.SONAME != "" && !targetName.MatchString(s.SONAME)) {
			return refuse(fmt.Sprintf("it names the library %q with SONAME %q, which is not in its layers", s.Path, s.SONAME))
		}
	}
	for _, dir := range p.Includes {
		if dir != "." && !fs.ValidPath(dir) {
			return refuse(fmt.Sprintf("it names the include folder %q", dir))
		}
	}
	return nil
}
