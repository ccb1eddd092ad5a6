package registry

import (
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

const hex64 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseReference(t *testing.T) {
	for _, c := range []struct {
		in, want string
		pinned   bool
	}{
		{"ghcr.io/acme/zlib:1.3.1", "ghcr.io/acme/zlib:1.3.1", false},
		{"ghcr.io/acme/zlib", "ghcr.io/acme/zlib:latest", false},
		{"ghcr.io/acme/zlib@sha256:" + hex64, "ghcr.io/acme/zlib@sha256:" + hex64, true},
		{"ghcr.io/acme/zlib:1.3.1@sha256:" + hex64, "ghcr.io/acme/zlib:1.3.1@sha256:" + hex64, true},
		{"ghcr.io/acme/zlib:sha256:" + hex64, "ghcr.io/acme/zlib@sha256:" + hex64, true},
		{"ghcr.io/acme/zlib:1.3:sha256:" + hex64, "ghcr.io/acme/zlib:1.3@sha256:" + hex64, true},
		{"GHCR.io/acme/zlib:V1", "ghcr.io/acme/zlib:V1", false},
		{"localhost:5000/zlib", "localhost:5000/zlib:latest", false},
		{"localhost/zlib:x", "localhost/zlib:x", false},
		{"127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x", false},
		{"[::1]:5000/zlib:x", "[::1]:5000/zlib:x", false},
		{"[::1]/zlib:x", "[::1]/zlib:x", false},
		{"ubuntu", "docker.io/library/ubuntu:latest", false},
		{"docker.io/ubuntu:22.04", "docker.io/library/ubuntu:22.04", false},
		{"index.docker.io/acme/zlib:x", "docker.io/acme/zlib:x", false},
		{"acme/zlib:x", "docker.io/acme/zlib:x", false},
		{"r.example/a__b/c--d.e_f:x", "r.example/a__b/c--d.e_f:x", false},
		{"r.example/n:_" + strings.Repeat("t", 127), "r.example/n:_" + strings.Repeat("t", 127), false},
	} {
		ref, err := ParseReference(c.in)
		if err != nil {
			t.Errorf("ParseReference(%q): %v", c.in, err)
			continue
		}
		if ref.String() != c.want || ref.Pinned() != c.pinned {
			t.Errorf("ParseReference(%q) = %s (pinned %v), want %s (%v)", c.in, ref, ref.Pinned(), c.want, c.pinned)
		}
	}
}

func TestParseReferenceErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "empty"},
		{"https://ghcr.io/acme/zlib", "not a URL"},
		{"ghcr.io", "no repository"},
		{"localhost:5000", "no repository"},
		{"ghcr.io/", "empty part"},
		{"ghcr.io/acme//zlib", "empty part"},
		{"ghcr.io/Acme/zlib", `did you mean "acme/zlib"`},
		{"Acme/zlib", "upper-case"},
		{"ghcr.io/acme/zlib:", "no tag after the colon"},
		{"ghcr.io/acme/zlib:-x", "is no tag"},
		{"ghcr.io/acme/zlib:" + strings.Repeat("t", 129), "is no tag"},
		{"ghcr.io/acme/zlib:1.3 ", "is no tag"},
		{"ghcr.io/../zlib", "cannot be part"},
		{"ghcr.io/acme/zlib_", "cannot be part"},
		{"ghcr.io/acme/zlib@sha256:" + hex64[1:], "63 hex digits instead of 64"},
		{"ghcr.io/acme/zlib@sha256:" + hex64 + "0", "65 hex digits"},
		{"ghcr.io/acme/zlib@sha256:" + strings.ToUpper(hex64), "lower case"},
		{"ghcr.io/acme/zlib@sha256:" + hex64[1:] + "g", "other characters"},
		{"ghcr.io/acme/zlib@sha512:" + hex64 + hex64, `"sha512" is not supported`},
		{"ghcr.io/acme/zlib@md5:00", `"md5" is not supported`},
		{"ghcr.io/acme/zlib@", "is no digest"},
		{"ghcr.io/" + strings.Repeat("a", 256), "longer than 255"},
		{"r.example:0/zlib", "no port"},
		{"r.example:70000/zlib", "no port"},
		{"r.example:x/zlib", "no port"},
		{"r..example/zlib", "no host name"},
		{"-r.example/zlib", "no host name"},
		{"[::1/zlib", "no host"},
		{"[fe80::1%eth0]/zlib", "no host"},
		{":5000/zlib", "no host"},
		{"gh cr.io/zlib", "no host name"},
	} {
		ref, err := ParseReference(c.in)
		if err == nil {
			t.Errorf("ParseReference(%q) = %s, want an error", c.in, ref)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), "host/name:tag") {
			t.Errorf("ParseReference(%q): %v (kind %d), want %q and the right form", c.in, err, diagnostic.KindOf(err), c.want)
		}
	}
}

func TestParseReferenceKeepsPasswordsToItself(t *testing.T) {
	_, err := ParseReference("bob:hunter22@ghcr.io/acme/zlib:1")
	if err == nil || strings.Contains(err.Error(), "hunter22") {
		t.Errorf("got %v", err)
	}
}

func TestWithDigest(t *testing.T) {
	ref, err := ParseReference("ghcr.io/acme/zlib:1")
	if err != nil {
		t.Fatal(err)
	}
	digest, err := parseDigest("sha256:" + hex64)
	if err != nil {
		t.Fatal(err)
	}
	if got := ref.WithDigest(digest).String(); got != "ghcr.io/acme/zlib:1@sha256:"+hex64 || ref.Pinned() {
		t.Errorf("WithDigest = %s; the receiver is now %s", got, ref)
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{
		"ghcr.io/acme/zlib:1.3.1@sha256:" + hex64, "ubuntu", "docker.io/ubuntu", "[::1]:5000/a", "a:b:sha256:" + hex64,
		"index.docker.io/library/a/b:x", "LOCALHOST/a", "[::ffff:1.2.3.4]:1/x", "a@b", "://", "1.2:3/x", "docker.io./a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseReference(s)
		if err != nil {
			if diagnostic.KindOf(err) != diagnostic.Usage {
				t.Fatalf("%q: %v is not of kind Usage", s, err)
			}
			return
		}
		again, err := ParseReference(ref.String())
		if err != nil {
			t.Fatalf("%q is %s, which does not parse: %v", s, ref, err)
		}
		if again != ref {
			t.Fatalf("%q: %#v became %#v", s, ref, again)
		}
	})
}
