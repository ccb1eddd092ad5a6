package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// authenticator is what the keychain said for one repository; go-containerregistry asks it before each log-in.
type authenticator struct {
	source    string // for people; "" if it is not known
	anonymous bool
	wanted    atomic.Bool // whether the registry has asked for it

	exchanging chan struct{} // held during an exchange of the refresh token

	mu     sync.Mutex
	config authn.AuthConfig
}

// newAuthenticator makes one of what a keychain has answered; an empty config is nobody's.
func (c *Client) newAuthenticator(config authn.AuthConfig, source string) *authenticator {
	// A registry may repeat them in its errors, also as they stand in the header.
	c.keepSecret(config.Password, config.Auth, config.IdentityToken, config.RegistryToken)
	if config.Password != "" {
		c.keepSecret(base64.StdEncoding.EncodeToString([]byte(config.Username + ":" + config.Password)))
	}
	return &authenticator{config: config, source: source, anonymous: config == (authn.AuthConfig{}), exchanging: make(chan struct{}, 1)}
}

// Authorization is authn.Authenticator's.
func (a *authenticator) Authorization() (*authn.AuthConfig, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	config := a.config
	return &config, nil
}

// rotate takes a new refresh token, whose giving out may have ended the old one.
func (a *authenticator) rotate(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.config.IdentityToken != "" {
		a.config.IdentityToken = token
	}
}

// credentialSlot lets one goroutine ask the keychain while the others wait; an interrupted question is not kept.
type credentialSlot struct {
	turn chan struct{}
	auth *authenticator
}

// credentials asks the keychain once per repository. Whatever goes wrong there is a warning: most libraries are public, and
// a laptop's broken helper must not stop them.
func (c *Client) credentials(ctx context.Context, repo name.Repository) (*authenticator, error) {
	c.mu.Lock()
	slot, ok := c.creds[repo.Name()]
	if !ok {
		slot = &credentialSlot{turn: make(chan struct{}, 1)}
		c.creds[repo.Name()] = slot
	}
	c.mu.Unlock()
	select {
	case slot.turn <- struct{}{}:
		defer func() { <-slot.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if slot.auth != nil {
		return slot.auth, nil
	}
	auth, err := c.askKeychain(ctx, repo)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	slot.auth = auth // under the client's lock for those who only look
	c.mu.Unlock()
	return auth, nil
}

// askKeychain's only error is that of a done context.
func (c *Client) askKeychain(ctx context.Context, repo name.Repository) (*authenticator, error) {
	if c.keychain == nil {
		found, err := c.chain.Find(ctx, repo.RegistryStr(), repo.RepositoryStr())
		if err != nil {
			return nil, err
		}
		if found == nil {
			return c.newAuthenticator(authn.AuthConfig{}, ""), nil
		}
		config, err := found.Authorization()
		if err != nil {
			return nil, err
		}
		return c.newAuthenticator(*config, found.Source), nil
	}
	auth, err := authn.Resolve(ctx, c.keychain, repo)
	var config *authn.AuthConfig
	if err == nil && auth != authn.Anonymous {
		config, err = authn.Authorization(ctx, auth)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		// Not what it says: libraries for helpers quote their output, which may be the secret.
		c.warn(fmt.Sprintf("credentials for %s: the keychain failed; going on without", hostName(repo.Registry)))
	}
	if err != nil || config == nil {
		config = &authn.AuthConfig{}
	}
	return c.newAuthenticator(*config, ""), nil
}

func (c *Client) keepSecret(secrets ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secret := range secrets {
		if len(secret) >= 4 && !slices.Contains(c.secrets, secret) { // replacing shorter ones would give them away
			c.secrets = append(c.secrets, secret)
		}
	}
}

type sessionKey struct{ repository, scope string }

// session is a client for one repository and scope that has logged in, where the registry wants that.
type session struct {
	http  *http.Client
	inner *transport.Wrapper
	repo  name.Repository // marked insecure where plain HTTP is allowed
	wire  *wire

	presumed bool        // the registry was not asked how it wants to be logged in to
	open     atomic.Bool // it has answered all the same
	doubted  atomic.Bool // the network has failed before it did: the next attempt asks
}

// shut reports whether what came of a request in a session that was presumed says that the registry has to be asked how to log in.
func (s *session) shut(resp *http.Response, err error) bool {
	if !s.presumed {
		return false
	}
	if s.open.Load() {
		// Some give their documents to everybody, and blobs to who has a token.
		return err == nil && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusNotFound)
	}
	if err == nil {
		// Not every registry that wants a login says so to who has not logged in; and a page for people to log in on is no answer.
		mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if resp.StatusCode != http.StatusOK || !isDocumentType(mediaType) {
			return true
		}
		s.open.Store(true)
		return false
	}
	if status, ok := errors.AsType[*statusError](err); ok {
		return status.status != http.StatusTooManyRequests && status.retryAfter == 0 // else it is not to be asked anything now
	}
	_, refused := errors.AsType[*refusal](err)
	_, understood := errors.AsType[*diagnostic.Error](err)
	if refused || understood || s.wire.onLoopback() { // of its challenge; or it may speak TLS
		return true
	}
	s.doubted.Store(true)
	return false
}

// sessionSlot lets one goroutine log in while the others wait; a failed login is not kept.
type sessionSlot struct {
	turn    chan struct{}
	session *session
}

func (c *Client) session(ctx context.Context, repo name.Repository, scope string) (*session, error) {
	return c.sessionAfter(ctx, repo, scope, nil, nil, false)
}

// sessionAfter is session, for who has met with the answer, nil for none, in a session that was presumed; or for who may presume one.
func (c *Client) sessionAfter(ctx context.Context, repo name.Repository, scope string, before *session, answer *http.Response, presume bool) (*session, error) {
	key := sessionKey{repo.Name(), scope}
	c.mu.Lock()
	slot, ok := c.sessions[key]
	if !ok {
		slot = &sessionSlot{turn: make(chan struct{}, 1)}
		c.sessions[key] = slot
	}
	c.mu.Unlock()
	select {
	case slot.turn <- struct{}{}:
		defer func() { <-slot.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if last := slot.session; last != nil && last != before && !last.doubted.Load() {
		return last, nil
	}
	auth, err := c.credentials(ctx, repo)
	if err != nil {
		return nil, err
	}
	s := &session{wire: c.newWire(repo.RegistryStr(), auth)}
	var said *http.Response // in place of what the registry would say
	if before != nil {
		if answer != nil && answer.StatusCode == http.StatusUnauthorized && strings.HasPrefix(answer.Header.Get("Www-Authenticate"), "Bearer ") {
			said = answer
			s.wire.realms = before.wire.knownRealms() // of the challenge, which has been read there
		}
	} else if presume && slot.session == nil && auth.anonymous && c.mayPresume(s.wire) {
		// There is nothing to log in with, and most registries that let everybody read answer at once: one round trip of five for a
		// library. With those on this machine it is two: they hardly ever speak TLS, which is what go-containerregistry tries first.
		s.presumed = true
		scheme := "https"
		if s.wire.onLoopback() {
			scheme = "http"
		}
		said = &http.Response{StatusCode: http.StatusOK, Request: &http.Request{URL: &url.URL{Scheme: scheme}}}
	}
	// go-containerregistry tries https and then http for a registry it takes for local. Its own idea of local is both too
	// narrow (127.0.0.2) and too wide (10.0.0.0/8); ours is added here, and wire refuses what remains of the other.
	if c.plainAllowed(repo.RegistryStr()) {
		repo, err = name.NewRepository(repo.Name(), name.Insecure)
		if err != nil {
			return nil, err
		}
	}
	s.wire.ping.Store(said)
	s.inner, err = authenticate(ctx, repo.Registry, s.wire, []string{repo.Scope(scope)})
	s.wire.ping.Store(nil)
	if err != nil {
		return nil, err
	}
	s.repo = repo
	s.http = &http.Client{
		Transport: s.inner,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			if s.presumed && !s.open.Load() {
				return http.ErrUseLastResponse // to TLS, for example, or to where people log in
			}
			return nil // wire judges redirects, for this client and for go-containerregistry's alike
		},
	}
	slot.session = s
	return s, nil
}

// mayPresume reports whether a registry may be taken for one that lets everybody read, by plain HTTP where it is on this machine. Where
// plain HTTP is allowed on a network, TLS comes first, lest somebody between prevents it; and where a person has named certificates, TLS is meant.
func (c *Client) mayPresume(w *wire) bool {
	if w.onLoopback() {
		return !c.certified(w.host)
	}
	return !c.plainAllowed(w.host)
}

// authenticate asks a registry how it wants to be logged in to and does so.
func authenticate(ctx context.Context, registry name.Registry, w *wire, scopes []string) (*transport.Wrapper, error) {
	rt, err := transport.NewWithContext(ctx, registry, w.auth, w, scopes)
	if err != nil {
		return nil, w.loginError(err)
	}
	wrapper, ok := rt.(*transport.Wrapper)
	if !ok {
		return nil, fmt.Errorf("go-containerregistry made a transport of type %T", rt)
	}
	return wrapper, nil
}

// asked returns what is known of the credentials with which repo is being read; nothing is known before the first request.
func (c *Client) asked(repo name.Repository) (source string, anonymous bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := c.creds[repo.Name()]
	if slot == nil || slot.auth == nil {
		return "", true
	}
	return slot.auth.source, slot.auth.anonymous
}

// get sends one request for a path under /v2/<repository>/ without any retry.
func (c *Client) get(ctx context.Context, repo name.Repository, path string, header http.Header) (*http.Response, error) {
	s, err := c.sessionAfter(ctx, repo, transport.PullScope, nil, nil, strings.HasPrefix(path, "/manifests/"))
	if err != nil {
		return nil, err
	}
	// The session knows whether it is http; https is what it replaces.
	address := "https://" + repo.RegistryStr() + "/v2/" + repo.RepositoryStr() + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	if !s.presumed {
		return s.http.Do(req)
	}
	asked, inTime := req, func() bool { return true }
	if !s.open.Load() && s.wire.onLoopback() {
		// What speaks TLS may wait for its client to say more, and what speaks HTTP for another registry. The context is there for as
		// long as the body is read.
		patient, enough := context.WithCancel(ctx)
		asked, inTime = req.WithContext(patient), time.AfterFunc(c.policy.HeaderTimeout/6, enough).Stop
	}
	resp, err := s.http.Do(asked)
	if inTime() && !s.shut(resp, err) || ctx.Err() != nil {
		return resp, err
	}
	if resp != nil {
		if 0 <= resp.ContentLength && resp.ContentLength <= maxErrorBody {
			_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
		}
		resp.Body.Close()
	}
	if s, err = c.sessionAfter(ctx, repo, transport.PullScope, s, resp, false); err != nil {
		return nil, err
	}
	return s.http.Do(req)
}
