package registrytest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
)

// auth is how the server asks for credentials.
type auth struct {
	user, password string // both "" is anonymous
	bearer         bool

	mu     sync.Mutex
	tokens map[string]map[string]bool // token to its scopes
}

// RequireBasic makes the server ask for a name and a password (RFC 7617).
func (s *Server) RequireBasic(user, password string) {
	s.setAuth(&auth{user: user, password: password})
}

// RequireBearer makes the server ask for tokens, which it gives out itself under /token for a name and a password, or to anybody
// if both are "". Its challenge has spaces after the commas, and its answer calls the token access_token: real registries do
// both, and clients have stumbled over either.
func (s *Server) RequireBearer(user, password string) {
	s.setAuth(&auth{user: user, password: password, bearer: true, tokens: map[string]map[string]bool{}})
}

func (s *Server) setAuth(a *auth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth = a
}

// ExpireTokens makes every token given out so far worthless.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	a := s.auth
	s.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens = map[string]map[string]bool{}
}

var repositoryOf = regexp.MustCompile(`^/v2/(.+)/(?:blobs|manifests|tags|referrers)/`)

// admit reports whether the registry may answer; if not, it has answered itself.
func (a *auth) admit(w http.ResponseWriter, r *http.Request, s *Server) bool {
	if a.bearer && r.URL.Path == "/token" {
		a.giveToken(w, r)
		return false
	}
	challenge := `Basic realm="registrytest"`
	if !a.bearer {
		if user, password, ok := r.BasicAuth(); ok && user == a.user && password == a.password {
			return true
		}
	} else {
		scope := ""
		if m := repositoryOf.FindStringSubmatch(r.URL.Path); m != nil {
			action := "pull"
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				action = "push"
			}
			scope = "repository:" + m[1] + ":" + action
		}
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		a.mu.Lock()
		scopes, known := a.tokens[token]
		a.mu.Unlock()
		if known && (scope == "" || scopes[scope]) {
			return true
		}
		challenge = fmt.Sprintf(`Bearer realm="%s/token", service="registrytest"`, s.URL)
		if scope != "" {
			challenge += fmt.Sprintf(`, scope="%s"`, scope)
		}
	}
	w.Header().Set("WWW-Authenticate", challenge)
	Answer(http.StatusUnauthorized, "", "", `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)(w, r, nil)
	return false
}

func (a *auth) giveToken(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != a.user || password != a.password {
		Answer(http.StatusUnauthorized, "", "", `{"errors":[{"code":"UNAUTHORIZED","message":"wrong name or password"}]}`)(w, r, nil)
		return
	}
	token := rand.Text()
	scopes := map[string]bool{}
	for _, field := range r.URL.Query()["scope"] {
		for scope := range strings.FieldsSeq(field) {
			kind, actions, _ := cutLast(scope, ":")
			for action := range strings.SplitSeq(actions, ",") {
				scopes[kind+":"+action] = true
			}
		}
	}
	a.mu.Lock()
	a.tokens[token] = scopes
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "expires_in": 300}) // the client may be gone
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}
