package library

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// Archives of the corpus in internal/artifact (TestUnpackRefuses) on the way that they would come: pulled, and made into a
// repository. Each begins with a good file; of none is anything left, neither in the store nor beside it, nor where the
// repository should be.
func TestHostileArchives(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	archive := func(entries ...tar.Header) []byte {
		t.Helper()
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range append([]tar.Header{{Typeflag: tar.TypeReg, Name: "good.h", Mode: 0o644, Size: 3}}, entries...) {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, h.Size)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	compressed := func(data []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write(data)
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	good := archive()
	for name, c := range map[string]struct {
		layer []byte
		says  string
		ours  bool // refused in ours alone
	}{
		"a name above":              {compressed(archive(tar.Header{Typeflag: tar.TypeReg, Name: "../evil", Size: 3})), "../evil", false},
		"an absolute name":          {compressed(archive(tar.Header{Typeflag: tar.TypeReg, Name: "/evil", Size: 3})), "/evil", false},
		"a name of 10,000 bytes":    {compressed(archive(tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("n", 10_000)})), "10000 bytes", false},
		"a link out":                {compressed(archive(tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../../evil"})), "outside", false},
		"a file through a link out": {compressed(archive(tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}, tar.Header{Typeflag: tar.TypeReg, Name: "l/evil", Size: 3})), "no folder", false},
		"a hard link out":           {compressed(archive(tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "/etc/passwd"})), "hard link", false},
		"a device":                  {compressed(archive(tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3})), "device", false},
		"a case clash":              {compressed(archive(tar.Header{Typeflag: tar.TypeReg, Name: "GOOD.H", Size: 3})), "capital letters", false},
		"setuid":                    {compressed(archive(tar.Header{Typeflag: tar.TypeReg, Name: "tool", Mode: 0o4755, Size: 3})), "setuid", true},
		"more than its config says": {compressed(archive(tar.Header{Typeflag: tar.TypeReg, Name: "bomb", Size: 8 << 20})), "its config declares", true},
		"a second tar":              {compressed(slices.Concat(good, good)), "follow the end of its tar", false},
		"a second gzip member":      {slices.Concat(compressed(good), compressed(good)), "second gzip member", false},
		"cut before its end":        {compressed(good[:len(good)-1024]), "no end", false},
	} {
		for _, foreign := range []bool{false, true} {
			if c.ours && foreign {
				continue
			}
			t.Run(name+map[bool]string{false: ", ours", true: ", of others"}[foreign], func(t *testing.T) {
				h := hashOf(c.layer)
				config := artifact.Config{Layers: map[string][]string{h.String(): {"good.h"}}}
				if !foreign {
					config.Package = &artifact.Package{Schema: artifact.Schema, Name: "evil"}
					if c.says == "its config declares" {
						config.Package.Components = []artifact.Component{{Name: artifact.ComponentHeaders, Layer: h.String(), Unpacked: int64(len(good))}}
					}
				}
				data, err := json.Marshal(config)
				if err != nil {
					t.Fatal(err)
				}
				m := &memory{
					blobs: []v1.Descriptor{{Digest: hashOf(data), Size: int64(len(data))}, {Digest: h, Size: int64(len(c.layer))}},
					bytes: map[v1.Hash][]byte{hashOf(data): data, h: c.layer},
				}
				described := func(mediaType string, data []byte) map[string]any {
					return map[string]any{"mediaType": mediaType, "digest": hashOf(data).String(), "size": len(data)}
				}
				m.doc = document(t, artifact.TypeManifest, map[string]any{"artifactType": artifact.TypeArtifact,
					"config": described(artifact.TypeConfig, data), "layers": []any{described(artifact.TypeLayerGzip, c.layer)}})
				ref := server.Host + "/acme/evil@" + m.doc.Digest.String()
				mustPush(t, testClient(), ref, m)

				parent := t.TempDir()
				d := newDepot(t, filepath.Join(parent, "store"))
				d.Show = true
				_, err = d.Pull(t.Context(), reference(t, ref), x86)
				if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), c.says) {
					t.Errorf("pulled: %v, want %q", err, c.says)
				}
				_, err = d.Hub(t.Context(), reference(t, ref), filepath.Join(parent, "repository"), "evil", here(t, intelGNU), nil, labels())
				if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), c.says) {
					t.Errorf("made into a repository: %v, want %q", err, c.says)
				}
				for dir, want := range map[string][]string{parent: {"store"}, d.Store.Root(): {".store"}} {
					if names := namesIn(t, dir); !slices.Equal(names, want) {
						t.Errorf("in %s there are %q", dir, names)
					}
				}
				for _, dir := range []string{"tmp", "locks", "trees/sha256"} {
					if left := namesIn(t, filepath.Join(d.Store.Root(), ".store", "v1", filepath.FromSlash(dir))); len(left) > 0 {
						t.Errorf("left in %s: %q", dir, left)
					}
				}
			})
		}
	}
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
