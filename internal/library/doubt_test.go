package library

import (
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestDoubt: a digest of another library or version is noticed, and no name that people have for the right one is.
func TestDoubt(t *testing.T) {
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	zstd := artifact.Package{Name: "zstd", Version: "1.5.7", Libraries: []artifact.Library{{Name: "zstd"}}}
	zlib := artifact.Package{Name: "zlib", Version: "1.3.1", Libraries: []artifact.Library{{Name: "z"}}}
	libz := artifact.Package{Name: "libz", Version: "1.3.1"}
	openssl := artifact.Package{Name: "openssl", Version: "3.0.13", Libraries: []artifact.Library{{Name: "ssl"}, {Name: "crypto"}}}
	lts := artifact.Package{Name: "abseil", Version: "20240722.0"}
	for _, c := range []struct {
		image, name string
		is          artifact.Package
		want        string // "" for nothing
	}{
		{"r.example/acme/zlib:1.3.1" + digest, "zlib", zstd, "zlib: the digest is of zstd 1.5.7, and the image is called r.example/acme/zlib:1.3.1. Where it was copied from another line, `ocipkg pin --update zlib` writes the one of the tag"},
		{"r.example/acme/zlib:1.3.1" + digest, "", zstd, "the digest is of zstd 1.5.7, and the image is called r.example/acme/zlib:1.3.1. Where it was copied from another line, leave it out, and the tag decides"},
		{"r.example/acme/zstd:1.5" + digest, "zlib", zlib, "and the tag says 1.5: r.example/acme/zstd:1.5"}, // the name is the user's word
		{"r.example/acme/zstd:1.5" + digest, "compress", zlib, "of zlib 1.3.1, and the image is called r.example/acme/zstd:1.5"},
		{"r.example/acme/zlib:1" + digest, "zlib", openssl, "of openssl 3.0.13"},
		{"r.example/acme/zlib:1.2.13" + digest, "zlib", zlib, "zlib: the digest is of zlib 1.3.1, and the tag says 1.2.13: r.example/acme/zlib:1.2.13. Where"},
		{"r.example/acme/zlib:v1.3.2-debian" + digest, "", zlib, "the tag says v1.3.2-debian"},
		{"r.example/acme/abseil:20230802.1" + digest, "", lts, "the tag says 20230802.1"},

		{"r.example/acme/zlib:1.3.1", "zlib", zstd, ""}, // the registry says so
		{"r.example/acme/zlib:1.3.1" + digest, "other", zlib, ""},
		{"r.example/acme/zlib" + digest, "zlib", zstd, ""}, // by its name alone a library is not known
		{"r.example/acme/zlib:latest" + digest, "zlib", zstd, ""},
		{"r.example/acme/xz:5.4.5" + digest, "xz", artifact.Package{Name: "liblzma", Version: "5.4.5"}, ""},
		{"r.example/acme/postgresql:15" + digest, "", artifact.Package{Name: "libpq", Version: "15.4"}, ""},
		{"r.example/acme/curl-static:8.5.0-1" + digest, "", artifact.Package{Name: "libcurl", Version: "8.6.0"}, "the tag says 8.5.0-1"},
		{"r.example/acme/freetype:2.13.2" + digest, "freetype", artifact.Package{Name: "freetype2", Version: "26.1.20"}, ""},
		{"r.example/acme/protobuf:4.25.1" + digest, "", artifact.Package{Name: "protobuf", Version: "25.1.0"}, ""},
		{"r.example/acme/zlib:22.04-1.3" + digest, "", zlib, ""},
		{"r.example/acme/zlib:latest" + digest, "zlib", zlib, ""},
		{"r.example/acme/zlib:1" + digest, "zlib", zlib, ""},
		{"r.example/acme/zlib:2" + digest, "zlib", zlib, ""},
		{"r.example/acme/zlib:1.3" + digest, "zlib", zlib, ""},
		{"r.example/acme/zlib:v1.3.1" + digest, "zlib", zlib, ""},
		{"r.example/acme/zlib:1.3.1.2-4" + digest, "zlib", zlib, ""},
		{"r.example/acme/zlib:1.03.1-x86_64-unknown-linux-gnu" + digest, "zlib", zlib, ""},
		{"r.example/acme/zlib:2024.01.15" + digest, "zlib", zlib, ""},
		{"r.example/acme/zlib:debian" + digest, "zlib", zlib, ""},
		{"r.example/acme/zlib" + digest, "zlib", zlib, ""},
		{"r.example/acme/zlib:1.3.1" + digest, "zlib", libz, ""},
		{"r.example/acme/z:1.3.1" + digest, "", zlib, ""},
		{"r.example/acme/libz:1.3.1" + digest, "", zlib, ""},
		{"r.example/acme/native:zlib-1.3.1" + digest, "", zlib, ""},
		{"r.example/zlib/prebuilt:1.3.1" + digest, "", zlib, ""},
		{"r.example/mirror/ghcr-io-acme-zlib:1.3.1" + digest, "", zlib, ""},
		{"r.example/mirror/0042:1.3.1" + digest, "my_zlib", zlib, ""},
		{"r.example/acme/openssl-3:3.0" + digest, "", openssl, ""},
		{"r.example/acme/libcrypto:3" + digest, "", openssl, ""},
		{"r.example/acme/zlib:1.3.1" + digest, "zlib", artifact.Package{Name: "zlib"}, ""},
		{"r.example/acme/zlib:1.3.1" + digest, "zlib", artifact.Package{}, ""},
	} {
		got := Doubt(reference(t, c.image), c.name, &c.is)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s (name %q) is %s %s: got %q, want %q", c.image, c.name, c.is.Name, c.is.Version, got, c.want)
		}
	}
}

// Invariant: whoever wants to know is told once, for one platform as for several, from the registry as from the store,
// and whatever fails then; who does not is told nothing.
func TestDoubtIsToldOnce(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	pinned, _ := publishIndex(t, server, "acme/foo:1", platformsOf())
	wrong := reference(t, server.Host+"/acme/bread:2@"+pinned.Digest.String())
	root := t.TempDir()
	// The right name has put everything into the store.
	for _, target := range []string{intelGNU, armGNU} {
		want, err := artifact.ParseTriple(target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newDepot(t, root).Pull(t.Context(), pinned, want); err != nil {
			t.Fatal(err)
		}
	}
	bread := Declaration{Name: "bread"}
	nothing := Declaration{Name: "bread", Components: []string{"crumbs"}}
	for name, c := range map[string]struct {
		fetch func(d *Depot) error
		wants bool
		code  bool // whether it succeeds
	}{
		"pull":       {func(d *Depot) error { _, err := d.Pull(t.Context(), wrong, x86); return err }, true, true},
		"declared":   {func(d *Depot) error { _, err := d.PullDeclared(t.Context(), wrong, x86, &bread); return err }, true, true},
		"components": {func(d *Depot) error { _, err := d.PullDeclared(t.Context(), wrong, x86, &nothing); return err }, true, false},
		"hub":        {func(d *Depot) error { return d.PullHub(t.Context(), wrong, elsewhere(t, intelGNU, armGNU), &bread) }, true, true},
		"crumbs":     {func(d *Depot) error { return d.PullHub(t.Context(), wrong, elsewhere(t, intelGNU, armGNU), &nothing) }, true, false},
		"unwanted":   {func(d *Depot) error { _, err := d.PullDeclared(t.Context(), wrong, x86, &bread); return err }, false, true},
	} {
		d := newDepot(t, root)
		d.Doubt = c.wants
		warned := warningsOf(d)
		if err := c.fetch(d); (err == nil) != c.code {
			t.Errorf("%s: %v", name, err)
		}
		told := warned()
		if len(told) != map[bool]int{true: 1}[c.wants] || c.wants && !strings.Contains(told[0], "of foo 1, and the image is called "+server.Host+"/acme/bread:2.") {
			t.Errorf("%s: told %q", name, told)
		}
	}
	server.Close()
	d := newDepot(t, root)
	if text := DoubtStored(d.Store, wrong, "bread"); !strings.HasPrefix(text, "bread: the digest is of foo 1") {
		t.Errorf("of the store: %q", text)
	}
	if text := DoubtStored(d.Store, pinned, "bread") + DoubtStored(newDepot(t, t.TempDir()).Store, wrong, "bread"); text != "" {
		t.Errorf("of what is right, and of what is not there: %q", text)
	}
}
