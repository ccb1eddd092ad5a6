package registry_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/credentials"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

func TestParseRegistry(t *testing.T) {
	for text, want := range map[string]string{
		"ghcr.io": "ghcr.io", "GHCR.io": "ghcr.io", "https://ghcr.io": "ghcr.io", "https://ghcr.io/": "ghcr.io", "https://ghcr.io/v2/": "ghcr.io",
		"localhost": "localhost", "localhost:5000": "localhost:5000", "[::1]:5000": "[::1]:5000", "127.0.0.1:5000": "127.0.0.1:5000",
		"docker.io": "index.docker.io", "index.docker.io": "index.docker.io", "registry-1.docker.io": "index.docker.io", "https://index.docker.io/v1/": "index.docker.io",
	} {
		got, err := registry.ParseRegistry(text)
		if err != nil || got.RegistryStr() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for text, words := range map[string]string{
		"": "empty", "ghcr.io/acme": "it has a path", "ghcr": "no host name", "ghcr.io:x": "no port", "gh cr.io": "no host name",
	} {
		_, err := registry.ParseRegistry(text)
		wantError(t, err, diagnostic.Usage, words)
	}
	_, err := registry.ParseRegistry("bob:hunter22@ghcr.io")
	wantError(t, err, diagnostic.Usage, "it has an @")
	noSecrets(t, err, "hunter22")
}

func registryOf(t *testing.T, s *registrytest.Server) name.Registry {
	t.Helper()
	r, err := registry.ParseRegistry(s.Host)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLogin(t *testing.T) {
	const user, password = "bob", "hunter22-secret"
	for _, c := range []struct {
		name     string
		require  func(s *registrytest.Server)
		password string
		kind     diagnostic.Kind // 0: it works
		words    string
		open     bool // the registry asks nobody
	}{
		{"basic", func(s *registrytest.Server) { s.RequireBasic(user, password) }, password, 0, "", false},
		{"basic, wrong", func(s *registrytest.Server) { s.RequireBasic(user, password) }, "wrong-secret", diagnostic.Denied, "does not accept this name and password", false},
		{"bearer", func(s *registrytest.Server) { s.RequireBearer(user, password) }, password, 0, "", false},
		{"bearer, wrong", func(s *registrytest.Server) { s.RequireBearer(user, password) }, "wrong-secret", diagnostic.Denied, "does not accept this name and password", false},
		{"token not accepted", func(s *registrytest.Server) {
			s.RequireTokens(registrytest.Tokens{User: user, Password: password, Answer: func(string) any { return map[string]string{"token": "another"} }})
		}, password, diagnostic.Denied, "does not accept", false},
		{"asks nobody", func(s *registrytest.Server) {}, password, 0, "", true},
		{"busy first", func(s *registrytest.Server) {
			s.RequireBasic(user, password)
			s.Inject(registrytest.Fault{Times: 1, Act: registrytest.Busy(503, "")})
		}, password, 0, "", false},
		{"forbidden, and echoes", func(s *registrytest.Server) {
			s.RequireBasic(user, password)
			s.Inject(registrytest.Fault{Skip: 1, Act: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				_, password, _ := r.BasicAuth()
				registrytest.Answer(403, "", "", fmt.Sprintf(`{"errors":[{"code":"DENIED","message":"%s %s"}]}`, password, r.Header.Get("Authorization")))(w, r, nil)
			}})
		}, password, diagnostic.Denied, "403", false},
		{"no registry", func(s *registrytest.Server) { s.Inject(registrytest.Fault{Act: registrytest.Answer(404, "", "", "")}) }, password, diagnostic.NotFound, "404", false},
		{"down", func(s *registrytest.Server) { s.Close() }, password, diagnostic.Unreachable, "refuses connections", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("DOCKER_CONFIG", dir)
			s := newServer(t)
			ref, _, _ := pushed(t, s, kib)
			c.require(s)
			var w warnings
			client := newClient(t, w.option, func(o *registry.Options) { o.Trace = w.add })
			done, err := client.Login(t.Context(), registryOf(t, s), user, c.password)
			file := filepath.Join(dir, "config.json")
			if c.kind != 0 {
				wantError(t, err, c.kind, c.words, "log in to "+s.Host)
				noSecrets(t, err, c.password, base64.StdEncoding.EncodeToString([]byte(user+":"+c.password)))
				if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%v: something was written", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if done != (registry.LoginResult{Place: credentials.Place{File: file}, Verified: !c.open}) {
				t.Errorf("got %+v", done)
			}
			noSecrets(t, errors.New(strings.Join(w.get(), "\n")+" "), c.password)
			if _, err := newClient(t).Document(t.Context(), ref); err != nil {
				t.Error(err)
			}
			places, remains, err := client.Logout(t.Context(), registryOf(t, s))
			if err != nil || len(places) != 1 || places[0].File != file || remains != "" {
				t.Errorf("%v, %q, %v", places, remains, err)
			}
			if !c.open {
				_, err = newClient(t).Document(t.Context(), ref)
				wantError(t, err, diagnostic.Denied, "none were found", "ocipkg login "+s.Host)
			}
			places, remains, err = client.Logout(t.Context(), registryOf(t, s))
			if err != nil || len(places) != 0 || remains != "" {
				t.Errorf("again: %v, %q, %v", places, remains, err)
			}
		})
	}
}

// Credentials that come before what was just written would make a log-in look as if it had not been; after a log-out they remain.
func TestLoginShadowed(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s := newServer(t)
	s.RequireBasic("bob", "hunter22-secret")
	variable := credentials.Variable(s.Host)
	t.Setenv(variable, "alice:other-secret")
	client := newClient(t)
	done, err := client.Login(t.Context(), registryOf(t, s), "bob", "hunter22-secret")
	if err != nil || done.Shadowed != variable {
		t.Errorf("%+v, %v", done, err)
	}
	_, remains, err := client.Logout(t.Context(), registryOf(t, s))
	if err != nil || remains != variable {
		t.Errorf("%q, %v", remains, err)
	}
	// An error says whose credentials these are.
	_, err = newClient(t).Document(t.Context(), parse(t, s.Host+"/acme/zlib:1"))
	wantError(t, err, diagnostic.Denied, "does not accept the credentials found for it ("+variable+")")
	noSecrets(t, err, "other-secret")
}
