package library

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// What documents may say that leads a reader astray (C6, C9, C12 and C13 of docs/faults.md).
func TestDocumentsThatLeadAstray(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	m := packed(t, amd64Linux, "1.3.1", artifact.Zstd)
	// changed is the manifest with something else in it; its blobs stay.
	changed := func(change func(manifest map[string]any)) *memory {
		var v map[string]any
		if err := json.Unmarshal(m.doc.Bytes, &v); err != nil {
			t.Fatal(err)
		}
		change(v)
		delete(v, "schemaVersion")
		return &memory{doc: document(t, artifact.TypeManifest, v), blobs: m.blobs, bytes: m.bytes}
	}
	layer := func(v map[string]any, i int) map[string]any {
		layers, ok := v["layers"].([]any)
		if !ok {
			t.Fatal("a manifest without layers")
		}
		d, ok := layers[i].(map[string]any)
		if !ok {
			t.Fatal("a layer that is no object")
		}
		return d
	}
	// index is one of documents, for the targets given.
	index := func(members ...any) *memory {
		var manifests []any
		for i := 0; i < len(members); i += 2 {
			doc, ok := members[i].(registry.Document)
			if !ok {
				t.Fatal("no document")
			}
			d := describe(doc)
			d["annotations"] = map[string]any{artifact.AnnotationTarget: members[i+1]}
			manifests = append(manifests, d)
		}
		return &memory{doc: document(t, artifact.TypeIndex, map[string]any{"manifests": manifests})}
	}
	push := func(tag string, src *memory) registry.Reference {
		t.Helper()
		ref := server.Host + "/acme/zlib:" + tag
		mustPush(t, testClient(), ref, src)
		return reference(t, ref)
	}
	plain := push("plain", m)
	inner := index(m.doc, amd64Linux)
	push("inner", inner)
	other := changed(func(v map[string]any) { v["annotations"] = map[string]any{"a": "b"} })
	push("other", other)
	arm := packed(t, "aarch64-unknown-linux-gnu", "1.3.1", artifact.Zstd)
	push("arm", arm)

	for name, c := range map[string]struct {
		ref  registry.Reference
		kind diagnostic.Kind // 0: it is pulled, as if nothing were
		says string
	}{
		"C6 an index of an index": {push("nested", index(inner.doc, amd64Linux)), diagnostic.Unsupported, "another index"},
		"C9 data of another content": {push("data", changed(func(v map[string]any) {
			layer(v, 0)["data"] = "ZXZpbA=="
		})), 0, ""},
		"C12 a title that is a path": {push("title", changed(func(v map[string]any) {
			layer(v, 0)["annotations"] = map[string]any{"org.opencontainers.image.title": "../../../evil"}
		})), 0, ""},
		"C13 no match":        {push("nomatch", index(m.doc, "aarch64-unknown-linux-gnu")), diagnostic.Mismatch, "aarch64-unknown-linux-gnu"},
		"C13 two matches":     {push("two", index(other.doc, amd64Linux, m.doc, amd64Linux)), 0, ""},
		"C13 a false promise": {push("lie", index(arm.doc, amd64Linux)), diagnostic.Mismatch, "the library is for aarch64-unknown-linux-gnu"},
		"plain":               {plain, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			l, err := newDepot(t, filepath.Join(root, "store")).Pull(t.Context(), c.ref, triple(t, amd64Linux))
			if c.kind != 0 {
				if diagnostic.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer l.release()
			if name == "C13 two matches" && l.Digest != other.doc.Digest {
				t.Errorf("it took %s, not the first, %s", l.Digest, other.doc.Digest)
			}
			files := map[string]bool{}
			for _, tree := range l.Trees {
				for _, f := range list(t, tree.Path()) {
					files[f] = true
				}
			}
			if want := map[string]bool{"include/zlib.h": true, "lib/libz.so": true, "lib/libz.so.1": true}; !maps.Equal(files, want) {
				t.Errorf("files %v", files)
			}
			for _, tree := range l.Trees {
				if data, err := os.ReadFile(filepath.Join(tree.Path(), "include", "zlib.h")); err == nil && !strings.Contains(string(data), "1.3.1") {
					t.Errorf("the header holds %q", data)
				}
			}
			if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 {
				t.Errorf("beside the store: %v, %v", entries, err)
			}
		})
	}
}
