package library

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/buildfile"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/store"
	"github.com/ocipkg/rules_ocipkg/internal/tree"
)

// layer is a tree's files by path; content that begins with "->" is a link's target.
type layer map[string]string

// folder makes a folder and those above it, where they are missing.
func folder(w tree.Writer, name string) error {
	if name == "." {
		return nil
	}
	if err := folder(w, path.Dir(name)); err != nil {
		return err
	}
	if err := w.Mkdir(name); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// trees puts layers into a store of the test's.
func trees(t *testing.T, layers ...layer) []store.Tree {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var all []store.Tree
	for i, files := range layers {
		sum := sha256.Sum256(fmt.Append(nil, i))
		tree, err := s.AddTree(t.Context(), v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}, nil, func(w tree.Writer) error {
			for _, p := range slices.Sorted(maps.Keys(files)) {
				if err := folder(w, path.Dir(p)); err != nil {
					return err
				}
				content := files[p]
				if target, ok := strings.CutPrefix(content, "->"); ok {
					if err := w.Symlink(target, p); err != nil {
						return err
					}
					continue
				}
				out, err := w.Create(p, false)
				if err != nil {
					return err
				}
				_, err = io.WriteString(out, content)
				if err := errors.Join(err, out.Close()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, tree)
	}
	return all
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			p, err = filepath.Rel(dir, p)
			all = append(all, filepath.ToSlash(p))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func labels() buildfile.Repositories {
	return buildfile.Repositories{"platforms": "@@platforms", "rules_cc": "@@rules_cc", "rules_ocipkg": "@@rules_ocipkg"}
}

const linux = "x86_64-unknown-linux-gnu"

func static(name, file string) artifact.Library {
	return artifact.Library{Name: name, Static: &artifact.StaticLibrary{Path: file, PIC: "pic"}}
}

// A description that anybody may have written is refused where it does not fit the files it came with, and the folder
// is as it was before.
func TestRepositoryRefuses(t *testing.T) {
	files := layer{"include/z.h": "h", "lib/libz.a": "a", "lib/libz.so.1": "so", "lib/z": "z"}
	for _, c := range []struct {
		what   string
		pkg    artifact.Package
		layers []layer
		kind   diagnostic.Kind
		says   string
	}{
		{what: "a library that is not there", pkg: artifact.Package{Target: linux, Libraries: []artifact.Library{static("y", "lib/liby.a")}}, says: `"lib/liby.a", which is not in its layers`},
		{what: "a library outside", pkg: artifact.Package{Target: linux, Libraries: []artifact.Library{static("z", "../../etc/libz.a")}}, says: "not in its layers"},
		{what: "a library of another kind", pkg: artifact.Package{Target: linux, Libraries: []artifact.Library{static("z", "lib/z")}}, says: `"lib/z" as a static library`},
		{what: "a shared library that is a header", pkg: artifact.Package{Target: linux, Libraries: []artifact.Library{{Name: "z", Shared: &artifact.SharedLibrary{Path: "include/z.h"}}}}, says: "as a shared library"},
		{what: "a name with a quote", pkg: artifact.Package{Target: linux, Libraries: []artifact.Library{static(`z"]) evil(`, "lib/libz.a")}}, says: "it names a library"},
		{what: "a name with a slash", pkg: artifact.Package{Target: linux, Libraries: []artifact.Library{static("a/b", "lib/libz.a")}}, says: "it names a library"},
		{what: "a SONAME that is a path", pkg: artifact.Package{Target: linux, Libraries: []artifact.Library{{Name: "z", Shared: &artifact.SharedLibrary{Path: "lib/libz.so.1", SONAME: "../../libc.so.6"}}}}, says: "with the SONAME"},
		{what: "a library twice", pkg: artifact.Package{Target: linux, Libraries: []artifact.Library{static("z", "lib/libz.a"), static("z", "lib/libz.a")}}, says: "twice"},
		{what: "a library without a file", pkg: artifact.Package{Target: linux, Libraries: []artifact.Library{{Name: "z"}}}, says: "without a file"},
		{what: "libraries for no platform", pkg: artifact.Package{Libraries: []artifact.Library{static("z", "lib/libz.a")}}, says: "no platform"},
		{what: "a system library that is a flag", pkg: artifact.Package{SystemLibraries: []string{"m -Wl,-rpath,/tmp"}}, says: "system library"},
		{what: "a dependency without a digest", pkg: artifact.Package{Dependencies: []artifact.Dependency{{Name: "z", Image: "x.io/z:1"}}}, says: "no image with a digest"},
		{what: "a dependency that is a label", pkg: artifact.Package{Dependencies: []artifact.Dependency{{Name: `z"]) evil(`, Image: "x.io/z@sha256:" + strings.Repeat("0", 64)}}}, says: "it names a dependency"},
		{what: "a dependency's library that is a path", pkg: artifact.Package{Dependencies: []artifact.Dependency{{Name: "z", Image: "x.io/z@sha256:" + strings.Repeat("0", 64), Needed: []string{"../libz.so.1"}}}}, says: "it needs a library"},
		{what: "headers outside", pkg: artifact.Package{Includes: []string{"../../usr/include"}}, says: "include folder"},
		{what: "absolute headers", pkg: artifact.Package{Includes: []string{"/usr/include"}}, says: "include folder"},
		{what: "a file that no label can name", layers: []layer{{"include/a:b.h": "h"}}, says: `"include/a:b.h"`},
		{what: "a file with a line in its name", layers: []layer{{"include/a\nb.h": "h"}}, says: `"include/a\nb.h"`},
		{what: "links of two layers in a circle", layers: []layer{{"include/a.h": "->b.h"}, {"include/b.h": "->a.h"}}, says: "link include/a.h"},
		{what: "one path in two layers", layers: []layer{{"include/z.h": "1"}, {"include/z.h": "2"}}, says: "include/z.h"},
		{what: "a file and a folder", layers: []layer{{"include/z": "1"}, {"include/z/z.h": "2"}}, says: "include/z"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.layers == nil {
				c.layers = []layer{files}
			}
			c.pkg.Schema, c.pkg.Name = 1, "z"
			l := &Library{Package: &c.pkg, Trees: trees(t, c.layers...)}
			empty := t.TempDir()
			missing := filepath.Join(t.TempDir(), "new", "repository")
			if err := os.Mkdir(filepath.Dir(missing), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{empty, missing} {
				_, err := Repository(t.Context(), l, dir, "repo", labels())
				if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "repository repo: ") {
					t.Errorf("got %v", err)
				}
			}
			if entries, err := os.ReadDir(empty); err != nil || len(entries) > 0 {
				t.Errorf("left in the folder: %v, %v", entries, err)
			}
			if entries, err := os.ReadDir(filepath.Dir(missing)); err != nil || len(entries) > 0 {
				t.Errorf("left beside: %v, %v", entries, err)
			}
		})
	}
}

// What does not belong into a repository goes, and what is written never changes a file of the store.
func TestRepositoryReplacesMarkers(t *testing.T) {
	all := trees(t, layer{"BUILD.bazel": "evil", "header_index.json": "evil", "artifact.json": "evil", ".bazelignore": "evil", "include/BUILD": "evil",
		"include/sub/z.h": "h", "include-too/.bazelignore": "theirs", "share/# comment/z": "z", "# comment/z": "z", "lib /z": "z", "WORKSPACE": "evil", "gone": "->nowhere"})
	l := &Library{Package: &artifact.Package{Schema: 1, Name: "z", Includes: []string{"include"}}, Trees: all}
	dir := filepath.Join(t.TempDir(), "r")
	if _, err := Repository(t.Context(), l, dir, "z", labels()); err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, dir), []string{"# comment/z", ".bazelignore", "BUILD.bazel", "artifact.json", "header_index.json", "include/sub/z.h", "include-too/.bazelignore", "lib /z", "share/# comment/z"}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "BUILD.bazel")); err != nil || strings.Contains(string(data), "evil") {
		t.Errorf("BUILD.bazel is %s, %v", data, err)
	}
	// A name that would be a comment, or trimmed, is not said.
	if data, err := os.ReadFile(filepath.Join(dir, ".bazelignore")); err != nil || string(data) != "include-too\ninclude\nshare\n" {
		t.Errorf(".bazelignore is %s, %v", data, err)
	}
	for _, name := range []string{"BUILD.bazel", "artifact.json", "header_index.json", ".bazelignore", "WORKSPACE", "include/BUILD"} {
		if data, err := os.ReadFile(filepath.Join(all[0].Path(), name)); err != nil || string(data) != "evil" {
			t.Errorf("the store's %s is %q, %v", name, data, err)
		}
	}
}

func TestRepositoryNeedsAnEmptyFolderAndAName(t *testing.T) {
	l := &Library{Package: &artifact.Package{Schema: 1, Name: "z"}, Trees: trees(t, layer{"include/z.h": "h"})}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Repository(t.Context(), l, dir, "z", labels()); diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a folder with a file: %v", err)
	}
	if got := list(t, dir); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("files %q", got)
	}
	if _, err := Repository(t.Context(), l, filepath.Join(t.TempDir(), "r"), `z"`, labels()); diagnostic.KindOf(err) != diagnostic.Usage {
		t.Errorf("a name with a quote: %v", err)
	}
}

func TestRepositoryCalledAsAFile(t *testing.T) {
	l := &Library{Package: &artifact.Package{Schema: 1, Name: "z", Target: linux, Libraries: []artifact.Library{static("z", "libz.a")}}, Trees: trees(t, layer{"libz.a": "a"})}
	dir := t.TempDir()
	if _, err := Repository(t.Context(), l, dir, "libz.a", labels()); diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), "give the repository another name") {
		t.Errorf("got %v", err)
	}
	if got := list(t, dir); len(got) > 0 {
		t.Errorf("left %q", got)
	}
}

// Whoever interrupts finds nothing half-done.
func TestRepositoryInterrupted(t *testing.T) {
	l := &Library{Package: &artifact.Package{Schema: 1, Name: "z"}, Trees: trees(t, layer{"include/z.h": "h"})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(t.TempDir(), "r")
	if _, err := Repository(ctx, l, dir, "z", labels()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
}
