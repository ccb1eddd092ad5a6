package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

func TestParseMirrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "[]",
		"ghcr.io=mirror.example.com/ghcr":    "[ghcr.io=mirror.example.com/ghcr]",
		"docker.io/=Mirror.example.com:5000": "[docker.io=mirror.example.com:5000]",
		" ghcr.io/acme=a.example.com/x/y+tags,\n ghcr.io=b.example.com,": "[ghcr.io/acme=a.example.com/x/y+tags ghcr.io=b.example.com]",
		"index.docker.io=localhost/hub":                                  "[docker.io=localhost/hub]",
		"ghcr.io=file:///mnt//lib/":                                      "[ghcr.io=file:///mnt/lib]",
	} {
		got, err := registry.ParseMirrors(text)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
	for text, words := range map[string]string{
		"ghcr.io":                       "it has no =",
		"ghcr=a.example.com":            "before the =, it does not begin with a registry's host name",
		"ghcr.io=mirror":                "after the =, it does not begin with",
		"ghcr.io=https://a.example.com": "is no URL",
		"ghcr.io=a.example.com/X":       "upper-case",
		"ghcr.io=a.example.com:x":       "is no port",
		"=a.example.com":                "before the =",
		"ghcr.io=file://lib":            "the path in file://lib is not absolute",
		"ghcr.io=file:///lib+tags":      "files do not decide what tags mean",
	} {
		_, err := registry.ParseMirrors(text)
		wantError(t, err, diagnostic.Usage, words, "for example ghcr.io=")
	}
}

func mirrors(t *testing.T, format string, args ...any) func(*registry.Options) {
	t.Helper()
	list, err := registry.ParseMirrors(fmt.Sprintf(format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return func(o *registry.Options) { o.Mirrors = append(o.Mirrors, list...) }
}

// fetch gets a manifest by digest and a blob, and tells from the logs who served them.
func fetch(t *testing.T, c *registry.Client, ref registry.Reference, desc v1.Descriptor, want []byte) {
	t.Helper()
	doc, err := c.Document(t.Context(), ref.WithDigest(image(1, len(want)).doc.Digest))
	if err != nil || doc.Digest != image(1, len(want)).doc.Digest {
		t.Errorf("manifest: %v", err)
	}
	got, err := read(t.Context(), c, ref, desc)
	if errors.Is(err, registry.ErrMirrorLied) {
		got, err = read(t.Context(), c, ref, desc)
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("blob: %d bytes, %v", len(got), err)
	}
}

// pushedTo puts the image of pushed under another name, as a mirror has it.
func pushedTo(t *testing.T, s *registrytest.Server, repository string, size int) {
	t.Helper()
	if err := newClient(t).Push(t.Context(), parse(t, s.Host+"/"+repository+":1"), image(1, size), nil); err != nil {
		t.Fatal(err)
	}
	s.Clear()
}

// Whatever is wrong with a mirror, what has a digest comes from the next place, with one warning.
func TestMirrors(t *testing.T) {
	t.Parallel()
	const size = 300 * kib
	for _, c := range []struct {
		name    string
		break_  func(mirror *registrytest.Server)
		warning string // "": all comes from the mirror
	}{
		{"works", func(*registrytest.Server) {}, ""},
		{"is down", func(m *registrytest.Server) { m.Close() }, "refuses connections"},
		{"lacks everything", func(m *registrytest.Server) {
			m.Inject(registrytest.Fault{Path: `/(manifests|blobs)/`, Act: registrytest.Answer(404, "", "", `{"errors":[{"code":"NAME_UNKNOWN"}]}`)})
		}, "404"},
		{"lacks the blob", func(m *registrytest.Server) {
			m.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Answer(404, "", "", `{"errors":[{"code":"BLOB_UNKNOWN"}]}`)})
		}, "404"},
		{"is broken", func(m *registrytest.Server) { m.Inject(registrytest.Fault{Act: registrytest.Answer(502, "", "", "")}) }, "502"},
		{"wants credentials", func(m *registrytest.Server) { m.RequireBasic("somebody", "else") }, "401"},
		{"is a page", func(m *registrytest.Server) {
			m.Inject(registrytest.Fault{Path: manifests + "|" + blobs, Act: registrytest.HTML()})
		}, "text/html"},
		{"sends another manifest", func(m *registrytest.Server) {
			m.Inject(registrytest.Fault{Path: manifests, Act: registrytest.Answer(200, "Content-Type", "application/vnd.oci.image.manifest.v1+json", `{"config":{},"layers":[]}`)})
		}, "other content"},
		{"sends a shorter blob", func(m *registrytest.Server) { m.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Length(-10)}) }, "bytes instead of"},
		{"sends wrong bytes", func(m *registrytest.Server) { m.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Flip(1000)}) }, "sent other bytes"},
		{"breaks off always", func(m *registrytest.Server) { m.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Cut(0)}) }, "broke"},
		{"breaks off in the middle", func(m *registrytest.Server) {
			m.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Cut(100 * kib)})
			m.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Answer(404, "", "", "")})
		}, "404"},
		{"lies, then breaks off", func(m *registrytest.Server) {
			m.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Act(registrytest.Cut(100 * kib)).Then(registrytest.Flip(1000))})
			m.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Answer(404, "", "", "")})
		}, "404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			origin, mirror := newServer(t), newServer(t)
			ref, desc, want := pushed(t, origin, size)
			pushedTo(t, mirror, "copy/of/zlib", size)
			c.break_(mirror)
			var w warnings
			client := newClient(t, w.option, mirrors(t, "%s/acme=%s/copy/of", origin.Host, mirror.Host))
			fetch(t, client, ref, desc, want)
			fetch(t, client, ref, desc, want)
			list := w.get()
			if c.name == "lies, then breaks off" {
				if len(list) == 0 || len(list) > 2 { // that it lacks the rest, and that the beginning was wrong
					t.Errorf("warnings %q", list)
				}
				return
			}
			if c.warning == "" {
				origin.Close()
				if n := len(origin.Requests("")); n != 0 || len(list) != 0 {
					t.Errorf("%d requests to the registry, warnings %q", n, list)
				}
				return
			}
			if len(list) != 1 || !strings.HasPrefix(list[0], "the mirror "+mirror.Host+"/copy/of/zlib is passed over: ") || !strings.Contains(list[0], c.warning) {
				t.Errorf("warnings %q, want one with %q", list, c.warning)
			}
		})
	}
}

// A stream goes on at the next place with the byte that it has come to.
func TestMirrorHandsOver(t *testing.T) {
	t.Parallel()
	origin, first, second := newServer(t), newServer(t), newServer(t)
	ref, desc, want := pushed(t, origin, 300*kib)
	pushedTo(t, first, "acme/zlib", 300*kib)
	pushedTo(t, second, "acme/zlib", 300*kib)
	for _, m := range []*registrytest.Server{first, second} {
		m.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Cut(100 * kib)})
		m.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Answer(404, "", "", "")})
	}
	c := newClient(t, mirrors(t, "%[1]s=%[2]s,%[1]s=%[3]s", origin.Host, first.Host, second.Host))
	got, err := read(t.Context(), c, ref, desc)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	origin.Close()
	second.Close()
	log, between := origin.Requests(blobs), second.Requests(blobs)
	if len(log) != 1 || log[0].Range != fmt.Sprintf("bytes=%d-", 200*kib) || between[0].Range != fmt.Sprintf("bytes=%d-", 100*kib) {
		t.Errorf("the second mirror got %+v, the registry %+v", between, log)
	}
}

// What has been read of a liar is found out by whoever cannot make sense of it.
func TestBlame(t *testing.T) {
	t.Parallel()
	origin, mirror := newServer(t), newServer(t)
	ref, desc, want := pushed(t, origin, 300*kib)
	pushedTo(t, mirror, "acme/zlib", 300*kib)
	mirror.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Flip(5)})
	var w warnings
	c := newClient(t, w.option, mirrors(t, "%s=%s", origin.Host, mirror.Host))
	senseless := error(&diagnostic.Error{Kind: diagnostic.Refused, Why: "it makes no sense"})
	for i, wantLie := range []bool{true, false} {
		blob, err := c.Blob(t.Context(), ref.Repository, desc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(blob, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if err := c.Blame(blob, senseless); errors.Is(err, registry.ErrMirrorLied) != wantLie || !wantLie && err != senseless {
			t.Errorf("%d: %v", i, err)
		}
		blob.Close()
	}
	got, err := read(t.Context(), c, ref, desc)
	if err != nil || !bytes.Equal(got, want) || len(w.get()) != 1 {
		t.Errorf("%d bytes, %v, warnings %q", len(got), err, w.get())
	}
	if err := c.Blame(strings.NewReader(""), senseless); err != senseless {
		t.Error(err)
	}
}

// A tag is not resolved by a mirror, unless that is said to decide what tags mean.
func TestMirrorTags(t *testing.T) {
	t.Parallel()
	origin, mirror := newServer(t), newServer(t)
	ref, _, _ := pushed(t, origin, kib)
	old := image(9, kib)
	if err := newClient(t).Push(t.Context(), parse(t, mirror.Host+"/acme/zlib:1"), old, nil); err != nil {
		t.Fatal(err)
	}
	for suffix, want := range map[string]v1.Hash{"": image(1, kib).doc.Digest, "+tags": old.doc.Digest} {
		got, err := newClient(t, mirrors(t, "%s=%s%s", origin.Host, mirror.Host, suffix)).Resolve(t.Context(), ref)
		if err != nil || got.Digest != want {
			t.Errorf("%q: %v, %v, want %v", suffix, got.Digest, err, want)
		}
	}
	// One that does not have the tag, or is down, does not decide.
	mirror.Inject(registrytest.Fault{Path: manifests, Act: registrytest.Answer(404, "", "", "")})
	got, err := newClient(t, mirrors(t, "%s=%s+tags", origin.Host, mirror.Host)).Resolve(t.Context(), ref)
	if err != nil || got.Digest != image(1, kib).doc.Digest {
		t.Errorf("%v, %v", got.Digest, err)
	}
}

// The error of a thing that is nowhere is the registry's own.
func TestMirrorsAllFail(t *testing.T) {
	t.Parallel()
	origin, mirror := newServer(t), newServer(t)
	ref := parse(t, origin.Host+"/acme/zlib:1")
	_, err := newClient(t, mirrors(t, "%s=%s", origin.Host, mirror.Host)).Document(t.Context(), ref.WithDigest(hashOf(nil)))
	wantError(t, err, diagnostic.NotFound, origin.Host+" answered 404")
	if strings.Contains(err.Error(), mirror.Host) {
		t.Errorf("got %v", err)
	}
}

// Credentials go to the host they are for, pushes to the registry.
func TestMirrorCredentials(t *testing.T) {
	t.Parallel()
	origin, mirror := newServer(t), newServer(t)
	ref, desc, want := pushed(t, origin, 100*kib)
	pushedTo(t, mirror, "acme/zlib", 100*kib)
	origin.RequireBearer("origin-user", "origin-secret")
	mirror.RequireBasic("mirror-user", "mirror-secret")
	mirror.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Answer(404, "", "", "")})
	byHost := perHost{origin.Host: authConfig("origin-user", "origin-secret"), mirror.Host: authConfig("mirror-user", "mirror-secret")}
	var w warnings
	c := newClient(t, w.option, withKeychain(byHost), mirrors(t, "%s=%s", origin.Host, mirror.Host))
	fetch(t, c, ref, desc, want)
	if err := c.Push(t.Context(), ref, image(2, kib), nil); err != nil {
		t.Error(err)
	}
	origin.Close()
	mirror.Close()
	for s, foreign := range map[*registrytest.Server]string{origin: "mirror", mirror: "origin"} {
		for _, r := range s.Requests("") {
			text := fmt.Sprint(r.Header, r.Query)
			if user, password, ok := (&http.Request{Header: r.Header}).BasicAuth(); ok {
				text += user + password
			}
			if strings.Contains(text, foreign+"-") {
				t.Errorf("%s %s has the other's credentials: %s", r.Method, r.Path, text)
			}
			if s == mirror && r.Method != http.MethodGet {
				t.Errorf("the mirror got %s %s", r.Method, r.Path)
			}
		}
	}
	if list := w.get(); len(list) != 1 || !strings.Contains(list[0], "404") {
		t.Errorf("warnings %q", list)
	}
}

type perHost map[string]authn.AuthConfig

func (k perHost) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(k[r.RegistryStr()]), nil
}

// The longest path counts, and within it the order; a mirror that is down is not asked again.
func TestMirrorChoice(t *testing.T) {
	t.Parallel()
	origin, down := newServer(t), newServer(t)
	ref, desc, want := pushed(t, origin, 10*kib)
	down.Close()
	named := map[string]*registrytest.Server{}
	for _, name := range []string{"whole", "first", "second"} {
		named[name] = newServer(t)
		pushedTo(t, named[name], "acme/zlib", 10*kib)
		pushedTo(t, named[name], "x/zlib", 10*kib)
	}
	var mu sync.Mutex
	dialled := 0
	c := newClient(t, mirrors(t, "%[1]s=%[2]s,%[1]s/acme=%[3]s/x,%[1]s/acme=%[4]s/x,%[1]s/acme=%[5]s/x", origin.Host, named["whole"].Host, down.Host, named["first"].Host, named["second"].Host),
		func(o *registry.Options) {
			o.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.URL.Host == down.Host {
					mu.Lock()
					dialled++
					mu.Unlock()
				}
				return http.DefaultTransport.RoundTrip(r)
			})
		})
	fetch(t, c, ref, desc, want)
	mu.Lock()
	before := dialled
	mu.Unlock()
	fetch(t, c, ref, desc, want)
	mu.Lock()
	defer mu.Unlock()
	if dialled != before || before == 0 {
		t.Errorf("the mirror that is down was asked %d times, then %d", before, dialled)
	}
	for _, s := range named {
		s.Close()
	}
	origin.Close()
	if len(named["whole"].Requests("")) != 0 || len(named["second"].Requests("")) != 0 || len(origin.Requests("")) != 0 || len(named["first"].Requests("/x/zlib/")) != 4 {
		t.Errorf("whole %d, first %d, second %d, registry %d", len(named["whole"].Requests("")), len(named["first"].Requests("/x/zlib/")), len(named["second"].Requests("")), len(origin.Requests("")))
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
