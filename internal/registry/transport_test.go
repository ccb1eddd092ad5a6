package registry_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// issue makes a certificate for names and 127.0.0.1, its own authority.
func issue(t *testing.T, from, until time.Time, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A certificate that is out of date, by a registry's neglect or by this machine's clock, is no certificate, and the message
// names the clock: A14 asks for clocks that are a year wrong on either side.
func TestTLSA13_A14_CertificateOutOfDate(t *testing.T) {
	t.Parallel()
	year := 365 * 24 * time.Hour
	now := time.Now()
	for name, c := range map[string]struct {
		from, until time.Time
		words       string
	}{
		"expired":       {now.Add(-2 * year), now.Add(-year), "expired"},
		"not yet valid": {now.Add(year), now.Add(2 * year), "not yet valid"},
	} {
		s := registrytest.NewTLSWith(t.TempDir(), &tls.Config{Certificates: []tls.Certificate{issue(t, c.from, c.until)}})
		t.Cleanup(s.Close)
		_, err := newClient(t, trusting(s)).Document(t.Context(), parse(t, s.Host+"/acme/zlib:1"))
		t.Log(name)
		wantError(t, err, diagnostic.Unreachable, "certificate of "+s.Host, c.words, "clock")
		if n := len(s.Requests("")); n != 0 {
			t.Errorf("%d requests", n)
		}
	}
}

// A registry that wants to see a certificate of the client's says no in the handshake.
func TestTLSA13_ClientCertificateWanted(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := registrytest.NewTLSWith(t.TempDir(), &tls.Config{Certificates: []tls.Certificate{issue(t, now.Add(-time.Hour), now.Add(time.Hour))}, ClientAuth: tls.RequireAnyClientCert})
	t.Cleanup(s.Close)
	_, err := newClient(t, trusting(s)).Document(t.Context(), parse(t, s.Host+"/acme/zlib:1"))
	wantError(t, err, diagnostic.Unreachable, "certificate required")
}

// What a token server says about times is not relied upon, so that neither its clock nor ours matters: a token is good until
// the registry says otherwise.
func TestTokenA14_Clocks(t *testing.T) {
	t.Parallel()
	year := 365 * 24 * time.Hour
	for name, times := range map[string]map[string]any{
		"none":                 {},
		"a year ago":           {"expires_in": 60, "issued_at": time.Now().Add(-year).UTC().Format(time.RFC3339)},
		"in a year":            {"expires_in": 60, "issued_at": time.Now().Add(year).UTC().Format(time.RFC3339)},
		"gone at once":         {"expires_in": 0},
		"before it was given":  {"expires_in": -1},
		"a thousand years":     {"expires_in": 31536000000},
		"a date of no meaning": {"issued_at": "0001-01-01T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, desc, want := pushed(t, s, 100*kib)
			s.RequireBearer("", "")
			s.Inject(registrytest.Fault{Path: `^/token$`, Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				recorded := httptest.NewRecorder()
				next.ServeHTTP(recorded, r)
				answer := map[string]any{}
				if err := json.Unmarshal(recorded.Body.Bytes(), &answer); err != nil {
					t.Error(err)
				}
				delete(answer, "expires_in")
				for k, v := range times {
					answer[k] = v
				}
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(answer) // the client may be gone
			}})
			c := newClient(t)
			got, err := read(t.Context(), c, ref, desc)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			s.ExpireTokens()
			if _, err := c.Document(t.Context(), ref); err != nil {
				t.Error(err)
			}
		})
	}
}

// connectProxy lets a client through to one address, whatever it asks for, and remembers what it asked for.
type connectProxy struct {
	to    string
	mu    sync.Mutex
	asked []string
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host)
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	there, err := net.Dial("tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		there.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(there, here); there.Close() })
	both.Go(func() { _, _ = io.Copy(here, there); here.Close() })
	both.Wait()
}

const proxyChild = "OCIPKG_TEST_PROXY_CHILD"

// What is this machine by its name goes to no proxy, which would see its credentials in the clear. As in the test that follows,
// the client is another process.
func TestLocalhostGoesThroughNoProxy(t *testing.T) {
	const child = "OCIPKG_TEST_LOCALHOST_CHILD"
	if image := os.Getenv(child); image != "" {
		os.Setenv("HTTP_PROXY", os.Getenv(child+"_URL"))
		if _, err := registry.NewClient(registry.Options{Retry: &fast}).Document(t.Context(), parse(t, image)); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	s := newServer(t)
	pushed(t, s, kib)
	proxy := &connectProxy{to: s.Host}
	proxyServer := httptest.NewServer(proxy)
	t.Cleanup(proxyServer.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(s.Host)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestLocalhostGoesThroughNoProxy$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=registry.localhost:"+port+"/acme/zlib:1", child+"_URL="+proxyServer.URL)
	out, _ := cmd.CombinedOutput()
	proxyServer.Close()
	if !strings.Contains(string(out), "--- PASS") || len(proxy.asked) > 0 {
		t.Errorf("the proxy was asked for %q\n%s", proxy.asked, out)
	}
}

// TestProxyA13_A12: through the proxy that the environment names, to a registry whose authority SSL_CERT_FILE names, and, A12,
// with HTTP/1.1 although the registry offers HTTP/2, so that GOAWAY and RST_STREAM cannot occur. Go reads both variables once a
// process, so the client is another one.
func TestProxyA13_A12(t *testing.T) {
	if image := os.Getenv(proxyChild); image != "" {
		os.Setenv("HTTPS_PROXY", os.Getenv(proxyChild+"_URL")) // TestMain has removed it
		ref := parse(t, image)
		c := registry.NewClient(registry.Options{Retry: &fast})
		doc, err := c.Document(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		var manifest v1.Manifest
		if err := json.Unmarshal(doc.Bytes, &manifest); err != nil {
			t.Fatal(err)
		}
		desc := manifest.Layers[0]
		if got, err := read(t.Context(), c, ref, desc); err != nil || int64(len(got)) != desc.Size {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		return
	}
	t.Parallel()
	now := time.Now()
	certificate := issue(t, now.Add(-time.Hour), now.Add(time.Hour), "registry.invalid")
	s := registrytest.NewTLSWith(t.TempDir(), &tls.Config{Certificates: []tls.Certificate{certificate}})
	t.Cleanup(s.Close)
	if err := newClient(t, trusting(s)).Push(t.Context(), parse(t, s.Host+"/acme/zlib:1"), image(1, 100*kib), nil); err != nil {
		t.Fatal(err)
	}
	s.Clear()
	proxy := &connectProxy{to: s.Host}
	proxyServer := httptest.NewServer(proxy)
	t.Cleanup(proxyServer.Close)
	authority := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := func(env ...string) string {
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestProxyA13_A12$", "-test.v")
		cmd.Env = append(os.Environ(), append(env, proxyChild+"=registry.invalid/acme/zlib:1")...)
		out, _ := cmd.CombinedOutput() // what it says is what counts
		return string(out)
	}
	if out := child(proxyChild+"_URL="+proxyServer.URL, "SSL_CERT_FILE="+authority); !strings.Contains(out, "--- PASS") {
		t.Errorf("through the proxy: %s", out)
	}
	proxy.mu.Lock()
	asked := fmt.Sprint(proxy.asked)
	proxy.mu.Unlock()
	if !strings.Contains(asked, "CONNECT registry.invalid:443") || strings.Contains(asked, "GET") {
		t.Errorf("the proxy was asked for %s", asked)
	}
	log := s.Requests(blobs)
	if len(log) != 1 {
		t.Errorf("%d requests for the blob", len(log))
	}
	for _, r := range s.Requests("") {
		if r.Proto != "HTTP/1.1" {
			t.Errorf("%s %s with %s", r.Method, r.Path, r.Proto)
		}
	}
	if out := child(proxyChild+"_URL="+proxyServer.URL, "SSL_CERT_FILE="+os.DevNull); !strings.Contains(out, "--- FAIL") || !strings.Contains(out, "is not trusted") {
		t.Errorf("with an authority nobody has named: %s", out)
	}
	if out := child(proxyChild+"_URL=http://127.0.0.1:1", "SSL_CERT_FILE="+authority); !strings.Contains(out, "--- FAIL") || !strings.Contains(out, "refuses connections") {
		t.Errorf("with a proxy that is not there: %s", out)
	}
}
