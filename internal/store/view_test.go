package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// checkView compares a view, but for its marker, with the files it should show.
func checkView(t testing.TB, dir string, f files) {
	t.Helper()
	marker, err := os.ReadFile(filepath.Join(dir, viewMarker))
	if err != nil {
		t.Error(err)
		return
	}
	with := merge(f, files{viewMarker: {data: string(marker)}})
	name := filepath.Join(dir, viewMarker)
	if err := os.Chmod(name, 0o444); err != nil { // as check wants it
		t.Fatal(err)
	}
	if err := with.check(dir); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Invariant: a view is all files of an image, linked and not copied, and follows the image it is of; what is not ours in
// its place stays to the byte.
func TestView(t *testing.T) {
	s := newStore(t)
	h, a := addFiles(t, s, "headers", headers), addFiles(t, s, "static", static)
	const rel = "localhost__5000/acme/zlib/__1.3.1"
	for _, trees := range [][]Tree{{h, a}, {h, a}, {h}, {a}} {
		want := files{}
		id := v1.Hash{}
		for _, tree := range trees {
			want = merge(want, map[v1.Hash]files{h.Digest(): headers, a.Digest(): static}[tree.Digest()])
			id = digestOf([]byte(id.Hex + tree.Digest().Hex))
		}
		dir, err := s.PutView(t.Context(), rel, id, false, trees...)
		if err != nil {
			t.Fatal(err)
		}
		if dir != filepath.Join(s.root, filepath.FromSlash(rel)) {
			t.Errorf("it is at %s", dir)
		}
		checkView(t, dir, want)
		views, err := s.Views()
		if err != nil || len(views) != 1 || !views[0].Ours || views[0].Digest != id || views[0].Path != rel {
			t.Errorf("%+v, %v", views, err)
		}
	}
	idle(t, s, 2)
	// What upstream looks for: regular files, if need be through links, called lib*.a, in the directory itself.
	if fi, err := os.Stat(filepath.Join(s.root, filepath.FromSlash(rel), "libz.a")); err != nil || !fi.Mode().IsRegular() {
		t.Errorf("%v, %v", fi, err)
	}
	linked, err := s.LinkedOutside([]v1.Hash{h.Digest(), a.Digest()})
	if err != nil || len(linked) != 0 {
		t.Errorf("a view of ours is no reason to keep a tree: %v, %v", linked, err)
	}

	theirs := filepath.Join(s.root, "localhost__5000", "acme", "zlib", "__1.2")
	if err := os.MkdirAll(filepath.Join(theirs, ".oci-dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(theirs, "libz.a"), []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutView(t.Context(), "localhost__5000/acme/zlib/__1.2", h.Digest(), false, h); !errors.Is(err, ErrForeign) {
		t.Errorf("%v", err)
	}
	r := s.Remove()
	removed, err := r.View("localhost__5000/acme/zlib/__1.2")
	if err != nil || removed {
		t.Errorf("removed %v, %v", removed, err)
	}
	if data, err := os.ReadFile(filepath.Join(theirs, "libz.a")); err != nil || string(data) != "theirs" {
		t.Errorf("%q, %v", data, err)
	}
	// The crate replaces ours by its own as `ocipkg get -f` does: from then on it is not ours.
	ours := filepath.Join(s.root, filepath.FromSlash(rel))
	if err := os.RemoveAll(ours); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(ours, 0o755); err != nil {
		t.Fatal(err)
	}
	if removed, err := r.View(rel); err != nil || removed {
		t.Errorf("removed %v, %v", removed, err)
	}
	if _, err := s.PutView(t.Context(), rel, h.Digest(), false, h); !errors.Is(err, ErrForeign) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(ours); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutView(t.Context(), "example.com/a/b/__1", h.Digest(), false, h); err != nil {
		t.Fatal(err)
	}
	if removed, err := r.View("example.com/a/b/__1"); err != nil || !removed {
		t.Errorf("removed %v, %v", removed, err)
	}
	if err := r.Finish(); err != nil {
		t.Error(err)
	}
	if left := dirNames(t, s.root); len(left) != 2 {
		t.Errorf("left %v", left)
	}
	if err := errors.Join(headers.check(h.Path()), static.check(a.Path())); err != nil {
		t.Error("removing a view changed the store:", err)
	}
	idle(t, s, 2)
}

// Invariant: whatever makes upstream's list of everything fail is not made: it takes each directory called __ for an image.
func TestViewThatBreaksTheList(t *testing.T) {
	s := newStore(t)
	for _, f := range []files{{"__pycache__/x": {data: "x"}}, {"lib/python/__pycache__/x": {data: "x"}}} {
		tree := addFiles(t, s, fmt.Sprint(f), f)
		if _, err := s.PutView(t.Context(), "example.com/a/__1", tree.Digest(), false, tree); !errors.Is(err, ErrBreaksList) {
			t.Errorf("%v", err)
		}
	}
	tree := addFiles(t, s, "a file", files{"lib/__init__.py": {data: "x"}})
	if _, err := s.PutView(t.Context(), "example.com/a/__1", tree.Digest(), false, tree); err != nil {
		t.Error(err)
	}
	idle(t, s, 3)
}

// Invariant: nothing is made outside the root, nor in the store's own directory.
func TestViewPaths(t *testing.T) {
	s := newStore(t)
	tree := addFiles(t, s, "headers", headers)
	for _, rel := range []string{"", "..", "../x/__1", "/x/__1", "x/y", "x/../__1", ".store/__1", "x//__1", "x/__1/"} {
		if _, err := s.PutView(t.Context(), rel, tree.Digest(), false, tree); err == nil {
			t.Errorf("%q was made", rel)
		}
	}
	if left := dirNames(t, s.root); len(left) != 1 {
		t.Errorf("%v", left)
	}
}

// Invariant: whoever looks at a view at any time finds one, whole, also while it changes hands.
func TestViewChangesInOneStep(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems have no way to swap directories in one step")
	}
	s := newStore(t)
	trees := []Tree{addFiles(t, s, "headers", headers), addFiles(t, s, "static", static)}
	const rel = "example.com/a/__latest"
	if _, err := s.PutView(t.Context(), rel, trees[0].Digest(), false, trees[0]); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var looking, changing sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := os.Stat(filepath.Join(s.root, filepath.FromSlash(rel), viewMarker)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for g := range 4 {
		changing.Go(func() {
			mine := open(t, s.root)
			for i := range 15 {
				tree := trees[(g+i)%2]
				if _, err := mine.PutView(t.Context(), rel, tree.Digest(), false, tree); err != nil {
					t.Error(err)
				}
			}
		})
	}
	changing.Wait()
	close(stop)
	looking.Wait()
	v, err := s.viewOf(rel)
	if err != nil {
		t.Fatal(err)
	}
	checkView(t, filepath.Join(s.root, filepath.FromSlash(rel)), map[v1.Hash]files{trees[0].Digest(): headers, trees[1].Digest(): static}[v.Digest])
	idle(t, s, 2)
}

// Invariant: a tree that an external repository is linked to is known to be, until the repository is gone.
func TestLinkedOutside(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links are not counted there")
	}
	s := newStore(t)
	h, a := addFiles(t, s, "headers", headers), addFiles(t, s, "static", static)
	both := []v1.Hash{h.Digest(), a.Digest()}
	if _, err := s.PutView(t.Context(), "example.com/a/__1", h.Digest(), false, h, a); err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(t.TempDir(), "repo")
	stats, err := Materialise(dst, false, h)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Linked == 0 {
		t.Skip("this file system shares files otherwise")
	}
	linked, err := s.LinkedOutside(both)
	if err != nil || !linked[h.Digest()] || linked[a.Digest()] {
		t.Errorf("%v, %v", linked, err)
	}
	if err := os.RemoveAll(dst); err != nil {
		t.Fatal(err)
	}
	if linked, err := s.LinkedOutside(both); err != nil || len(linked) != 0 {
		t.Errorf("%v, %v", linked, err)
	}
}
