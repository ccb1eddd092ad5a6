package registry_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

func authConfig(user, password string) authn.AuthConfig {
	return authn.AuthConfig{Username: user, Password: password}
}

func TestAuthentication(t *testing.T) {
	const user, password = "bob", "hunter22-secret"
	basic := func(s *registrytest.Server) { s.RequireBasic(user, password) }
	bearer := func(s *registrytest.Server) { s.RequireBearer(user, password) }
	public := func(s *registrytest.Server) { s.RequireBearer("", "") }
	good, bad := authConfig(user, password), authConfig(user, "wrong-secret")
	for _, c := range []struct {
		name    string
		require func(*registrytest.Server)
		config  authn.AuthConfig
		words   string // "": it works
	}{
		{"B1 anonymous token", public, authn.AuthConfig{}, ""},
		{"B2 basic", basic, good, ""},
		{"B2 basic, none", basic, authn.AuthConfig{}, "none were found"},
		{"B2 basic, wrong", basic, bad, "does not accept the credentials"},
		{"B3 bearer", bearer, good, ""},
		{"B3 bearer, none", bearer, authn.AuthConfig{}, "none were found"},
		{"B3 bearer, wrong", bearer, bad, "does not accept the credentials"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, desc, want := pushed(t, s, 100*kib)
			c.require(s)
			client := newClient(t, withKeychain(keychain{config: c.config}))
			_, err := client.Document(t.Context(), ref)
			if c.words != "" {
				wantError(t, err, diagnostic.Denied, c.words, s.Host, "docker login "+s.Host)
				noSecrets(t, err, password, "wrong-secret", base64.StdEncoding.EncodeToString([]byte(user+":wrong-secret")))
				err = client.Push(t.Context(), ref, image(2, kib), nil)
				wantError(t, err, diagnostic.Denied, c.words, s.Host)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(t.Context(), client, ref, desc)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if err := client.Push(t.Context(), ref, image(2, kib), nil); err != nil {
				t.Error(err)
			}
			if n := len(s.Requests(`^/v2/$`)); n != 2 {
				t.Errorf("%d logins, want one to pull and one to push", n)
			}
		})
	}
}

// The token runs out in the middle of a blob, whose connection then breaks.
func TestTokenExpiresMidPull(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, desc, want := pushed(t, s, 100*kib)
	s.RequireBearer("bob", "hunter22-secret")
	c := newClient(t, withKeychain(keychain{config: authConfig("bob", "hunter22-secret")}))
	if _, err := read(t.Context(), c, ref, desc); err != nil {
		t.Fatal(err)
	}
	s.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Cut(50 * kib)})
	s.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s.ExpireTokens()
		next.ServeHTTP(w, r)
	}})
	got, err := read(t.Context(), c, ref, desc)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := len(s.Requests(`^/token$`)); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}

// A registry, or who answers for it, wants the password sent elsewhere.
func TestHostileRealm(t *testing.T) {
	t.Parallel()
	const password = "hunter22-secret"
	login := withKeychain(keychain{config: authConfig("bob", password)})
	for name, c := range map[string]struct{ realm, words string }{
		"B5 another port":   {"http://127.0.0.1:1/token", "private or link-local"},
		"B5 private IP":     {"https://169.254.169.254/token", "private or link-local"},
		"B5 not http":       {"file:///etc/passwd", "not allowed"},
		"B5 missing":        {"", "realm"},
		"B5 http elsewhere": {"http://registry.invalid/token", "without TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, _, _ := pushed(t, s, kib)
			challenge := fmt.Sprintf("Bearer realm=%q,service=\"x\"", c.realm)
			if c.realm == "" {
				challenge = `Bearer service="x"`
			}
			s.Inject(registrytest.Fault{Act: registrytest.Answer(401, "WWW-Authenticate", challenge, "")})
			_, err := newClient(t, login).Document(t.Context(), ref)
			if err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v, want %q", err, c.words)
			}
			noSecrets(t, err, password)
		})
	}
	t.Run("B5 redirected token request", func(t *testing.T) {
		t.Parallel()
		s, other := newServer(t), newServer(t)
		ref, _, _ := pushed(t, s, kib)
		s.RequireBearer("bob", password)
		s.Inject(registrytest.Fault{Path: `^/token$`, Act: registrytest.RedirectTo(other)})
		_, err := newClient(t, login).Document(t.Context(), ref)
		if err == nil {
			t.Error("no error")
		}
		noSecrets(t, err, password)
		for _, r := range other.Requests("") {
			t.Errorf("the other server got %s %s with %v", r.Method, r.Path, r.Header)
		}
	})
	t.Run("B5 refresh token on 307", func(t *testing.T) {
		t.Parallel()
		s, other := newServer(t), newServer(t)
		ref, _, _ := pushed(t, s, kib)
		s.RequireBearer("bob", password)
		s.Inject(registrytest.Fault{Path: `^/token$`, Act: registrytest.RedirectTo(other)})
		_, err := newClient(t, withKeychain(keychain{config: authn.AuthConfig{IdentityToken: password}})).Document(t.Context(), ref)
		if err == nil {
			t.Error("no error")
		}
		noSecrets(t, err, password)
		if n := len(other.Requests("")); n != 0 {
			t.Errorf("the other server got %d requests", n)
		}
	})
}

// Docker's configuration, read for real; helpers are programs in PATH.
func TestHelpers(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("docker-credential-works", "#!/bin/sh\ncat >/dev/null\necho '{\"ServerURL\":\"x\",\"Username\":\"bob\",\"Secret\":\"hunter22-secret\"}'\n", 0o755)
	write("docker-credential-garbage", "#!/bin/sh\ncat >/dev/null\necho 'token=hunter22-secret'\n", 0o755)
	write("docker-credential-fails", "#!/bin/sh\ncat >/dev/null\necho 'hunter22-secret is locked'\nexit 3\n", 0o755)
	write("docker-credential-hangs", "#!/bin/sh\nexec sleep 1\n", 0o755)
	for _, c := range []struct {
		name, config string // the config has %s for the host
		warning      string // "": none, and it logs in
	}{
		{"B9 password in the file", `{"auths":{"%s":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("bob:hunter22-secret")) + `"}}}`, ""},
		{"B9 helper", `{"credHelpers":{"%s":"works"}}`, ""},
		{"B6 missing", `{"credHelpers":{"%s":"nowhere"}}`, "docker-credential-nowhere"},
		{"B6 garbage", `{"credHelpers":{"%s":"garbage"}}`, "not JSON"},
		{"B6 fails", `{"credHelpers":{"%s":"fails"}}`, "exit status 3"},
		{"B6 hangs", `{"credHelpers":{"%s":"hangs"}}`, "no answer within 300ms"},
		{"B6 broken configuration", `{"auths":%s`, "config"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			ref, desc, want := pushed(t, s, kib)
			write("config.json", fmt.Sprintf(c.config, s.Host), 0o600)
			if c.warning == "" {
				s.RequireBasic("bob", "hunter22-secret")
			}
			var w warnings
			client := newClient(t, w.option, func(o *registry.Options) {
				if c.name == "B6 hangs" {
					o.HelperTimeout = 300 * time.Millisecond
				}
			})
			for range 2 {
				got, err := read(t.Context(), client, ref, desc)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			}
			list := w.get()
			if c.warning == "" {
				if len(list) != 0 {
					t.Errorf("warnings %q", list)
				}
				return
			}
			if len(list) != 1 || !strings.HasPrefix(list[0], "credential helper for "+s.Host) || !strings.Contains(list[0], c.warning) ||
				!strings.HasSuffix(list[0], "; going on without credentials") || strings.Contains(list[0], "hunter22") {
				t.Errorf("warnings %q, want one with %q", list, c.warning)
			}
		})
	}
}

func TestHangingKeychain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, _, _ := pushed(t, s, kib)
	var w warnings
	c := newClient(t, w.option, withKeychain(keychain{hang: true}), func(o *registry.Options) { o.HelperTimeout = 50 * time.Millisecond })
	if _, err := c.Document(t.Context(), ref); err != nil || len(w.get()) != 1 {
		t.Errorf("%v, warnings %q", err, w.get())
	}
}

// B7: a registry that repeats what it was sent must not get the secret into our words.
func TestNoSecretsInErrors(t *testing.T) {
	t.Parallel()
	const password = "hunter22-secret"
	encoded := base64.StdEncoding.EncodeToString([]byte("bob:" + password))
	echo := func(status int) registrytest.Act {
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			registrytest.Answer(status, "", "", fmt.Sprintf(`{"errors":[{"code":"DENIED","message":"I do not like %s nor %s"}]}`, r.Header.Get("Authorization"), password))(w, r, nil)
		}
	}
	for _, status := range []int{400, 401, 403, 404, 429, 500, 503} {
		s := newServer(t)
		ref, desc, _ := pushed(t, s, kib)
		s.RequireBasic("bob", password)
		s.Inject(registrytest.Fault{Path: blobs + "|" + manifests, Act: echo(status)})
		c := newClient(t, withKeychain(keychain{config: authConfig("bob", password)}))
		_, err := c.Document(t.Context(), ref)
		noSecrets(t, err, password, encoded)
		_, err = read(t.Context(), c, ref, desc)
		noSecrets(t, err, password, encoded)
		err = c.Push(t.Context(), ref, image(3, kib), nil)
		noSecrets(t, err, password, encoded)
	}
	var w warnings
	s := newServer(t)
	ref, _, _ := pushed(t, s, kib)
	broken := keychain{err: errors.New("error getting credentials - err: exit status 1, out: `hunter22-secret`")}
	if _, err := newClient(t, w.option, withKeychain(broken)).Document(t.Context(), ref); err != nil {
		t.Error(err)
	}
	if list := w.get(); len(list) != 1 || strings.Contains(list[0], password) || !strings.Contains(list[0], "exit status 1") {
		t.Errorf("warnings %q", list)
	}
}
