package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/registry/loopback"
)

const (
	insecureVariable = "OCIPKG_INSECURE_REGISTRIES"
	maxRedirects     = 10
	uploadPatience   = 10 // times HeaderTimeout
)

// newTransport speaks HTTP/1.1 only: with HTTP/2 all blobs would share one connection and Go's 4 MiB window per stream, and
// measured it is slower even on loopback. Compression is off, because a blob's bytes are wanted as they are.
//
// certificates says what a host needs besides the defaults, nil for nothing.
func newTransport(p RetryPolicy, header time.Duration, certificates func(host string) (*tls.Config, error)) http.RoundTripper {
	dialer := &net.Dialer{Timeout: p.ConnectTimeout, KeepAlive: 30 * time.Second}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &transports{certificates: certificates, byHost: map[string]*http.Transport{}, plain: &http.Transport{
		Proxy: func(req *http.Request) (*url.URL, error) {
			// Go knows localhost alone; to a proxy, credentials for *.localhost would go in the clear.
			if loopback.Host(req.URL.Hostname()) {
				return nil, nil
			}
			return http.ProxyFromEnvironment(req)
		},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			// *.localhost may go without TLS, so it has to be this machine (RFC 6761, 6.3), whatever a resolver says.
			if host, port, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(strings.ToLower(host), ".localhost") {
				address = net.JoinHostPort("localhost", port)
			}
			return dialer.DialContext(ctx, network, address)
		},
		Protocols:             &protocols,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   p.ConnectTimeout,
		ResponseHeaderTimeout: header,
		ExpectContinueTimeout: time.Second,
	}}
}

// transports gives hosts with authorities or certificates of their own a transport of their own, so that what is meant for one
// registry is shown to, and believed of, no other.
type transports struct {
	plain        *http.Transport
	certificates func(host string) (*tls.Config, error)

	mu     sync.Mutex
	byHost map[string]*http.Transport
}

func (t *transports) RoundTrip(req *http.Request) (*http.Response, error) {
	chosen, err := t.choose(req.URL)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return chosen.RoundTrip(req)
}

func (t *transports) choose(u *url.URL) (*http.Transport, error) {
	if u.Scheme != "https" {
		return t.plain, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if chosen, ok := t.byHost[u.Host]; ok {
		return chosen, nil
	}
	config, err := t.certificates(u.Host)
	if err != nil {
		return nil, err
	}
	chosen := t.plain
	if config != nil {
		chosen = t.plain.Clone()
		chosen.TLSClientConfig = config
	}
	t.byHost[u.Host] = chosen
	return chosen, nil
}

// wire is the round tripper under everything, our downloads as well as go-containerregistry's ping, token exchange and
// uploads. What must hold for every request is enforced here and nowhere else: plain HTTP only where allowed, the redirect
// policy (go-containerregistry's clients follow any number of redirects), no credentials to another origin, no stalled
// bodies, and statuses that deserve another try turned into errors that carry their Retry-After.
type wire struct {
	client *Client
	host   string // of the registry this session is for, host[:port]
	auth   *authenticator
	ping   atomic.Pointer[http.Response] // while logging in: what the registry has said, or is presumed to say; nil: it is asked

	mu     sync.Mutex
	failed map[string]error    // the last failure by scheme
	realms map[string]*url.URL // token servers the registry has named, and their stand-ins, by origin and path
}

func (c *Client) newWire(host string, auth *authenticator) *wire {
	return &wire{client: c, host: host, auth: auth, failed: map[string]error{}, realms: map[string]*url.URL{}}
}

func (w *wire) onLoopback() bool { return loopback.Host((&url.URL{Host: w.host}).Hostname()) }

func (w *wire) RoundTrip(in *http.Request) (*http.Response, error) {
	if said := w.ping.Load(); said != nil && in.URL.Path == "/v2/" && in.URL.RawQuery == "" && in.Response == nil && sameHost(in.URL, w.host) && !w.isTokenRequest(in) {
		return answerPing(in, said)
	}
	resp, err := w.roundTrip(in)
	if err != nil {
		w.mu.Lock()
		w.failed[in.URL.Scheme] = err
		w.mu.Unlock()
	}
	return resp, err
}

// knownRealms are a copy of the token servers that the registry has named.
func (w *wire) knownRealms() map[string]*url.URL {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.realms)
}

// answerPing answers go-containerregistry's question how to log in with what has been said before, by the scheme that it was
// said with.
func answerPing(in *http.Request, said *http.Response) (*http.Response, error) {
	if in.URL.Scheme != said.Request.URL.Scheme {
		return nil, fmt.Errorf("%s has been spoken to by %s", in.URL.Host, said.Request.URL.Scheme)
	}
	return &http.Response{StatusCode: said.StatusCode, Header: said.Header, Body: http.NoBody, Request: in}, nil
}

// loginError picks the failure that matters. go-containerregistry tries a local registry with https and with http, and
// answers both errors as one: but that a plain registry does not speak TLS, or that a TLS registry did not like to be
// spoken to without, is no news.
func (w *wire) loginError(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	tlsErr, plainErr := w.failed["https"], w.failed["http"]
	if tlsErr == nil {
		return err
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](tlsErr); ok {
		return &url.Error{Op: "Get", URL: "https://" + w.host + "/v2/", Err: tlsErr}
	}
	if isAlert(tlsErr) {
		return &url.Error{Op: "Get", URL: "https://" + w.host + "/v2/", Err: tlsErr}
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](tlsErr); ok && plainErr != nil {
		return &url.Error{Op: "Get", URL: "http://" + w.host + "/v2/", Err: plainErr}
	}
	return err
}

// isAlert recognises that the other side has ended a TLS handshake with a reason, such as that it wants a client's certificate.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

func (w *wire) roundTrip(asked *http.Request) (*http.Response, error) {
	in := w.toRealm(asked)
	moved, err := w.admit(in)
	if err != nil {
		if in.Body != nil {
			in.Body.Close()
		}
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(in.Context())
	out := in.WithContext(ctx)
	out.Header = in.Header.Clone()
	out.Header.Set("User-Agent", w.client.userAgent)
	if moved {
		out.Header.Del("Authorization")
		out.Header.Del("Cookie")
	}
	forToken := w.isTokenRequest(in)
	if out.Body != nil && in.GetBody != nil {
		// go-containerregistry sends a request again with its new token, and with the body that the first time has used up.
		in.Body.Close()
		if out.Body, err = in.GetBody(); err != nil {
			cancel(nil)
			return nil, err
		}
	}
	out.GetBody = nil // else net/http would itself send a body again, without the guard that follows and with an old token
	if forToken {
		cleanTokenRequest(out)
		if in.Method == http.MethodPost {
			// One after the other: a server may end a refresh token with its use.
			select {
			case w.auth.exchanging <- struct{}{}:
				defer func() { <-w.auth.exchanging }()
			case <-in.Context().Done():
				cancel(nil)
				return nil, context.Cause(in.Context())
			}
			if err := w.newestRefreshToken(out); err != nil {
				cancel(nil)
				return nil, err
			}
		}
	}
	inner := w.client.download
	if out.Body != nil && out.Body != http.NoBody {
		inner = w.client.upload
		guard := newSendGuard(out.Body, w.client.policy, cancel)
		defer guard.stop()
		out.Body = guard
	} else if in.Method != http.MethodGet && in.Method != http.MethodHead {
		inner = w.client.upload // a commit without a body: the registry hashes the blob now
	}
	resp, err := inner.RoundTrip(out)
	if err != nil {
		if cause := context.Cause(ctx); cause == errStalled {
			err = errStalled
		}
		cancel(nil)
		return nil, err
	}
	resp.Request = in
	if in != asked {
		// net/http would resolve it against the address that it has asked.
		if location, err := resp.Location(); err == nil {
			resp.Header.Set("Location", location.String())
		}
	}
	resp.Body = &receiveGuard{body: resp.Body, policy: w.client.policy, cancel: cancel, ctx: ctx, received: &w.client.received}
	if retryable(resp.StatusCode) {
		defer resp.Body.Close()
		return nil, newStatusError(resp)
	}
	switch {
	case forToken && resp.StatusCode == http.StatusOK:
		err = w.token(resp)
	case forToken && resp.StatusCode == http.StatusMethodNotAllowed && in.Method == http.MethodPost:
		resp.StatusCode = http.StatusNotFound // the other way to say that there is no OAuth2 here, and the only one that is understood
	case forToken:
	case resp.StatusCode == http.StatusUnauthorized && moved:
		resp.Header.Del("Www-Authenticate") // who was redirected to has no say in how to log in
	case resp.StatusCode == http.StatusUnauthorized:
		err = w.challenged(resp)
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// refusal is a request that this client will not make.
type refusal struct {
	why, do string
}

func (r *refusal) Error() string { return r.why }

// admit checks a request against the rules and reports whether redirects have led it away from its first origin.
func (w *wire) admit(req *http.Request) (moved bool, err error) {
	hops := 0
	for r := req; r.Response != nil && r.Response.Request != nil; r = r.Response.Request {
		hops++
		from := r.Response.Request.URL
		if hops == 1 {
			if err := checkRedirect(from, req.URL); err != nil {
				return false, err
			}
		}
		moved = moved || origin(from) != origin(r.URL)
		if hops > maxRedirects {
			return false, &refusal{why: fmt.Sprintf("%s answered with more than %d redirects", w.host, maxRedirects)}
		}
	}
	if req.URL.Scheme != "https" && !w.client.plainAllowed(req.URL.Host) {
		return false, &refusal{
			why: fmt.Sprintf("%s would be reached without TLS", req.URL.Host),
			do:  fmt.Sprintf("if that is meant to be, set %s=%s", insecureVariable, req.URL.Host),
		}
	}
	body := req.Body != nil && req.Body != http.NoBody
	if body && moved {
		// A token request's body is a password; an upload's body is the user's, and neither was promised to that host.
		return false, &refusal{why: fmt.Sprintf("%s redirects an upload to another host, %s", w.host, req.URL.Host)}
	}
	if (req.Method == http.MethodPatch || req.Method == http.MethodPut) && !sameHost(req.URL, w.host) {
		return false, &refusal{why: fmt.Sprintf("%s wants an upload to go to another host, %s", w.host, req.URL.Host)}
	}
	return moved, nil
}

// checkRedirect judges one redirect by its two URLs.
func checkRedirect(from, to *url.URL) error {
	switch {
	case to.Scheme != "https" && to.Scheme != "http":
		return &refusal{why: fmt.Sprintf("%s redirects to a %s: URL", from.Host, to.Scheme)}
	case from.Scheme == "https" && to.Scheme == "http":
		return &refusal{why: fmt.Sprintf("%s redirects from https to http", from.Host)}
	case to.User != nil:
		return &refusal{why: fmt.Sprintf("%s redirects to a URL with a user name in it", from.Host)}
	case !internalHost(from.Hostname()) && internalHost(to.Hostname()):
		// A registry on the internet has no business with this machine or its neighbours, such as a cloud's metadata service.
		return &refusal{why: fmt.Sprintf("%s redirects to the private address %s", from.Host, to.Host)}
	}
	return nil
}

func origin(u *url.URL) string {
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + portOf(u)
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

func sameHost(u *url.URL, host string) bool {
	return origin(u) == origin(&url.URL{Scheme: u.Scheme, Host: host})
}

// internalHost reports whether a host, by its text alone, is this machine or on a private or link-local network.
func internalHost(hostname string) bool {
	if loopback.Host(hostname) {
		return true
	}
	address, err := netip.ParseAddr(hostname)
	if err != nil {
		return false
	}
	address = address.Unmap()
	return address.IsPrivate() || address.IsLinkLocalUnicast() || address.IsUnspecified() || address.IsMulticast()
}

// plainAllowed reports whether host[:port] may be spoken to without TLS.
func (c *Client) plainAllowed(host string) bool {
	u := url.URL{Host: host}
	return loopback.Host(u.Hostname()) || c.insecure[strings.ToLower(host)] || c.insecure[strings.ToLower(u.Hostname())]
}

// receiveGuard counts an answer's bytes and breaks the connection when too few of them come. Only time spent waiting for
// the network counts: a caller that is slow to take the bytes (a full disk queue, a decompressor) is no stall.
type receiveGuard struct {
	body     io.ReadCloser
	policy   RetryPolicy
	cancel   context.CancelCauseFunc
	ctx      context.Context
	received interface{ Add(int64) int64 }

	timer  *time.Timer
	waited time.Duration // in the present window
	got    int64         // in the present window
}

func (g *receiveGuard) Read(p []byte) (int, error) {
	left := g.policy.StallWindow - g.waited
	if g.timer == nil {
		g.timer = time.AfterFunc(left, func() { g.cancel(errStalled) })
	} else {
		g.timer.Reset(left)
	}
	start := time.Now()
	n, err := g.body.Read(p)
	g.timer.Stop()
	g.waited += time.Since(start)
	g.got += int64(n)
	g.received.Add(int64(n))
	if g.got >= g.policy.StallBytes {
		g.waited, g.got = 0, 0
	} else if g.waited >= g.policy.StallWindow {
		g.cancel(errStalled)
	}
	if err != nil && err != io.EOF && context.Cause(g.ctx) == errStalled {
		err = errStalled
	}
	return n, err
}

func (g *receiveGuard) Close() error {
	if g.timer != nil {
		g.timer.Stop()
	}
	err := g.body.Close()
	g.cancel(nil)
	return err
}

// sendGuard breaks an upload whose bytes nobody takes. The time between two reads is the time the network needed for the
// first one's bytes; after the last, the registry has as long as it has for an answer.
type sendGuard struct {
	io.ReadCloser
	window, answer time.Duration

	mu      sync.Mutex // net/http may read on while RoundTrip returns an early answer
	timer   *time.Timer
	stopped bool
}

func newSendGuard(body io.ReadCloser, p RetryPolicy, cancel context.CancelCauseFunc) *sendGuard {
	connecting := 2 * p.ConnectTimeout // TCP, then TLS
	return &sendGuard{
		ReadCloser: body,
		window:     p.StallWindow,
		answer:     p.StallWindow + uploadPatience*p.HeaderTimeout,
		timer:      time.AfterFunc(connecting+p.StallWindow, func() { cancel(errStalled) }),
	}
}

func (g *sendGuard) Read(p []byte) (int, error) {
	g.mu.Lock()
	g.timer.Stop()
	g.mu.Unlock()
	n, err := g.ReadCloser.Read(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.stopped:
	case err != nil:
		g.timer.Reset(g.answer)
	default:
		g.timer.Reset(g.window)
	}
	return n, err
}

func (g *sendGuard) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	g.timer.Stop()
}
