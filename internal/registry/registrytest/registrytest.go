// Package registrytest serves a real registry (internal/registry/embedded) on loopback for tests and lets them break it: every
// request is logged, and faults are put on paths for as many requests as wanted. The faults are of the wire; what is stored
// is right, so that a test can also see the client recover.
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
	closing context.Context
	close   context.CancelFunc

	mu     sync.Mutex
	faults []*armed
	log    []Request
	auth   *auth
}

// Request is one logged request.
type Request struct {
	Method string
	Path   string
	Query  string
	Range  string      // the Range header
	Header http.Header // all of them
	Status int         // 0 when the connection was cut before any
	Bytes  int64       // of the body that were sent
}

// New serves the registry stored in dir over plain HTTP. Like httptest.NewServer it panics if it cannot.
func New(dir string) *Server { return serve(dir, httptest.NewServer) }

// NewTLS serves over HTTPS with a certificate of its own authority; see CertPool.
func NewTLS(dir string) *Server { return serve(dir, httptest.NewTLSServer) }

// NewMutualTLS serves over HTTPS to clients alone that have a certificate of one of these authorities.
func NewMutualTLS(dir string, clients *x509.CertPool) *Server {
	return serve(dir, func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
		s.StartTLS()
		return s
	})
}

func serve(dir string, start func(http.Handler) *httptest.Server) *Server {
	handler, err := embedded.New(dir, nil)
	if err != nil {
		panic(fmt.Sprintf("registrytest: %v", err))
	}
	s := &Server{handler: handler}
	s.closing, s.close = context.WithCancel(context.Background())
	s.server = start(s)
	s.URL = s.server.URL
	s.Host = strings.TrimPrefix(strings.TrimPrefix(s.URL, "https://"), "http://")
	return s
}

// Close stops the server; the folder keeps what was pushed.
func (s *Server) Close() {
	s.close() // stalled answers would be waited for
	s.server.CloseClientConnections()
	s.server.Close()
}

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
			Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Range: r.Header.Get("Range"), Header: r.Header,
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
