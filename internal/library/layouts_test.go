package library

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// What has a digest is had from an archive or a folder, or from a folder with several of them, without a request; and from
// the registry where those lack it, are damaged, or are not there, with a warning that says so.
func TestLayoutsAsMirrors(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	files := installed("foo", "foo.h")
	pinned := publishLibrary(t, server, "acme/foo:1", files)
	other := publishLibrary(t, server, "acme/other:1", installed("other", "other.h"))
	dir := t.TempDir()
	copyTo := func(ref registry.Reference, name string) string {
		t.Helper()
		dest := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Copy(t.Context(), client(), Place{Image: ref}, Place{Layout: dest}, nil); err != nil {
			t.Fatal(err)
		}
		return dest
	}
	archive := copyTo(pinned, "foo.tar")
	folder := copyTo(pinned, "layout")
	copyTo(other, "several/other.tar")
	copyTo(pinned, "several/foo")
	alone := copyTo(other, "alone.tar")
	if err := os.WriteFile(filepath.Join(dir, "several", "README.tar"), []byte("no archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	damaged := copyTo(pinned, "damaged")
	for _, layer := range manifestOf(t, newDepot(t, t.TempDir()), pinned).Layers {
		blob := filepath.Join(damaged, "blobs", "sha256", layer.Digest.Hex)
		data, err := os.ReadFile(blob)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)-1]++
		if err := os.WriteFile(blob, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	empty := t.TempDir()
	for _, c := range []struct {
		what    string
		at      string
		asks    bool   // the registry
		warning string // "" for none
	}{
		{"archive", archive, false, ""},
		{"folder", folder, false, ""},
		{"folder of several", filepath.Join(dir, "several"), false, ""},
		{"another artifact", alone, true, ""},
		{"damaged", damaged, true, "a mirror is passed over: blob sha256:"},
		{"nothing there", filepath.Join(dir, "nothing"), true, "nothing is passed over: "},
		{"an empty folder", empty, true, "holds no layout"},
		{"a file", filepath.Join(dir, "several", "README.tar"), true, "not a tar archive"},
	} {
		t.Run(c.what, func(t *testing.T) {
			list, err := registry.MirrorsOf(pinned, []string{"file://" + filepath.ToSlash(c.at)})
			if err != nil {
				t.Fatal(err)
			}
			d := newDepot(t, t.TempDir())
			d.Registry = registry.NewClient(registry.Options{Keychain: anonymous{}, Mirrors: list})
			told := warningsOf(d)
			server.Clear()
			l := pull(t, d, pinned)
			defer l.release()
			into := filepath.Join(t.TempDir(), "r")
			if _, err := Repository(t.Context(), l, into, "foo", nil); err != nil {
				t.Fatal(err)
			}
			has(t, into, files)
			if asked := server.Requests(""); len(asked) > 0 != c.asks {
				t.Errorf("requests: %v", asked)
			}
			warnings := told()
			if all := strings.Join(warnings, "\n"); (all == "") != (c.warning == "") || !strings.Contains(all, c.warning) || len(warnings) > 1 {
				t.Errorf("warnings: %q, want %q", warnings, c.warning)
			}
			// What a tag means, files do not say.
			server.Clear()
			pull(t, d, untagged(pinned)).release()
			if len(server.Requests("/manifests/1$")) == 0 {
				t.Error("the registry was not asked what the tag means")
			}
		})
	}
}

// A manifest that gives a blob another size than it has says nothing of the layout that has the blob.
func TestAWrongSizeCondemnsNoLayout(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	pinned := publishLibrary(t, server, "acme/foo:1", installed("foo", "foo.h"))
	folder := filepath.Join(t.TempDir(), "layout")
	if _, err := Copy(t.Context(), client(), Place{Image: pinned}, Place{Layout: folder}, nil); err != nil {
		t.Fatal(err)
	}
	list, err := registry.MirrorsOf(pinned, []string{"file://" + filepath.ToSlash(folder)})
	if err != nil {
		t.Fatal(err)
	}
	d := newDepot(t, t.TempDir())
	right := manifestOf(t, d, pinned).Layers[0]
	d.Registry = registry.NewClient(registry.Options{Keychain: anonymous{}, Mirrors: list})
	told := warningsOf(d)
	wrong := right
	wrong.Size++
	for range 2 {
		if _, err := d.layoutBlob(pinned, wrong); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	}
	if warnings := told(); len(warnings) != 1 || !strings.Contains(warnings[0], right.Digest.Hex) {
		t.Errorf("warnings: %q", warnings)
	}
	blob, err := d.layoutBlob(pinned, right)
	if err != nil {
		t.Fatal(err)
	}
	blob.Close()
}
