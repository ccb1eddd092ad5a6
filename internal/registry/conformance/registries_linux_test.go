package conformance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
	"github.com/ocipkg/rules_ocipkg/internal/servertest"
)

const (
	user     = "bob"
	password = "hunter22-secret"
	// htpasswd is a line for them (bcrypt, cost 4).
	htpasswd = user + ":$2a$04$7eLZouqx7yn8sPXTRHwVvuqt4YiIV9uUf4FK76vkOCIUUCXDpHClC\n"
)

// running is a registry of the table.
type running struct {
	host    string
	options registry.Options     // to reach it as one who may do everything
	front   *registrytest.Server // before it, to count and break; nil with TLS
	secured bool
	forgets bool // what came of an upload that broke

	wholeOnly bool // it reads no open-ended range
	trusting  bool // it takes a manifest whose blobs are missing
}

// access is how a registry is to be guarded.
type access int

const (
	open     access = iota
	basic           // htpasswd and TLS
	bearer          // tokens
	embedIt         // ours, in this process
	inMemory        // go-containerregistry's, in this process
)

var table = []struct {
	name    string
	program string // in .out
	access  access
}{
	{"embedded", "", embedIt},
	{"go-containerregistry", "", inMemory},
	{"distribution", "bin/registry", open},
	{"distribution with a password and TLS", "bin/registry", basic},
	{"distribution with tokens", "bin/registry", bearer},
	{"docker-registry", "prefixes/docker-registry/bin/docker-registry", open},
	{"docker-registry with a password and TLS", "prefixes/docker-registry/bin/docker-registry", basic},
	{"docker-registry with tokens", "prefixes/docker-registry/bin/docker-registry", bearer},
}

func start(t *testing.T, path string, access access) *running {
	t.Helper()
	if access == embedIt {
		s := registrytest.New(t.TempDir())
		t.Cleanup(s.Close)
		return &running{host: s.Host, front: s}
	}
	if access == inMemory {
		server := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0))))
		t.Cleanup(server.Close)
		front := registrytest.NewFront(server.Listener.Addr().String())
		t.Cleanup(front.Close)
		return &running{host: front.Host, front: front, forgets: true, wholeOnly: true, trusting: true}
	}
	binary := program(t, path)
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	text := fmt.Sprintf("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\n", filepath.Join(dir, "data"))
	// docker-registry 2.8 finds an upload only where its last answer said it ended, so one that broke has to begin anew.
	r := &running{secured: access != open, forgets: strings.Contains(path, "docker-registry")}
	listen := "http:\n  addr: 127.0.0.1:0\n"
	certificate, key := selfSigned(t)
	pemCertificate := write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})))
	switch access {
	case basic:
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		listen += fmt.Sprintf("  tls: {certificate: %q, key: %q}\n", pemCertificate, write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))))
		text += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", write("htpasswd", htpasswd))
		roots := x509.NewCertPool()
		roots.AddCert(certificate)
		r.options.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	case bearer:
		text += fmt.Sprintf("auth: {token: {realm: %q, service: test, issuer: test, rootcertbundle: %q}}\n", tokenServer(t, certificate, key), pemCertificate)
	}
	if r.secured {
		r.options.Keychain = authn.NewKeychainFromHelper(login{user, password})
	}
	r.host = servertest.Start(t, exec.Command(binary, "serve", write("config.yml", text+listen)), `listening on (127\.0\.0\.1:\d+)`).Ready
	if access != basic {
		r.front = registrytest.NewFront(r.host)
		t.Cleanup(r.front.Close)
		r.host = r.front.Host
	}
	return r
}

// login answers as a credential helper does.
type login struct{ user, password string }

func (l login) Get(string) (string, string, error) { return l.user, l.password, nil }

func selfSigned(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageAny},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

// tokenServer gives out tokens for exactly the scopes asked for ("Docker Registry v2 authentication", JSON web tokens of the
// certificate's key).
func tokenServer(t *testing.T, certificate *x509.Certificate, key *ecdsa.PrivateKey) (realm string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		type grant struct {
			Type    string   `json:"type"`
			Name    string   `json:"name"`
			Actions []string `json:"actions"`
		}
		grants := []grant{}
		for _, field := range r.URL.Query()["scope"] {
			for scope := range strings.FieldsSeq(field) {
				if parts := strings.Split(scope, ":"); len(parts) == 3 {
					grants = append(grants, grant{parts[0], parts[1], strings.Split(parts[2], ",")})
				}
			}
		}
		encode := func(v any) string {
			b, _ := json.Marshal(v) // strings and numbers always marshal
			return base64.RawURLEncoding.EncodeToString(b)
		}
		now := time.Now().Unix()
		signed := encode(map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(certificate.Raw)}}) + "." +
			encode(map[string]any{"iss": "test", "sub": user, "aud": "test", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": rand.Text(), "access": grants})
		sum := sha256.Sum256([]byte(signed))
		x, y, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			t.Error(err)
			return
		}
		signature := append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"token": signed + "." + base64.RawURLEncoding.EncodeToString(signature), "expires_in": 300})
	}))
	t.Cleanup(server.Close)
	return server.URL + "/token"
}

func (r *running) client(t *testing.T) *registry.Client {
	t.Helper()
	o := r.options
	o.Warn = func(m string) { t.Log("warning:", m) }
	if o.Keychain == nil {
		o.Keychain = authn.NewMultiKeychain() // the machine's do not belong in a test
	}
	return registry.NewClient(o)
}

func (r *running) reference(t *testing.T, path string) registry.Reference {
	t.Helper()
	ref, err := registry.ParseReference(r.host + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// get reads a path of the API as the owner.
func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	scheme, client := "http", http.DefaultClient
	if r.options.Transport != nil {
		scheme, client = "https", &http.Client{Transport: r.options.Transport}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+r.host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.secured {
		req.SetBasicAuth(user, password)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// changes counts the requests that are no questions.
func (r *running) changes() int {
	n := 0
	for _, request := range r.front.Requests("") {
		if request.Method != http.MethodGet && request.Method != http.MethodHead {
			n++
		}
	}
	return n
}

// source is an image in memory.
type source struct {
	doc   registry.Document
	blobs []v1.Descriptor
	bytes map[v1.Hash][]byte
	from  name.Repository
}

func (s *source) Manifest() registry.Document { return s.doc }
func (s *source) Blobs() []v1.Descriptor      { return s.blobs }
func (s *source) MountFrom() name.Repository  { return s.from }
func (s *source) OpenBlob(h v1.Hash) (io.ReadCloser, error) {
	b, ok := s.bytes[h]
	if !ok {
		return nil, errors.New("no such blob in the source")
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s *source) descriptor() string {
	return fmt.Sprintf(`{"mediaType":%q,"size":%d,"digest":%q}`, s.doc.MediaType, len(s.doc.Bytes), s.doc.Digest)
}

func hashOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

func document(mediaType, text string) registry.Document {
	return registry.Document{MediaType: mediaType, Digest: hashOf([]byte(text)), Bytes: []byte(text)}
}

// image has one layer a size; subject may be "".
func image(seed byte, subject string, sizes ...int) *source {
	s := &source{bytes: map[v1.Hash][]byte{}}
	add := func(mediaType string, b []byte) {
		s.bytes[hashOf(b)] = b
		s.blobs = append(s.blobs, v1.Descriptor{MediaType: types.MediaType(mediaType), Size: int64(len(b)), Digest: hashOf(b)})
	}
	add("application/vnd.ocipkg.v1.config+json", []byte(`{"layers":{}}`))
	random := mathrand.NewChaCha8([32]byte{seed})
	for _, size := range sizes {
		b := make([]byte, size)
		_, _ = random.Read(b) // never fails
		add("application/vnd.ocipkg.v1.layer.tar+zstd", b)
	}
	config, _ := json.Marshal(s.blobs[0])
	layers, _ := json.Marshal(s.blobs[1:])
	if subject != "" {
		subject = `,"subject":` + subject
	}
	s.doc = document(string(types.OCIManifestSchema1), fmt.Sprintf(
		`{"schemaVersion":2,"mediaType":%q,"artifactType":"application/vnd.ocipkg.v1.artifact","config":%s,"layers":%s%s}`, types.OCIManifestSchema1, config, layers, subject))
	return s
}

func (r *running) push(t *testing.T, path string, src *source) registry.Reference {
	t.Helper()
	ref := r.reference(t, path)
	if ref.Tag == "latest" && !strings.HasSuffix(path, ":latest") {
		ref = registry.Reference{Repository: ref.Repository}.WithDigest(src.doc.Digest)
	}
	if err := r.client(t).Push(t.Context(), ref, src, nil); err != nil {
		t.Fatal(err)
	}
	return ref
}

// wantImage pulls an image and compares every byte.
func (r *running) wantImage(t *testing.T, ref registry.Reference, src *source) {
	t.Helper()
	c := r.client(t)
	doc, err := c.Document(t.Context(), ref)
	if err != nil || doc.MediaType != src.doc.MediaType || !bytes.Equal(doc.Bytes, src.doc.Bytes) {
		t.Fatalf("manifest %s, %v", doc.Bytes, err)
	}
	for _, desc := range src.blobs {
		blob, err := c.Blob(t.Context(), ref.Repository, desc)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(blob)
		blob.Close()
		if err != nil || !bytes.Equal(got, src.bytes[desc.Digest]) {
			t.Fatalf("blob %s: %d bytes, %v", desc.Digest, len(got), err)
		}
	}
}

const kib = 1 << 10

// cases are the same for all registries. Each has a repository of its own, called like it.
var cases = []struct {
	name string
	test func(t *testing.T, r *running)
}{
	{"push and pull", func(t *testing.T, r *running) {
		src := image(1, "", 300*kib, 0, 1, 2048*kib)
		r.wantImage(t, r.push(t, "case/pull:1.3.1", src), src)
		r.wantImage(t, r.push(t, "case/pull", src), src)
	}},
	{"push again uploads nothing", func(t *testing.T, r *running) {
		if r.front == nil {
			t.Skip("nothing counts behind TLS")
		}
		src := image(2, "", 100*kib, 100*kib)
		r.push(t, "case/again:1", src)
		before := r.changes()
		r.push(t, "case/again:1", src)
		if n := r.changes() - before; n != 0 {
			t.Errorf("%d requests that change something", n)
		}
		// One layer more is one upload more, and a manifest.
		more := image(2, "", 100*kib, 100*kib, 50*kib)
		r.push(t, "case/again:2", more)
		if n := r.changes() - before; n != 4 {
			t.Errorf("%d requests that change something, want POST, PATCH, PUT and the manifest's PUT", n)
		}
	}},
	{"tags", func(t *testing.T, r *running) {
		first := image(3, "", kib)
		ref := r.push(t, "case/tags:1", first)
		if was, err := r.client(t).Tagged(t.Context(), ref); err != nil || was != first.doc.Digest {
			t.Errorf("the tag is said to be of %s (%v), want %s", was, err, first.doc.Digest)
		}
		r.push(t, "case/tags:2-x86_64-unknown-linux-gnu", image(4, "", kib))
		moved := image(5, "", kib)
		r.wantImage(t, r.push(t, "case/tags:1", moved), moved)
		if r.front != nil && r.secured {
			return // a list takes a token
		}
		status, body := r.get(t, "/v2/case/tags/tags/list")
		var list struct{ Tags []string }
		if err := json.Unmarshal([]byte(body), &list); status != 200 || err != nil || len(list.Tags) != 2 || !slices.Contains(list.Tags, "1") || !slices.Contains(list.Tags, "2-x86_64-unknown-linux-gnu") {
			t.Errorf("%d %s", status, body)
		}
	}},
	{"index", func(t *testing.T, r *running) {
		one, two := image(6, "", 10*kib), image(7, "", 20*kib)
		index := &source{doc: document(string(types.OCIImageIndex), fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s]}`, types.OCIImageIndex, one.descriptor(), two.descriptor()))}
		err := r.client(t).Push(t.Context(), r.reference(t, "case/index:1"), index, nil)
		if err == nil {
			t.Error("an index was taken before its manifests")
		}
		r.push(t, "case/index", one)
		r.push(t, "case/index", two)
		r.wantImage(t, r.push(t, "case/index:1", index), index)
		for _, src := range []*source{one, two} {
			r.wantImage(t, r.reference(t, "case/index@"+src.doc.Digest.String()), src)
		}
	}},
	{"referrers, by the API or by tag", func(t *testing.T, r *running) {
		subject := image(8, "", kib)
		r.push(t, "case/referrers:1", subject)
		signature := image(9, subject.descriptor(), 100)
		r.push(t, "case/referrers", signature)
		r.push(t, "case/referrers", signature)
		if r.front != nil && r.secured {
			doc, err := r.client(t).Document(t.Context(), r.reference(t, "case/referrers:sha256-"+subject.doc.Digest.Hex))
			if err != nil || strings.Count(string(doc.Bytes), signature.doc.Digest.String()) != 1 {
				t.Errorf("%s, %v", doc.Bytes, err)
			}
			return
		}
		status, body := r.get(t, "/v2/case/referrers/referrers/"+subject.doc.Digest.String())
		how := "the API"
		if status == http.StatusNotFound {
			how = "the tag"
			doc, err := r.client(t).Document(t.Context(), r.reference(t, "case/referrers:sha256-"+subject.doc.Digest.Hex))
			if err != nil {
				t.Fatal(err)
			}
			body = string(doc.Bytes)
		}
		t.Log("listed by", how)
		if strings.Count(body, signature.doc.Digest.String()) != 1 {
			t.Errorf("%d %s", status, body)
		}
	}},
	{"mount", func(t *testing.T, r *running) {
		src := image(10, "", 100*kib, 1)
		theirs := r.push(t, "case/theirs:1", src)
		before := 0
		if r.front != nil {
			before = requests(r, http.MethodPatch)
		}
		mine := *src
		mine.from = theirs.Repository
		r.wantImage(t, r.push(t, "case/mine:1", &mine), src)
		if r.front != nil && requests(r, http.MethodPatch) != before {
			t.Errorf("%d blobs were uploaded", requests(r, http.MethodPatch)-before)
		}
		// What is not where it is said to be is uploaded.
		other := image(11, "", 10*kib)
		other.from = theirs.Repository
		r.wantImage(t, r.push(t, "case/mine:2", other), other)
	}},
	{"download resumed", func(t *testing.T, r *running) {
		if r.front == nil {
			t.Skip("nothing breaks behind TLS")
		}
		src := image(12, "", 1024*kib)
		ref := r.push(t, "case/resume:1", src)
		r.front.Inject(registrytest.Fault{Method: http.MethodGet, Path: "case/resume/blobs/" + src.blobs[1].Digest.String(), Times: 3, Act: registrytest.Cut(200 * kib)})
		r.wantImage(t, ref, src)
		log := r.front.Requests("case/resume/blobs/" + src.blobs[1].Digest.String())
		// Not the last of the log: a request that was cut may be noted after the one that goes on.
		size := src.blobs[1].Size
		last := registrytest.Request{Status: http.StatusPartialContent, Range: fmt.Sprintf("bytes=%d-", 600*kib), Bytes: size - 600*kib}
		if r.wholeOnly {
			last = registrytest.Request{Status: http.StatusOK, Bytes: size}
		}
		if !slices.ContainsFunc(log, func(r registrytest.Request) bool {
			return r.Range == last.Range && r.Status == last.Status && r.Bytes == last.Bytes
		}) {
			t.Errorf("no request for %q was answered with %d and %d bytes: %v", last.Range, last.Status, last.Bytes, log)
		}
	}},
	{"upload resumed", func(t *testing.T, r *running) {
		if r.front == nil {
			t.Skip("nothing breaks behind TLS")
		}
		src := image(13, "", 1024*kib)
		var cuts atomic.Int32
		r.front.Inject(registrytest.Fault{Method: http.MethodPatch, Path: "case/upload/blobs/", Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.ContentLength < kib || cuts.Add(1) > 2 { // the config is not cut
				next.ServeHTTP(w, r)
			} else {
				registrytest.CutUpload(300*kib)(w, r, next)
			}
		}})
		r.wantImage(t, r.push(t, "case/upload:1", src), src)
		var chunks []string
		for _, request := range r.front.Requests("case/upload/blobs/") {
			if request.Method == http.MethodPatch && request.Header.Get("Content-Length") != fmt.Sprint(src.blobs[0].Size) {
				chunks = append(chunks, request.Header.Get("Content-Range"))
			}
		}
		want := `["" "307200-1048575" "614400-1048575"]`
		if r.forgets {
			want = `["" "" ""]`
		}
		if got := fmt.Sprintf("%q", chunks); got != want {
			t.Errorf("the layer was sent as %s, want %s", got, want)
		}
	}},
	{"one blob from many at once", func(t *testing.T, r *running) {
		src := image(14, "", 500*kib, 20*kib)
		var group sync.WaitGroup
		for i := range 6 {
			group.Go(func() {
				if err := r.client(t).Push(t.Context(), r.reference(t, fmt.Sprintf("case/many:%d", i)), src, nil); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for i := range 6 {
			r.wantImage(t, r.reference(t, fmt.Sprintf("case/many:%d", i)), src)
		}
	}},
	{"what is not there", func(t *testing.T, r *running) {
		r.push(t, "case/missing:1", image(15, "", kib))
		for _, path := range []string{"case/missing:2", "case/nothing:1", "case/missing@sha256:" + strings.Repeat("0", 64)} {
			if _, err := r.client(t).Document(t.Context(), r.reference(t, path)); diagnostic.KindOf(err) != diagnostic.NotFound {
				t.Errorf("%s: %v", path, err)
			}
		}
		blob, err := r.client(t).Blob(t.Context(), r.reference(t, "case/missing").Repository, v1.Descriptor{Size: 1, Digest: hashOf([]byte("never pushed"))})
		if diagnostic.KindOf(err) != diagnostic.NotFound {
			t.Errorf("%v, %v", blob, err)
		}
		if r.trusting {
			return
		}
		missing := image(16, "", kib)
		err = r.client(t).Push(t.Context(), r.reference(t, "case/missing:3"), &source{doc: missing.doc, bytes: missing.bytes, blobs: missing.blobs[:1]}, nil)
		if err == nil || !strings.Contains(err.Error(), "MANIFEST_BLOB_UNKNOWN") {
			t.Errorf("a manifest without its layer: %v", err)
		}
	}},
	{"nobody without a password", func(t *testing.T, r *running) {
		if !r.secured {
			t.Skip("this one is open")
		}
		src := image(17, "", kib)
		ref := r.push(t, "case/closed:1", src)
		for _, keychain := range []authn.Keychain{authn.NewMultiKeychain(), authn.NewKeychainFromHelper(login{user, "a-wrong-password"})} {
			stranger := *r
			stranger.options.Keychain = keychain
			_, err := stranger.client(t).Document(t.Context(), ref)
			if diagnostic.KindOf(err) != diagnostic.Denied || strings.Contains(err.Error(), "a-wrong-password") {
				t.Errorf("read: %v", err)
			}
			if err := stranger.client(t).Push(t.Context(), ref, src, nil); diagnostic.KindOf(err) != diagnostic.Denied {
				t.Errorf("write: %v", err)
			}
		}
	}},
}

func requests(r *running, method string) int {
	n := 0
	for _, request := range r.front.Requests("") {
		if request.Method == method {
			n++
		}
	}
	return n
}

// TestG_Registries does all cases with all registries.
func TestG_Registries(t *testing.T) {
	for _, entry := range table {
		t.Run(entry.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, entry.program, entry.access)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.test(t, r) })
			}
		})
	}
}
