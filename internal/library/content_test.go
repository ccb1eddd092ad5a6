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

// What documents may say that leads a reader astray (C6, C9, C12 and C13 of the list whose others are tested in
// internal/registry, see faults_test.go there, and in internal/artifact, TestParseManifest and TestSelect).
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

// A digest that is right and a size or media type that is not: the artifact is refused wherever its bytes come from, and
// nothing of it is kept.
func TestDescriptorsThatLie(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	m := packed(t, amd64Linux, "1.3.1", artifact.Zstd)
	mustPush(t, testClient(), server.Host+"/acme/zlib:1", m)
	// with is the artifact after a change to its manifest, under an index whose descriptor of it is changed.
	type made struct {
		ref       registry.Reference
		documents []registry.Document
	}
	with := func(t *testing.T, inManifest, inIndex func(map[string]any)) made {
		t.Helper()
		var v map[string]any
		if err := json.Unmarshal(m.doc.Bytes, &v); err != nil {
			t.Fatal(err)
		}
		if inManifest != nil {
			inManifest(v)
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		doc := registry.Document{MediaType: artifact.TypeManifest, Digest: hashOf(data), Bytes: data}
		d := describe(doc)
		d["annotations"] = map[string]any{artifact.AnnotationTarget: amd64Linux}
		if inIndex != nil {
			inIndex(d)
		}
		index := document(t, artifact.TypeIndex, map[string]any{"manifests": []any{d}})
		for _, doc := range []registry.Document{doc, index} {
			mustPush(t, testClient(), server.Host+"/acme/zlib@"+doc.Digest.String(), &memory{doc: doc})
		}
		return made{reference(t, server.Host+"/acme/zlib@"+index.Digest.String()), []registry.Document{index, doc}}
	}
	number := func(v any, key string, by float64) {
		d, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%v is no object", v)
		}
		n, ok := d[key].(float64)
		if !ok {
			t.Fatalf("%v is no number", d[key])
		}
		d[key] = n + by
	}
	layers := func(v map[string]any) []any {
		all, ok := v["layers"].([]any)
		if !ok {
			t.Fatal("a manifest without layers")
		}
		return all
	}
	set := func(key string, value any) func(map[string]any) { return func(d map[string]any) { d[key] = value } }
	for name, c := range map[string]struct {
		inManifest, inIndex func(map[string]any)
		kind                diagnostic.Kind // 0: it is pulled
		says                string
		stored              bool // whether it is pulled where the layers' trees are in the store: nothing is read of them then
	}{
		"as it is":                           {},
		"a manifest without its type":        {inManifest: func(v map[string]any) { delete(v, "mediaType") }},
		"an index without types":             {inIndex: func(d map[string]any) { delete(d, "mediaType") }},
		"a manifest said to be longer":       {inIndex: func(d map[string]any) { d["size"] = len(m.doc.Bytes) + 1 }, kind: diagnostic.Corrupt, says: "the index says"},
		"a manifest said to be empty":        {inIndex: set("size", 0), kind: diagnostic.Corrupt, says: "the index says 0"},
		"a manifest called an index":         {inIndex: set("mediaType", artifact.TypeIndex), kind: diagnostic.Refused, says: "the index calls it"},
		"a manifest called Docker's":         {inIndex: set("mediaType", "application/vnd.docker.distribution.manifest.v2+json"), kind: diagnostic.Refused, says: "the index calls it"},
		"one without type, called an index":  {inManifest: func(v map[string]any) { delete(v, "mediaType") }, inIndex: set("mediaType", artifact.TypeIndex), kind: diagnostic.Refused, says: "the index calls it"},
		"one without type, called something": {inManifest: func(v map[string]any) { delete(v, "mediaType") }, inIndex: set("mediaType", "text/html"), kind: diagnostic.Refused, says: "text/html"},
		"a config said to be longer":         {inManifest: func(v map[string]any) { number(v["config"], "size", 1) }, kind: diagnostic.Corrupt, says: "bytes"},
		"a config said to be shorter":        {inManifest: func(v map[string]any) { number(v["config"], "size", -1) }, kind: diagnostic.Corrupt, says: "bytes"},
		"a layer said to be longer":          {inManifest: func(v map[string]any) { number(layers(v)[0], "size", 1) }, kind: diagnostic.Corrupt, says: "bytes", stored: true},
		"a layer said to be shorter":         {inManifest: func(v map[string]any) { number(layers(v)[1], "size", -1) }, kind: diagnostic.Corrupt, says: "bytes", stored: true},
	} {
		t.Run(name, func(t *testing.T) {
			a := with(t, c.inManifest, c.inIndex)
			blobs := map[string][]byte{}
			for _, doc := range a.documents {
				blobs[doc.Digest.Hex] = doc.Bytes
			}
			for h, data := range m.bytes {
				blobs[h.Hex] = data
			}
			folder := func(dir string) string {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				for hex, data := range blobs {
					if err := os.WriteFile(filepath.Join(dir, hex), data, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				return dir
			}
			layout := t.TempDir()
			folder(filepath.Join(layout, "blobs", "sha256"))
			entry := describe(a.documents[0])
			if err := os.WriteFile(filepath.Join(layout, "index.json"), document(t, artifact.TypeIndex, map[string]any{"manifests": []any{entry}}).Bytes, 0o644); err != nil {
				t.Fatal(err)
			}
			for _, from := range []string{"the registry", "the store", "kept", "a layout"} {
				d := newDepot(t, t.TempDir())
				switch from {
				case "the store":
					// Everything but the two documents, which each of the others has fetched.
					pull(t, d, reference(t, server.Host+"/acme/zlib:1")).release()
					for _, doc := range a.documents {
						hold := d.Store.Hold()
						hold.PutBlob(doc.Bytes)
						if err := hold.Settle(); err != nil {
							t.Fatal(err)
						}
						hold.Release()
					}
				case "kept":
					d.Kept = folder(t.TempDir())
				case "a layout":
					list, err := registry.MirrorsOf(a.ref, []string{"file://" + filepath.ToSlash(layout)})
					if err != nil {
						t.Fatal(err)
					}
					d.Registry = registry.NewClient(registry.Options{Keychain: anonymous{}, Mirrors: list})
				}
				before, err := d.Store.Trees()
				if err != nil {
					t.Fatal(err)
				}
				l, err := d.Pull(t.Context(), a.ref, triple(t, amd64Linux))
				if err == nil {
					l.release()
				}
				if c.kind == 0 || c.stored && from == "the store" {
					if err != nil {
						t.Errorf("from %s: %v", from, err)
					}
					continue
				}
				if diagnostic.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
					t.Errorf("from %s: got %v, want %q", from, err, c.says)
				}
				// Of two layers the one that is described rightly may have come.
				if after, err := d.Store.Trees(); err != nil || len(after) > len(before) && (!c.stored || len(after) > 1) {
					t.Errorf("from %s: trees %v (%v), before %v", from, after, err, before)
				}
			}
			_, err := Copy(t.Context(), testClient(), Place{Image: a.ref}, Place{Layout: filepath.Join(t.TempDir(), "copy.tar")}, nil)
			if c.kind == 0 && err != nil || c.kind != 0 && diagnostic.KindOf(err) != c.kind {
				t.Errorf("copied: %v", err)
			}
			x, err := InspectLayout(t.Context(), nil, layout, triple(t, amd64Linux), true)
			if (err == nil) != (c.kind == 0 || c.stored) {
				t.Errorf("inspected: %v, %v", x, err)
			}
		})
	}
}

// What is read whole is bounded by its descriptor, and not by who sends it.
func TestReadAllIsBounded(t *testing.T) {
	endless := &counting{}
	if _, err := readAll(endless, 1000); diagnostic.KindOf(err) != diagnostic.Corrupt || endless.n > 4096 {
		t.Errorf("%v, after %d bytes", err, endless.n)
	}
	if _, err := readAll(strings.NewReader("ab"), 3); diagnostic.KindOf(err) != diagnostic.Corrupt {
		t.Errorf("too short: %v", err)
	}
	if data, err := readAll(strings.NewReader("abc"), 3); err != nil || string(data) != "abc" {
		t.Errorf("%q, %v", data, err)
	}
}

// counting is a reader without end.
type counting struct{ n int }

func (c *counting) Read(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}
