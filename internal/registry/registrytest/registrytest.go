// Package registrytest serves a real registry (internal/registry/embedded, or one that runs elsewhere) on loopback for tests and
// lets them break it: every request is logged, and faults are put on paths for as many requests as wanted. The faults are of the
// wire; what is stored is right, so that a test can also see the client recover. Without faults it is a strict registry, which
// the OCI conformance suite has judged (internal/registry/conformance).
package registrytest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/ocipkg/rules_ocipkg/internal/registry/embedded"
)

// Server is a running registry. Close it after use.
type Server struct {
	URL  string // http://127.0.0.1:port
	Host string // 127.0.0.1:port

	server  *httptest.Server
	handler http.Handler
	folder  io.Closer // nil where it is another's
	closing context.Context
	close   context.CancelFunc

	mu     sync.Mutex
	faults []*armed
	log    []Request
	auth   *auth

	withoutReferrers bool
	separate         map[string]bool // repository@digest that the repository has; nil is all
}

// Request is one logged request.
type Request struct {
	Method string
	Path   string
	Proto  string // such as HTTP/1.1
	Query  string
	Range  string      // the Range header
	Header http.Header // all of them
	Status int         // 0 when the connection was cut before any
	Bytes  int64       // of the body that were sent
}

// New serves the registry stored in dir over plain HTTP. Like httptest.NewServer it panics if it cannot.
func New(dir string) *Server { return serveStored(dir, (*httptest.Server).Start) }

// NewTLS serves over HTTPS with a certificate of its own authority; see CertPool.
func NewTLS(dir string) *Server { return serveStored(dir, (*httptest.Server).StartTLS) }

// NewTLSWith serves over HTTPS, and HTTP/2 for who wants it, with a configuration of the test's.
func NewTLSWith(dir string, config *tls.Config) *Server {
	return serveStored(dir, func(s *httptest.Server) {
		s.TLS = config
		s.EnableHTTP2 = true
		s.StartTLS()
	})
}

// NewMutualTLS serves over HTTPS to clients alone that have a certificate of one of these authorities.
func NewMutualTLS(dir string, clients *x509.CertPool) *Server {
	return serveStored(dir, func(s *httptest.Server) {
		s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
		s.StartTLS()
	})
}

// NewFront stands before a registry that runs at an address, host:port, and speaks plain HTTP.
func NewFront(address string) *Server {
	return serve(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			r.Out.Host = r.In.Host // the registry makes its Locations of it
		},
		ErrorLog: log.New(io.Discard, "", 0), // uploads are cut on purpose
	}, (*httptest.Server).Start)
}

func serveStored(dir string, start func(*httptest.Server)) *Server {
	registry, err := embedded.New(dir, embedded.Options{})
	if err != nil {
		panic(fmt.Sprintf("registrytest: %v", err))
	}
	s := serve(registry, start)
	s.folder = registry
	return s
}

func serve(handler http.Handler, start func(*httptest.Server)) *Server {
	s := &Server{handler: handler, server: httptest.NewUnstartedServer(nil)}
	s.closing, s.close = context.WithCancel(context.Background())
	s.server.Config.Handler = s
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	start(s.server)
	s.URL = s.server.URL
	s.Host = strings.TrimPrefix(strings.TrimPrefix(s.URL, "https://"), "http://")
	return s
}

// Close stops the server; the folder keeps what was pushed, and may be served again.
func (s *Server) Close() {
	s.close() // stalled answers would be waited for
	s.server.CloseClientConnections()
	s.server.Close()
	if s.folder != nil {
		s.folder.Close()
	}
}

// Certificate is that of NewTLS, which is its own authority.
func (s *Server) Certificate() *x509.Certificate { return s.server.Certificate() }

// CertPool is what a client of NewTLS has to trust.
func (s *Server) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.server.Certificate())
	return pool
}

// CertificatePEM is what CertPool holds, as a file has it. It is for 127.0.0.1, ::1 and example.com.
func (s *Server) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
}

// Fault changes the answers to some requests.
type Fault struct {
	Method string // "" is any
	Path   string // regular expression on the path; "" is any
	Skip   int    // how many matching requests go well first
	Times  int    // how many are hit then; 0 is all
	Act    Act
}

// Act answers a request, mostly by letting next do it and spoiling what it writes.
type Act func(w http.ResponseWriter, r *http.Request, next http.Handler)

type armed struct {
	Fault
	path *regexp.Regexp
	seen int
}

// Inject adds a fault. Of several that match, the first added acts.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &armed{Fault: f, path: regexp.MustCompile(f.Path)})
}

// Clear removes all faults and the log.
func (s *Server) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.log = nil, nil
}

// Requests returns the requests so far whose path matches a regular expression, in the order in which they were finished.
func (s *Server) Requests(path string) []Request {
	pattern := regexp.MustCompile(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Request
	for _, r := range s.log {
		if pattern.MatchString(r.Path) {
			found = append(found, r)
		}
	}
	return found
}

// ServeHTTP serves one request, with its faults.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	logged := &loggedWriter{ResponseWriter: w}
	defer func() { // faults end in a panic
		s.mu.Lock()
		defer s.mu.Unlock()
		s.log = append(s.log, Request{
			Method: r.Method, Path: r.URL.Path, Proto: r.Proto, Query: r.URL.RawQuery, Range: r.Header.Get("Range"), Header: r.Header,
			Status: logged.status, Bytes: logged.bytes,
		})
	}()
	// net/http notices that a client has left only once the request's body has been read.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	r = r.WithContext(ctx)
	var next http.Handler = http.HandlerFunc(s.serveAuthorized)
	if act := s.pick(r); act != nil {
		act(logged, r, next)
		return
	}
	next.ServeHTTP(logged, r)
}

func (s *Server) pick(r *http.Request) Act {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.Method != "" && f.Method != r.Method || !f.path.MatchString(r.URL.Path) {
			continue
		}
		f.seen++
		if f.seen <= f.Skip || f.Times > 0 && f.seen > f.Skip+f.Times {
			continue
		}
		return f.Act
	}
	return nil
}

func (s *Server) serveAuthorized(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	a := s.auth
	s.mu.Unlock()
	if a != nil && !a.admit(w, r, s) {
		return
	}
	s.mu.Lock()
	withoutReferrers := s.withoutReferrers
	s.mu.Unlock()
	if withoutReferrers {
		if strings.Contains(r.URL.Path, "/referrers/") {
			Answer(http.StatusNotFound, "Content-Type", "text/plain", "404 page not found")(w, r, nil)
			return
		}
		w = &spoiled{ResponseWriter: w, header: func(int) { w.Header().Del("OCI-Subject") }}
	}
	s.serveSeparate(w, r)
}

// WithoutReferrers makes the server a registry of before the referrers API: it has no such path, and does not confirm a subject.
func (s *Server) WithoutReferrers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withoutReferrers = true
}

// SeparateRepositories makes a repository have only the blobs that are uploaded or mounted to it from now on, as registries
// with access rules do. The registry behind shares all.
func (s *Server) SeparateRepositories() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.separate = map[string]bool{}
}

var (
	blobPath   = regexp.MustCompile(`^/v2/(.+)/blobs/(sha256:[0-9a-f]{64})$`)
	uploadPath = regexp.MustCompile(`^/v2/(.+)/blobs/uploads/`)
)

func (s *Server) serveSeparate(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	on := s.separate != nil
	s.mu.Unlock()
	if !on {
		s.handler.ServeHTTP(w, r)
		return
	}
	has := func(repository, digest string) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.separate[repository+"@"+digest]
	}
	if m := blobPath.FindStringSubmatch(r.URL.Path); m != nil && !has(m[1], m[2]) {
		Answer(http.StatusNotFound, "Content-Type", "application/json", `{"errors":[{"code":"BLOB_UNKNOWN","message":"not in this repository"}]}`)(w, r, nil)
		return
	}
	if m := uploadPath.FindStringSubmatch(r.URL.Path); m != nil {
		query := r.URL.Query()
		digest := query.Get("digest")
		if mount := query.Get("mount"); mount != "" {
			if has(query.Get("from"), mount) {
				digest = mount
			} else {
				Query(func(v url.Values) { v.Del("mount"); v.Del("from") })(w, r, s.handler)
				return
			}
		}
		w = &spoiled{ResponseWriter: w, header: func(status int) {
			if status == http.StatusCreated {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.separate[m[1]+"@"+digest] = true
			}
		}}
	}
	s.handler.ServeHTTP(w, r)
}

type loggedWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *loggedWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *loggedWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

func (w *loggedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
