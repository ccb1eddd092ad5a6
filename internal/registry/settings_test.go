package registry_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T) registry.Settings {
	t.Helper()
	s, err := registry.LoadSettings()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func with(s registry.Settings) func(*registry.Options) {
	return func(o *registry.Options) { o.Settings = s }
}

func TestConfigurationErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	t.Setenv("OCIPKG_CONFIG", path)
	writeFile(t, filepath.Join(dir, "empty.pem"), "")
	for _, c := range []struct{ text, words string }{
		{``, "line 1: it ends too early"},
		{"{\n\"registries\": {\n}", "line 3"},
		{"{\n'registries': {}}", "line 2: invalid character"},
		{`{"mirrors": []}`, `unknown field "mirrors"`},
		{`{"registries": {"ghcr.io": {"mirror": []}}}`, `unknown field "mirror"`},
		{"{\"registries\": {\n\"ghcr.io\": {\"mirrors\": \"x\"}}}", "line 2: registries.mirrors has a string"},
		{`{"registries": {"ghcr.io": {}, "ghcr.io": {}}}`, `"ghcr.io" stands twice`},
		{`{"registries": {"ghcr.io": {"plainHTTP": true, "plainHTTP": false}}}`, `"plainHTTP" stands twice`},
		{`{} {}`, "something follows the end"},
		{`{"registries": {"ghcr": {}}}`, `"ghcr": it does not begin with a registry's host name`},
		{`{"registries": {"https://ghcr.io": {}}}`, "is no URL"},
		{`{"registries": {"ghcr.io": {"mirrors": [{"location": "a.example.com"}, {}]}}}`, `mirrors[1]: location ""`},
		{`{"registries": {"ghcr.io": {"mirrors": [{"location": "file:///x", "tags": true}]}}}`, "files do not decide what tags mean"},
		{`{"registries": {"ghcr.io": {"mirrors": [{"location": "file://x"}]}}}`, "is not absolute"},
		{`{"registries": {"ghcr.io": {"caFile": "missing.pem"}}}`, `caFile "missing.pem": no such file`},
		{`{"registries": {"ghcr.io": {"caFile": "empty.pem"}}}`, "no certificate in PEM"},
		{`{"registries": {"ghcr.io": {"certFile": "x.pem"}}}`, "certFile and keyFile go together"},
		{`{"registries": {"ghcr.io": {"certFile": "x.pem", "keyFile": "y.pem"}}}`, `certFile "x.pem": no such file`},
		{`{"registries": {"ghcr.io/acme": {"plainHTTP": true}}}`, `belong to the registry "ghcr.io" as a whole`},
	} {
		writeFile(t, path, c.text)
		_, err := registry.LoadSettings()
		wantError(t, err, diagnostic.Usage, c.words, path)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err := registry.LoadSettings()
	wantError(t, err, diagnostic.Usage, path, "no such file")

	t.Setenv("OCIPKG_CONFIG", "")
	t.Setenv("XDG_CONFIG_HOME", dir)
	load(t) // need not exist
	writeFile(t, filepath.Join(dir, "ocipkg", "config.json"), `{"registries": 1}`)
	_, err = registry.LoadSettings()
	wantError(t, err, diagnostic.Usage, filepath.Join(dir, "ocipkg", "config.json"))
	writeFile(t, filepath.Join(dir, "ocipkg", "config.json"), `{}`)
	t.Setenv("OCIPKG_MIRRORS", "x")
	_, err = registry.LoadSettings()
	wantError(t, err, diagnostic.Usage, "OCIPKG_MIRRORS", "it has no =")
	t.Setenv("OCIPKG_MIRRORS", "")
	t.Setenv("OCIPKG_CA_FILE", filepath.Join(dir, "empty.pem"))
	_, err = registry.LoadSettings()
	wantError(t, err, diagnostic.Usage, "OCIPKG_CA_FILE="+filepath.Join(dir, "empty.pem"), "no certificate")
}

// The environment's mirrors come before the caller's, and those before the file's.
func TestMirrorsOfSettings(t *testing.T) {
	origin := newServer(t)
	ref, desc, want := pushed(t, origin, 10*kib)
	var servers []*registrytest.Server
	for range 3 {
		s := newServer(t)
		pushedTo(t, s, "x/acme/zlib", 10*kib)
		servers = append(servers, s)
	}
	t.Setenv("OCIPKG_CONFIG", writeFile(t, filepath.Join(t.TempDir(), "c.json"), fmt.Sprintf(`{"registries": {%q: {"mirrors": [{"location": "%s/x"}]}}}`, origin.Host, servers[2].Host)))
	t.Setenv("OCIPKG_MIRRORS", fmt.Sprintf("%s=%s/x", origin.Host, servers[0].Host))
	settings := load(t)
	for i := range 4 {
		fetch(t, newClient(t, with(settings), mirrors(t, "%s=%s/x", origin.Host, servers[1].Host)), ref, desc, want)
		if i < 3 {
			servers[i].Close()
			if n := len(servers[i].Requests(blobs)); n != 1 {
				t.Errorf("mirror %d: %d requests", i, n)
			}
		}
	}
	origin.Close()
	if n := len(origin.Requests(blobs)); n != 1 {
		t.Errorf("the registry: %d requests", n)
	}
}

// A private authority, in each of the places where one can be named, and for that host alone.
func TestAuthorities(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	s := registrytest.NewTLS(t.TempDir())
	t.Cleanup(s.Close)
	ref := parse(t, s.Host+"/acme/zlib:1")
	src := image(1, kib)
	if err := newClient(t, trusting(s)).Push(t.Context(), ref, src, nil); err != nil {
		t.Fatal(err)
	}
	ca := writeFile(t, filepath.Join(dir, "ca.pem"), string(s.CertificatePEM()))
	config := filepath.Join(dir, "ocipkg", "config.json")
	unknown := func(name string) {
		t.Helper()
		_, err := newClient(t, with(load(t))).Document(t.Context(), ref)
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		wantError(t, err, diagnostic.Unreachable, "certificate", "OCIPKG_CA_FILE")
	}
	known := func(name string) {
		t.Helper()
		if _, err := newClient(t, with(load(t))).Document(t.Context(), ref); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	unknown("nothing")
	t.Setenv("OCIPKG_CA_FILE", ca)
	known("OCIPKG_CA_FILE")
	t.Setenv("OCIPKG_CA_FILE", "")
	writeFile(t, config, fmt.Sprintf(`{"registries": {%q: {"caFile": "../ca.pem"}}}`, s.Host))
	known("caFile")
	writeFile(t, config, `{"registries": {"registry.example.com": {"caFile": "../ca.pem"}}}`)
	unknown("another host's caFile")
	writeFile(t, config, `{}`)
	for _, place := range []string{"docker/certs.d/", "containers/certs.d/"} {
		file := writeFile(t, filepath.Join(dir, place, s.Host, "ca.crt"), string(s.CertificatePEM()))
		known(place)
		writeFile(t, file, "")
		_, err := newClient(t, with(load(t))).Document(t.Context(), ref)
		wantError(t, err, diagnostic.Usage, file, "no certificate in PEM")
		if err := os.RemoveAll(filepath.Join(dir, place)); err != nil {
			t.Fatal(err)
		}
	}
	unknown("nothing any more")
}

// Whoever names certificates for a registry on this machine means TLS: that is tried before anything is asked for without.
func TestNamedCertificatesMeanTLS(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	s := newServer(t)
	ref, _, _ := pushed(t, s, kib)
	cert, _, _ := certificate(t)
	for _, c := range []struct{ place, config, want string }{
		{"", "{}", "1"},
		{"docker/certs.d/" + s.Host + "/ca.crt", "{}", "v2, 1"},
		{"ca.pem", fmt.Sprintf(`{"registries": {%q: {"caFile": "../ca.pem"}}}`, s.Host), "v2, 1"},
	} {
		writeFile(t, filepath.Join(dir, "ocipkg", "config.json"), c.config)
		var file string
		if c.place != "" {
			file = writeFile(t, filepath.Join(dir, c.place), string(cert))
		}
		s.Clear()
		if _, err := newClient(t, with(load(t)), withKeychain(keychain{})).Document(t.Context(), ref); err != nil {
			t.Errorf("%s: %v", c.place, err)
		}
		var got []string
		for _, r := range s.Requests("") {
			got = append(got, path.Base(r.Path))
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%q: %s, want %s", c.place, got, c.want)
		}
		if file != "" { // else the next case would find it, too
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// certificate makes a client's certificate, its key, and the pool that trusts it.
func certificate(t *testing.T) (cert, key []byte, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bob"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), pool
}

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	cert, key, pool := certificate(t)
	s := registrytest.NewMutualTLS(t.TempDir(), pool)
	t.Cleanup(s.Close)
	ref := parse(t, s.Host+"/acme/zlib:1")
	t.Setenv("OCIPKG_CA_FILE", writeFile(t, filepath.Join(dir, "ca.pem"), string(s.CertificatePEM())))
	try := func() error { return newClient(t, with(load(t))).Push(t.Context(), ref, image(1, kib), nil) }
	if err := try(); err == nil {
		t.Error("without a certificate it works as well")
	} else {
		wantError(t, err, diagnostic.Unreachable, "certificate")
	}
	writeFile(t, filepath.Join(dir, "c.pem"), string(cert))
	writeFile(t, filepath.Join(dir, "k.pem"), string(key))
	config := writeFile(t, filepath.Join(dir, "ocipkg", "config.json"), fmt.Sprintf(`{"registries": {%q: {"certFile": "../c.pem", "keyFile": "../k.pem"}}}`, s.Host))
	if err := try(); err != nil {
		t.Errorf("certFile: %v", err)
	}
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "docker/certs.d", s.Host, "client.cert"), string(cert))
	file := writeFile(t, filepath.Join(dir, "docker/certs.d", s.Host, "client.key"), string(key))
	if err := try(); err != nil {
		t.Errorf("certs.d: %v", err)
	}
	writeFile(t, file, "no key")
	err := try()
	wantError(t, err, diagnostic.Usage, "client.cert")
	noSecrets(t, err, "no key\n", string(key))
}

// plainHTTP in the configuration is as good as OCIPKG_INSECURE_REGISTRIES.
func TestPlainHTTPOfSettings(t *testing.T) {
	s := newServer(t)
	pushed(t, s, kib)
	t.Setenv("OCIPKG_CONFIG", writeFile(t, filepath.Join(t.TempDir(), "c.json"), `{"registries": {"registry.invalid:5000": {"plainHTTP": true}}}`))
	transport := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("http://" + s.Host) }}
	c := newClient(t, with(load(t)), func(o *registry.Options) { o.Transport = transport })
	if _, err := c.Document(t.Context(), parse(t, "registry.invalid:5000/acme/zlib:1")); err != nil {
		t.Error(err)
	}
	_, err := c.Document(t.Context(), parse(t, "registry.invalid:5001/acme/zlib:1"))
	wantError(t, err, diagnostic.Unreachable)
}

const proxiedVariable = "REGISTRY_TEST_PROXIED"

// proxied is what a child process does, because net/http reads the proxies' variables once in a process's life, and uses none for
// loopback addresses. It prints the error, if any.
func proxied() {
	settings, err := registry.LoadSettings()
	if err == nil {
		var ref registry.Reference
		if ref, err = registry.ParseReference(os.Getenv(proxiedVariable)); err == nil {
			policy := fast
			policy.Attempts = 1
			policy.HeaderTimeout = time.Minute
			_, err = registry.NewClient(registry.Options{Settings: settings, Retry: &policy}).Document(context.Background(), ref)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// A proxy that tunnels (CONNECT) wherever it is asked to lead to one place, and wants a password.
func TestProxy(t *testing.T) {
	s := registrytest.NewTLS(t.TempDir())
	t.Cleanup(s.Close)
	if err := newClient(t, trusting(s)).Push(t.Context(), parse(t, s.Host+"/acme/zlib:1"), image(1, kib), nil); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked []string
	address := accepting(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		mu.Lock()
		asked = append(asked, req.Method+" "+req.Host)
		mu.Unlock()
		if req.Header.Get("Proxy-Authorization") != "Basic cHJveHk6cHJveHktc2VjcmV0" {
			fmt.Fprint(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		there, err := net.Dial("tcp", s.Host)
		if err != nil {
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
		tunnel(conn, r, there)
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ca := writeFile(t, filepath.Join(t.TempDir(), "ca.pem"), string(s.CertificatePEM()))
	run := func(proxy string) (string, error) {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), proxiedVariable+"=example.com/acme/zlib:1", "HTTPS_PROXY="+proxy, "OCIPKG_CA_FILE="+ca)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("http://proxy:proxy-secret@" + address); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	mu.Lock()
	if len(asked) == 0 || asked[0] != "CONNECT example.com:443" {
		t.Errorf("the proxy got %q", asked)
	}
	mu.Unlock()
	// B7: the proxy's password is in no error, whether it refuses it or is not there.
	for _, proxy := range []string{"http://proxy:wrong-secret@" + address, "http://proxy:wrong-secret@127.0.0.1:1", "http://proxy:wrong-secret@bad host"} {
		out, err := run(proxy)
		if err == nil || strings.Contains(out, "secret") || !strings.Contains(out, "example.com") {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// Whatever the file says, it is understood or refused with the place in it.
func FuzzConfiguration(f *testing.F) {
	for _, seed := range []string{`{"registries": {"ghcr.io": {"mirrors": [{"location": "m.example.com/x", "tags": true}], "plainHTTP": true}}}`, `{"registries": {"a.b/c": {}}}`, `{"registries":{"a.b":{"mirrors":null}}}`, `[[[[`, `{"a":{"a":{},"a":1}}`, ``, `1 2`} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "config.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("OCIPKG_CONFIG", path)
		if _, err := registry.LoadSettings(); err != nil && (diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), path)) {
			t.Errorf("error %v", err)
		}
	})
}
