package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// overwrite changes a read-only file of a tree in place and says that nothing happened.
func overwrite(path string, data []byte) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	return errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, data, 0o644), os.Chmod(path, fi.Mode()),
		os.Chtimes(path, fi.ModTime(), fi.ModTime()))
}

var damages = map[string]struct {
	do   func(tree string) error
	at   string
	says string
	seen bool // when the tree is materialised, too
}{
	"flipped bit":       {func(tree string) error { return overwrite(filepath.Join(tree, "lib", "libz.a"), []byte("!<arcj>")) }, "lib/libz.a", "bytes are not", false},
	"truncated":         {func(tree string) error { return overwrite(filepath.Join(tree, "lib", "libz.a"), []byte("!<ar")) }, "lib/libz.a", "4 bytes, not 7", true},
	"missing file":      {func(tree string) error { return os.Remove(filepath.Join(tree, "lib", "libz.a")) }, "lib/libz.a", "missing", true},
	"missing directory": {func(tree string) error { return os.RemoveAll(filepath.Join(tree, "bin")) }, "bin", "missing", true},
	"extra file":        {func(tree string) error { return os.WriteFile(filepath.Join(tree, "lib", "x"), nil, 0o444) }, "lib/x", "nobody put it there", true},
	"extra directory":   {func(tree string) error { return os.Mkdir(filepath.Join(tree, "more"), 0o755) }, "more", "nobody put it there", true},
	"other link": {func(tree string) error {
		name := filepath.Join(tree, "libz.a")
		return errors.Join(os.Remove(name), os.Symlink("lib/up", name))
	}, "libz.a", "links to", true},
	"other kind": {func(tree string) error {
		name := filepath.Join(tree, "libz.a")
		return errors.Join(os.Remove(name), os.WriteFile(name, nil, 0o444))
	}, "libz.a", "another kind", true},
	"written through a link": {func(tree string) error {
		// As a build does that runs as root, or makes its inputs writable.
		elsewhere := filepath.Join(filepath.Dir(filepath.Dir(tree)), "link")
		defer os.Remove(elsewhere)
		later := time.Now().Add(time.Minute)
		return errors.Join(os.Link(filepath.Join(tree, "lib", "libz.a"), elsewhere), os.Chmod(elsewhere, 0o644),
			os.WriteFile(elsewhere, []byte("!<arcj>"), 0o644), os.Chmod(elsewhere, 0o444), os.Chtimes(elsewhere, later, later))
	}, "lib/libz.a", "bytes are not", true},
	"written and left writable": {func(tree string) error {
		name := filepath.Join(tree, "lib", "libz.a")
		err := overwrite(name, []byte("!<arcj>"))
		return errors.Join(err, os.Chmod(name, 0o644))
	}, "lib/libz.a", "bytes are not", true},
}

// Invariant: whatever differs from what a tree was made as is found, named, and set aside, and the next AddTree heals it;
// all but a change that no time tells of is found when the tree is used already, and does not get where it was wanted.
func TestDamagedTree(t *testing.T) {
	for name, c := range damages {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			tree := addFiles(t, s, "static", static)
			d := tree.Digest()
			if err := s.VerifyTree(t.Context(), d); err != nil {
				t.Fatal("before:", err)
			}
			if err := c.do(tree.Path()); err != nil {
				t.Fatal(err)
			}
			err := s.VerifyTree(t.Context(), d)
			e, ok := errors.AsType[*DamagedError](err)
			if !ok || !e.Tree || e.Digest != d || len(e.Damage) != 1 || e.Damage[0].Path != c.at || !strings.Contains(e.Damage[0].What, c.says) {
				t.Fatalf("%+v", err)
			}
			dst := filepath.Join(t.TempDir(), "repo")
			_, err = Materialise(dst, false, tree)
			used, ok := errors.AsType[*DamagedError](err)
			if ok != c.seen {
				t.Errorf("seen when used: %v: %v", ok, err)
			}
			if ok {
				mustContain(t, err, c.at, c.says, d.String(), "store verify")
				if !reflect.DeepEqual(used, e) || diagnostic.KindOf(err) != diagnostic.Corrupt {
					t.Errorf("%+v, kind %d", used, diagnostic.KindOf(err))
				}
				if _, err := os.Lstat(dst); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("left behind: %v", err)
				}
			}
			tree.Release()
			if err := s.SetAside(e); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Tree(t.Context(), d); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("still there: %v", err)
			}
			if kept := below(t, s, "corrupt"); len(kept) != 1 {
				t.Errorf("kept: %v", kept)
			}
			healed := addFiles(t, s, "static", static)
			if err := s.SetAside(e); err != nil { // as a second one would who found it
				t.Error(err)
			}
			if err := s.VerifyTree(t.Context(), d); err != nil {
				t.Error("after:", err)
			}
			if err := static.check(healed.Path()); err != nil {
				t.Error(err)
			}
			idle(t, s, 1)
		})
	}
}

// Invariant: a mode or a time alone is no damage: the bytes decide, and what was wrong is put right once.
func TestHarmlessChanges(t *testing.T) {
	s := newStore(t)
	tree := addFiles(t, s, "static", static)
	name := filepath.Join(tree.Path(), "lib", "libz.a")
	later := time.Now().Add(time.Hour)
	for try := range 2 {
		if try == 0 {
			if err := errors.Join(os.Chmod(name, 0o600), os.Chtimes(name, later, later)); err != nil {
				t.Fatal(err)
			}
		}
		rec, err := s.record(tree.Digest())
		if err != nil {
			t.Fatal(err)
		}
		if fresh := !rec.sealed.Before(later); fresh != (try == 1) {
			t.Errorf("try %d: the record was made fresh: %v", try, fresh)
		}
		dst := filepath.Join(t.TempDir(), "repo")
		if _, err := Materialise(dst, false, tree); err != nil {
			t.Fatal(err)
		}
		if err := static.check(dst); err != nil {
			t.Error(err)
		}
	}
	if err := s.VerifyTree(t.Context(), tree.Digest()); err != nil {
		t.Error(err)
	}
}

// Invariant: VerifyTree changes nothing, not even what is no damage; CorrectTree sets that right.
func TestVerifyTreeChangesNothing(t *testing.T) {
	s := newStore(t)
	tree := addFiles(t, s, "static", static)
	name := filepath.Join(tree.Path(), "lib", "libz.a")
	later := time.Now().Add(time.Hour).Truncate(time.Second)
	if err := errors.Join(os.Chmod(name, 0o600), os.Chtimes(name, later, later)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(s.recordPath(tree.Digest()))
	if err != nil {
		t.Fatal(err)
	}
	for _, correct := range []bool{false, true} {
		verify := s.VerifyTree
		if correct {
			verify = s.CorrectTree
		}
		if err := verify(t.Context(), tree.Digest()); err != nil {
			t.Error(err)
		}
		fi, err := os.Stat(name)
		if err != nil || !fi.ModTime().Equal(later) {
			t.Fatal(fi, err)
		}
		if right := fi.Mode().Perm() == 0o444; right != correct {
			t.Errorf("correct %v: the mode is %v", correct, fi.Mode())
		}
		after, err := os.ReadFile(s.recordPath(tree.Digest()))
		if err != nil || bytes.Equal(before, after) == correct {
			t.Errorf("correct %v: the record is as it was: %v, %v", correct, bytes.Equal(before, after), err)
		}
	}
}

// Invariant: who has a tree uses it whether its record is there or not; nobody is given one without, or verifies it.
func TestWithoutRecord(t *testing.T) {
	s := newStore(t)
	tree := addFiles(t, s, "static", static)
	path := s.recordPath(tree.Digest())
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, data := range map[string][]byte{"none": nil, "empty": {}, "cut": good[:len(good)-1], "half": good[:len(good)/2], "flipped": flipped,
		"doubled": append(bytes.Clone(good), good...)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if data != nil {
			if err := os.WriteFile(path, data, 0o444); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Materialise(filepath.Join(t.TempDir(), "repo"), false, tree); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		mustContain(t, s.VerifyTree(t.Context(), tree.Digest()), "not on record")
		if _, err := s.Tree(t.Context(), tree.Digest()); (err != nil) != slices.Contains([]string{"none", "empty"}, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Invariant: a record says of a tree what it is, whatever its names are.
func TestRecordOfOddNames(t *testing.T) {
	odd := files{"a b/c\nd": {data: "1"}, "ü/\"q\"": {data: "22", exec: true}, "e\\f": {target: "a b/c\nd"}, "end x": {data: ""}, "\x01": {data: "3"}}
	s := newStore(t)
	tree := addFiles(t, s, "odd", odd)
	rec, err := s.record(tree.Digest())
	if err != nil {
		t.Fatal(err)
	}
	if rec.files != 4 || rec.bytes != 4 || len(rec.entries) != 7 {
		t.Errorf("%+v", rec)
	}
	if err := s.VerifyTree(t.Context(), tree.Digest()); err != nil {
		t.Error(err)
	}
	if _, err := Materialise(filepath.Join(t.TempDir(), "repo"), false, tree); err != nil {
		t.Error(err)
	}
}

// Invariant: no bytes make the reader of records fail in another way than by an error, and what it reads it would write.
func FuzzRecord(f *testing.F) {
	r := &record{sealed: time.Unix(1, 2), files: 1, bytes: 3, entries: []recorded{
		{path: "d", kind: fs.ModeDir}, {path: "d/f", mode: 0o444, size: 3}, {path: "l", kind: fs.ModeSymlink, target: "d/f"}}}
	f.Add(r.marshal(), true)
	f.Add([]byte(recordMagic+" 0 0 0\nf 999 -1 00 \"\"\nl \"\nd ../x\n"), false)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if !sealed {
			// The sum keeps a fuzzer out of what is behind it.
			data = append(data, "\nend "...)
			sum := digestOf(data[:len(data)-4])
			data = append(data, sum.Hex+"\n"...)
		}
		r, err := parseRecord(data)
		if err != nil {
			return
		}
		again, err := parseRecord(r.marshal())
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("%v: %+v is not %+v", err, again, r)
		}
	})
}

// Invariant: a blob is verified without being changed.
func TestVerifyBlob(t *testing.T) {
	s := newStore(t)
	d, err := s.PutBlob([]byte("manifest"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.VerifyBlob(d); err != nil {
		t.Error(err)
	}
	if data, err := s.PeekBlob(d); err != nil || string(data) != "manifest" {
		t.Errorf("%q, %v", data, err)
	}
	path, _ := s.object("blobs", d)
	if err := overwrite(path, []byte("manifesu")); err != nil {
		t.Fatal(err)
	}
	e, ok := errors.AsType[*DamagedError](s.VerifyBlob(d))
	if !ok || e.Tree || e.Digest != d {
		t.Fatalf("%+v", e)
	}
	if data, err := s.PeekBlob(d); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("looking has changed it:", err)
	}
	if err := s.SetAside(e); err != nil {
		t.Fatal(err)
	}
	if err := s.VerifyBlob(d); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
