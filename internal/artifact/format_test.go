package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The ocipkg project's programs parse every manifest that they copy and write it anew, from structures with these
// fields in this order (image-spec, manifest.md and descriptor.md); a key that they do not know is lost.
type (
	theirManifest struct {
		SchemaVersion int                `json:"schemaVersion"`
		MediaType     string             `json:"mediaType,omitempty"`
		ArtifactType  string             `json:"artifactType,omitempty"`
		Config        *theirDescriptor   `json:"config,omitempty"`
		Layers        []theirDescriptor  `json:"layers,omitempty"`
		Manifests     []theirDescriptor  `json:"manifests,omitempty"` // of an index
		Subject       *theirDescriptor   `json:"subject,omitempty"`
		Annotations   *map[string]string `json:"annotations,omitempty"`
	}
	theirDescriptor struct {
		MediaType    string             `json:"mediaType"`
		Digest       string             `json:"digest"`
		Size         uint64             `json:"size"`
		URLs         []string           `json:"urls,omitempty"`
		Annotations  *map[string]string `json:"annotations,omitempty"`
		Platform     *theirPlatform     `json:"platform,omitempty"`
		ArtifactType string             `json:"artifactType,omitempty"`
		Data         string             `json:"data,omitempty"`
	}
	theirPlatform struct {
		Architecture string   `json:"architecture"`
		OS           string   `json:"os"`
		OSVersion    string   `json:"os.version,omitempty"`
		OSFeatures   []string `json:"os.features,omitempty"`
		Variant      string   `json:"variant,omitempty"`
		Features     []string `json:"features,omitempty"`
	}
)

// written is everything that Pack, Join and Transcode write of a library for two platforms, whose description has
// characters that some writers of JSON escape.
type written struct {
	archives  map[string][]byte // whole, as Commit wrote them, by compression
	documents map[string][]byte // manifests, indexes and configs, by what they are
	gzip      []Artifact        // packed, and transcoded
	all       []Artifact
}

func writtenByUs(t *testing.T) written {
	t.Helper()
	claims := Claims{License: "Zlib", Defines: []string{`GREETING="<a>&b"`}, Linkopts: []string{"-Wl,--as-needed"}}
	out := written{archives: map[string][]byte{}, documents: map[string][]byte{}}
	var zstd []Artifact
	add := func(what string, a Artifact) {
		config, err := a.Layout.ReadBlob(a.Manifest.Config.Digest, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		out.documents["manifest, "+what], out.documents["config, "+what] = a.Bytes, config
		out.all = append(out.all, a)
	}
	for _, compression := range []Compression{Zstd, Gzip} {
		for what, files := range map[string]map[string]string{"intel": zlibPrefix(), "arm": armPrefix()} {
			dest := filepath.Join(t.TempDir(), "z.tar")
			packed(t, prefixOf(t, files), claims, compression, dest)
			data, err := os.ReadFile(dest)
			if err != nil {
				t.Fatal(err)
			}
			out.archives[string(compression)+" "+what] = data
			l, _, _ := opened(t, dest)
			some, err := l.Artifacts()
			if err != nil {
				t.Fatal(err)
			}
			add(string(compression)+" "+what, some[0])
			if compression == Zstd {
				zstd = append(zstd, some[0])
			} else {
				out.gzip = append(out.gzip, some[0])
			}
		}
	}
	dest := filepath.Join(t.TempDir(), "gzip")
	w, err := CreateLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	transcoder := Transcoder{Blobs: w}
	var made []Descriptor
	for _, a := range zstd {
		d, err := transcoder.Transcode(a)
		if err != nil {
			t.Fatal(err)
		}
		w.Add(d, "")
		made = append(made, d)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, d := range made {
		a, err := l.Artifact(d)
		if err != nil {
			t.Fatal(err)
		}
		add("transcoded "+a.Config.Package.Target, a)
		out.gzip = append(out.gzip, a)
	}
	index, err := Join(zstd)
	if err != nil {
		t.Fatal(err)
	}
	if out.documents["index"], err = index.Marshal(); err != nil {
		t.Fatal(err)
	}
	return out
}

// members lists the members of an archive, in its order.
func members(t *testing.T, archive []byte) (names []string, content map[string][]byte) {
	t.Helper()
	content = map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return names, content
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			t.Errorf("%s is of type %q", h.Name, h.Typeflag)
		}
		names = append(names, h.Name)
		if content[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// One test a rule of what the ocipkg project's programs, 0.3 and 0.4, read and do not change.
func TestRulesOfTheFormat(t *testing.T) {
	w := writtenByUs(t)
	indexes := map[string][]byte{}
	for what, archive := range w.archives {
		_, content := members(t, archive)
		indexes[what] = content["index.json"]
		w.documents["index.json, "+what] = content["index.json"]
	}

	t.Run("compact", func(t *testing.T) {
		for what, data := range w.documents {
			var compact bytes.Buffer
			if err := json.Compact(&compact, data); err != nil || !bytes.Equal(compact.Bytes(), data) {
				t.Errorf("%s is not compact (%v): %s", what, err, data)
			}
		}
	})
	t.Run("digest survives being parsed and written anew", func(t *testing.T) {
		n := 0
		for what, data := range w.documents {
			if strings.HasPrefix(what, "config") {
				continue // copied as a blob
			}
			n++
			var m theirManifest
			if err := json.Unmarshal(data, &m); err != nil {
				t.Fatal(err)
			}
			again, err := marshal(m)
			if err != nil || !bytes.Equal(again, data) {
				t.Errorf("%s becomes another document (%v):\n%s\n%s", what, err, data, again)
			}
		}
		if n != 4+2+1+4 {
			t.Errorf("%d documents", n)
		}
	})
	t.Run("at most one annotation a map", func(t *testing.T) {
		// They write maps in any order.
		var walk func(what string, v any)
		walk = func(what string, v any) {
			switch v := v.(type) {
			case map[string]any:
				if a, ok := v["annotations"].(map[string]any); ok && len(a) > 1 {
					t.Errorf("%s: %v", what, a)
				}
				for _, v := range v {
					walk(what, v)
				}
			case []any:
				for _, v := range v {
					walk(what, v)
				}
			}
		}
		for what, data := range w.documents {
			var v any
			if err := json.Unmarshal(data, &v); err != nil {
				t.Fatal(err)
			}
			walk(what, v)
		}
	})
	t.Run("no HTML escapes", func(t *testing.T) {
		for what, data := range w.documents {
			if bytes.Contains(data, []byte(`\u00`)) {
				t.Errorf("%s: %s", what, data)
			}
			if strings.HasPrefix(what, "config") && !bytes.Contains(data, []byte("<a>&b")) {
				t.Errorf("%s lost its define: %s", what, data)
			}
		}
	})
	t.Run("types", func(t *testing.T) {
		for _, a := range w.all {
			if a.Manifest.ArtifactType != "application/vnd.ocipkg.v1.artifact" || a.Manifest.Config.MediaType != "application/vnd.ocipkg.v1.config+json" {
				t.Errorf("manifest %s", a.Bytes)
			}
		}
		for _, a := range w.gzip {
			for _, l := range a.Manifest.Layers {
				if l.MediaType != "application/vnd.ocipkg.v1.layer.tar+gzip" {
					t.Errorf("a layer that they refuse, in %s", a.Bytes)
				}
			}
		}
	})
	t.Run("config names the files of each layer", func(t *testing.T) {
		for _, a := range w.all {
			data, err := a.Layout.ReadBlob(a.Manifest.Config.Digest, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			var theirs struct{ Layers map[string][]string }
			if err := json.Unmarshal(data, &theirs); err != nil {
				t.Fatal(err)
			}
			if len(theirs.Layers) != len(a.Manifest.Layers) {
				t.Errorf("config %s", data)
			}
			for _, l := range a.Manifest.Layers {
				if len(theirs.Layers[l.Digest.String()]) == 0 {
					t.Errorf("no files of %s in %s", l.Digest, data)
				}
			}
		}
	})
	t.Run("one gzip member", func(t *testing.T) {
		for _, a := range w.gzip {
			for _, l := range a.Manifest.Layers {
				data, err := a.Layout.ReadBlob(l.Digest, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(data[:8], []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0}) {
					t.Errorf("its header tells of a name, a time or more: % x", data[:10])
				}
				r := bytes.NewReader(data)
				z, err := gzip.NewReader(r)
				if err != nil {
					t.Fatal(err)
				}
				z.Multistream(false)
				if _, err := io.Copy(io.Discard, z); err != nil || r.Len() != 0 {
					t.Errorf("%d bytes behind the first member, %v", r.Len(), err)
				}
			}
		}
	})
	t.Run("static libraries at the root", func(t *testing.T) {
		// Where link_package looks. What it finds has to be a file, in the same layer or in one before: layers are unpacked in
		// their order, and a reader may look at a link as soon as it has made it.
		for _, a := range w.gzip {
			there := map[string]bool{}
			linked, at := "", 0
			for i, l := range a.Manifest.Layers {
				data, err := a.Layout.ReadBlob(l.Digest, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				z, err := gzip.NewReader(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				r := tar.NewReader(z)
				for {
					h, err := r.Next()
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					if there[h.Name] && h.Typeflag != tar.TypeDir {
						t.Errorf("%s is in two layers: what it is depends on their order", h.Name)
					}
					there[h.Name] = true
					if h.Name == "libz.a" {
						linked, at = path.Clean(h.Linkname), i
					}
				}
				if linked != "" && !there[linked] {
					t.Errorf("layer %d has libz.a, which leads to %q, and no layer until then has that", at, linked)
				}
			}
			if linked != "lib/libz.a" {
				t.Errorf("libz.a leads to %q", linked)
			}
		}
	})
	t.Run("archive", func(t *testing.T) {
		for what, archive := range w.archives {
			names, content := members(t, archive)
			for _, name := range names {
				if name != path.Clean(name) || strings.HasPrefix(name, ".") || name != "oci-layout" && name != "index.json" && !strings.HasPrefix(name, "blobs/sha256/") {
					t.Errorf("%s: a member called %s", what, name)
				}
			}
			if string(content["oci-layout"]) != `{"imageLayoutVersion":"1.0.0"}` {
				t.Errorf("%s: oci-layout is %s", what, content["oci-layout"])
			}
			if !slices.Contains(names, "index.json") {
				t.Errorf("%s has no index.json: %q", what, names)
			}
		}
	})
	t.Run("one manifest, under its full name", func(t *testing.T) {
		for what, data := range indexes {
			var index struct {
				Manifests []struct {
					MediaType   string
					Digest      v1.Hash
					Annotations map[string]string
				}
			}
			if err := json.Unmarshal(data, &index); err != nil {
				t.Fatal(err)
			}
			if len(index.Manifests) != 1 || index.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "example.com/acme/zlib:1.3.1" || index.Manifests[0].MediaType != "application/vnd.oci.image.manifest.v1+json" {
				t.Errorf("%s: %s", what, data)
			}
		}
	})
}

// What they wrote may come in other forms than they wrote it in: through other tools, or by way of a folder.
func TestUpstreamArchivesInOtherForms(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join("testdata", "upstream", "*.tar"))
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, archive := range archives {
		data, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		names, content := members(t, data)
		content["oci-layout"] = []byte(`{"imageLayoutVersion":"1.0.0"}`)
		blobs := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "oci-layout" })
		whole, err := OpenLayout(archive)
		if err != nil {
			t.Fatal(err)
		}
		defer whole.Close()
		want, wantName, err := whole.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		artifacts, err := whole.Artifacts()
		if err != nil {
			t.Fatal(err)
		}
		files := listing(t, unpackedFrom(t, whole, artifacts[0].Manifest, true))
		asArchive := func(prefix string, names ...string) string {
			var all []string
			for _, name := range names {
				all = append(all, prefix+name, string(content[name]))
			}
			return handmade(t, all...)
		}
		asFolder := func(names ...string) string {
			dir := t.TempDir()
			for _, name := range names {
				put(t, dir, name, string(content[name]))
			}
			return dir
		}
		backwards := slices.Clone(blobs)
		slices.Reverse(backwards)
		content["blobs/sha256/"+digestOf("stray").Hex] = []byte("stray")
		for what, p := range map[string]string{
			"archive without oci-layout":   asArchive("", blobs...),
			"archive with oci-layout":      asArchive("", append([]string{"oci-layout"}, blobs...)...),
			"archive in another order":     asArchive("", backwards...),
			"archive with ./":              asArchive("./", blobs...),
			"archive with a stray blob":    asArchive("", append([]string{"blobs/sha256/" + digestOf("stray").Hex}, blobs...)...),
			"folder":                       asFolder(append([]string{"oci-layout"}, blobs...)...),
			"folder without oci-layout":    asFolder(blobs...),
			"folder that others put files": asFolder(append([]string{"blobs/sha256/" + digestOf("stray").Hex}, blobs...)...),
		} {
			t.Run(filepath.Base(archive)+"/"+what, func(t *testing.T) {
				l, err := OpenLayout(p)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				got, name, err := l.Manifest()
				if err != nil || got.Digest != want.Digest || name != wantName {
					t.Fatalf("%s %q, %v", got.Digest, name, err)
				}
				artifacts, err := l.Artifacts()
				if err != nil || len(artifacts) != 1 || artifacts[0].Config.Package != nil {
					t.Fatalf("%d artifacts, %v", len(artifacts), err)
				}
				if found := listing(t, unpackedFrom(t, l, artifacts[0].Manifest, true)); !slices.Equal(found, files) {
					t.Errorf("files %q, want %q", found, files)
				}
			})
		}
	}
}
