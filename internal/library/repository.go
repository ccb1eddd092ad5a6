package library

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/buildfile"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// HeaderIndexFile is where a repository says which label answers each #include.
const HeaderIndexFile = "header_index.json"

const buildFile = "BUILD.bazel"

// ignoreFile names, at the root of a repository, the folders that Bazel need not look for packages in: it does so in every folder
// on the way to a file that a BUILD file names, with every build (bazel.build, Write bazelrc configuration files > .bazelignore).
const ignoreFile = ".bazelignore"

// ownFiles are what a repository has of ours at its root, and never of a library.
var ownFiles = []string{HeaderIndexFile, ArtifactFile, buildFile, ignoreFile}

// packageMarkers are files that would cut a repository into pieces; no library needs them.
var packageMarkers = []string{"BUILD", "BUILD.bazel", "WORKSPACE", "WORKSPACE.bazel", "WORKSPACE.bzlmod", "MODULE.bazel", "REPO.bazel"}

// sharedName is what Bazel takes for a shared library (rules_cc, cc_helper.bzl).
var sharedName = lazyregexp.New(`\.(so|dylib|dll)(\.[^/]*)?$`)

// Repository lays a library out in dir, an empty or missing directory, as a repository called name, as it was declared
// when it was pulled. Where it fails dir is as it was.
func Repository(ctx context.Context, l *Library, dir, name string, repositories buildfile.Repositories) (stats store.Stats, err error) {
	return repository(ctx, l, dir, name, repositories, true)
}

// repository is Repository; ignoring is whether dir is the root of a repository, where an ignoreFile is read.
func repository(ctx context.Context, l *Library, dir, name string, repositories buildfile.Repositories, ignoring bool) (stats store.Stats, err error) {
	restore, err := claim(dir, name)
	if err != nil {
		return stats, err
	}
	defer func() { err = restore(err) }()
	err = l.healing(ctx, func() (err error) {
		stats, err = store.Materialise(dir, l.foreign, l.Trees...)
		return err
	})
	if err != nil {
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
	files, err := settle(root, stats.Entries)
	if err != nil {
		return stats, err
	}
	if err = consistent(l.Package, name, files); err != nil {
		return stats, err
	}
	plan, err := l.plan(name, files)
	if err != nil {
		return stats, err
	}
	described, err := l.describedAsArtifact()
	if err == nil {
		err = create(root, ArtifactFile, described)
	}
	if err != nil {
		return stats, err
	}
	if l.declaration != nil && l.declaration.BuildFile != "" {
		text, err := os.ReadFile(l.declaration.BuildFile)
		if err != nil {
			return stats, &diagnostic.Error{Kind: diagnostic.NotFound, What: "build_file " + l.declaration.BuildFile, Err: err}
		}
		return stats, errors.Join(writeIndex(root, name, plan), create(root, buildFile, text))
	}
	if ignoring {
		if err := create(root, ignoreFile, ignored("", files)); err != nil {
			return stats, err
		}
	}
	if !slices.ContainsFunc(plan.Targets, func(t ccplan.Target) bool { return t.Name == HeaderIndexFile }) {
		plan.Files = append(plan.Files, HeaderIndexFile) // for Gazelle, as data
	}
	return stats, writePlan(root, l, name, plan, repositories)
}

// claim makes sure that dir is an empty or missing directory for a repository called name. What it returns is called with
// the error that the work in dir ended with, and makes dir what it was if there is one.
func claim(dir, name string) (restore func(error) error, err error) {
	what := "repository " + name
	if !artifact.ValidLibraryName(name) {
		return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: what, Why: "it cannot be the name of a target", Do: "give a name of letters, digits and underscores"}
	}
	there, err := Vacant(dir)
	if err != nil {
		return nil, diagnostic.Wrap(err, "%s", what)
	}
	return func(err error) error {
		if err == nil {
			return nil
		}
		if !there {
			os.RemoveAll(dir)
			return diagnostic.Wrap(err, "%s", what)
		}
		made, _ := os.ReadDir(dir)
		for _, e := range made {
			os.RemoveAll(filepath.Join(dir, e.Name()))
		}
		return diagnostic.Wrap(err, "%s", what)
	}, nil
}

// Vacant is an error where Repository would refuse dir, as one of kind Usage where it is not empty, for those who would
// rather know before a library is fetched. there is whether dir exists.
func Vacant(dir string) (there bool, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if len(entries) > 0 {
		return true, &diagnostic.Error{Kind: diagnostic.Usage, Why: fmt.Sprintf("the folder %s is not empty", dir), Do: "name an empty one, or one that does not exist yet"}
	}
	return true, err
}

// plan is what the library becomes in a repository called name, with these files. What nobody declared is planned as if
// its dependencies were declared under their own names.
func (l *Library) plan(name string, files []string) (ccplan.Plan, error) {
	decl := Declaration{Name: name}
	if l.declaration != nil {
		decl = *l.declaration
	} else {
		for _, d := range l.Package.Dependencies {
			decl.Deps = append(decl.Deps, dependencyLabel(d.Name))
		}
	}
	pkg, err := override(l.Package, decl, files)
	if err != nil {
		return ccplan.Plan{}, err
	}
	in := ccplan.Input{Name: name, Package: pkg, Files: files, Artifact: ArtifactFile, Linkage: decl.Linkage}
	if decl.BuildFile == "" {
		if in.Dependencies, err = dependencies(pkg, decl, l.Reference); err != nil {
			return ccplan.Plan{}, err
		}
	}
	return ccplan.New(in), nil
}

// title is the library's name and version.
func (l *Library) title() string {
	return strings.TrimSpace(l.Package.Name + " " + l.Package.Version)
}

// writePlan writes the plan of a repository called name, and its header index.
func writePlan(root *os.Root, l *Library, name string, plan ccplan.Plan, repositories buildfile.Repositories) error {
	if err := writeIndex(root, name, plan); err != nil {
		return err
	}
	header := fmt.Sprintf("%s, from %s.\nWritten by ocipkg; changes are lost with the next fetch.", l.title(), l.Reference)
	return create(root, buildFile, buildfile.Render(plan, header, repositories))
}

// ignorable is what an ignoreFile can name: its lines are trimmed, and some are comments.
var ignorable = lazyregexp.New(`^[A-Za-z0-9_.+-]+$`)

// ignored are the lines of an ignoreFile for the folders at the root of a tree that these files, sorted, are in. The tree is at prefix
// in its repository.
func ignored(prefix string, files []string) []byte {
	var lines []byte
	last := ""
	for _, f := range files { // sorted: those of a folder follow each other
		if top, _, in := strings.Cut(f, "/"); in && top != last && ignorable().MatchString(top) {
			lines = append(lines, prefix+top+"\n"...)
			last = top
		}
	}
	return lines
}

// writeIndex writes the header index of a repository called name.
func writeIndex(root *os.Root, name string, plan ccplan.Plan) error {
	index, err := buildfile.HeaderIndex(plan, name)
	if err != nil {
		return err
	}
	return create(root, HeaderIndexFile, index)
}

// settle takes away what does not belong into a repository, of the entries that were put there: package markers, what is about
// to be written, and links that lead nowhere. It returns the paths of the files and links that are left, sorted. A link out of
// the tree is an error of kind Refused: each layer was judged by itself, and laid over each other they may come to mean
// something else.
func settle(root *os.Root, entries []store.Entry) (files []string, err error) {
	for _, name := range ownFiles {
		if err := root.RemoveAll(name); err != nil {
			return nil, err
		}
	}
	left := make([]store.Entry, 0, len(entries))
	for _, e := range entries {
		switch top, _, _ := strings.Cut(e.Path, "/"); {
		case slices.Contains(ownFiles, top):
		case slices.Contains(packageMarkers, path.Base(e.Path)):
			if err := root.Remove(e.Path); err != nil {
				return nil, err
			}
		default:
			left = append(left, e)
		}
	}
	files = make([]string, 0, len(left))
	for _, e := range left {
		if e.Symlink {
			info, err := root.Stat(e.Path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				if err := root.Remove(e.Path); err != nil {
					return nil, err
				}
				continue
			case err != nil:
				return nil, &diagnostic.Error{Kind: diagnostic.Refused, What: "link " + e.Path, Why: "it leads out of the library, or in a circle", Do: "the artifact is damaged or made to do harm; tell its author", Err: err}
			case info.IsDir():
				continue // no label: what is in the folder has labels of its own
			}
		}
		if why := notInLabel(e.Path); why != "" {
			return nil, &diagnostic.Error{Kind: diagnostic.Refused, What: fmt.Sprintf("file %q", e.Path), Why: why, Do: "ask its author for one without this file"}
		}
		files = append(files, e.Path)
	}
	return files, nil
}

// notInLabel says why Bazel would not take a file's path as the name of a target, "" where it does (bazel.build,
// Concepts > Labels > Target names). Unpack lets no path through that is worse.
func notInLabel(p string) string {
	if strings.ContainsFunc(p, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' || r == ':' }) {
		return "Bazel has no label for a file with a colon, a backslash or a control character in its name"
	}
	return ""
}

// consistent checks a description against the tree it came with: whoever wrote the config may have written anything.
func consistent(p *artifact.Package, name string, files []string) error {
	refuse := func(why string, args ...any) error {
		return &diagnostic.Error{Kind: diagnostic.Refused, What: "config", Why: fmt.Sprintf(why, args...), Do: "the artifact is damaged or made to do harm; tell its author"}
	}
	has := func(f string) bool { _, ok := slices.BinarySearch(files, f); return ok }
	seen := map[string]bool{}
	for _, l := range p.Libraries {
		if !artifact.ValidLibraryName(l.Name) {
			return refuse("it names a library %q", l.Name)
		}
		if seen[l.Name] {
			return refuse("it names the library %q twice", l.Name)
		}
		seen[l.Name] = true
		if l.Static == nil && l.Shared == nil {
			return refuse("it names the library %q without a file", l.Name)
		}
		if s := l.Static; s != nil {
			if !has(s.Path) {
				return refuse("it names the library %q, which is not in its layers", s.Path)
			}
			if path.Ext(s.Path) != ".a" && path.Ext(s.Path) != ".lib" {
				return refuse("it names %q as a static library", s.Path)
			}
		}
		if s := l.Shared; s != nil {
			if !has(s.Path) {
				return refuse("it names the library %q, which is not in its layers", s.Path)
			}
			if !sharedName().MatchString(path.Base(s.Path)) {
				return refuse("it names %q as a shared library", s.Path)
			}
			if s.SONAME != "" && !artifact.ValidLibraryName(s.SONAME) {
				return refuse("it names the library %q with the SONAME %q", s.Path, s.SONAME)
			}
			if s.InstallName != "" && !artifact.ValidLibraryName(path.Base(s.InstallName)) {
				return refuse("it names the library %q with the install name %q", s.Path, s.InstallName)
			}
			if i := s.Interface; i != "" && (!has(i) || path.Ext(i) != ".lib" && !strings.HasSuffix(i, ".dll.a")) {
				return refuse("it names %q as an import library", i)
			}
			if s.Interface == "" && strings.EqualFold(path.Ext(s.Path), ".dll") {
				return refuse("it names %q without an import library, by which alone one links with a DLL", s.Path)
			}
		}
		if l.Static != nil && l.Static.Path == name || l.Shared != nil && l.Shared.Path == name {
			return &diagnostic.Error{Kind: diagnostic.Usage, Why: fmt.Sprintf("a file of the library is called %s too, and one label cannot name both", name), Do: "give the repository another name"}
		}
	}
	if len(p.Libraries) > 0 && p.Target == "" {
		return refuse("it names libraries and no platform that they are for")
	}
	for _, l := range slices.Concat(p.SystemLibraries, p.Frameworks) {
		if !artifact.ValidLibraryName(l) {
			return refuse("it names a system library %q", l)
		}
	}
	depends := map[string]bool{}
	for _, d := range p.Dependencies {
		if !artifact.ValidLibraryName(d.Name) || depends[d.Name] {
			return refuse("it names a dependency %q, or names it twice", d.Name)
		}
		depends[d.Name] = true
		if ref, err := registry.ParseReference(d.Image); err != nil || !ref.Pinned() {
			return refuse("it names %q, which is no image with a digest, as the dependency %s", d.Image, d.Name)
		}
		for _, n := range d.Needed {
			if !artifact.ValidLibraryName(n) {
				return refuse("it needs a library %q", n)
			}
		}
	}
	for _, dir := range p.Includes {
		if !fs.ValidPath(dir) {
			return refuse("it names the include folder %q", dir)
		}
	}
	return nil
}

// create writes a file of our own. Never into one that is there: that would be the store's, by another name.
func create(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
