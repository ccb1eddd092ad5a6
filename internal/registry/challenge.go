package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/loopback"
)

// challenge is one way in which a server wants to be logged in to (RFC 9110, 11.6.1). Scheme and the parameters' names are in lower
// case.
type challenge struct {
	scheme string
	params map[string]string
}

// parseChallenges reads the values of WWW-Authenticate: any number of challenges in any number of fields. It is as lenient as the
// registries are: spaces around "=", parameters that are empty or not quoted, a string without its closing mark.
func parseChallenges(fields []string) []challenge {
	var list []challenge
	for _, field := range fields {
		list = append(list, parseChallengeField(field)...)
	}
	return list
}

func parseChallengeField(s string) []challenge {
	var list []challenge
	for {
		s = strings.TrimLeft(s, " \t,")
		if s == "" {
			return list
		}
		word := s[:tokenLength(s)]
		if word == "" {
			s = s[1:] // nothing that can stand here; look for the next word
			continue
		}
		s = s[len(word):]
		// A word is a parameter's name if "=" follows, else a scheme.
		rest := strings.TrimLeft(s, " \t")
		if !strings.HasPrefix(rest, "=") {
			list = append(list, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
			continue
		}
		var value string
		value, s = parseValue(strings.TrimLeft(rest[1:], " \t"))
		if len(list) == 0 {
			continue // of no scheme
		}
		params := list[len(list)-1].params
		if _, twice := params[strings.ToLower(word)]; !twice {
			params[strings.ToLower(word)] = value
		}
	}
}

func tokenLength(s string) int {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return i
		}
	}
	return len(s)
}

func parseValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

// header writes a challenge in the one form that everybody reads.
func (c challenge) header() string {
	var params []string
	for _, name := range []string{"realm", "service", "scope"} {
		value := c.params[name]
		if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			continue
		}
		params = append(params, name+`="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value)+`"`)
	}
	scheme := "Basic"
	if c.scheme == "bearer" {
		scheme = "Bearer"
	}
	return strings.TrimSpace(scheme + " " + strings.Join(params, ","))
}

// challenged deals with a 401 of the registry before go-containerregistry sees it, which reads the first challenge of a header
// alone, stops at an empty parameter, and takes the first header of several: it is left one challenge that it understands.
// Tokens come before passwords, as in every other client. The realm is judged here, whoever may ask it later.
func (w *wire) challenged(resp *http.Response) error {
	const field = "Www-Authenticate"
	from := resp.Request.URL
	offered := parseChallenges(resp.Header[field])
	if len(offered) == 0 {
		return nil // a name and a password are sent nevertheless, if there are any
	}
	var basic, bearer *challenge
	for i := range offered {
		switch c := &offered[i]; {
		case c.scheme == "bearer" && c.params["realm"] != "" && bearer == nil:
			bearer = c
		case c.scheme == "basic" && basic == nil:
			basic = c
		}
	}
	switch {
	case bearer != nil:
		realm, err := checkRealm(from, bearer.params["realm"])
		if err != nil {
			return err
		}
		bearer.params["realm"] = w.nameRealm(realm, from)
		w.auth.wanted.Store(true)
		w.client.trace(fmt.Sprintf("%s wants a token of %s", w.host, realm.Host))
		resp.Header[field] = []string{bearer.header()}
	case basic != nil:
		w.auth.wanted.Store(true)
		w.client.trace(fmt.Sprintf("%s wants a name and a password", w.host))
		resp.Header[field] = []string{basic.header()}
	case offered[0].scheme == "bearer":
		return &diagnostic.Error{
			Kind: diagnostic.Unreachable,
			Why:  fmt.Sprintf("%s wants a token and does not say where there is one (no realm)", w.host),
			Do:   "whoever runs the registry has to configure its token server",
		}
	default:
		return &diagnostic.Error{
			Kind: diagnostic.Denied,
			Why:  fmt.Sprintf("%s wants to be logged in to by the method %q, and only Basic and Bearer are possible", w.host, shorten(offered[0].scheme)),
			Do:   "check HTTPS_PROXY and NO_PROXY: this is more often a proxy's method than a registry's",
		}
	}
	return nil
}

// checkRealm judges where a registry wants credentials to be sent for a token. Another host is usual (Docker Hub, GitLab) and no
// more dangerous than the registry itself, which could ask for the password too. But nothing goes out in the clear that would
// not have before, and the request itself may do harm where only this machine or its neighbours can send one: a private address
// may be named by a registry at one, and this machine by one on it. Others that are not for the internet, such as link-local ones,
// where clouds keep their metadata service, only the registry there itself may name.
func checkRealm(registry *url.URL, text string) (*url.URL, error) {
	// Not its text: that may be anything.
	refuse := func(format string, args ...any) (*url.URL, error) {
		return nil, &refusal{why: fmt.Sprintf("%s wants a token to be fetched from ", registry.Host) + fmt.Sprintf(format, args...)}
	}
	realm, err := url.Parse(text)
	if err != nil {
		return refuse("something that is no URL")
	}
	switch {
	case realm.Host == "":
		return refuse("something that is no URL")
	case realm.Scheme != "https" && realm.Scheme != "http":
		return refuse("a %s: URL", shorten(realm.Scheme))
	case realm.Scheme == "http" && registry.Scheme == "https":
		return refuse("%s without TLS", realm.Host)
	case realm.User != nil:
		return refuse("a URL with a user name in it")
	case internalHost(realm.Hostname()) && !mayName(registry.Hostname(), realm.Hostname()):
		return refuse("the private address %s", realm.Host)
	}
	return realm, nil
}

// mayName reports whether a registry may name a token server that is not on the internet.
func mayName(registry, realm string) bool {
	switch {
	case strings.EqualFold(registry, realm): // on any port: GitLab has its registry beside itself
		return true
	case loopback.Host(realm):
		return loopback.Host(registry)
	case private(realm):
		return loopback.Host(registry) || private(registry)
	}
	return false
}

// private reports whether a host is an address of a network that is not the internet (RFC 1918, RFC 4193).
func private(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsPrivate()
}

// nameRealm returns what go-containerregistry is told that the token server is called. It follows a private address on the registry's
// own host and port alone; so for another one that checkRealm lets pass, it is told a stand-in there, under a path that has the
// server's in it, and toRealm sends what comes for that to the server.
func (w *wire) nameRealm(realm, registry *url.URL) string {
	named := *realm
	if internalHost(realm.Hostname()) && realm.Host != w.host {
		named = url.URL{Scheme: registry.Scheme, Host: w.host, Path: "/" + realm.Host + realm.Path, RawQuery: realm.RawQuery}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.realms[origin(realm)+realm.Path] = realm
	w.realms[origin(&named)+named.Path] = realm
	return named.String()
}

// toRealm returns the request with the token server's own address where it has a stand-in's, else the request.
func (w *wire) toRealm(in *http.Request) *http.Request {
	w.mu.Lock()
	realm := w.realms[origin(in.URL)+in.URL.Path]
	w.mu.Unlock()
	if realm == nil || realm.Host == in.URL.Host && realm.Scheme == in.URL.Scheme {
		return in
	}
	out := *in
	u := *realm
	u.RawQuery = in.URL.RawQuery
	out.URL, out.Host = &u, u.Host
	return &out
}

// first returns the request that redirects have led away from.
func first(req *http.Request) *http.Request {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req
}

func (w *wire) isTokenRequest(req *http.Request) bool {
	u := first(req).URL
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.realms[origin(u)+u.Path] != nil
}

// cleanTokenRequest leaves out the empty service that go-containerregistry sends where a challenge names none.
func cleanTokenRequest(req *http.Request) {
	if query := req.URL.Query(); query.Has("service") && query.Get("service") == "" {
		query.Del("service")
		u := *req.URL
		u.RawQuery = query.Encode()
		req.URL = &u
	}
}

// newestRefreshToken puts the refresh token that is good now into a token request: go-containerregistry has asked for it before this
// request's turn, and the exchange before may have ended it.
func (w *wire) newestRefreshToken(req *http.Request) error {
	data, err := io.ReadAll(io.LimitReader(req.Body, maxToken))
	req.Body.Close()
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(data))
	if err != nil {
		return err
	}
	if config, err := w.auth.Authorization(); err == nil && form.Has("refresh_token") && config.IdentityToken != "" {
		form.Set("refresh_token", config.IdentityToken)
	}
	text := form.Encode()
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	return nil
}

// maxToken is the largest answer of a token server that is read, in bytes.
const maxToken = 64 << 10

// token reads a token server's answer and leaves go-containerregistry the token alone. It quotes what it does not understand,
// and it keeps a new refresh token to itself and without a lock, so that is done here: for all sessions with this credential.
func (w *wire) token(resp *http.Response) error {
	server := resp.Request.URL.Host
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxToken+1))
	resp.Body.Close()
	if err != nil {
		return &cutError{err}
	}
	var answer struct {
		Token        string `json:"token"`
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if len(body) > maxToken || json.Unmarshal(body, &answer) != nil {
		return notThis(server, resp.Header.Get("Content-Type"), "token")
	}
	token := answer.Token
	if token == "" {
		token = answer.AccessToken // OAuth2's name for it, which some servers use alone
	}
	w.client.keepSecret(token, answer.RefreshToken)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return &diagnostic.Error{
			Kind: diagnostic.Unreachable,
			Why:  fmt.Sprintf("%s answered without a token in it", server),
			Do:   "run it again later; if it stays so, tell whoever runs the registry",
		}
	}
	if first(resp.Request).Method == http.MethodPost && answer.RefreshToken != "" {
		w.auth.rotate(answer.RefreshToken)
	}
	data, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	resp.ContentLength = int64(len(data))
	resp.Header = http.Header{"Content-Type": {"application/json"}}
	return nil
}
