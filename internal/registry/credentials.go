package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// credential is what the keychain said for one repository.
type credential struct {
	ready     chan struct{} // closed when the rest is valid
	auth      authn.Authenticator
	anonymous bool
}

// credentials asks the keychain once per repository. Whatever goes wrong there is a warning: most libraries are public, and
// a laptop's broken helper must not stop them.
func (c *Client) credentials(ctx context.Context, repo name.Repository) (*credential, error) {
	c.mu.Lock()
	cred, asked := c.creds[repo.Name()]
	if !asked {
		cred = &credential{ready: make(chan struct{}), auth: authn.Anonymous, anonymous: true}
		c.creds[repo.Name()] = cred
		go c.askKeychain(repo, cred)
	}
	c.mu.Unlock()
	select {
	case <-cred.ready:
		return cred, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *Client) askKeychain(repo name.Repository, cred *credential) {
	defer close(cred.ready)
	ctx, cancel := context.WithTimeout(context.Background(), c.helperTimeout)
	defer cancel()
	type answer struct {
		config *authn.AuthConfig
		err    error
	}
	answers := make(chan answer, 1)
	go func() { // a helper cannot be interrupted through the keychain, only left behind
		auth, err := authn.Resolve(ctx, c.keychain, repo)
		if err != nil || auth == authn.Anonymous {
			answers <- answer{err: err}
			return
		}
		config, err := authn.Authorization(ctx, auth)
		answers <- answer{config, err}
	}()
	host := hostName(repo.Registry)
	select {
	case a := <-answers:
		if a.err != nil {
			c.warn(fmt.Sprintf("credential helper for %s: %s; going on without credentials", host, helperFailure(a.err)))
		} else if a.config != nil && *a.config != (authn.AuthConfig{}) {
			c.keepSecret(a.config.Password, a.config.Auth, a.config.IdentityToken, a.config.RegistryToken)
			cred.auth, cred.anonymous = authn.FromConfig(*a.config), false
		}
	case <-ctx.Done():
		c.warn(fmt.Sprintf("credential helper for %s: no answer within %v; going on without credentials", host, c.helperTimeout))
	}
}

// helperFailure tells why a helper failed without its output, which may be the secret itself: docker's library quotes it
// after ", out:".
func helperFailure(err error) string {
	if missing, ok := errors.AsType[*exec.Error](err); ok {
		return missing.Error()
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "the helper ended with " + exit.ProcessState.String()
	}
	if syntax, ok := err.(*json.SyntaxError); ok { // bare: wrapped in a file's name it is the configuration's
		return "its answer is not JSON: " + syntax.Error()
	}
	text, _, _ := strings.Cut(plainText(err), "out:")
	text, _, _ = strings.Cut(text, "\n")
	return strings.TrimRight(text, " ,-")
}

func (c *Client) keepSecret(secrets ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secret := range secrets {
		if len(secret) >= 4 { // replacing shorter ones would give them away
			c.secrets = append(c.secrets, secret)
		}
	}
}

type sessionKey struct{ repository, scope string }

// session is an authenticated client for one repository and scope.
type session struct {
	http  *http.Client
	inner *transport.Wrapper
	repo  name.Repository // marked insecure where plain HTTP is allowed
}

// sessionSlot lets one goroutine log in while the others wait; a failed login is not kept.
type sessionSlot struct {
	turn    chan struct{}
	session *session
}

// session logs in to repo for scope, and to pull from the others, which are of the same registry.
func (c *Client) session(ctx context.Context, repo name.Repository, scope string, others ...name.Repository) (*session, error) {
	key := sessionKey{repo.Name(), scope}
	for _, other := range others {
		key.scope += " " + other.Scope(transport.PullScope)
	}
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
	if slot.session != nil {
		return slot.session, nil
	}
	cred, err := c.credentials(ctx, repo)
	if err != nil {
		return nil, err
	}
	// go-containerregistry tries https and then http for a registry it takes for local. Its own idea of local is both too
	// narrow (127.0.0.2) and too wide (10.0.0.0/8); ours is added here, and wire refuses what remains of the other.
	if c.plainAllowed(repo.RegistryStr()) {
		repo, err = name.NewRepository(repo.Name(), name.Insecure)
		if err != nil {
			return nil, err
		}
	}
	w := &wire{client: c, host: repo.RegistryStr(), failed: map[string]error{}}
	scopes := []string{repo.Scope(scope)}
	for _, other := range others {
		scopes = append(scopes, other.Scope(transport.PullScope))
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, cred.auth, w, scopes)
	if err != nil {
		return nil, w.loginError(err)
	}
	wrapper, ok := rt.(*transport.Wrapper)
	if !ok {
		return nil, fmt.Errorf("go-containerregistry made a transport of type %T", rt)
	}
	slot.session = &session{
		http: &http.Client{
			Transport: wrapper,
			// wire judges redirects, for this client and for go-containerregistry's alike.
			CheckRedirect: func(*http.Request, []*http.Request) error { return nil },
		},
		inner: wrapper,
		repo:  repo,
	}
	return slot.session, nil
}

// anonymous reports whether repo is being read without credentials, as far as is known.
func (c *Client) anonymous(repo name.Repository) bool {
	c.mu.Lock()
	cred := c.creds[repo.Name()]
	c.mu.Unlock()
	if cred == nil {
		return true
	}
	select {
	case <-cred.ready:
		return cred.anonymous
	default:
		return true
	}
}

// get sends one request for a path under /v2/<repository>/ without any retry.
func (c *Client) get(ctx context.Context, repo name.Repository, path string, header http.Header) (*http.Response, error) {
	s, err := c.session(ctx, repo, transport.PullScope)
	if err != nil {
		return nil, err
	}
	// The session knows whether it is http; https is what it replaces.
	url := "https://" + repo.RegistryStr() + "/v2/" + repo.RepositoryStr() + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	return s.http.Do(req)
}
