package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

func dirNames(t testing.TB, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

var (
	headers = files{"include/z.h": {data: "int z;"}, "include/sub/y.h": {data: "int y;"}, "share/licenses/COPYING": {data: "free"}}
	static  = files{"lib/libz.a": {data: "!<arch>"}, "libz.a": {target: "lib/libz.a"}, "lib/up": {target: "../include"}, "bin/tool": {data: "#!", exec: true}}
)

func merge(trees ...files) files {
	all := files{}
	for _, f := range trees {
		for name, file := range f {
			all[name] = file
		}
	}
	return all
}

// Invariant: the trees arrive together, to the byte; on one file system no content is written a second time.
func TestMaterialiseShares(t *testing.T) {
	s := newStore(t)
	h, a := addFiles(t, s, "headers", headers), addFiles(t, s, "static", static)
	for _, missing := range []bool{true, false} {
		dst := filepath.Join(t.TempDir(), "a", "repo")
		if !missing {
			dst = filepath.Dir(filepath.Dir(dst))
			if err := os.Chmod(dst, 0o755); err != nil { // as check wants it
				t.Fatal(err)
			}
		}
		stats, err := Materialise(dst, false, h, a)
		if err != nil {
			t.Fatal(err)
		}
		if err := merge(headers, static).check(dst); err != nil {
			t.Error(err)
		}
		checkEntries(t, stats, dst)
		if stats.Files != 5 || stats.Linked+stats.Reflinked != 5 || stats.Copied != 0 || stats.Bytes != 25 {
			t.Errorf("%+v", stats)
		}
		if data, err := os.ReadFile(filepath.Join(dst, "libz.a")); err != nil || string(data) != "!<arch>" {
			t.Errorf("through the link: %q, %v", data, err)
		}
		inStore, err := os.Stat(filepath.Join(h.Path(), "include", "z.h"))
		if err != nil {
			t.Fatal(err)
		}
		here, err := os.Stat(filepath.Join(dst, "include", "z.h"))
		if err != nil {
			t.Fatal(err)
		}
		if os.SameFile(inStore, here) != (stats.Linked > 0) {
			t.Errorf("same inode: %v, but %+v", os.SameFile(inStore, here), stats)
		}
	}
	// A workspace outlives the store.
	dst := filepath.Join(t.TempDir(), "repo")
	if _, err := Materialise(dst, false, h); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.Root()); err != nil {
		t.Errorf("rm -rf of the store: %v", err)
	}
	if err := headers.check(dst); err != nil {
		t.Error(err)
	}
}

// Invariant: between file systems the files are copied, with the same result.
func TestMaterialiseAcrossFileSystems(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "ocipkg-store-test")
	if err != nil {
		t.Skip("needs a second file system at /dev/shm:", err)
	}
	defer os.RemoveAll(shm)
	s := newStore(t)
	probe := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(probe, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Link(probe, filepath.Join(shm, "probe")) == nil {
		t.Skip("/dev/shm and the temporary directory are one file system")
	}
	dst := filepath.Join(shm, "repo")
	stats, err := Materialise(dst, false, addFiles(t, s, "headers", headers), addFiles(t, s, "static", static))
	if err != nil {
		t.Fatal(err)
	}
	if stats.Files != 5 || stats.Copied != 5 || stats.Bytes != 25 {
		t.Errorf("%+v", stats)
	}
	if err := merge(headers, static).check(dst); err != nil {
		t.Error(err)
	}
}

// Invariant: a file that has all the links it can have is copied, and its neighbours are still linked.
func TestMaterialiseTooManyLinks(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 65,000 links")
	}
	s := newStore(t)
	tree := addFiles(t, s, "headers", headers)
	full := filepath.Join(tree.Path(), "include", "z.h")
	dir := t.TempDir()
	for i := range 66_000 {
		err := os.Link(full, filepath.Join(dir, fmt.Sprint(i)))
		if notThisFile(err) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if i == 65_999 {
			t.Skip("this file system counts more than 66,000 links of a file")
		}
	}
	dst := filepath.Join(t.TempDir(), "repo")
	stats, err := Materialise(dst, false, tree)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Reflinked == 0 && (stats.Copied != 1 || stats.Linked != 2) {
		t.Errorf("%+v", stats)
	}
	if err := headers.check(dst); err != nil {
		t.Error(err)
	}
}

// checkEntries compares what Materialise says that it put into dst with what is there.
func checkEntries(t *testing.T, stats Stats, dst string) {
	t.Helper()
	var there []Entry
	err := filepath.WalkDir(dst, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dst, p)
		there = append(there, Entry{Path: filepath.ToSlash(rel), Symlink: d.Type() == fs.ModeSymlink})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(there, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	if !slices.Equal(stats.Entries, there) {
		t.Errorf("entries are %v, and there is %v", stats.Entries, there)
	}
}

// Invariant: two trees never fight silently; on an error nothing of the call stays.
func TestMaterialiseConflicts(t *testing.T) {
	s := newStore(t)
	first := files{"lib/a": {data: "1"}, "lib/d/x": {data: "x"}, "lib/l": {target: "d"}}
	for name, second := range map[string]files{
		"file and file":      {"lib/a": {data: "2"}},
		"same file":          {"lib/a": {data: "1"}},
		"file and link":      {"lib/a": {target: "d"}},
		"file and directory": {"lib/a/b": {data: "2"}},
		"directory and file": {"lib/d": {data: "2"}},
		"link and file":      {"lib/l": {data: "2"}},
		"link and link":      {"lib/l": {target: "d"}},
		// A directory under the name of a link must not put its files where the link points.
		"link and directory": {"lib/l/b": {data: "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := addFiles(t, s, "first", first), addFiles(t, s, name, second)
			dst := filepath.Join(t.TempDir(), "repo")
			_, err := Materialise(dst, false, a, b)
			var at string
			for key := range second {
				at = key[:5]
			}
			mustContain(t, err, at, a.digest.String(), b.digest.String(), dst)
			if _, err := os.Lstat(dst); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left behind: %v", err)
			}
			kept := t.TempDir()
			if _, err := Materialise(kept, false, a, b); err == nil {
				t.Error("no error")
			}
			if left := dirNames(t, kept); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}

			stats, err := Materialise(dst, true, a, b)
			if err != nil {
				t.Fatal(err)
			}
			checkEntries(t, stats, dst)
			want := files{}
			for key, f := range first {
				if key != at && (at != "lib/d" || key != "lib/d/x") {
					want[key] = f
				}
			}
			if err := merge(want, second).check(dst); err != nil {
				t.Error(err)
			}
			if err := first.check(a.Path()); err != nil {
				t.Errorf("overwriting changed the store: %v", err)
			}
		})
	}
}

// Invariant: only an empty directory is written to.
func TestMaterialiseIntoUsedDirectory(t *testing.T) {
	tree := addFiles(t, newStore(t), "headers", headers)
	dst := t.TempDir()
	if err := os.WriteFile(filepath.Join(dst, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Materialise(dst, true, tree)
	mustContain(t, err, dst, "not empty", "mine")
	if diagnostic.KindOf(err) != diagnostic.Usage {
		t.Errorf("kind %d", diagnostic.KindOf(err))
	}
	if left := dirNames(t, dst); !slices.Equal(left, []string{"mine"}) {
		t.Errorf("%v", left)
	}
	if _, err := Materialise(filepath.Join(dst, "mine"), false, tree); err == nil {
		t.Error("materialised into a file")
	}
	if _, err := Materialise(filepath.Join(dst, "new"), false, Tree{}); err == nil {
		t.Error("materialised the zero tree")
	}
}

// Invariant: nothing leads or is written out of dst, even from a tree that was tampered with in the store, its record too.
func TestMaterialiseStaysInside(t *testing.T) {
	outside := t.TempDir()
	for name, tamper := range map[string]func(tree string) error{
		"absolute":  func(tree string) error { return os.Symlink(outside, filepath.Join(tree, "evil")) },
		"climbing":  func(tree string) error { return os.Symlink("../../x", filepath.Join(tree, "lib", "evil")) },
		"detouring": func(tree string) error { return os.Symlink("up/../../x", filepath.Join(tree, "lib", "evil")) },
	} {
		s := newStore(t)
		tree := addFiles(t, s, "static", static)
		if err := errors.Join(tamper(tree.Path()), os.Remove(s.recordPath(tree.digest))); err != nil {
			t.Fatal(err)
		}
		dst := filepath.Join(t.TempDir(), "repo")
		_, err := Materialise(dst, true, tree)
		mustContain(t, err, "evil", "may lead out")
		if diagnostic.KindOf(err) != diagnostic.Refused {
			t.Errorf("%s: kind %d", name, diagnostic.KindOf(err))
		}
		if _, err := os.Lstat(dst); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left behind: %v", name, err)
		}
	}
	if left := dirNames(t, outside); len(left) != 0 {
		t.Errorf("written outside: %v", left)
	}
}

// Invariant: of several conflicts the same one is told each time, though the trees come at the same time.
func TestMaterialiseConflictsAreTold(t *testing.T) {
	s := newStore(t)
	var trees []Tree
	for i, conflicting := range []files{{"z/x": {data: "1"}, "z/y": {data: "1"}}, {"z/x": {data: "2"}, "a/b": {data: "2"}}, {"z/y": {data: "3"}, "a/b": {data: "3"}, "z/w": {data: "3"}}} {
		for k := range 50 { // so that they meet at different places
			conflicting[fmt.Sprintf("%c/%d/%d", 'a'+k%26, i, k)] = file{data: "x"}
		}
		trees = append(trees, addFiles(t, s, fmt.Sprint(i), conflicting))
	}
	for range 50 {
		dst := filepath.Join(t.TempDir(), "repo")
		_, err := Materialise(dst, false, trees...)
		mustContain(t, err, "z/x", trees[0].digest.String(), trees[1].digest.String())
		if _, err := os.Lstat(dst); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("left behind: %v", err)
		}
	}
}

// Invariant: a file that somebody has put into a tree is damage, which is healed, also where it is in another tree's way.
func TestMaterialiseDamageGoesBeforeConflict(t *testing.T) {
	s := newStore(t)
	trees := []Tree{addFiles(t, s, "headers", headers), addFiles(t, s, "static", static)}
	for i, put := range []string{"include/sub/y.h", "lib/libz.a"} {
		tree := trees[1-i] // the other has this path
		name := filepath.Join(tree.Path(), filepath.FromSlash(put))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o444); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			_, err := Materialise(filepath.Join(t.TempDir(), "repo"), false, trees...)
			damaged, ok := errors.AsType[*DamagedError](err)
			if !ok || damaged.Digest != tree.digest {
				t.Fatalf("%s: %v", put, err)
			}
		}
		if err := os.RemoveAll(filepath.Join(tree.Path(), filepath.FromSlash(path.Dir(put)))); err != nil {
			t.Fatal(err)
		}
	}
}

// Invariant: what a link may share is the content alone: nobody writes the store through a workspace.
func TestMaterialisedFilesAreReadOnly(t *testing.T) {
	if runtime.GOOS != "windows" && os.Geteuid() == 0 {
		t.Skip("modes do not bind root")
	}
	dst := filepath.Join(t.TempDir(), "repo")
	if _, err := Materialise(dst, false, addFiles(t, newStore(t), "headers", headers)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dst, "include", "z.h"), []byte("x"), 0o644); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("written: %v", err)
	}
}

func BenchmarkMaterialise(b *testing.B) {
	f := files{}
	for i := range 2000 {
		f[fmt.Sprintf("include/%d/%d.h", i%50, i)] = file{data: randomDigest(i)}
	}
	tree := addFiles(b, newStore(b), "big", f)
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		if _, err := Materialise(filepath.Join(dir, fmt.Sprint(i)), false, tree); err != nil {
			b.Fatal(err)
		}
	}
}

// The cost of making a tree, its record included; what fills it is the least that can.
func BenchmarkAddTree(b *testing.B) {
	f := files{}
	for i := range 2000 {
		f[fmt.Sprintf("include/%d/%d.h", i%50, i)] = file{data: randomDigest(i)}
	}
	for i := range 20 {
		f[fmt.Sprintf("lib/lib%d.a", i)] = file{data: strings.Repeat(randomDigest(i), 9<<20/64)}
	}
	s := newStore(b)
	for i := 0; b.Loop(); i++ {
		if _, err := s.AddTree(b.Context(), seedDigest(i), nil, f.fill); err != nil {
			b.Fatal(err)
		}
	}
}

func randomDigest(i int) string { return digestOf(fmt.Append(nil, i)).Hex }
