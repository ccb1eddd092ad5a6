package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// cellar is a source of blobs that says which it was asked for.
type cellar struct {
	blobs map[v1.Hash]string
	asked atomic.Int64
}

func (c *cellar) put(text string) Descriptor {
	sum := sha256.Sum256([]byte(text))
	h := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	if c.blobs == nil {
		c.blobs = map[v1.Hash]string{}
	}
	c.blobs[h] = text
	return Descriptor{MediaType: TypeManifest, Digest: h, Size: int64(len(text))}
}

func (c *cellar) open(_ context.Context, d Descriptor) (io.ReadCloser, error) {
	c.asked.Add(1)
	return io.NopCloser(strings.NewReader(c.blobs[d.Digest])), nil
}

func TestMirrorLayout(t *testing.T) {
	for _, dest := range []string{"x.tar", "x"} {
		t.Run(dest, func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "below", dest)
			c := &cellar{}
			a, b, signature := c.put("a"), c.put("b"), c.put("signature")
			mirror := func(entries, blobs []Descriptor) (asked int64, err error) {
				c.asked.Store(0)
				err = MirrorLayout(t.Context(), dest, entries, blobs, c.open, nil)
				return c.asked.Load(), err
			}
			holds := func(want ...string) {
				t.Helper()
				l, err := OpenLayout(dest)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				for text := range map[string]bool{"a": true, "b": true, "signature": true, "c": true} {
					data, err := l.ReadBlob(c.put(text).Digest, 100)
					there := err == nil && string(data) == text
					if wanted := strings.Contains(strings.Join(want, " "), text); there != wanted {
						t.Errorf("blob %q is there: %v, want %v (%v)", text, there, wanted, err)
					}
				}
			}
			entries := []Descriptor{a.Named("localhost/x:1"), signature.Accompanying(a, "localhost/x:sha256-0.sig"), signature.Accompanying(a, "")}
			if asked, err := mirror(entries, []Descriptor{a, b, signature, b}); err != nil || asked != 3 {
				t.Fatalf("%d blobs were asked for: %v", asked, err)
			}
			holds("a", "b", "signature")
			l, err := OpenLayout(dest)
			if err != nil {
				t.Fatal(err)
			}
			if d, name, err := l.Manifest(); err != nil || d.Digest != a.Digest || name != "localhost/x:1" {
				t.Errorf("it is about %s, %q (%v)", d.Digest, name, err)
			}
			l.Close()
			if asked, err := mirror(entries, []Descriptor{a, b, signature}); err != nil || asked != 0 {
				t.Errorf("the second time %d blobs were asked for: %v", asked, err)
			}
			// One more, and one that is gone.
			if asked, err := mirror(entries[:1], []Descriptor{a, c.put("c")}); err != nil || asked != 1 {
				t.Errorf("for one more %d blobs were asked for: %v", asked, err)
			}
			holds("a", "c")
			// Another artifact under another name is not what was there.
			if _, err := mirror([]Descriptor{b.Named("localhost/y:1")}, []Descriptor{b}); diagnostic.KindOf(err) != diagnostic.Usage {
				t.Errorf("another artifact: %v", err)
			}
			holds("a", "c")
			// Damage is found and mended.
			damage(t, dest, "c")
			if asked, err := mirror(entries[:1], []Descriptor{a, c.put("c")}); err != nil || asked != 1 {
				t.Errorf("after damage %d blobs were asked for: %v", asked, err)
			}
			holds("a", "c")
			// Wrong bytes, too few and too many.
			for name, text := range map[string]string{"wrong": "X", "short": "", "long": "bb"} {
				c.blobs[b.Digest] = text
				if _, err := mirror(entries[:1], []Descriptor{a, b}); diagnostic.KindOf(err) != diagnostic.Corrupt {
					t.Errorf("%s: %v", name, err)
				}
			}
			// The right bytes under a descriptor of another size.
			c.blobs[b.Digest] = "b"
			for _, size := range []int64{0, 2} {
				lying := b
				lying.Size = size
				if _, err := mirror(entries[:1], []Descriptor{a, lying}); diagnostic.KindOf(err) != diagnostic.Corrupt || !strings.Contains(err.Error(), "bytes that its manifest says") {
					t.Errorf("said to have %d bytes: %v", size, err)
				}
			}
			holds("a", "c")
			left, err := filepath.Glob(filepath.Join(filepath.Dir(dest), ".*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v (%v)", left, err)
			}
		})
	}
}

// damage changes a blob, where it lies, to another letter.
func damage(t *testing.T, dest, text string) {
	t.Helper()
	file := dest
	if !strings.HasSuffix(dest, ".tar") {
		sum := sha256.Sum256([]byte(text))
		file = filepath.Join(dest, "blobs", "sha256", hex.EncodeToString(sum[:]))
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	if file == dest {
		// A tar's member is the only block that begins with its letter and a zero.
		at = bytes.Index(data, append([]byte(text), make([]byte, 511)...))
	}
	if at < 0 {
		t.Fatal("the blob is not in the archive")
	}
	data[at] ^= 1
	if err := errors.Join(os.Chmod(file, 0o644), os.WriteFile(file, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestMirrorIntoInterruptedFolder: blobs without an index.json, and what a killed process began, are gone on with.
func TestMirrorIntoInterruptedFolder(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "x")
	c := &cellar{}
	a, b := c.put("a"), c.put("b")
	stop := errors.New("interrupted")
	err := MirrorLayout(t.Context(), dest, []Descriptor{a}, []Descriptor{a, b}, func(ctx context.Context, d Descriptor) (io.ReadCloser, error) {
		if d.Digest == b.Digest {
			return nil, stop
		}
		return c.open(ctx, d)
	}, nil)
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if _, err := OpenLayout(dest); err == nil {
		t.Error("a layout is there that is not whole")
	}
	begun := filepath.Join(dest, "blobs", "sha256", "."+b.Digest.Hex+".1.partial")
	if err := os.WriteFile(begun, []byte("b"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.asked.Store(0)
	if err := MirrorLayout(t.Context(), dest, []Descriptor{a}, []Descriptor{a, b}, c.open, nil); err != nil {
		t.Fatal(err)
	}
	if c.asked.Load() != 1 {
		t.Errorf("%d blobs were asked for", c.asked.Load())
	}
	if _, err := os.Stat(begun); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the beginning of a blob is left: %v", err)
	}
}

// TestMirrorOverUnreadable: what cannot be read is not what was copied before, and stays.
func TestMirrorOverUnreadable(t *testing.T) {
	dest := t.TempDir()
	index := filepath.Join(dest, "index.json")
	if err := os.WriteFile(index, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := &cellar{}
	a := c.put("a")
	if err := MirrorLayout(t.Context(), dest, []Descriptor{a}, []Descriptor{a}, c.open, nil); diagnostic.KindOf(err) != diagnostic.Usage {
		t.Errorf("error %v", err)
	}
	if data, err := os.ReadFile(index); err != nil || string(data) != "{" {
		t.Errorf("index.json is %q (%v)", data, err)
	}
}

// TestManifestOf: which entry of an index.json a layout is about.
func TestManifestOf(t *testing.T) {
	c := &cellar{}
	a, b := c.put("a"), c.put("b")
	for _, x := range []struct {
		name    string
		entries []Descriptor
		want    string // "" for none
	}{
		{"one", []Descriptor{a}, "a"},
		{"accompanied", []Descriptor{b.Accompanying(a, "x:y"), a}, "a"},
		{"named, beside one without a name", []Descriptor{b, a.Named("x:1")}, "a"},
		{"two with names", []Descriptor{b.Named("x:2"), a.Named("x:1")}, ""},
		{"two without", []Descriptor{a, b}, ""},
		{"nothing of its own", []Descriptor{a.Accompanying(b, "")}, ""},
	} {
		d, ok := Index{Manifests: x.entries}.about()
		if got := c.blobs[d.Digest]; got != x.want || ok != (x.want != "") {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}
