package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// boot has the system start, or go back to where it is what a test says.
func boot(t *testing.T, id string) {
	t.Helper()
	was := thisBoot
	t.Cleanup(func() { thisBoot = was })
	thisBoot = func() string { return id }
}

// Invariant: what was not on the disk when the system went down is found before anybody gets the tree, and healed by the
// next AddTree.
func TestAnotherBoot(t *testing.T) {
	for name, c := range damages {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			boot(t, "one")
			tree := addFiles(t, s, "static", static)
			d := tree.Digest()
			tree.Release()
			if err := c.do(tree.Path()); err != nil {
				t.Fatal(err)
			}
			tree, err := s.Tree(t.Context(), d)
			if err != nil {
				t.Fatal("in the same boot it is not looked at:", err)
			}
			tree.Release()
			boot(t, "two")
			_, err = s.Tree(t.Context(), d)
			e, ok := errors.AsType[*DamagedError](err)
			if !ok || len(e.Damage) != 1 || e.Damage[0].Path != c.at || diagnostic.KindOf(err) != diagnostic.Corrupt {
				t.Fatalf("%+v", err)
			}
			if err := s.SetAside(e); err != nil {
				t.Fatal(err)
			}
			healed := addFiles(t, s, "static", static)
			if err := static.check(healed.Path()); err != nil {
				t.Error(err)
			}
		})
	}
}

// flip changes a byte and says that nothing happened, so that only reading it tells.
func flip(t *testing.T, tree Tree) {
	t.Helper()
	if err := overwrite(filepath.Join(tree.Path(), "lib", "libz.a"), []byte("!<arcj>")); err != nil {
		t.Fatal(err)
	}
}

// Invariant: a tree is read once after the boot in which it was written, and not at all if it was on the disk in that.
func TestReadOnceAfterBoot(t *testing.T) {
	for name, before := range map[string]func(*Store, Tree) error{
		"in the next boot": func(s *Store, tree Tree) error {
			boot(t, "two")
			_, err := s.Tree(t.Context(), tree.Digest())
			return err
		},
		"by CorrectTree": func(s *Store, tree Tree) error { return s.CorrectTree(t.Context(), tree.Digest()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			boot(t, "one")
			tree := addFiles(t, s, "static", static)
			if in, err := s.writtenIn(tree.Digest()); err != nil || in != "one" {
				t.Fatal(in, err)
			}
			if err := before(s, tree); err != nil {
				t.Fatal(err)
			}
			if in, err := s.writtenIn(tree.Digest()); err != nil || in != "" {
				t.Errorf("the record still names a boot: %q, %v", in, err)
			}
			flip(t, tree)
			boot(t, "three")
			if _, err := open(t, s.root).Tree(t.Context(), tree.Digest()); err != nil {
				t.Error("it was read again:", err)
			}
		})
	}
}

// Invariant: in a store that cannot be written nothing is taken down, and each Store reads a tree once.
func TestAnotherBootReadOnly(t *testing.T) {
	s := newStore(t)
	boot(t, "one")
	tree := addFiles(t, s, "static", static)
	tmp := filepath.Join(s.dir, "tmp")
	if err := errors.Join(os.Remove(tmp), os.WriteFile(tmp, nil, 0o444)); err != nil { // root may write everywhere else
		t.Fatal(err)
	}
	boot(t, "two")
	if _, err := s.Tree(t.Context(), tree.Digest()); err != nil {
		t.Fatal(err)
	}
	if in, err := s.writtenIn(tree.Digest()); err != nil || in != "one" {
		t.Fatal(in, err)
	}
	flip(t, tree)
	if _, err := s.Tree(t.Context(), tree.Digest()); err != nil {
		t.Error("it was read again:", err)
	}
	other := &Store{root: s.root, dir: s.dir}
	_, err := other.Tree(t.Context(), tree.Digest())
	mustContain(t, err, "lib/libz.a", "bytes are not")
}

// Invariant: a record that was lost takes its tree with it; one that is there and rotted does not.
func TestAnotherBootWithoutRecord(t *testing.T) {
	s := newStore(t)
	boot(t, "one")
	tree := addFiles(t, s, "static", static)
	path := s.recordPath(tree.Digest())
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	boot(t, "two")
	for name, data := range map[string][]byte{"none": nil, "empty": {}, "half": good[:len(good)/2], "zeros": make([]byte, len(good)),
		"half of the first line": good[:len(recordMagic)+5]} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if data != nil {
			if err := os.WriteFile(path, data, 0o444); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.Tree(t.Context(), tree.Digest())
		if _, ok := errors.AsType[*DamagedError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Invariant: a view that may have lost something is made again, and swapped in as any other.
func TestViewOfAnotherBoot(t *testing.T) {
	s := newStore(t)
	boot(t, "one")
	tree := addFiles(t, s, "static", static)
	d := digestOf([]byte("{}"))
	put := func() string {
		dir, err := s.PutView(t.Context(), "example.com/lib/__1", d, false, tree)
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	lost := filepath.Join(put(), "lib", "libz.a")
	if err := errors.Join(os.Remove(lost), os.WriteFile(lost, nil, 0o444)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		boot string
		size int
	}{{"one", 0}, {"two", 7}} {
		boot(t, c.boot)
		put()
		if data, err := os.ReadFile(lost); err != nil || len(data) != c.size {
			t.Errorf("boot %s: %q, %v", c.boot, data, err)
		}
	}
}

// Invariant: this system tells its boots apart as one text without spaces, which the first line of a record can hold.
func TestBootID(t *testing.T) {
	id := bootID()
	if strings.ContainsAny(id, " \n") || id != bootID() {
		t.Errorf("%q", id)
	}
	r := &record{boot: id}
	if again, err := parseRecord(r.marshal()); err != nil || again.boot != id {
		t.Errorf("%+v, %v", again, err)
	}
	if !bytes.HasPrefix((&record{}).marshal(), []byte(recordMagic+" 0 0 ")) {
		t.Error("the first line of a record is another one")
	}
}

// Invariant: who gives up while a tree is read through gets an answer, and the tree is as it was.
func TestReadingAfterBootIsCancelled(t *testing.T) {
	s := newStore(t)
	boot(t, "one")
	tree := addFiles(t, s, "static", static)
	boot(t, "two")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Tree(ctx, tree.Digest()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if in, err := s.writtenIn(tree.Digest()); err != nil || in != "one" {
		t.Error(in, err)
	}
	idle(t, s, 1)
}

// Invariant: a record that cannot be read says nothing against its tree.
func TestAnotherBootUnreadableRecord(t *testing.T) {
	s := newStore(t)
	boot(t, "one")
	tree := addFiles(t, s, "static", static)
	path := s.recordPath(tree.Digest())
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil { // reading a folder fails for root, too
		t.Fatal(err)
	}
	boot(t, "two")
	_, err := s.Tree(t.Context(), tree.Digest())
	if _, ok := errors.AsType[*DamagedError](err); ok || diagnostic.KindOf(err) != diagnostic.Failure {
		t.Errorf("%v", err)
	}
}

// Invariant: KeepViews lets the views of this boot outlast it, and none of an earlier one; and a view that cannot be made
// again is used as it is.
func TestKeepViews(t *testing.T) {
	const keptView = "example.com/lib/__kept"
	s := newStore(t)
	boot(t, "one")
	tree := addFiles(t, s, "static", static)
	d := digestOf([]byte("{}"))
	view := func() View {
		v, err := s.viewOf(keptView)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	put := func() {
		if _, err := s.PutView(t.Context(), keptView, d, false, tree); err != nil {
			t.Fatal(err)
		}
	}
	put()
	boot(t, "two")
	if err := s.KeepViews(); err != nil || view().current {
		t.Errorf("one of an earlier boot is kept: %v", err)
	}
	tmp := filepath.Join(s.dir, "tmp")
	if err := errors.Join(os.Remove(tmp), os.WriteFile(tmp, nil, 0o444)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutView(t.Context(), keptView, d, false, tree); err == nil {
		t.Error("it is no read-only store that has a file for a folder")
	}
	if err := errors.Join(os.Remove(tmp), os.Mkdir(tmp, 0o755)); err != nil {
		t.Fatal(err)
	}
	put()
	if err := s.KeepViews(); err != nil {
		t.Fatal(err)
	}
	boot(t, "three")
	if v := view(); !v.current || !v.Ours || v.Digest != d {
		t.Errorf("%+v", v)
	}
	checkView(t, filepath.Join(s.root, filepath.FromSlash(keptView)), static)
	idle(t, s, 1)
}

// Invariant: a store that was deleted while it was open begins anew with the next write.
func TestDeletedWhileOpen(t *testing.T) {
	s := newStore(t)
	if err := os.RemoveAll(s.root); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.PutBlob([]byte("{}"))
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for itself")
	}
	if _, err := open(t, s.root).Blob(digestOf([]byte("{}"))); err != nil {
		t.Error(err)
	}
	idle(t, s, 0)
}
