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
	Tokens
	bearer bool

	mu      sync.Mutex
	tokens  map[string]*token
	refresh string // the refresh token that is good now
}

type token struct {
	scopes map[string]bool
	uses   int
}

// Tokens is how a token server behaves. It is strict: an empty parameter, or one that it did not ask for, is a bad request.
type Tokens struct {
	User, Password string // both "" is anybody
	// RefreshToken is accepted in a POST (OAuth2) and makes GET without a password worthless; "" has no OAuth2.
	RefreshToken string
	// Rotate makes a refresh token good for one exchange, whose answer has the next one.
	Rotate bool
	// NoOAuth is the status of the answer to a POST where there is no OAuth2; 0 is 404.
	NoOAuth int
	// Challenge writes the values of WWW-Authenticate; nil is one with spaces after its commas, as real registries send it.
	Challenge func(realm, scope string) []string
	// Answer is the answer that has a token in it; nil calls it access_token, as some real ones do.
	Answer func(token string) any
	// Uses is for how many requests a token is good; 0 is any number.
	Uses int
}

// RequireBasic makes the server ask for a name and a password (RFC 7617).
func (s *Server) RequireBasic(user, password string) {
	s.setAuth(&auth{Tokens: Tokens{User: user, Password: password}})
}

// RequireBearer makes the server ask for tokens, which it gives out itself under /token for a name and a password, or to anybody
// if both are "".
func (s *Server) RequireBearer(user, password string) {
	s.RequireTokens(Tokens{User: user, Password: password})
}

// RequireTokens makes the server ask for tokens, which it gives out itself under /token.
func (s *Server) RequireTokens(t Tokens) {
	s.setAuth(&auth{Tokens: t, bearer: true, tokens: map[string]*token{}, refresh: t.RefreshToken})
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
	a.tokens = map[string]*token{}
}

var repositoryOf = regexp.MustCompile(`^/v2/(.+)/(?:blobs|manifests|tags|referrers)/`)

// admit reports whether the registry may answer; if not, it has answered itself.
func (a *auth) admit(w http.ResponseWriter, r *http.Request, s *Server) bool {
	if a.bearer && r.URL.Path == "/token" {
		a.giveToken(w, r)
		return false
	}
	challenges := []string{`Basic realm="registrytest"`}
	if !a.bearer {
		if user, password, ok := r.BasicAuth(); ok && user == a.User && password == a.Password {
			return true
		}
		if a.Challenge != nil {
			challenges = a.Challenge("", "")
		}
	} else {
		repository, action := "", "pull"
		if m := repositoryOf.FindStringSubmatch(r.URL.Path); m != nil {
			repository = "repository:" + m[1] + ":"
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				action = "push"
			}
		}
		if a.good(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), repository, action) {
			return true
		}
		scope := repository
		switch {
		case repository == "":
		case action == "push":
			scope += "pull,push"
		default:
			scope += "pull"
		}
		write := a.Challenge
		if write == nil {
			write = func(realm, scope string) []string {
				text := fmt.Sprintf(`Bearer realm="%s", service="registrytest"`, realm)
				if scope != "" {
					text += fmt.Sprintf(`, scope="%s"`, scope)
				}
				return []string{text}
			}
		}
		challenges = write(s.URL+"/token", scope)
	}
	for _, c := range challenges {
		w.Header().Add("WWW-Authenticate", c)
	}
	Answer(http.StatusUnauthorized, "", "", `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)(w, r, nil)
	return false
}

func (a *auth) good(text, repository, action string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tokens[text]
	if t == nil || repository != "" && !t.scopes[repository+action] {
		return false
	}
	t.uses++
	return a.Uses == 0 || t.uses <= a.Uses
}

func (a *auth) giveToken(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, message string) {
		Answer(status, "", "", fmt.Sprintf(`{"errors":[{"code":"UNAUTHORIZED","message":%q}]}`, message))(w, r, nil)
	}
	if err := r.ParseForm(); err != nil {
		fail(http.StatusBadRequest, "no form")
		return
	}
	for key, values := range r.Form {
		for _, value := range values {
			if value == "" {
				fail(http.StatusBadRequest, key+" is empty")
				return
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Method == http.MethodPost {
		switch {
		case a.RefreshToken == "":
			status := a.NoOAuth
			if status == 0 {
				status = http.StatusNotFound
			}
			fail(status, "there is no OAuth2 here")
			return
		case r.PostForm.Get("grant_type") != "refresh_token" || r.PostForm.Get("refresh_token") != a.refresh:
			fail(http.StatusUnauthorized, "wrong refresh token")
			return
		}
		if a.Rotate {
			a.refresh = rand.Text()
		}
	} else if user, password, _ := r.BasicAuth(); user != a.User || password != a.Password {
		fail(http.StatusUnauthorized, "wrong name or password")
		return
	}
	text := rand.Text()
	scopes := map[string]bool{}
	for _, field := range r.Form["scope"] {
		for scope := range strings.FieldsSeq(field) {
			kind, actions, _ := cutLast(scope, ":")
			for action := range strings.SplitSeq(actions, ",") {
				scopes[kind+":"+action] = true
			}
		}
	}
	a.tokens[text] = &token{scopes: scopes}
	var answer any = map[string]any{"access_token": text, "expires_in": 300}
	if a.Answer != nil {
		answer = a.Answer(text)
	} else if a.Rotate && r.Method == http.MethodPost {
		answer = map[string]any{"access_token": text, "refresh_token": a.refresh}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}
