package registry_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

const manifests = `/manifests/`

// trusting makes a client trust a TLS server of the tests.
func trusting(s *registrytest.Server) func(*registry.Options) {
	return func(o *registry.Options) {
		o.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CertPool()}}
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, _, _ := pushed(t, s, kib)
	want := image(1, kib).doc
	c := newClient(t)
	doc, err := c.Document(t.Context(), ref)
	if err != nil || doc.Digest != want.Digest || doc.MediaType != want.MediaType || !bytes.Equal(doc.Bytes, want.Bytes) {
		t.Fatalf("%+v, %v", doc, err)
	}
	desc, err := c.Resolve(t.Context(), ref)
	if err != nil || desc.Digest != want.Digest || desc.Size != int64(len(want.Bytes)) || desc.MediaType != types.OCIManifestSchema1 {
		t.Errorf("%+v, %v", desc, err)
	}
	if _, err := c.Document(t.Context(), ref.WithDigest(want.Digest)); err != nil {
		t.Error(err)
	}
	log := s.Requests(manifests)
	if len(log) != 3 || !strings.HasSuffix(log[0].Path, "/manifests/1") || !strings.HasSuffix(log[2].Path, "/manifests/"+want.Digest.String()) {
		t.Errorf("requests %+v", log)
	}
	if n := len(s.Requests(`^/v2/$`)); n != 0 {
		t.Errorf("a registry that lets everybody read was asked %d times how to log in", n)
	}
	if agent := log[0].Header.Get("User-Agent"); agent != "ocipkg" {
		t.Errorf("User-Agent %q", agent)
	}
}

func TestDocumentFaults(t *testing.T) {
	manifest := string(types.OCIManifestSchema1)
	index := string(types.OCIImageIndex)
	answer := func(mediaType, body string) registrytest.Act {
		return registrytest.Answer(200, "Content-Type", mediaType, body)
	}
	digestHeader := func(value string) registrytest.Act {
		return registrytest.Header(func(h http.Header) { h.Set("Docker-Content-Digest", value) })
	}
	type test struct {
		name   string
		act    registrytest.Act
		pinned bool
		kind   diagnostic.Kind // 0: fine
		words  string
	}
	tests := []test{
		{name: "A1 cut", act: registrytest.Cut(20)},
		{name: "A2 length long", act: registrytest.Length(5)},
		{name: "A3 chunked", act: registrytest.Chunked(0)},
		{name: "A5 reset", act: registrytest.Reset(-1)},
		{name: "A6 slow header", act: registrytest.Stall(-1)},
		{name: "A6 stalled body", act: registrytest.Stall(30)},
		{name: "A6 stalls for ever", act: registrytest.Stall(30), kind: diagnostic.Unreachable, words: "sends fewer than 1024 bytes in 200ms"},
		{name: "A7 503", act: registrytest.Busy(503, "0")},
		{name: "A7 503 for ever", act: registrytest.Busy(503, ""), kind: diagnostic.Unreachable, words: "answered 503 Service Unavailable (TOOMANYREQUESTS: slow down)"},
		{name: "A9 page", act: registrytest.HTML(), kind: diagnostic.Unreachable, words: "answered with text/html instead of a manifest (a proxy or a login page?)"},
		{name: "A9 page to a pinned request", act: registrytest.HTML(), pinned: true, kind: diagnostic.Unreachable, words: "login page"},
		{name: "A9 page that says it is a manifest", act: answer(manifest, "<html>"), kind: diagnostic.Unreachable, words: "instead of a manifest"},
		{name: "A9 empty", act: answer(manifest, ""), kind: diagnostic.Unreachable, words: "answered with nothing"},
		{name: "A9 error with 200", act: answer("application/json", `{"errors":[{"code":"DENIED","message":"no\u001b[2J more"}]}`), kind: diagnostic.Unreachable, words: "DENIED: no [2J more"},
		{name: "A9 JSON but no object", act: answer(manifest, `[]`), kind: diagnostic.Unsupported, words: "no manifest"},
		{name: "A10 encoded", act: registrytest.Header(func(h http.Header) { h.Set("Content-Encoding", "br") }), kind: diagnostic.Unreachable, words: `encoded as "br"`},
		{name: "A11 C1 other bytes", act: registrytest.Flip(30), pinned: true, kind: diagnostic.Unreachable}, // no JSON any more
		{name: "C1 another manifest", act: answer(manifest, `{"schemaVersion":2}`), pinned: true, kind: diagnostic.Corrupt, words: "other content"},
		{name: "C1 header contradicts bytes", act: digestHeader("sha256:" + strings.Repeat("0", 64)), kind: diagnostic.Corrupt, words: "but the bytes it sends have"},
		{name: "header of another algorithm", act: digestHeader("sha512:00")},
		{name: "header is nonsense", act: digestHeader("unknown")},
		{name: "C2 type contradicts document", act: registrytest.Header(func(h http.Header) { h.Set("Content-Type", index) }), kind: diagnostic.Refused, words: "calls itself"},
		{name: "C2 an index for a pinned manifest", act: answer(index, `{"schemaVersion":2,"manifests":[]}`), pinned: true, kind: diagnostic.Corrupt, words: "other content"},
		{name: "C2 an index that says it is a manifest", act: answer(manifest, `{"schemaVersion":2,"mediaType":"`+index+`","manifests":[]}`), kind: diagnostic.Refused, words: "calls itself"},
		{name: "C3 both at once", act: answer(manifest, `{"schemaVersion":2,"layers":[],"manifests":[]}`), kind: diagnostic.Refused, words: "at once"},
		{name: "C3 index with config", act: answer(index, `{"schemaVersion":2,"config":{},"manifests":[]}`), kind: diagnostic.Refused, words: "at once"},
		{name: "C4 schema 1", act: answer("application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`), kind: diagnostic.Unsupported, words: "v1+prettyjws"},
		{name: "C4 Docker's for OCI's", act: answer(string(types.DockerManifestSchema2), `{"schemaVersion":2,"mediaType":"`+manifest+`"}`), kind: diagnostic.Refused, words: "calls itself"},
		{name: "C4 a layer's", act: answer("application/vnd.oci.image.layer.v1.tar", `{"schemaVersion":2}`), kind: diagnostic.Unsupported, words: "layer.v1.tar"},
		{name: "C4 another spelling", act: answer("Application/VND.oci.image.manifest.v1+JSON", `{"schemaVersion":2,"mediaType":"`+index+`"}`), kind: diagnostic.Refused, words: "calls itself"},
		{name: "C4 no type anywhere", act: answer("application/json", `{"schemaVersion":2}`), kind: diagnostic.Unsupported, words: "neither"},
		{name: "static mirror", act: registrytest.Header(func(h http.Header) { h.Set("Content-Type", "application/octet-stream") })},
		{name: "type with parameters", act: registrytest.Header(func(h http.Header) { h.Set("Content-Type", manifest+"; charset=utf-8") })},
		{name: "C5 too large", act: answer(manifest, "{}"+strings.Repeat(" ", registry.MaxDocument)), kind: diagnostic.Refused, words: "larger than 4 MiB"},
		{name: "C5 too large and chunked", act: registrytest.Chunked(registry.MaxDocument), kind: diagnostic.Refused, words: "larger than 4 MiB"},
		{name: "C7 a million layers", act: answer(manifest, `{"schemaVersion":2,"layers":[{}`+strings.Repeat(",{}", 2_000_000)+`]}`), kind: diagnostic.Refused, words: "larger than 4 MiB"},
		{name: "B8 404", act: registrytest.Answer(404, "", "", `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`), kind: diagnostic.NotFound, words: "MANIFEST_UNKNOWN"},
		{name: "B8 401 without challenge", act: registrytest.Answer(401, "", "", ""), kind: diagnostic.Denied, words: "none were found"},
		{name: "B8 403", act: registrytest.Answer(403, "", "", ""), kind: diagnostic.Denied, words: "docker login"},
		{name: "400", act: registrytest.Answer(400, "", "", "<html>"), kind: diagnostic.Unreachable, words: "400 Bad Request"},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, _, _ := pushed(t, s, kib)
			want := image(1, kib).doc
			if c.pinned {
				ref = ref.WithDigest(want.Digest)
			}
			times := 1
			if c.kind != 0 {
				times = 0 // on a busy machine one more try may be needed, and must not find all well
			}
			s.Inject(registrytest.Fault{Path: manifests, Times: times, Act: c.act})
			doc, err := newClient(t).Document(t.Context(), ref)
			if c.kind != 0 {
				wantError(t, err, c.kind, c.words, ref.String())
				return
			}
			if err != nil || !bytes.Equal(doc.Bytes, want.Bytes) || doc.MediaType != want.MediaType {
				t.Errorf("%q, %v", doc.Bytes, err)
			}
		})
	}
}

// What every client does first can fail as well.
func TestPingFaults(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, _, _ := pushed(t, s, kib)
	s.Inject(registrytest.Fault{Path: `^/v2/$`, Times: 1, Act: registrytest.Busy(503, "0")})
	s.Inject(registrytest.Fault{Path: `^/v2/$`, Times: 1, Act: registrytest.Reset(-1)})
	s.Inject(registrytest.Fault{Path: `^/v2/$`, Times: 1, Act: registrytest.Stall(-1)})
	if _, err := newClient(t).Document(t.Context(), ref); err != nil {
		t.Error(err)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	_, err = newClient(t).Document(t.Context(), parse(t, host+"/acme/zlib:1"))
	wantError(t, err, diagnostic.Unreachable, host+" refuses connections")

	silent, err := net.Listen("tcp", "127.0.0.1:0") // its backlog takes connections, and nobody answers them
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	policy := fast
	policy.Attempts, policy.ConnectTimeout = 2, 100*time.Millisecond
	c := newClient(t, func(o *registry.Options) { o.Retry = &policy })
	_, err = c.Document(t.Context(), parse(t, silent.Addr().String()+"/acme/zlib:1"))
	wantError(t, err, diagnostic.Unreachable, silent.Addr().String(), "in time")
}

// noNetwork fails every dial as a resolver does that does not know the name, and remembers the addresses.
type noNetwork struct{ dialled []string }

func (n *noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	n.dialled = append(n.dialled, r.URL.Scheme+"://"+r.URL.Host)
	return nil, &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), IsNotFound: true}
}

// go-containerregistry takes private addresses and some names for hosts that may be tried with http. Ours never are.
func TestNoPlainHTTPButOnLoopback(t *testing.T) {
	for _, host := range []string{"registry.invalid", "10.1.2.3:5000", "192.168.1.1", "172.16.0.1:80", "registry.local"} {
		network := &noNetwork{}
		c := newClient(t, func(o *registry.Options) { o.Transport = network })
		_, err := c.Document(t.Context(), parse(t, host+"/acme/zlib:1"))
		wantError(t, err, diagnostic.Unreachable, "no host called")
		if len(network.dialled) != 1 || network.dialled[0] != "https://"+host {
			t.Errorf("%s: requests went to %v", host, network.dialled)
		}
	}
}

func TestInsecureRegistries(t *testing.T) {
	t.Setenv("OCIPKG_INSECURE_REGISTRIES", "registry.invalid:5000")
	s := newServer(t)
	pushed(t, s, kib)
	// The name leads to the test's server, as it would through a name server.
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Host)
	}
	c := newClient(t, func(o *registry.Options) { o.Transport = &http.Transport{DialContext: dial} })
	if _, err := c.Document(t.Context(), parse(t, "registry.invalid:5000/acme/zlib:1")); err != nil {
		t.Error(err)
	}
	_, err := c.Document(t.Context(), parse(t, "registry.invalid:5001/acme/zlib:1"))
	wantError(t, err, diagnostic.Unreachable, "OCIPKG_INSECURE_REGISTRIES=registry.invalid:5001")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := registrytest.NewTLS(t.TempDir())
	t.Cleanup(s.Close)
	ref := parse(t, s.Host+"/acme/zlib:1")
	src := image(1, kib)
	c := newClient(t, trusting(s))
	if err := c.Push(t.Context(), ref, src, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t.Context(), c, ref, src.blobs[1]); err != nil {
		t.Error(err)
	}
	_, err := newClient(t).Document(t.Context(), ref)
	wantError(t, err, diagnostic.Unreachable, "certificate", "SSL_CERT_FILE")
}

func TestLoopbackNames(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	pushed(t, s, kib)
	_, port, err := net.SplitHostPort(s.Host)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost", "registry.localhost"} {
		if _, err := newClient(t).Document(t.Context(), parse(t, fmt.Sprintf("%s:%s/acme/zlib:1", host, port))); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// Who resolves a tag and then pulls what it named gets that, wherever the tag has gone meanwhile.
func TestDocumentC8_TagMoved(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, _, _ := pushed(t, s, kib)
	c := newClient(t)
	desc, err := c.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	moved := image(9, kib)
	if err := c.Push(t.Context(), ref, moved, nil); err != nil {
		t.Fatal(err)
	}
	doc, err := c.Document(t.Context(), ref.WithDigest(desc.Digest))
	if err != nil || doc.Digest != desc.Digest || doc.Digest == moved.doc.Digest {
		t.Errorf("%s, %v", doc.Digest, err)
	}
	if now, err := c.Resolve(t.Context(), ref); err != nil || now.Digest != moved.doc.Digest {
		t.Errorf("the tag is at %s, %v", now.Digest, err)
	}
}
