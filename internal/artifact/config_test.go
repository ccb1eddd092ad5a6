package artifact

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

func manifestOf(change func(m map[string]any)) string {
	descriptor := func(mediaType string) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": digestOf(mediaType).String(), "size": 1}
	}
	m := map[string]any{"schemaVersion": 2, "artifactType": TypeArtifact, "config": descriptor(TypeConfig), "layers": []any{descriptor(TypeLayerZstd)}}
	change(m)
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func TestParseManifest(t *testing.T) {
	part := func(m map[string]any, key string) map[string]any {
		if list, ok := m[key].([]any); ok {
			return list[0].(map[string]any)
		}
		return m[key].(map[string]any)
	}
	many := func(n int) func(map[string]any) {
		return func(m map[string]any) {
			layers := make([]any, n)
			for i := range layers {
				layers[i] = part(m, "layers")
			}
			m["layers"] = layers
		}
	}
	set := func(key string, v any) func(map[string]any) { return func(m map[string]any) { m[key] = v } }
	in := func(where, key string, v any) func(map[string]any) {
		return func(m map[string]any) { part(m, where)[key] = v }
	}
	v0 := func(layer string) func(map[string]any) {
		return func(m map[string]any) {
			delete(m, "artifactType")
			part(m, "config")["mediaType"], part(m, "layers")["mediaType"] = TypeV0Config, layer
		}
	}
	for _, c := range []struct {
		what, data, says string // says: "" where it is an artifact
	}{
		{"zstd", manifestOf(func(map[string]any) {}), ""},
		{"gzip", manifestOf(in("layers", "mediaType", TypeLayerGzip)), ""},
		{"with its own type", manifestOf(set("mediaType", TypeManifest)), ""},
		{"256 layers", manifestOf(many(256)), ""},
		{"V0", manifestOf(v0(TypeV0Gzip)), ""},
		{"V0, uncompressed", manifestOf(v0(TypeV0Layer)), ""},
		{"V0, Docker's layer", manifestOf(v0(TypeDockerGzip)), ""},
		{"empty annotations", manifestOf(in("layers", "annotations", map[string]any{})), ""},
		{"unknown keys", manifestOf(set("subject", map[string]any{"x": 1})), ""},

		{"HTML", "<html>", "not a manifest"},
		{"empty", "", "not a manifest"},
		{"array", "[]", "not a manifest"},
		{"both", manifestOf(set("manifests", []any{})), "both layers and manifests"},
		{"index", `{"schemaVersion":2,"manifests":[]}`, "an index of several platforms"},
		{"both, null", manifestOf(set("manifests", nil)), "both layers and manifests"},
		{"schema 1", manifestOf(set("schemaVersion", 1)), "schemaVersion is 1"},
		{"calls itself an index", manifestOf(set("mediaType", TypeIndex)), "calls itself"},
		{"no layers", manifestOf(set("layers", []any{})), "0 layers"},
		{"257 layers", manifestOf(many(257)), "257 layers"},
		{"other artifact", manifestOf(set("artifactType", "application/vnd.cncf.helm")), "helm"},
		{"Docker image", manifestOf(func(m map[string]any) {
			v0(TypeDockerGzip)(m)
			part(m, "config")["mediaType"] = "application/vnd.docker.container.image.v1+json"
		}), "container.image"},
		{"config of another type", manifestOf(in("config", "mediaType", "application/json")), "config is of type"},
		{"layer of another type", manifestOf(in("layers", "mediaType", "text/html")), "layer 1 is of type text/html"},
		{"V0 layer in V1", manifestOf(in("layers", "mediaType", TypeV0Gzip)), "layer 1 is of type"},
		{"sha512", manifestOf(in("layers", "digest", "sha512:"+strings.Repeat("a", 128))), "digest"},
		{"unknown algorithm", manifestOf(in("layers", "digest", "md5:"+strings.Repeat("a", 32))), "unsupported hash"},
		{"short digest", manifestOf(in("layers", "digest", "sha256:abc")), "wrong number of hex"},
		{"upper-case digest", manifestOf(in("layers", "digest", "sha256:"+strings.Repeat("A", 64))), "non-hex"},
		{"no digest", manifestOf(func(m map[string]any) { delete(part(m, "config"), "digest") }), "descriptor 0"},
		{"negative size", manifestOf(in("layers", "size", -1)), "size -1"},
		{"size of 2^63", strings.Replace(manifestOf(func(map[string]any) {}), `"size":1`, `"size":9223372036854775808`, 1), "9223372036854775808"},
	} {
		t.Run(c.what, func(t *testing.T) {
			m, err := ParseManifest([]byte(c.data))
			if c.says == "" {
				if err != nil || m.V1() != !strings.HasPrefix(c.what, "V0") {
					t.Errorf("%v, V1 %v", err, m.V1())
				}
				return
			}
			if diagnostic.KindOf(err) != diagnostic.Unsupported || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestParseIndex(t *testing.T) {
	one := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":2}`, TypeManifest, digestOf("{}"))
	for _, c := range []struct{ data, says string }{
		{`{"schemaVersion":2,"manifests":[` + one + `]}`, ""},
		{`{"schemaVersion":2,"mediaType":"` + TypeIndex + `","manifests":[` + one + `]}`, ""},
		{`<html>`, "not an index"},
		{`{"schemaVersion":2,"manifests":[]}`, "0 manifests"},
		{`{"schemaVersion":1,"manifests":[` + one + `]}`, "schemaVersion"},
		{`{"schemaVersion":2,"mediaType":"` + TypeManifest + `","manifests":[` + one + `]}`, "calls itself"},
		{`{"schemaVersion":2,"manifests":[` + one + `],"layers":[]}`, "both"},
		{`{"schemaVersion":2,"manifests":[{"mediaType":"x","size":1}]}`, "descriptor 0"},
		{`{"schemaVersion":2,"manifests":[` + one + strings.Repeat(","+one, 1024) + `]}`, "1025 manifests"},
	} {
		_, err := ParseIndex([]byte(c.data))
		if c.says == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if diagnostic.KindOf(err) != diagnostic.Unsupported || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want %q", err, c.says)
		}
	}
}

func TestSelect(t *testing.T) {
	target := func(s string) Descriptor {
		return Descriptor{Digest: digestOf(s), Annotations: map[string]string{AnnotationTarget: s}}
	}
	platform := func(s string) Descriptor {
		p, err := v1.ParsePlatform(s)
		if err != nil {
			t.Fatal(err)
		}
		return Descriptor{Digest: digestOf(s), Platform: p}
	}
	for _, c := range []struct {
		what  string
		index []Descriptor
		want  string
		found string // "" for none
	}{
		{"by target", []Descriptor{target("aarch64-unknown-linux-gnu"), target("x86_64-unknown-linux-gnu")}, "x86_64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"},
		{"target before platform", []Descriptor{platform("linux/amd64"), target("x86_64-unknown-linux-gnu")}, "x86_64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"},
		{"exact target before open one", []Descriptor{target("x86_64-unknown-linux"), target("x86_64-unknown-linux-musl")}, "x86_64-unknown-linux-musl", "x86_64-unknown-linux-musl"},
		{"open target", []Descriptor{target("x86_64-unknown-linux"), platform("linux/amd64")}, "x86_64-unknown-linux-musl", "x86_64-unknown-linux"},
		{"by platform", []Descriptor{platform("linux/arm64"), platform("windows/amd64"), platform("linux/amd64")}, "x86_64-unknown-linux-gnu", "linux/amd64"},
		{"variant of the platform", []Descriptor{platform("linux/arm/v6"), platform("linux/arm/v7")}, "armv7-unknown-linux-gnueabihf", "linux/arm/v7"},
		{"plain before a variant", []Descriptor{platform("linux/amd64/v3"), platform("linux/amd64")}, "x86_64-unknown-linux-gnu", "linux/amd64"},
		{"arm64's only variant", []Descriptor{platform("linux/arm64/v8")}, "aarch64-unknown-linux-gnu", "linux/arm64/v8"},
		{"other variant", []Descriptor{platform("linux/arm/v6")}, "armv7-unknown-linux-gnueabihf", ""},
		{"other C library", []Descriptor{target("x86_64-unknown-linux-musl")}, "x86_64-unknown-linux-gnu", ""},
		{"attestation", []Descriptor{platform("unknown/unknown")}, "x86_64-unknown-linux-gnu", ""},
		{"nothing said", []Descriptor{{Digest: digestOf("x")}}, "x86_64-unknown-linux-gnu", ""},
		{"garbage", []Descriptor{target("\x1b[2J")}, "x86_64-unknown-linux-gnu", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			want, err := ParseTriple(c.want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Index{Manifests: c.index}.Select(want)
			if c.found != "" {
				if err != nil || got.Digest != digestOf(c.found) {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			if diagnostic.KindOf(err) != diagnostic.Mismatch || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %v", err)
			}
			if s := c.index[0].Annotations[AnnotationTarget]; s == "x86_64-unknown-linux-musl" && !strings.Contains(err.Error(), s) {
				t.Errorf("%v does not say what there is", err)
			}
		})
	}
}

func TestParseConfig(t *testing.T) {
	for _, c := range []struct {
		data string
		kind diagnostic.Kind
		says string // "" where it is a config
	}{
		{`{"layers":{}}`, 0, ""},
		{`{}`, 0, ""},
		{`{"layers":{"sha256:x":["any\u0007thing"]},"future":{"a":1}}`, 0, ""}, // others' paths are never used
		{`{"layers":{},"package":{"schema":1,"name":"z","future":true}}`, 0, ""},
		{`<html>`, diagnostic.Unsupported, "not the JSON"},
		{`{"layers":[]}`, diagnostic.Unsupported, "not the JSON"},
		{`{"package":{"schema":2,"name":"z"}}`, diagnostic.Unsupported, "schema 2"},
		{`{"package":{"schema":1,"name":"z\u001b[2J"}}`, diagnostic.Refused, "control character"},
		{`{"package":{"schema":1,"name":"z","libraries":[{"name":"z","static":{"path":"z","reason":"x\nload(\"@evil//:x\")"}}]}}`, diagnostic.Refused, ""},
		{`{"package":{"schema":1,"name":"z","defines":["A\nB"]}}`, diagnostic.Refused, "control character"},
		{`{"package":{"schema":1,"name":"z\u2028"}}`, diagnostic.Refused, "control character"},
	} {
		_, err := ParseConfig([]byte(c.data))
		if c.kind == 0 {
			if err != nil {
				t.Errorf("%s: %v", c.data, err)
			}
			continue
		}
		if diagnostic.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", c.data, err)
		}
	}
}

func TestRefuseContainer(t *testing.T) {
	for data, container := range map[string]bool{
		`{"architecture":"amd64","os":"linux","config":{"Labels":{}},"rootfs":{"type":"layers","diff_ids":[]},"history":[]}`: false,
		`{"architecture":"amd64","os":"linux"}`: false,
		`{"config":{"Cmd":["/bin/sh"]}}`:        true,
		`{"config":{"Entrypoint":["/hello"]}}`:  true,
		`<html>`:                                true,
	} {
		err := RefuseContainer([]byte(data))
		if (err != nil) != container || container && diagnostic.KindOf(err) != diagnostic.Unsupported {
			t.Errorf("%s: got %v", data, err)
		}
	}
}

// The ocipkg project parses and writes anew what it copies: key order, one annotation a map and no escapes keep digests.
func TestDocumentsAreWrittenAsUpstreamWould(t *testing.T) {
	h := digestOf("x")
	for _, c := range []struct {
		what string
		v    any
		want string
	}{
		{"manifest", Manifest{SchemaVersion: 2, MediaType: TypeManifest, ArtifactType: TypeArtifact, Config: Descriptor{MediaType: TypeConfig, Digest: h, Size: 3}, Layers: []Descriptor{{MediaType: TypeLayerGzip, Digest: h, Size: 4, Annotations: map[string]string{"a": "<&>"}}}},
			`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.ocipkg.v1.artifact","config":{"mediaType":"application/vnd.ocipkg.v1.config+json","digest":"` + h.String() + `","size":3},"layers":[{"mediaType":"application/vnd.ocipkg.v1.layer.tar+gzip","digest":"` + h.String() + `","size":4,"annotations":{"a":"<&>"}}]}`},
		{"index", Index{SchemaVersion: 2, MediaType: TypeIndex, Manifests: []Descriptor{{MediaType: TypeManifest, Digest: h, Size: 4, Platform: &v1.Platform{Architecture: "amd64", OS: "linux"}}}},
			`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + h.String() + `","size":4,"platform":{"architecture":"amd64","os":"linux"}}]}`},
		{"config", Config{Layers: map[string][]string{h.String(): {"a<b>.h"}}}, `{"layers":{"` + h.String() + `":["a<b>.h"]}}`},
	} {
		got, err := marshal(c.v)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got  %s, %v\nwant %s", c.what, got, err, c.want)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(manifestOf(func(map[string]any) {})))
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:763d3ad58589b33ba1b70d4df62f6dbd0e35a432d628d243f27d439a5230522d","size":235},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:763d3ad58589b33ba1b70d4df62f6dbd0e35a432d628d243f27d439a5230522d","size":1933}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			if diagnostic.KindOf(err) != diagnostic.Unsupported {
				t.Errorf("kind %d: %v", diagnostic.KindOf(err), err)
			}
			return
		}
		written, err := marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseManifest(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if rewritten, _ := marshal(again); string(rewritten) != string(written) {
			t.Errorf("%s becomes %s", written, rewritten)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"layers":{"sha256:x":["libf.a"]}}`))
	f.Add([]byte(`{"layers":{},"package":{"schema":1,"name":"z","libraries":[{"name":"z","static":{"path":"lib/libz.a","pic":"pic"},"shared":{"path":"lib/libz.so.1","soname":"libz.so.1"}}],"includes":["include"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		written, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseConfig(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if rewritten, _ := again.Marshal(); string(rewritten) != string(written) {
			t.Errorf("%s becomes %s", written, rewritten)
		}
		if c.Package != nil && (hasControl(c.Package.Name) || hasControl(c.Package.Version) || hasControl(c.Package.Target)) {
			t.Errorf("a control character in %q", written)
		}
	})
}
