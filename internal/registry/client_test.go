package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

func TestMain(m *testing.M) {
	// Neither the machine's credentials nor its proxies belong in a test.
	if os.Getenv(proxiedVariable) != "" {
		proxied()
		os.Exit(0)
	}
	for _, v := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "OCIPKG_INSECURE_REGISTRIES", "OCIPKG_CONFIG", "OCIPKG_MIRRORS", "OCIPKG_CA_FILE", "NETRC"} {
		os.Unsetenv(v)
	}
	home, err := os.MkdirTemp("", "registry-test-home")
	if err != nil {
		panic(err)
	}
	os.Setenv("HOME", home)
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// fast is the policy in miniature. The stall window is long enough for a busy machine and the race detector.
var fast = registry.RetryPolicy{
	Base: time.Millisecond, Max: 10 * time.Millisecond, MaxRetryAfter: 1500 * time.Millisecond,
	StallWindow: 200 * time.Millisecond, StallBytes: 1 << 10,
	ConnectTimeout: 2 * time.Second, HeaderTimeout: 300 * time.Millisecond,
}

// calm is for tests that count requests: no busy machine makes it try once more.
func calm(o *registry.Options) {
	o.Retry.StallWindow, o.Retry.HeaderTimeout, o.Retry.ConnectTimeout = time.Minute, time.Minute, time.Minute
}

func newClient(t *testing.T, change ...func(*registry.Options)) *registry.Client {
	t.Helper()
	policy := fast
	o := registry.Options{Retry: &policy, Warn: func(m string) { t.Log("warning:", m) }}
	for _, c := range change {
		c(&o)
	}
	return registry.NewClient(o)
}

func newServer(t *testing.T) *registrytest.Server {
	t.Helper()
	s := registrytest.New(t.TempDir())
	t.Cleanup(s.Close)
	return s
}

// accepting has handle answer each connection to the address that it returns. What handle leaves open is closed.
func accepting(t *testing.T, handle func(conn net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// tunnel passes on what r, which reads from conn, has to there, and back what that says.
func tunnel(conn net.Conn, r io.Reader, there net.Conn) {
	defer there.Close()
	go func() { _, _ = io.Copy(there, r) }()
	_, _ = io.Copy(conn, there)
}

// source is an image in memory.
type source struct {
	doc   registry.Document
	blobs []v1.Descriptor
	bytes map[v1.Hash][]byte
}

func (s *source) Manifest() registry.Document { return s.doc }
func (s *source) Blobs() []v1.Descriptor      { return s.blobs }
func (s *source) OpenBlob(h v1.Hash) (io.ReadCloser, error) {
	b, ok := s.bytes[h]
	if !ok {
		return nil, errors.New("no such blob in the source")
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func hashOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

func document(mediaType, text string) registry.Document {
	return registry.Document{MediaType: mediaType, Digest: hashOf([]byte(text)), Bytes: []byte(text)}
}

// image makes a source with a config and one layer per size. The manifest is spaced as no serialiser would.
func image(seed uint64, sizes ...int) *source {
	s := &source{bytes: map[v1.Hash][]byte{}}
	add := func(mediaType types.MediaType, b []byte) {
		h := hashOf(b)
		s.bytes[h] = b
		s.blobs = append(s.blobs, v1.Descriptor{MediaType: mediaType, Size: int64(len(b)), Digest: h})
	}
	add("application/vnd.ocipkg.v1.config+json", []byte(`{"layers":{}}`))
	var key [32]byte
	key[0] = byte(seed)
	random := rand.NewChaCha8(key)
	for _, size := range sizes {
		b := make([]byte, size)
		_, _ = random.Read(b) // never fails
		add("application/vnd.ocipkg.v1.layer.tar+zstd", b)
	}
	config, _ := json.Marshal(s.blobs[0])
	layers, _ := json.Marshal(s.blobs[1:])
	s.doc = document(string(types.OCIManifestSchema1),
		`{ "schemaVersion":2 ,"zeta":null, "mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.ocipkg.v1.artifact","config":`+
			string(config)+",\n\t\"layers\": "+string(layers)+" }\n")
	return s
}

func parse(t *testing.T, s string) registry.Reference {
	t.Helper()
	ref, err := registry.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// pushed is an image with one layer of that many bytes, already in the registry as acme/zlib:1.
func pushed(t *testing.T, s *registrytest.Server, size int) (registry.Reference, v1.Descriptor, []byte) {
	t.Helper()
	ref := parse(t, s.Host+"/acme/zlib:1")
	src := image(1, size)
	if err := newClient(t).Push(t.Context(), ref, src, nil); err != nil {
		t.Fatal(err)
	}
	s.Clear()
	return ref, src.blobs[1], src.bytes[src.blobs[1].Digest]
}

func read(ctx context.Context, c *registry.Client, ref registry.Reference, desc v1.Descriptor) ([]byte, error) {
	r, err := c.Blob(ctx, ref.Repository, desc)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func wantError(t *testing.T, err error, kind diagnostic.Kind, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want kind %d with %q", kind, words)
	}
	if got := diagnostic.KindOf(err); got != kind {
		t.Errorf("kind %d, want %d: %v", got, kind, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v\n  does not say %q", err, w)
		}
	}
}

// warnings collects them.
type warnings struct {
	mu   sync.Mutex
	list []string
}

func (w *warnings) add(m string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, m)
}

func (w *warnings) option(o *registry.Options) { o.Warn = w.add }

func (w *warnings) get() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.list...)
}

// keychain gives everybody the same answer.
type keychain struct {
	config authn.AuthConfig
	err    error
}

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	if k.err != nil {
		return nil, k.err
	}
	return authn.FromConfig(k.config), nil
}

func withKeychain(k authn.Keychain) func(*registry.Options) {
	return func(o *registry.Options) { o.Keychain = k }
}
