package library

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// age lets the store believe that a name was last used some time ago.
func age(t *testing.T, s *store.Store, ref string, by time.Duration) {
	t.Helper()
	dir := filepath.Join(s.Root(), ".store", "v1", "names")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	aged := 0
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), ref) {
			at := time.Now().Add(-by)
			if err := os.Chtimes(p, at, at); err != nil {
				t.Fatal(err)
			}
			aged++
		}
	}
	if aged == 0 {
		t.Fatalf("no name of %s", ref)
	}
}

func imageList(t *testing.T, s *store.Store) []string {
	t.Helper()
	images, err := Images(s)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, i := range images {
		state := ""
		if !i.Complete {
			state = " incomplete"
		}
		if i.Crate {
			state += " crate"
		}
		_, name, _ := strings.Cut(i.Reference, "/")
		list = append(list, name+state)
	}
	return list
}

func collect(t *testing.T, s *store.Store, gc GC) Collected {
	t.Helper()
	done, err := Collect(s, gc)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// Two libraries that share their headers, and a third, in a store that nobody uses.
func threeLibraries(t *testing.T) (server *registrytest.Server, d *Depot, refs []registry.Reference, files []fstest.MapFS) {
	server = registrytest.New(t.TempDir())
	t.Cleanup(server.Close)
	d = newDepot(t, t.TempDir())
	for _, lib := range []struct{ name, header string }{{"foo", "shared.h"}, {"bar", "shared.h"}, {"qux", "qux.h"}} {
		p := installed(lib.name, lib.header)
		ref := publishLibrary(t, server, "acme/"+lib.name+":1", p)
		l := pull(t, d, untagged(ref))
		if _, err := l.View(t.Context(), untagged(ref)); err != nil {
			t.Fatal(err)
		}
		l.release()
		refs, files = append(refs, ref), append(files, p)
	}
	return server, d, refs, files
}

// Invariant: a list shows each library once, whatever it was asked for as, and says what it is.
func TestImages(t *testing.T) {
	_, d, refs, _ := threeLibraries(t)
	pull(t, d, refs[0]).release() // as Bazel asks for it
	pull(t, d, registry.Reference{Repository: refs[2].Repository, Digest: refs[2].Digest}).release()
	crateFetched(t, d.Store.Root(), "ghcr.io/acme/rust/__v1", upstreamArchive)
	images, err := Images(d.Store)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"acme/bar:1", "acme/foo:1", "acme/qux:1", "acme/qux@" + refs[2].Digest.String(), "acme/rust:v1 crate"}
	if got := imageList(t, d.Store); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	foo := images[1]
	if foo.Digest != refs[0].Digest.String() || foo.Target != x86.String() || !foo.Complete || foo.Size < 500 || time.Since(foo.Used) > time.Hour {
		t.Errorf("%+v", foo)
	}
	if crate := images[4]; crate.Digest == "" || crate.Size == 0 || crate.Reference != "ghcr.io/acme/rust:v1" {
		t.Errorf("%+v", crate)
	}
	l := pull(t, d, refs[0])
	path := l.Trees[0].Path()
	l.release()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if got := imageList(t, d.Store); !slices.Contains(got, "acme/foo:1 incomplete") {
		t.Errorf("%q", got)
	}
}

// Invariant: rm takes an image by any of its names, and leaves what another needs.
func TestRemove(t *testing.T) {
	for name, how := range map[string]func(ref registry.Reference) string{
		"tag":    func(ref registry.Reference) string { return untagged(ref).String() },
		"pinned": func(ref registry.Reference) string { return ref.String() },
		"digest": func(ref registry.Reference) string { return ref.Digest.String() },
		"digits": func(ref registry.Reference) string { return ref.Digest.String()[:15] },
		"without its tag": func(ref registry.Reference) string {
			return registry.Reference{Repository: ref.Repository, Digest: ref.Digest}.String()
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, d, refs, files := threeLibraries(t)
			server.Close()
			done, err := Remove(d.Store, how(refs[0]))
			if err != nil {
				t.Fatal(err)
			}
			if len(done.Images) != 1 || done.Trees != 2 || done.Blobs != 2 || done.Bytes == 0 || done.InUse != 0 {
				t.Errorf("%+v", done)
			}
			if got := imageList(t, d.Store); !slices.Equal(got, []string{"acme/bar:1", "acme/qux:1"}) {
				t.Errorf("%q", got)
			}
			views, err := d.Store.Views()
			if err != nil || len(views) != 2 {
				t.Errorf("%v, %v", views, err)
			}
			for _, i := range []int{1, 2} {
				l := pull(t, d, refs[i])
				dir := filepath.Join(t.TempDir(), "repo")
				if _, err := Repository(t.Context(), l, dir, "x", nil); err != nil {
					t.Fatal(err)
				}
				has(t, dir, files[i])
			}
		})
	}
}

// Invariant: what is not there is an error, and then nothing is removed.
func TestRemoveWhatIsNotThere(t *testing.T) {
	_, d, refs, _ := threeLibraries(t)
	for arg, kind := range map[string]diagnostic.Kind{
		"example.com/none:1":               diagnostic.NotFound,
		"sha256:0123456789abc":             diagnostic.NotFound,
		refs[0].Repository.String() + ":2": diagnostic.NotFound,
		"sha256:0123":                      diagnostic.NotFound,
		"UPPER/case":                       diagnostic.Usage,
		"":                                 diagnostic.Usage,
	} {
		if _, err := Remove(d.Store, refs[1].String(), arg); diagnostic.KindOf(err) != kind {
			t.Errorf("%q: %v", arg, err)
		}
	}
	if got := imageList(t, d.Store); len(got) != 3 {
		t.Errorf("%q", got)
	}
}

// Invariant: a gc takes what was not used for as long as it says, with its view, and nothing else.
func TestCollectByAge(t *testing.T) {
	server, d, refs, files := threeLibraries(t)
	server.Close()
	age(t, d.Store, "acme/foo", 10*24*time.Hour)
	age(t, d.Store, "acme/qux", 5*24*time.Hour)
	for _, dry := range []bool{true, false, false} {
		before := imageList(t, d.Store)
		done := collect(t, d.Store, GC{OlderThan: 7 * 24 * time.Hour, MaxSize: -1, DryRun: dry})
		after := imageList(t, d.Store)
		switch {
		case dry && (len(done.Images) != 1 || done.Trees != 2 || done.Blobs != 2 || !slices.Equal(before, after)):
			t.Errorf("dry: %+v, %q", done, after)
		case !dry && len(before) == 3 && (len(done.Images) != 1 || done.Trees != 2 || done.Kept != 2):
			t.Errorf("%+v", done)
		case len(before) == 2 && len(done.Images)+done.Trees+done.Blobs != 0:
			t.Errorf("again: %+v", done)
		}
		if !dry && !slices.Equal(after, []string{"acme/bar:1", "acme/qux:1"}) {
			t.Errorf("%q", after)
		}
	}
	if v, err := d.Verify(t.Context(), false); err != nil || v.Trees != 6 || v.Blobs != 4 {
		t.Errorf("%+v, %v", v, err)
	}
	dir := filepath.Join(t.TempDir(), "repo")
	if _, err := Repository(t.Context(), pull(t, d, refs[1]), dir, "x", nil); err != nil {
		t.Fatal(err)
	}
	has(t, dir, files[1])
}

// Invariant: a gc by size takes what was used longest ago first, and no more than it has to.
func TestCollectBySize(t *testing.T) {
	_, d, _, _ := threeLibraries(t)
	age(t, d.Store, "acme/foo", 3*time.Hour)
	age(t, d.Store, "acme/bar", 2*time.Hour)
	age(t, d.Store, "acme/qux", time.Hour)
	all := collect(t, d.Store, GC{OlderThan: -1, MaxSize: 1 << 40, DryRun: true})
	if len(all.Images) != 0 || all.Kept != 3 || all.Size == 0 {
		t.Fatalf("%+v", all)
	}
	done := collect(t, d.Store, GC{OlderThan: -1, MaxSize: all.Size - 1})
	if got := imageList(t, d.Store); !slices.Equal(got, []string{"acme/bar:1", "acme/qux:1"}) {
		t.Errorf("%q, %+v", got, done)
	}
	if done.Size != all.Size-done.Bytes || done.Size > all.Size-1 {
		t.Errorf("%+v, before %d", done, all.Size)
	}
	done = collect(t, d.Store, GC{OlderThan: -1, MaxSize: 0})
	if got := imageList(t, d.Store); len(got) != 0 || done.Size != 0 {
		t.Errorf("%q, %+v", got, done)
	}
	if left, err := os.ReadDir(d.Store.Root()); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// Invariant: a repository that was made keeps every byte, whatever a gc does; one that is linked to the store keeps its
// image there, too, until it is gone.
func TestRepositorySurvivesGC(t *testing.T) {
	server, d, refs, files := threeLibraries(t)
	server.Close()
	dir := filepath.Join(t.TempDir(), "repo")
	l := pull(t, d, refs[0])
	stats, err := Repository(t.Context(), l, dir, "foo", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.release()
	text, err := os.ReadFile(filepath.Join(dir, "BUILD.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	done := collect(t, d.Store, GC{OlderThan: 0, MaxSize: 0})
	has(t, dir, files[0])
	if stats.Linked > 0 {
		if got := imageList(t, d.Store); !slices.Equal(got, []string{"acme/bar:1", "acme/foo:1"}) || done.Linked != 2 {
			t.Errorf("%q, %+v: bar shares the headers that are linked", got, done)
		}
		other := filepath.Join(t.TempDir(), "repo")
		if _, err := Repository(t.Context(), pull(t, d, refs[0]), other, "foo", nil); err != nil {
			t.Errorf("the next repository of it: %v", err)
		}
		if err := os.RemoveAll(other); err != nil {
			t.Fatal(err)
		}
	}
	// By name it can be removed all the same, and by hand everything.
	if _, err := Remove(d.Store, refs[0].String()); err != nil {
		t.Fatal(err)
	}
	has(t, dir, files[0])
	if err := os.RemoveAll(d.Store.Root()); err != nil {
		t.Fatal(err)
	}
	has(t, dir, files[0])
	if again, err := os.ReadFile(filepath.Join(dir, "BUILD.bazel")); err != nil || string(again) != string(text) {
		t.Errorf("%v", err)
	}
}

// Invariant: what is left beside a store that someone has deleted goes with the next gc.
func TestCollectNamelessViews(t *testing.T) {
	server, d, refs, files := threeLibraries(t)
	if err := os.RemoveAll(filepath.Join(d.Store.Root(), ".store")); err != nil {
		t.Fatal(err)
	}
	d = newDepot(t, d.Store.Root())
	l := pull(t, d, untagged(refs[0]))
	dir, err := l.View(t.Context(), untagged(refs[0]))
	if err != nil {
		t.Fatal(err)
	}
	l.release()
	server.Close()
	collect(t, d.Store, GC{OlderThan: time.Hour, MaxSize: -1})
	if views, err := d.Store.Views(); err != nil || len(views) != 3 {
		t.Errorf("new ones: %v, %v", views, err)
	}
	old := time.Now().Add(-2 * time.Hour)
	views, err := d.Store.Views()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range views {
		p := filepath.Join(d.Store.Root(), filepath.FromSlash(v.Path))
		if err := os.Chtimes(p, old, old); err != nil {
			t.Fatal(err)
		}
	}
	collect(t, d.Store, GC{OlderThan: time.Hour, MaxSize: -1})
	if views, err := d.Store.Views(); err != nil || len(views) != 1 {
		t.Errorf("old ones: %v, %v", views, err)
	}
	has(t, dir, files[0])
}

// Invariant: a library that a process holds stays whole, whatever is removed.
func TestHeldLibraryStays(t *testing.T) {
	server, d, refs, files := threeLibraries(t)
	server.Close()
	l := pull(t, d, refs[0])
	done := collect(t, newDepot(t, d.Store.Root()).Store, GC{OlderThan: 0, MaxSize: -1})
	if done.InUse != 3 {
		t.Errorf("%+v", done)
	}
	dir := filepath.Join(t.TempDir(), "repo")
	if _, err := Repository(t.Context(), l, dir, "foo", nil); err != nil {
		t.Fatal(err)
	}
	has(t, dir, files[0])
}

// Invariant: gc and rm at any time disturb nobody: each pull and each repository goes through, at worst by fetching again.
func TestCollectAgainstPulls(t *testing.T) {
	_, d, refs, files := threeLibraries(t)
	stop := make(chan struct{})
	var collecting, pulling sync.WaitGroup
	taken := 0
	collecting.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			done, err := Collect(d.Store, GC{OlderThan: 0, MaxSize: -1})
			if err != nil {
				t.Error(err)
			}
			taken += done.Trees
		}
	})
	dir := t.TempDir()
	for g := range 3 {
		pulling.Go(func() {
			for i := range 8 {
				n := (g + i) % len(refs)
				mine := newDepot(t, d.Store.Root())
				l, err := mine.Pull(t.Context(), refs[n], x86)
				if err != nil {
					t.Error(err)
					continue
				}
				repo := filepath.Join(dir, fmt.Sprint(g, "-", i))
				if _, err := Repository(t.Context(), l, repo, "x", nil); err != nil {
					t.Error(err)
				}
				has(t, repo, files[n])
				if err := os.RemoveAll(repo); err != nil { // or a gc would keep it
					t.Error(err)
				}
				l.release()
			}
		})
	}
	pulling.Wait()
	close(stop)
	collecting.Wait()
	if taken == 0 {
		t.Error("nothing was ever collected")
	}
	if v, err := d.Verify(t.Context(), false); err != nil {
		t.Errorf("%+v, %v", v, err)
	}
	named(t, d.Store)
}

// due is an inventory of a store in which everything has been unused for 31 days, and all names of it, which are to go.
func due(t *testing.T, s *store.Store) (*inventory, map[*held]bool) {
	t.Helper()
	age(t, s, "acme", 31*24*time.Hour)
	inv, err := takeInventory(s)
	if err != nil {
		t.Fatal(err)
	}
	doomed := map[*held]bool{}
	for _, h := range inv.held {
		doomed[h] = true
	}
	return inv, doomed
}

// named fails unless the manifest of every name is there.
func named(t *testing.T, s *store.Store) {
	t.Helper()
	names, err := s.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if _, err := s.PeekBlob(n.Digest); err != nil {
			t.Errorf("%s names what is gone: %v", n.Ref, err)
		}
	}
}

// Invariant: what was used between a gc's look and its removal stays, whole, and is there without a network.
func TestCollectSparesWhatWasUsedMeanwhile(t *testing.T) {
	for name, use := range map[string]func(*Depot, registry.Reference) error{
		"pulled": func(d *Depot, ref registry.Reference) error {
			l, err := d.Pull(t.Context(), untagged(ref), x86)
			if err == nil {
				l.release()
			}
			return err
		},
		"pulled by its digest": func(d *Depot, ref registry.Reference) error {
			l, err := d.Pull(t.Context(), ref, x86)
			if err == nil {
				l.release()
			}
			return err
		},
		"named": func(d *Depot, ref registry.Reference) error { return d.Store.SetName(ref.String(), ref.Digest) },
	} {
		t.Run(name, func(t *testing.T) {
			server, d, refs, files := threeLibraries(t)
			inv, doomed := due(t, d.Store)
			if err := use(newDepot(t, d.Store.Root()), refs[0]); err != nil {
				t.Fatal(err)
			}
			done, err := inv.remove(doomed, nil, false)
			if err != nil {
				t.Fatal(err)
			}
			server.Close()
			if got := imageList(t, d.Store); !slices.Equal(got, []string{"acme/foo:1"}) {
				t.Errorf("%q, %+v", got, done)
			}
			// foo has two trees of its own and shares one; bar has two, qux three.
			if done.Trees != 5 || done.Blobs != 4 {
				t.Errorf("%+v", done)
			}
			named(t, d.Store)
			dir := filepath.Join(t.TempDir(), "repo")
			if _, err := Repository(t.Context(), pull(t, d, refs[0]), dir, "x", nil); err != nil {
				t.Fatal(err)
			}
			has(t, dir, files[0])
		})
	}
}

// Invariant: what a pull under way has read stays with its name, though all of it is due.
func TestCollectSparesWhatIsBeingPulled(t *testing.T) {
	server, d, refs, files := threeLibraries(t)
	server.Close()
	hold := newDepot(t, d.Store.Root()).Store.Hold()
	if _, err := hold.Blob(refs[0].Digest); err != nil {
		t.Fatal(err)
	}
	done := collect(t, d.Store, GC{OlderThan: 0, MaxSize: -1})
	if got := imageList(t, d.Store); !slices.Equal(got, []string{"acme/foo:1"}) || done.InUse != 3 || done.Kept != 1 || len(done.Images) != 2 {
		t.Errorf("%q, %+v", got, done)
	}
	views, err := d.Store.Views()
	if err != nil || len(views) != 1 {
		t.Errorf("%v, %v", views, err)
	}
	l := pull(t, d, refs[0])
	dir := filepath.Join(t.TempDir(), "repo")
	if _, err := Repository(t.Context(), l, dir, "x", nil); err != nil {
		t.Fatal(err)
	}
	has(t, dir, files[0])
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.release()
	hold.Release()
	if done := collect(t, d.Store, GC{OlderThan: 0, MaxSize: -1}); done.Kept != 0 || done.Size != 0 {
		t.Errorf("%+v", done)
	}
}

// Invariant: a name that could not be followed to its end is followed again when what was missing has come.
func TestCollectFollowsNamesAgain(t *testing.T) {
	_, d, refs, _ := threeLibraries(t)
	l := pull(t, d, refs[0])
	loose := map[v1.Hash]bool{l.Manifest.Config.Digest: true}
	for _, tree := range l.Trees {
		loose[tree.Digest()] = true
	}
	l.release()
	// As a gc that was killed may leave it, and whoever deletes a file.
	if err := os.Remove(filepath.Join(d.Store.Root(), ".store", "v1", "blobs", "sha256", refs[0].Digest.Hex)); err != nil {
		t.Fatal(err)
	}
	inv, err := takeInventory(d.Store)
	if err != nil {
		t.Fatal(err)
	}
	pull(t, d, refs[0]).release()
	done, err := inv.remove(map[*held]bool{}, loose, false)
	if err != nil || done.Trees+done.Blobs != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	if got := imageList(t, d.Store); !slices.Contains(got, "acme/foo:1") {
		t.Errorf("%q", got)
	}
}

// Invariant: where it cannot be told what a new name needs, nothing more is removed.
func TestNothingGoesWithANewDamagedManifest(t *testing.T) {
	_, d, refs, _ := threeLibraries(t)
	inv, doomed := due(t, d.Store)
	damaged, err := d.Store.PutBlob([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(d.Store.Root(), ".store", "v1", "blobs", "sha256", damaged.Hex)
	if err := errors.Join(os.Chmod(blob, 0o644), os.WriteFile(blob, []byte("{ "), 0o444), d.Store.SetName("example.com/new:1", damaged)); err != nil {
		t.Fatal(err)
	}
	done, err := inv.remove(doomed, nil, false)
	if diagnostic.KindOf(err) != diagnostic.Corrupt || !strings.Contains(err.Error(), damaged.String()) || done.Trees+done.Blobs != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	if trees, err := d.Store.Trees(); err != nil || len(trees) != 8 {
		t.Errorf("%d trees, %v", len(trees), err)
	}
	// The names went first: what has one is whole.
	if got := imageList(t, d.Store); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if _, err := d.Store.PeekBlob(refs[0].Digest); err != nil {
		t.Error(err)
	}
}

// Invariant: things are removed in one order: trees, configs, manifests, indexes, each by digest.
func TestRemovalOrder(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	image := server.Host + "/acme/zlib:1.3.1"
	p := publish(t, image)
	d := &Depot{Registry: testClient(), Store: newDepot(t, t.TempDir()).Store}
	for _, target := range []string{amd64Linux, "aarch64-unknown-linux-gnu"} {
		l, err := d.Pull(t.Context(), reference(t, image), triple(t, target))
		if err != nil {
			t.Fatal(err)
		}
		l.release()
	}
	inv, err := takeInventory(d.Store)
	if err != nil {
		t.Fatal(err)
	}
	going := map[v1.Hash]bool{}
	for _, h := range inv.held {
		keep(going, h)
	}
	trees, blobs := inv.order(going)
	sorted := func(list []v1.Hash) bool {
		return slices.IsSortedFunc(list, func(a, b v1.Hash) int { return strings.Compare(a.Hex, b.Hex) })
	}
	if len(trees) != len(inv.trees) || len(trees) < 3 || !sorted(trees) {
		t.Errorf("trees %v", trees)
	}
	if len(blobs) != 5 || !sorted(blobs[:2]) || !sorted(blobs[2:4]) ||
		!slices.Contains(blobs[2:4], p.documents["amd64"]) || !slices.Contains(blobs[2:4], p.documents["arm64"]) || blobs[4] != p.root.Digest {
		t.Errorf("documents %v of %v", blobs, p.documents)
	}
}

// Invariant: verify finds what changed, also where no time tells of it, says whose it is, and mends it.
func TestVerify(t *testing.T) {
	flip := func(p string) error {
		fi, err := os.Stat(p)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		data[len(data)/2] ^= 1
		return errors.Join(os.Chmod(p, 0o644), os.WriteFile(p, data, 0o644), os.Chmod(p, 0o444), os.Chtimes(p, fi.ModTime(), fi.ModTime()))
	}
	server, d, refs, files := threeLibraries(t)
	blob := func(hex string) string { return filepath.Join(d.Store.Root(), ".store", "v1", "blobs", "sha256", hex) }
	l := pull(t, d, refs[0])
	tree, config := treeWith(t, l, "lib/libfoo.a"), blob(l.Manifest.Config.Digest.Hex)
	l.release()
	for name, p := range map[string]string{"tree": tree, "manifest": blob(refs[0].Digest.Hex), "config": config} {
		t.Run(name, func(t *testing.T) {
			if err := flip(p); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the first changes nothing
				v, err := d.Verify(t.Context(), false)
				if diagnostic.KindOf(err) != diagnostic.Corrupt || len(v.Damaged) != 1 || v.Damaged[0].Mended ||
					!slices.Equal(v.Damaged[0].Images, []string{untagged(refs[0]).String()}) {
					t.Fatalf("%+v, %v", v, err)
				}
			}
			v, err := d.Verify(t.Context(), true)
			if err != nil || len(v.Damaged) != 1 || !v.Damaged[0].Mended {
				t.Errorf("%+v, %v", v, err)
			}
			if v, err := d.Verify(t.Context(), false); err != nil || len(v.Damaged) != 0 || v.Trees != 8 || v.Blobs != 6 {
				t.Errorf("%+v, %v", v, err)
			}
			views, err := d.Store.Views()
			if err != nil || len(views) != 3 {
				t.Errorf("%v, %v", views, err)
			}
			for _, view := range views {
				for i, ref := range refs {
					if strings.Contains(view.Path, ref.Repository.RepositoryStr()) {
						has(t, filepath.Join(d.Store.Root(), filepath.FromSlash(view.Path)), files[i])
					}
				}
			}
		})
	}
	// Nobody to fetch it from: it is set aside all the same, so that it harms nobody, and said.
	if err := flip(tree); err != nil {
		t.Fatal(err)
	}
	server.Close()
	v, err := d.Verify(t.Context(), true)
	if diagnostic.KindOf(err) != diagnostic.Corrupt || len(v.Damaged) != 1 || v.Damaged[0].Mended || v.Damaged[0].Problem == "" {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := os.Stat(tree); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if got := imageList(t, d.Store); !slices.Contains(got, "acme/foo:1 incomplete") {
		t.Errorf("%q", got)
	}
}

// snapshot is everything below a folder: names, modes, times, contents.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		all[p] = fmt.Sprint(fi.Mode(), fi.ModTime().UnixNano(), fi.Size())
		if fi.Mode().IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			all[p] += " " + hashOf(data).Hex
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Invariant: without repair, verify changes nothing at all, whether it finds damage or what is none.
func TestVerifyWithoutRepairChangesNothing(t *testing.T) {
	_, d, refs, _ := threeLibraries(t)
	l := pull(t, d, refs[0])
	library, header := treeWith(t, l, "lib/libfoo.a"), treeWith(t, l, "include/shared.h")
	l.release()
	later := time.Now().Add(time.Hour).Truncate(time.Second)
	manifest := filepath.Join(d.Store.Root(), ".store", "v1", "blobs", "sha256", refs[2].Digest.Hex)
	if err := errors.Join(os.Chmod(header, 0o644), os.Chtimes(header, later, later), os.Chmod(library, 0o644), os.WriteFile(library, []byte("damaged"), 0o644),
		os.Chmod(manifest, 0o644), os.WriteFile(manifest, []byte("{}"), 0o644)); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, d.Store.Root())
	v, err := d.Verify(t.Context(), false)
	if diagnostic.KindOf(err) != diagnostic.Corrupt || len(v.Damaged) != 2 {
		t.Errorf("%+v, %v", v, err)
	}
	after := snapshot(t, d.Store.Root())
	for p, was := range before {
		if after[p] != was {
			t.Errorf("%s was %s, is %s", p, was, after[p])
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files, were %d", len(after), len(before))
	}
	if _, err := d.Verify(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(header); err != nil || fi.Mode().Perm() != 0o444 {
		t.Errorf("with repair: %v, %v", fi.Mode(), err)
	}
}

// Invariant: a path is that of a directory with all files, had without a network; of a tag that moved, what it points to.
func TestLocate(t *testing.T) {
	server, d, refs, files := threeLibraries(t)
	newer := installed("foo", "newer.h")
	moved := publishLibrary(t, server, "acme/foo:1", newer)
	l := pull(t, d, untagged(moved))
	if _, err := l.View(t.Context(), untagged(moved)); err != nil {
		t.Fatal(err)
	}
	l.release()
	server.Close()
	for arg, want := range map[string]fstest.MapFS{
		untagged(refs[0]).String(): newer,
		moved.String():             newer,
		refs[0].String():           files[0],
		refs[1].Digest.String():    files[1],
	} {
		for range 2 {
			_, dir, err := d.Locate(t.Context(), arg, x86)
			if err != nil {
				t.Fatal(err)
			}
			has(t, dir, want)
			if _, err := os.Stat(filepath.Join(dir, "libfoo.a")); arg != refs[1].Digest.String() && err != nil {
				t.Errorf("%s: %v", arg, err)
			}
		}
	}
	mac := x86
	mac.OS, mac.Vendor, mac.Env = "darwin", "apple", ""
	_, _, err := d.Locate(t.Context(), refs[1].String(), mac)
	if diagnostic.KindOf(err) != diagnostic.NotFound || !strings.Contains(err.Error(), x86.String()) {
		t.Errorf("%v", err)
	}
	for _, arg := range []string{"example.com/none:1"} {
		if _, _, err := d.Locate(t.Context(), arg, x86); diagnostic.KindOf(err) != diagnostic.NotFound {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

// Invariant: our names for images are the crate's, there and back.
func TestCratePaths(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for text, want := range map[string]string{
		"ghcr.io/acme/zlib:1.3.1":                 "ghcr.io/acme/zlib/__1.3.1",
		"localhost:5000/test_repo":                "localhost__5000/test_repo/__latest",
		"quay.io/jitesoft/alpine@sha256:" + hex:   "quay.io/jitesoft/alpine/__sha256__" + hex,
		"quay.io/jitesoft/alpine:1@sha256:" + hex: "quay.io/jitesoft/alpine/__sha256__" + hex,
		"ghcr.io/acme/zlib:a__b":                  "ghcr.io/acme/zlib/__a__b",
		// Docker Hub: the crate finds what is called so in full, or by its API's host; its own short form is nowhere.
		"zlib:1":                           "docker.io/library/zlib/__1",
		"docker.io/library/zlib:1":         "docker.io/library/zlib/__1",
		"docker.io/acme/zlib:1":            "docker.io/acme/zlib/__1",
		"registry-1.docker.io/acme/zlib:1": "registry-1.docker.io/acme/zlib/__1",
	} {
		got, ok := cratePath(reference(t, text))
		if !ok || got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, ok, want)
		}
		if back := crateReference(got); back != text && !strings.Contains(text, ":1@") && text != "localhost:5000/test_repo" && text != "zlib:1" {
			t.Errorf("%s: %q, and back %q", text, got, back)
		}
	}
	if _, ok := cratePath(reference(t, "[::1]:5000/a:1")); ok {
		t.Error("the crate cannot write IPv6 addresses")
	}
}

// Invariant: where it cannot be told what a name needs, nothing is removed; once the manifest is whole again, all is.
func TestNothingGoesWithADamagedManifest(t *testing.T) {
	_, d, refs, _ := threeLibraries(t)
	root := d.Store.Root()
	blob := filepath.Join(root, ".store", "v1", "blobs", "sha256", refs[0].Digest.Hex)
	whole, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) {
		t.Helper()
		if err := errors.Join(os.Chmod(blob, 0o644), os.WriteFile(blob, data, 0o644), os.Chmod(blob, 0o444)); err != nil {
			t.Fatal(err)
		}
	}
	before, err := d.Store.Trees()
	if err != nil {
		t.Fatal(err)
	}
	write(append([]byte(" "), whole[1:]...))
	for what, remove := range map[string]func() error{
		"gc": func() error { _, err := Collect(d.Store, GC{OlderThan: 0, MaxSize: -1}); return err },
		"rm": func() error { _, err := Remove(d.Store, untagged(refs[1]).String()); return err },
	} {
		if err := remove(); diagnostic.KindOf(err) != diagnostic.Corrupt || !strings.Contains(err.Error(), refs[0].Digest.String()) || !strings.Contains(err.Error(), "store verify") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after, err := d.Store.Trees(); err != nil || len(after) != len(before) {
		t.Errorf("%d trees are left of %d, %v", len(after), len(before), err)
	}
	write(whole)
	if _, err := Remove(d.Store, untagged(refs[1]).String()); err != nil {
		t.Error(err)
	}
}

// Invariant: what several names lead to stays until the last of them goes.
func TestRemoveKeepsTheViewOfAnotherTag(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	d := newDepot(t, t.TempDir())
	pinned := publishLibrary(t, server, "acme/foo:1", installed("foo", "foo.h"))
	second := pinned
	second.Tag = "2"
	for _, ref := range []registry.Reference{untagged(pinned), pinned, second} {
		l := pull(t, d, ref)
		if _, err := l.View(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		l.release()
	}
	p, ok := cratePath(pinned)
	if !ok {
		t.Fatal("no path")
	}
	dir := filepath.Join(d.Store.Root(), filepath.FromSlash(p))
	if _, err := Remove(d.Store, untagged(pinned).String()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "include", "foo.h")); err != nil {
		t.Errorf("after the first of two: %v", err)
	}
	if _, err := Remove(d.Store, second.String()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the last: %v", err)
	}
}

// Invariant: a tree that somebody else has set aside while this process held it is fetched again.
func TestSetAsideMeanwhileHeals(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	d := newDepot(t, t.TempDir())
	files := installed("foo", "foo.h")
	l := pull(t, d, publishLibrary(t, server, "acme/foo:1", files))
	defer l.release()
	if err := os.Rename(l.Trees[0].Path(), filepath.Join(t.TempDir(), "aside")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "r")
	if _, err := Repository(t.Context(), l, dir, "foo", labels()); err != nil {
		t.Fatal(err)
	}
	has(t, dir, files)
}
