package library

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

var x86 = artifact.Triple{Arch: "x86_64", Vendor: "unknown", OS: "linux", Env: "gnu"}

// installed is an install prefix of a library called name; two of one header share its layer.
func installed(name, header string) fstest.MapFS {
	return fstest.MapFS{
		"include/" + header:        {Data: []byte("int " + strings.TrimSuffix(header, ".h") + "(void);\n")},
		"lib/lib" + name + ".a":    {Data: artifacttest.Archive(artifacttest.Object{Defines: []string{name}})},
		"lib/lib" + name + ".so.1": {Data: artifacttest.Shared{SONAME: "lib" + name + ".so.1"}.Bytes()},
	}
}

// publish packs a prefix, pushes it as host/repository:tag and returns the pinned reference.
func publishLibrary(t *testing.T, server *registrytest.Server, name string, files fs.FS) registry.Reference {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "layout")
	w, err := artifact.CreateLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	packed, err := artifact.Pack(files, artifact.Claims{Name: "foo", Version: "1"}, artifact.Zstd, w)
	if err != nil {
		t.Fatal(err)
	}
	w.Add(packed.Manifest, "")
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return pushLayout(t, dest, server.Host+"/"+name)
}

func pushLayout(t *testing.T, layout, name string) registry.Reference {
	t.Helper()
	pushed, err := Push(t.Context(), client(), []*artifact.Layout{openedLayout(t, layout)}, reference(t, name), PushOptions{NoUpstreamTags: true})
	if err != nil {
		t.Fatal(err)
	}
	return pushed.Reference
}

// newDepot is a depot as a process of its own has one, at a store root.
func newDepot(t *testing.T, root string) *Depot {
	t.Helper()
	s, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	// Some tests close the registry: nothing is gained by waiting for it.
	impatient := &registry.RetryPolicy{Attempts: 2, Base: time.Millisecond}
	return &Depot{Registry: registry.NewClient(registry.Options{Keychain: anonymous{}, Retry: impatient}), Store: s}
}

// collected are messages: add adds one, and all gives what has been added so far.
func collected() (add func(message string), all func() []string) {
	var mu sync.Mutex
	var list []string
	add = func(message string) {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, message)
	}
	return add, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// warningsOf has what d warns of from here on collected.
func warningsOf(d *Depot) func() []string {
	add, all := collected()
	d.Warn = add
	return all
}

func pull(t *testing.T, d *Depot, ref registry.Reference) *Library {
	t.Helper()
	l, err := d.Pull(t.Context(), ref, x86)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *Library) release() {
	for _, t := range l.Trees {
		t.Release()
	}
}

func untagged(ref registry.Reference) registry.Reference {
	return registry.Reference{Repository: ref.Repository, Tag: ref.Tag}
}

// has compares the files of a directory, links followed, with a prefix.
func has(t *testing.T, dir string, want fstest.MapFS) {
	t.Helper()
	for name, f := range want {
		if data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil || string(data) != string(f.Data) {
			t.Errorf("%s: %d bytes, want %d: %v", name, len(data), len(f.Data), err)
		}
	}
}

// Invariant: a pinned library in the store is had without a single request, by whichever process.
func TestWarmPullAsksNobody(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	files := installed("foo", "foo.h")
	pinned := publishLibrary(t, server, "acme/foo:1", files)
	root := t.TempDir()
	found := pull(t, newDepot(t, root), untagged(pinned))
	if found.Reference != pinned {
		t.Errorf("found %s, pushed %s", found.Reference, pinned)
	}
	server.Close()
	before := len(server.Requests(""))
	l := pull(t, newDepot(t, root), pinned)
	dir := filepath.Join(t.TempDir(), "repo")
	if _, err := Repository(t.Context(), l, dir, "foo", nil); err != nil {
		t.Fatal(err)
	}
	has(t, dir, files)
	if n := len(server.Requests("")) - before; n != 0 {
		t.Errorf("%d requests", n)
	}
	// And a tag needs to be asked for, which nobody answers now.
	if _, err := newDepot(t, root).Pull(t.Context(), untagged(pinned), x86); diagnostic.KindOf(err) != diagnostic.Unreachable {
		t.Errorf("%v", err)
	}
}

// TestManyAskOnce: of many that want one library, one asks the registry for it, and a registry that keeps one waiting does not
// keep the others.
func TestManyAskOnce(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	ref := publishLibrary(t, server, "z", installed("z", "z.h"))
	server.Clear()
	root := t.TempDir()
	newDepot(t, root)
	defer func(patience time.Duration) { askPatience = patience }(askPatience)
	askPatience = time.Hour
	var group errgroup.Group
	for range 8 {
		d := newDepot(t, root)
		group.Go(func() error {
			l, err := d.Pull(t.Context(), ref, x86)
			if err == nil {
				l.release()
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for _, r := range server.Requests("/blobs/|/manifests/") {
		if asked[r.Path]++; asked[r.Path] > 1 {
			t.Errorf("asked again for %s", r.Path)
		}
	}
	if len(asked) < 3 {
		t.Errorf("%d requests for a manifest, a config and layers", len(asked))
	}

	askPatience = 10 * time.Millisecond
	slow := newDepot(t, t.TempDir())
	unlock, err := slow.Store.Lock(t.Context(), "describe "+ref.Digest.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	pull(t, slow, ref).release()
}

// treeWith returns the path of a file of a library in the store.
func treeWith(t *testing.T, l *Library, name string) string {
	t.Helper()
	for _, tree := range l.Trees {
		p := filepath.Join(tree.Path(), filepath.FromSlash(name))
		if _, err := os.Lstat(p); err == nil {
			return p
		}
	}
	t.Fatalf("no tree has %s", name)
	return ""
}

// Invariant: what is damaged in the store does not reach a repository: it is noticed when it is laid out, set aside and
// fetched again, and nothing else is.
func TestDamageHealsWhenUsed(t *testing.T) {
	for name, damage := range map[string]func(p string) error{
		"truncated": func(p string) error { return errors.Join(os.Chmod(p, 0o644), os.Truncate(p, 8), os.Chmod(p, 0o444)) },
		"missing":   os.Remove,
		"extra":     func(p string) error { return os.WriteFile(p+"x", nil, 0o444) },
	} {
		t.Run(name, func(t *testing.T) {
			server := registrytest.New(t.TempDir())
			defer server.Close()
			files := installed("foo", "foo.h")
			pinned := publishLibrary(t, server, "acme/foo:1", files)
			d := newDepot(t, t.TempDir())
			d.Show = name != "missing" // either way
			told := warningsOf(d)
			l := pull(t, d, pinned)
			if _, err := l.View(t.Context(), pinned); err != nil {
				t.Fatal(err)
			}
			if err := damage(treeWith(t, l, "lib/libfoo.a")); err != nil {
				t.Fatal(err)
			}
			server.Clear()
			dir := filepath.Join(t.TempDir(), "repo")
			if _, err := Repository(t.Context(), l, dir, "foo", nil); err != nil {
				t.Fatal(err)
			}
			has(t, dir, files)
			if warned := told(); len(warned) != 1 || !strings.Contains(warned[0], "lib/libfoo.a") {
				t.Errorf("warned %q", warned)
			}
			view, err := l.View(t.Context(), pinned)
			if err != nil {
				t.Fatal(err)
			}
			has(t, view, files)
			server.Close()
			if blobs := server.Requests("/blobs/"); len(blobs) != 1 {
				t.Errorf("fetched %v", blobs)
			}
			if v, err := d.Verify(t.Context(), false); err != nil || v.Trees != 3 {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

// Invariant: what a power cut took of a tree is noticed by the next pull, before anybody lays it out, and fetched again with
// a word about the repositories that have it as well; what it took nothing of is had without a request, whatever became of
// manifest, config and names.
func TestPowerCutHealsWhenPulled(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	files := installed("foo", "foo.h")
	pinned := publishLibrary(t, server, "acme/foo:1", files)
	root := t.TempDir()
	d := newDepot(t, root)
	d.Show = true
	l := pull(t, d, pinned)
	stats, err := Repository(t.Context(), l, filepath.Join(t.TempDir(), "repo"), "foo", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.release()
	torn := treeWith(t, l, "lib/libfoo.a")
	for _, c := range []struct {
		lost func() error
		want int // requests for layers
	}{
		{func() error { return nil }, 0},
		// What a file system has noted and not written yet is a file of zeros, or an empty one.
		{func() error {
			fi, err := os.Stat(torn)
			if err != nil {
				return err
			}
			return errors.Join(os.Chmod(torn, 0o644), os.WriteFile(torn, make([]byte, fi.Size()), 0o644), os.Chmod(torn, 0o444), os.Chtimes(torn, fi.ModTime(), fi.ModTime()))
		}, 1},
		{func() error { return emptyFiles(filepath.Join(root, ".store", "v1", "blobs", "sha256")) }, 0},
		{func() error { return emptyFiles(filepath.Join(root, ".store", "v1", "names")) }, 0},
		{func() error { return emptyFiles(filepath.Join(root, ".store", "v1", "records", "sha256")) }, 3},
	} {
		if err := errors.Join(otherBoot(root), c.lost()); err != nil {
			t.Fatal(err)
		}
		d := newDepot(t, root)
		d.Show = true
		told := warningsOf(d)
		server.Clear()
		l := pull(t, d, pinned)
		warned := told()
		layers := 0
		for _, layer := range l.Manifest.Layers {
			layers += len(server.Requests(layer.Digest.String()))
		}
		if layers != c.want || len(warned) != c.want {
			t.Errorf("%d layers fetched, %d wanted, warned %q", layers, c.want, warned)
		}
		if c.want == 1 && (!strings.Contains(warned[0], "lib/libfoo.a") || strings.Contains(warned[0], "bazel fetch --force") != (stats.Linked > 0)) {
			t.Errorf("warned %q", warned)
		}
		view, err := l.View(t.Context(), pinned)
		if err != nil {
			t.Fatal(err)
		}
		has(t, view, files)
		dir := filepath.Join(t.TempDir(), "repo")
		if _, err := Repository(t.Context(), l, dir, "foo", nil); err != nil {
			t.Fatal(err)
		}
		has(t, dir, files)
		l.release()
	}
}

// otherBoot lets the records of a store's trees say that these were written in another boot than this.
func otherBoot(root string) error {
	dir := filepath.Join(root, ".store", "v1", "records", "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		head, rest, _ := strings.Cut(string(data), "\n")
		body := rest[:strings.LastIndex(rest, "end ")]
		text := strings.Join(strings.Fields(head)[:6], " ") + " another\n" + body
		if err := errors.Join(os.Remove(name), os.WriteFile(name, fmt.Appendf(nil, "%send %x\n", text, sha256.Sum256([]byte(text))), 0o444)); err != nil {
			return err
		}
	}
	return nil
}

func emptyFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		err = errors.Join(err, os.Remove(name), os.WriteFile(name, nil, 0o444))
	}
	return err
}

// Invariant: damage that cannot be healed is an error that says so, and leaves nothing where the files were wanted.
func TestDamageWithoutRegistry(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	pinned := publishLibrary(t, server, "acme/foo:1", installed("foo", "foo.h"))
	d := newDepot(t, t.TempDir())
	l := pull(t, d, pinned)
	server.Close()
	if err := os.Remove(treeWith(t, l, "lib/libfoo.a")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "repo")
	_, err := Repository(t.Context(), l, dir, "foo", nil)
	if diagnostic.KindOf(err) != diagnostic.Unreachable {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// crateFetched lays out in a store what `ocipkg get` of the crate leaves of an artifact: its layout in .oci-dir. (Its
// files beside it are of no use to us.)
func crateFetched(t *testing.T, root, rel, archive string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := filepath.Join(root, filepath.FromSlash(rel), ".oci-dir")
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(dir, filepath.FromSlash(h.Name))
		data, err := io.ReadAll(r)
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, data, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

const upstreamArchive = "../artifact/testdata/upstream/v1-compose-0.4.0.tar"

// Invariant: what the crate has fetched is used without asking for it again, pinned without any request; but only what
// is right, and the crate's own files stay as they were.
func TestPullFromCrate(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	pinned := pushLayout(t, upstreamArchive, server.Host+"/acme/rust:1")
	rel := strings.Replace(server.Host, ":", "__", 1) + "/acme/rust/__1"

	root := t.TempDir()
	crateFetched(t, root, rel, upstreamArchive)
	blobs, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(rel), ".oci-dir", "blobs", "sha256", "*"))
	if err != nil || len(blobs) < 3 {
		t.Fatalf("%v, %v", blobs, err)
	}
	server.Clear()
	l := pull(t, newDepot(t, root), untagged(pinned))
	if l.Reference != pinned || len(l.Trees) == 0 {
		t.Errorf("%+v", l)
	}
	all := server.Requests("")
	if got := server.Requests("/blobs/"); len(got) != 0 || len(server.Requests("/manifests/")) == 0 {
		t.Errorf("a tag alone has to be asked for: %v", all)
	}
	if _, err := l.View(t.Context(), untagged(pinned)); !SkippedView(err) || !errors.Is(err, store.ErrForeign) {
		t.Errorf("the crate's own directory: %v", err)
	}

	// Each blob in turn is not what it should be.
	for _, damaged := range blobs {
		for how, damage := range map[string]func() error{
			"flipped": func() error {
				data, err := os.ReadFile(damaged)
				if err != nil || len(data) == 0 {
					return err
				}
				data[len(data)/2] ^= 4
				return os.WriteFile(damaged, data, 0o644)
			},
			"cut":    func() error { return os.Truncate(damaged, 1) },
			"absent": func() error { return os.Remove(damaged) },
		} {
			good, err := os.ReadFile(damaged)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			// A store of its own on the same root.
			if err := os.RemoveAll(filepath.Join(root, ".store")); err != nil {
				t.Fatal(err)
			}
			l := pull(t, newDepot(t, root), pinned)
			if v, err := l.depot.Verify(t.Context(), false); err != nil || v.Trees != len(l.Trees) {
				t.Errorf("%s %s: %+v, %v", filepath.Base(damaged), how, v, err)
			}
			if err := os.WriteFile(damaged, good, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}

	if err := os.RemoveAll(filepath.Join(root, ".store")); err != nil {
		t.Fatal(err)
	}
	server.Close()
	before := len(server.Requests(""))
	for _, ref := range []registry.Reference{pinned, {Repository: pinned.Repository, Digest: pinned.Digest}} {
		l = pull(t, newDepot(t, root), ref)
		if len(l.Trees) == 0 {
			t.Error("no trees")
		}
	}
	if n := len(server.Requests("")) - before; n != 0 {
		t.Errorf("pinned, and fetched by the crate: %d requests", n)
	}
}

// Invariant: a view is made while the layers come, appears whole when all are there, and is healed as one made later is.
func TestShownWhilePulled(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	files := installed("foo", "foo.h")
	pinned := publishLibrary(t, server, "acme/foo:1", files)
	d := newDepot(t, t.TempDir())
	d.Show = true
	rel, _ := cratePath(pinned)
	view := filepath.Join(d.Store.Root(), filepath.FromSlash(rel))
	// The last layer comes when the files of another are in the view that is being made.
	var early atomic.Bool
	layers := pull(t, newDepot(t, t.TempDir()), pinned).Manifest.Layers
	server.Inject(registrytest.Fault{Method: "GET", Path: "/blobs/" + layers[len(layers)-1].Digest.String(), Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		for !early.Load() && r.Context().Err() == nil {
			below := filepath.Join(d.Store.Root(), ".store", "v1")
			// Once the tree has its place, what is being made is the view.
			if trees, _ := filepath.Glob(filepath.Join(below, "trees", "sha256", "*", "include", "foo.h")); len(trees) > 0 {
				made, _ := filepath.Glob(filepath.Join(below, "tmp", "*", "include", "foo.h"))
				early.Store(len(made) > 0)
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := os.Stat(view); err == nil {
			t.Error("the view is there before its last layer")
		}
		next.ServeHTTP(w, r)
	}})
	l := pull(t, d, pinned)
	if l.shown == nil || l.shown.err != nil || !early.Load() {
		t.Fatalf("shown %+v, early %v", l.shown, early.Load())
	}
	has(t, view, files)
	if got, err := l.View(t.Context(), pinned); got != view || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	// What is in the store already is checked on its way into a view, and mended.
	for _, tree := range l.Trees {
		tree.Release()
	}
	if err := os.Remove(treeWith(t, l, "lib/libfoo.a")); err != nil {
		t.Fatal(err)
	}
	server.Clear()
	l = pull(t, d, untagged(pinned))
	got, err := l.View(t.Context(), untagged(pinned))
	if err != nil {
		t.Fatal(err)
	}
	has(t, got, files)
}

// Invariant: when it is interrupted nothing half-done stays, and the next one goes through.
func TestPullInterrupted(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	pinned := publishLibrary(t, server, "acme/foo:1", installed("foo", "foo.h"))
	d := newDepot(t, t.TempDir())
	d.Show = true
	stalled := make(chan struct{}, 8)
	stall := registrytest.Stall(10)
	server.Inject(registrytest.Fault{Method: "GET", Path: "/blobs/", Skip: 1, Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		stalled <- struct{}{}
		stall(w, r, next)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-stalled; cancel() }()
	_, err := d.Pull(ctx, pinned, x86)
	if !errors.Is(err, context.Canceled) && diagnostic.KindOf(err) != diagnostic.Interrupted {
		t.Errorf("%v", err)
	}
	for _, dir := range []string{"tmp", "locks", "trees/sha256"} {
		if left, err := os.ReadDir(filepath.Join(d.Store.Root(), ".store", "v1", filepath.FromSlash(dir))); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
	server.Clear()
	pull(t, d, pinned)
}
