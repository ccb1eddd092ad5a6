package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Invariant: the root is upstream's, and never depends on the working directory.
func TestDefaultRoot(t *testing.T) {
	for name, c := range map[string]struct {
		goos string
		env  map[string]string
		home string
		want string // "" for an error
	}{
		"chosen":              {"linux", map[string]string{"OCIPKG_STORE": "/s/x/", "XDG_DATA_HOME": "/d"}, "/h", "/s/x"},
		"chosen but relative": {"linux", map[string]string{"OCIPKG_STORE": "s"}, "/h", ""},
		"xdg":                 {"linux", map[string]string{"XDG_DATA_HOME": "/d"}, "/h", "/d/ocipkg"},
		"xdg relative":        {"linux", map[string]string{"XDG_DATA_HOME": "d"}, "/h", "/h/.local/share/ocipkg"},
		"home":                {"linux", nil, "/h", "/h/.local/share/ocipkg"},
		"no home":             {"linux", nil, "", ""},
		"relative home":       {"linux", nil, "h", ""},
		"macOS":               {"darwin", map[string]string{"XDG_DATA_HOME": "/d"}, "/h", "/h/Library/Application Support/ocipkg.ocipkg"},
		"Windows":             {"windows", map[string]string{"APPDATA": "/a"}, "/h", "/a/ocipkg/ocipkg/data"},
		"Windows, bare":       {"windows", nil, "/h", "/h/AppData/Roaming/ocipkg/ocipkg/data"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := defaultRoot(c.goos, func(k string) string { return c.env[k] }, func() (string, error) {
				if c.home == "" {
					return "", errors.New("no home")
				}
				return c.home, nil
			})
			if c.want == "" {
				mustContain(t, err, "OCIPKG_STORE", "absolute")
				if diagnostic.KindOf(err) != diagnostic.Usage {
					t.Errorf("kind %d", diagnostic.KindOf(err))
				}
				return
			}
			if err != nil || filepath.ToSlash(got) != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// Invariant: everything of ours lies below .store, beside upstream's directories.
func TestOpenMakesOneDirectory(t *testing.T) {
	root := t.TempDir()
	upstream := filepath.Join(root, "ghcr.io", "acme", "zlib", "__1.3.1")
	if err := os.MkdirAll(upstream, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := open(t, root)
		if s.Root() != root {
			t.Errorf("root %s", s.Root())
		}
		idle(t, s, 0)
	}
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) != 2 || entries[0].Name() != ".store" {
		t.Errorf("%v, %v", entries, err)
	}
}

// Invariant: a store of another format is refused and stays as it is.
func TestOtherFormatIsRefused(t *testing.T) {
	for marker, says := range map[string]string{
		"ocipkg store 2\n":  "format 2",
		"ocipkg store 12":   "format 12",
		"ocipkg store 0\n":  "does not say",
		"ocipkg store 1x\n": "does not say",
		"":                  "does not say",
		"something else\n":  "does not say",
	} {
		root := t.TempDir()
		path := filepath.Join(root, ".store", "format")
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(marker), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(root)
		mustContain(t, err, root, says, "OCIPKG_STORE")
		if diagnostic.KindOf(err) != diagnostic.Unsupported {
			t.Errorf("%q: kind %d", marker, diagnostic.KindOf(err))
		}
		if _, err := os.Stat(filepath.Join(root, ".store", "v1")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: v1 was made", marker)
		}
	}
}

// Invariant: what a digest names cannot leave the store.
func TestOnlyDigestsAreLookedUp(t *testing.T) {
	s := newStore(t)
	for _, d := range []v1.Hash{
		{},
		{Algorithm: "sha256", Hex: "../../../../etc/passwd"},
		{Algorithm: "..", Hex: strings.Repeat("0", 64)},
		{Algorithm: "sha512", Hex: strings.Repeat("0", 128)},
		{Algorithm: "sha256", Hex: strings.Repeat("A", 64)},
	} {
		_, blobErr := s.Blob(d)
		_, treeErr := s.Tree(t.Context(), d)
		_, addErr := s.AddTree(t.Context(), d, nil, func(writer) error { t.Error("filled"); return nil })
		for _, err := range []error{blobErr, treeErr, addErr, s.SetName("x", d)} {
			if diagnostic.KindOf(err) != diagnostic.Unsupported || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v: %v", d, err)
			}
		}
	}
	idle(t, s, 0)
}

// Invariant: a blob is found by the digest of its bytes, in whatever process it was put, and by no other.
func TestBlob(t *testing.T) {
	s := newStore(t)
	d, err := s.PutBlob([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if d.String() != "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" {
		t.Errorf("digest %v", d)
	}
	if again, err := s.PutBlob([]byte("{}")); err != nil || again != d {
		t.Errorf("again: %v, %v", again, err)
	}
	if data, err := open(t, s.root).Blob(d); err != nil || string(data) != "{}" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := s.Blob(digestOf(nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent blob: %v", err)
	}
	idle(t, s, 0)
}

// Invariant: no byte of a damaged blob is ever returned, and putting it again heals the store.
func TestDamagedBlobHeals(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"flipped bit": func(path string) error { return os.WriteFile(path, []byte("manifesu"), 0o644) },
		"truncated":   func(path string) error { return os.Truncate(path, 3) },
		"emptied":     func(path string) error { return os.Truncate(path, 0) },
	} {
		for _, read := range []bool{true, false} { // found by a reader, or by the writer
			s := newStore(t)
			d, err := s.PutBlob([]byte("manifest"))
			if err != nil {
				t.Fatal(err)
			}
			path, _ := s.object("blobs", d)
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			if read {
				if data, err := s.Blob(d); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: got %q, %v", name, data, err)
				}
				if kept := below(t, s, "corrupt"); len(kept) != 1 {
					t.Errorf("%s: moved aside: %v", name, kept)
				}
			}
			if _, err := s.PutBlob([]byte("manifest")); err != nil {
				t.Fatal(err)
			}
			if data, err := s.Blob(d); err != nil || string(data) != "manifest" {
				t.Errorf("%s: after healing: %q, %v", name, data, err)
			}
		}
	}
}

// Invariant: a name is found by exactly its reference, whatever the file system thinks of its characters.
func TestName(t *testing.T) {
	s := newStore(t)
	refs := []string{"ghcr.io/acme/zlib:1.3.1", "GHCR.io/acme/zlib:1.3.1", "../../x", "", "con", "a\x00b", "ü:é",
		strings.Repeat("long/", 1000) + ":1"}
	for _, ref := range refs {
		if _, err := s.Name(ref); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q before: %v", ref, err)
		}
		for _, of := range []string{"old " + ref, "new " + ref} {
			if err := s.SetName(ref, digestOf([]byte(of))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, ref := range refs {
		if d, err := s.Name(ref); err != nil || d != digestOf([]byte("new "+ref)) {
			t.Errorf("%q: %v, %v", ref, d, err)
		}
	}
	for _, garbage := range []string{"", "{", `{"ref":"other","digest":"` + digestOf(nil).String() + `"}`, `{"ref":"con"}`} {
		if err := os.WriteFile(s.namePath("con"), []byte(garbage), 0o644); err != nil {
			t.Fatal(err)
		}
		if d, err := s.Name("con"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v, %v", garbage, d, err)
		}
	}
	if err := s.SetName("con", digestOf(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Name("con"); err != nil {
		t.Error(err)
	}
	idle(t, s, 0)
}

// Invariant: a store works at any path a person may choose, and through a link to it.
func TestAwkwardPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my stuff", "日本語 ü", "-rf %s")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for i, root := range []string{dir, link, "relative"} {
		s := open(t, root)
		tree, err := s.AddTree(t.Context(), seedDigest(i), nil, fillSeed(i))
		if err != nil {
			t.Fatal(err)
		}
		dst := filepath.Join(t.TempDir(), "a b", "ü")
		if _, err := Materialise(dst, false, tree); err != nil {
			t.Fatal(err)
		}
		if err := whole(dst, i); err != nil {
			t.Error(err)
		}
		if !filepath.IsAbs(tree.Path()) || !filepath.IsAbs(s.Root()) {
			t.Errorf("%s is not absolute", tree.Path())
		}
	}
}

// Invariant: sweeping is rare, is not stopped by a clock that was wrong, and leaves alone what is alive.
func TestSweep(t *testing.T) {
	s := newStore(t)
	dead := filepath.Join(s.dir, "tmp", "DEAD")
	leave := func() {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dead, "closed"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{dead + ".lock", dead + "/closed/f", dead + "2", dead + "3.lock", dead + "4.trash"} {
			if err := os.WriteFile(name, []byte("999999\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(dead, "closed"), 0o555); err != nil {
			t.Fatal(err)
		}
	}
	leave()
	open(t, s.root)
	if len(below(t, s, "tmp")) != 5 {
		t.Errorf("swept again within the hour: %v", below(t, s, "tmp"))
	}
	_, err := s.AddTree(t.Context(), seedDigest(1), nil, func(w writer) error {
		if err := fillSeed(1)(w); err != nil {
			return err
		}
		sweepNow(t, s)
		if left := below(t, s, "tmp"); len(left) != 2 {
			t.Errorf("want the living staging and its lock, got %v", left)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	idle(t, s, 1)

	leave()
	future := time.Now().Add(1000 * time.Hour)
	if err := os.Chtimes(filepath.Join(s.dir, "swept"), future, future); err != nil {
		t.Fatal(err)
	}
	open(t, s.root)
	idle(t, s, 1)
}

// Invariant: readers ignore what they do not know: names are listed as they were set, whatever lies among them, and none
// where their folder is not.
func TestNames(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := digestOf([]byte("x"))
	for _, ref := range []string{"b.example/x:1", "a.example/x:1", "b.example/x:1"} {
		if err := s.SetName(ref, d); err != nil {
			t.Fatal(err)
		}
	}
	names := filepath.Join(s.dir, "names")
	for file, text := range map[string]string{"notes": "{}", strings.Repeat("0", 64): `{"ref":"c.example/x:1"}`} {
		if err := os.WriteFile(filepath.Join(names, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	named, err := s.Names()
	var got []string
	for _, n := range named {
		got = append(got, n.Ref)
	}
	if want := []string{"a.example/x:1", "b.example/x:1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q (%v), want %q", got, err, want)
	}
	if err := os.RemoveAll(names); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Names(); err != nil || len(got) > 0 {
		t.Errorf("without the folder: %v (%v)", got, err)
	}
}

// Invariant: what is put through a Hold can be read through it at once, and is there for all when Settle returns, which
// says where it could not be stored.
func TestHoldSettles(t *testing.T) {
	s := newStore(t)
	h := s.Hold()
	defer h.Release()
	data := []byte(`{"a": 1}`)
	d := digestOf(data)
	h.PutBlob(data)
	h.PutBlob(data)
	if got, err := h.Blob(d); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%q, %v", got, err)
	}
	if err := h.Settle(); err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, s.root).Blob(d); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%q, %v", got, err)
	}

	// No folder can stand where a file does, and none is made where somebody took one away.
	for _, instead := range []func(string) error{
		func(blobs string) error { return os.WriteFile(blobs, nil, 0o644) },
		func(string) error { return nil },
	} {
		broken := newStore(t)
		blobs := filepath.Join(broken.dir, "blobs")
		if err := errors.Join(os.RemoveAll(blobs), instead(blobs)); err != nil {
			t.Fatal(err)
		}
		h := broken.Hold()
		h.PutBlob(data)
		if err := h.Settle(); err == nil {
			t.Error("a blob that could not be stored is called settled")
		}
		h.Release()
	}
}
