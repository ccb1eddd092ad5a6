package registry_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/credentials"
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
			pull := 1
			if c.config == (authn.AuthConfig{}) {
				pull = 0 // the first answer says how to log in
			}
			if n := len(s.Requests(`^/v2/$`)); n != pull+1 {
				t.Errorf("asked %d times how to log in, want %d to pull and one to push", n, pull)
			}
		})
	}
}

// Who has no credentials asks for what is wanted, and only where that comes to nothing how to log in.
func TestNobodyIsAskedForALogin(t *testing.T) {
	tokens := func(s *registrytest.Server) {
		s.RequireTokens(registrytest.Tokens{Challenge: func(realm, _ string) []string {
			if strings.HasPrefix(realm, "https") {
				realm = "https://10.0.0.1/token"
			}
			return []string{fmt.Sprintf(`Bearer realm=%q,service="registrytest"`, realm)}
		}})
	}
	strangers := func(status int, field, value, body string) func(*registrytest.Server) {
		return func(s *registrytest.Server) {
			tokens(s)
			s.Inject(registrytest.Fault{Path: manifests, Times: 1, Act: registrytest.Answer(status, field, value, body)})
		}
	}
	const askedAfterAll = ", v2 401, token 200, 1 200"
	for _, c := range []struct {
		name    string
		prepare func(*registrytest.Server)
		want    string // the requests, each as its path's last part and the status
	}{
		{"open", func(*registrytest.Server) {}, "1 200"},
		{"with tokens for everybody", tokens, "1 401, token 200, 1 200"},
		{"silent about its tokens", strangers(404, "", "", ""), "1 404" + askedAfterAll},
		{"a challenge that says nothing", strangers(401, "", "", ""), "1 401" + askedAfterAll},
		{"a challenge that asks for another login", strangers(401, "Www-Authenticate", `Basic realm="a registry"`, ""), "1 401" + askedAfterAll},
		{"a challenge that nobody understands", strangers(401, "Www-Authenticate", "Negotiate", ""), "1 401" + askedAfterAll},
		{"a page for people", strangers(200, "Content-Type", "text/html", "<html>Please log in"), "1 200" + askedAfterAll},
		{"a login elsewhere", strangers(302, "Location", "/login", ""), "1 302" + askedAfterAll},
		{"a login where the question is asked", strangers(302, "Location", "/v2/", ""), "1 302" + askedAfterAll},
		{"confused by strangers", strangers(500, "", "", ""), "1 500" + askedAfterAll},
		{"busy", func(s *registrytest.Server) {
			s.Inject(registrytest.Fault{Path: manifests, Times: 1, Act: registrytest.Busy(503, "")})
		}, "1 503, v2 200, 1 200"},
		{"too busy to be asked anything", func(s *registrytest.Server) {
			s.Inject(registrytest.Fault{Path: manifests, Times: 1, Act: registrytest.Busy(429, "")})
		}, "1 429, 1 200"},
		{"gone for strangers", func(s *registrytest.Server) {
			tokens(s)
			s.Inject(registrytest.Fault{Path: manifests, Times: 1, Act: registrytest.Unanswered()})
		}, "1 0" + askedAfterAll},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, on := range []string{"loopback", "10.0.0.1"} {
				s, host, change := newServer(t), "", []func(*registry.Options){withKeychain(keychain{})}
				if host = s.Host; on != "loopback" {
					s = registrytest.NewTLS(t.TempDir())
					t.Cleanup(s.Close)
					host = on
					change = append(change, func(o *registry.Options) {
						o.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CertPool(), ServerName: "example.com"}, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
							return new(net.Dialer).DialContext(ctx, network, s.Host)
						}}
					})
				}
				ref, src := parse(t, host+"/acme/zlib:1"), image(1, kib)
				if err := newClient(t, change...).Push(t.Context(), ref, src, nil); err != nil {
					t.Fatal(err)
				}
				s.Clear()
				c.prepare(s)
				client := newClient(t, change...)
				if _, err := client.Document(t.Context(), ref); err != nil {
					t.Errorf("%s: %v", on, err)
					continue
				}
				var got []string
				for _, r := range s.Requests("") {
					got = append(got, fmt.Sprintf("%s %d", path.Base(r.Path), r.Status))
				}
				if got := strings.Join(got, ", "); got != c.want {
					t.Errorf("%s: %s, want %s", on, got, c.want)
				}
				desc := src.blobs[1]
				if got, err := read(t.Context(), client, ref, desc); err != nil || !bytes.Equal(got, src.bytes[desc.Digest]) {
					t.Errorf("%s: %d bytes, %v", on, len(got), err)
				}
			}
		})
	}
}

// A registry that gives documents to everybody and wants a login for blobs.
func TestLoginForBlobsAlone(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403, 404} {
		s := newServer(t)
		ref, desc, want := pushed(t, s, kib)
		client := newClient(t, withKeychain(keychain{}))
		if _, err := client.Document(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		s.RequireBearer("", "")
		if status != 401 {
			s.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Answer(status, "", "", "")})
		}
		if got, err := read(t.Context(), client, ref, desc); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d: %d bytes, %v", status, len(got), err)
		}
		if n := len(s.Requests(`^/token$`)); n != 1 {
			t.Errorf("%d: %d tokens, want 1", status, n)
		}
	}
}

// On this machine plain HTTP comes first; whatever a registry that speaks TLS makes of it, TLS comes next.
func TestTLSOnLoopback(t *testing.T) {
	for name, answer := range map[string]func(host string) string{ // to plain HTTP; nil: none, and the connection stays
		"closes": func(string) string { return "" },
		"redirects": func(host string) string {
			return "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://" + host + "/v2/acme/zlib/manifests/1\r\nContent-Length: 0\r\n\r\n"
		},
		"has another server there": func(string) string {
			return "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
		},
		"has another server there, which is down": func(string) string { return "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n" },
		"is silent": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := registrytest.NewTLS(t.TempDir())
			t.Cleanup(s.Close)
			address := accepting(t, func(conn net.Conn) {
				r := bufio.NewReader(conn)
				first, err := r.Peek(1)
				switch {
				case err != nil:
				case first[0] == 22: // a TLS handshake
					if there, err := net.Dial("tcp", s.Host); err == nil {
						tunnel(conn, r, there)
					}
				case answer == nil:
					_, _ = io.Copy(io.Discard, r)
				default:
					if req, err := http.ReadRequest(r); err == nil {
						_, _ = io.WriteString(conn, answer(req.Host))
					}
				}
			})
			ref, src := parse(t, address+"/acme/zlib:1"), image(1, kib)
			if err := newClient(t, withKeychain(keychain{}), trusting(s)).Push(t.Context(), ref, src, nil); err != nil {
				t.Fatal(err)
			}
			s.Clear()
			if _, err := newClient(t, withKeychain(keychain{}), trusting(s)).Document(t.Context(), ref); err != nil {
				t.Error(err)
			}
			if log := s.Requests(manifests); len(log) != 1 {
				t.Errorf("%d requests for the manifest, want 1", len(log))
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
		"B5 private IP":     {"https://169.254.169.254/token", "private address 169.254.169.254"},
		"B5 not http":       {"file:///etc/passwd", "no URL"},
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

// A token server on another port of the registry's private address, or at another one, which go-containerregistry itself follows
// nowhere. The password goes there and nowhere else.
func TestTokenServerElsewhere(t *testing.T) {
	t.Parallel()
	const password, refresh = "hunter22-secret", "refresh-22-secret"
	forPassword := keychain{config: authConfig("bob", password)}
	for name, c := range map[string]struct {
		realm    string // HOST is the token server's
		tokens   registrytest.Tokens
		keychain keychain
		method   string
	}{
		"password":             {"http://HOST/token", registrytest.Tokens{User: "bob", Password: password}, forPassword, "GET"},
		"anybody":              {"http://HOST/token", registrytest.Tokens{}, keychain{}, "GET"},
		"refresh token":        {"http://HOST/token", registrytest.Tokens{RefreshToken: refresh}, keychain{config: authn.AuthConfig{IdentityToken: refresh}}, "POST"},
		"with a query":         {"http://HOST/token?account=a%20b", registrytest.Tokens{User: "bob", Password: password}, forPassword, "GET"},
		"by name":              {"http://localhost:PORT/token", registrytest.Tokens{User: "bob", Password: password}, forPassword, "GET"},
		"by another's address": {"http://127.9.9.9:PORT/token", registrytest.Tokens{User: "bob", Password: password}, forPassword, "GET"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, desc, want := pushed(t, s, kib)
			front := registrytest.NewFront(s.Host) // it has the registry give out the tokens
			t.Cleanup(front.Close)
			_, port, _ := strings.Cut(front.Host, ":")
			realm := strings.NewReplacer("HOST", front.Host, "PORT", port).Replace(c.realm)
			if strings.Contains(realm, "127.9.9.9") {
				listener, err := net.Listen("tcp", "127.9.9.9:0")
				if err != nil {
					t.Skip("127.0.0.1 is the only loopback address here:", err)
				}
				other := &httptest.Server{Listener: listener, Config: &http.Server{Handler: front}}
				other.Start()
				t.Cleanup(other.Close)
				realm = "http://" + listener.Addr().String() + "/token"
			}
			c.tokens.Challenge = func(_, scope string) []string {
				return []string{fmt.Sprintf(`Bearer realm=%q,service="registrytest",scope=%q`, realm, scope)}
			}
			s.RequireTokens(c.tokens)
			got, err := read(t.Context(), newClient(t, withKeychain(c.keychain)), ref, desc)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			asked := front.Requests("")
			if len(asked) == 0 {
				t.Error("the token server was not asked")
			}
			for _, r := range asked {
				if r.Path != "/token" || r.Method != c.method || strings.Contains(c.realm, "account=") && !strings.Contains(r.Query, "account=a+b") {
					t.Errorf("the token server was asked %s %s?%s", r.Method, r.Path, r.Query)
				}
			}
			for _, r := range s.Requests("") {
				if r.Path != "/token" && (!strings.HasPrefix(r.Path, "/v2/") || strings.HasPrefix(r.Header.Get("Authorization"), "Basic")) {
					t.Errorf("the registry got %s %s with %v", r.Method, r.Path, r.Header)
				}
			}
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		ref, _, _ := pushed(t, s, kib)
		front := registrytest.NewFront(s.Host)
		t.Cleanup(front.Close)
		s.RequireTokens(registrytest.Tokens{User: "bob", Password: "another", Challenge: func(_, scope string) []string {
			return []string{fmt.Sprintf(`Bearer realm="http://%s/token",service="registrytest"`, front.Host)}
		}})
		_, err := newClient(t, withKeychain(forPassword)).Document(t.Context(), ref)
		wantError(t, err, diagnostic.Denied, front.Host+" answered 401", s.Host)
		noSecrets(t, err, password)
	})
	// It may not send the password on, whether to another or, by a path alone, to what go-containerregistry takes it for.
	t.Run("redirected", func(t *testing.T) {
		t.Parallel()
		s, other := newServer(t), newServer(t)
		ref, _, _ := pushed(t, s, kib)
		front := registrytest.NewFront(s.Host)
		t.Cleanup(front.Close)
		s.RequireTokens(registrytest.Tokens{User: "bob", Password: password, Challenge: func(_, scope string) []string {
			return []string{fmt.Sprintf(`Bearer realm="http://%s/token",service="registrytest"`, front.Host)}
		}})
		for _, location := range []string{other.URL + "/token", "/elsewhere"} {
			front.Clear()
			front.Inject(registrytest.Fault{Path: `^/token$`, Act: registrytest.Answer(307, "Location", location, "")})
			_, err := newClient(t, withKeychain(forPassword)).Document(t.Context(), ref)
			if err == nil {
				t.Error("no error")
			}
			noSecrets(t, err, password)
		}
		for _, r := range append(other.Requests(""), s.Requests(`^/elsewhere$`)...) {
			t.Errorf("%s %s with %v", r.Method, r.Path, r.Header)
		}
	})
}

// Docker's configuration, read for real; helpers are programs in PATH. The client goes on without credentials and says so once.
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
	write("docker-credential-fails", "#!/bin/sh\ncat >/dev/null\necho 'hunter22-secret is locked'\nexit 3\n", 0o755)
	for _, c := range []struct {
		name, config string // the config has %s for the host
		warning      string // "": none, and it logs in
	}{
		{"B9 password in the file", `{"auths":{"%s":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("bob:hunter22-secret")) + `"}}}`, ""},
		{"B9 helper", `{"credHelpers":{"%s":"works"}}`, ""},
		{"B6 missing", `{"credHelpers":{"%s":"nowhere"}}`, "docker-credential-nowhere"},
		{"B6 fails", `{"credHelpers":{"%s":"fails"}}`, "docker-credential-fails"},
		{"B6 broken configuration", `{"auths":%s`, "config.json: line 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			ref, desc, want := pushed(t, s, kib)
			write("config.json", fmt.Sprintf(c.config, s.Host), 0o600)
			if c.warning == "" {
				s.RequireBasic("bob", "hunter22-secret")
			}
			var w warnings
			client := newClient(t, w.option)
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
			if len(list) != 1 || !strings.HasPrefix(list[0], "credentials for "+s.Host) || !strings.Contains(list[0], c.warning) || strings.Contains(list[0], "hunter22") {
				t.Errorf("warnings %q, want one with %q", list, c.warning)
			}
		})
	}
}

// The forms in which registries ask for tokens and give them out; each pulls and pushes.
func TestTokenForms(t *testing.T) {
	t.Parallel()
	const user, password, refresh = "bob", "hunter22-secret", "refresh-secret-77"
	good := authConfig(user, password)
	identity := authn.AuthConfig{IdentityToken: refresh}
	challenge := func(format string) func(realm, scope string) []string {
		return func(realm, scope string) []string {
			text := strings.NewReplacer("REALM", realm, "SCOPE", scope).Replace(format)
			if scope == "" {
				text = strings.NewReplacer(`, scope=""`, "", `,scope=""`, "").Replace(text)
			}
			return strings.Split(text, "\n")
		}
	}
	answer := func(format string) func(string) any {
		return func(token string) any { return json.RawMessage(strings.ReplaceAll(format, "TOKEN", token)) }
	}
	for _, c := range []struct {
		name   string
		tokens registrytest.Tokens
		config authn.AuthConfig
	}{
		{"B1 anybody", registrytest.Tokens{}, authn.AuthConfig{}},
		{"Docker Hub: no spaces, actions in the scope's quotes", registrytest.Tokens{User: user, Password: password, Challenge: challenge(`Bearer realm="REALM",service="registrytest",scope="SCOPE"`)}, good},
		{"scheme in other case", registrytest.Tokens{User: user, Password: password, Challenge: challenge(`bEaReR realm="REALM",service="registrytest",scope="SCOPE"`)}, good},
		{"no service", registrytest.Tokens{User: user, Password: password, Challenge: challenge(`Bearer realm="REALM",scope="SCOPE"`)}, good},
		{"empty service", registrytest.Tokens{User: user, Password: password, Challenge: challenge(`Bearer realm="REALM",service="",scope="SCOPE"`)}, good},
		{"no scope (GitLab)", registrytest.Tokens{User: user, Password: password, Challenge: challenge(`Bearer realm="REALM",service="registrytest"`)}, good},
		{"empty scope before the rest", registrytest.Tokens{User: user, Password: password, Challenge: challenge(`Bearer scope="", realm="REALM",service="registrytest"`)}, good},
		{"two in one field, Basic first", registrytest.Tokens{User: user, Password: password, Challenge: challenge(`Basic realm="x", Bearer realm="REALM",service="registrytest",scope="SCOPE"`)}, good},
		{"two fields, Basic first", registrytest.Tokens{User: user, Password: password, Challenge: challenge("Basic realm=\"x\"\nBearer realm=\"REALM\",service=\"registrytest\",scope=\"SCOPE\"")}, good},
		{"two fields, for anybody", registrytest.Tokens{Challenge: challenge("Negotiate\nBasic realm=\"x\"\nBearer realm=\"REALM\",service=\"registrytest\",scope=\"SCOPE\"")}, authn.AuthConfig{}},
		{"token alone", registrytest.Tokens{User: user, Password: password, Answer: answer(`{"token":"TOKEN"}`)}, good},
		{"access_token alone, no expires_in", registrytest.Tokens{User: user, Password: password, Answer: answer(`{"access_token":"TOKEN"}`)}, good},
		{"both, and a refresh token nobody asked for", registrytest.Tokens{User: user, Password: password, Answer: answer(`{"token":"TOKEN","access_token":"TOKEN","refresh_token":"useless","expires_in":60,"issued_at":"2020-01-01T00:00:00Z"}`)}, good},
		{"expires_in of another kind", registrytest.Tokens{User: user, Password: password, Answer: answer(`{"token":"TOKEN","expires_in":"300"}`)}, good},
		{"expires_in of no time", registrytest.Tokens{User: user, Password: password, Answer: answer(`{"token":"TOKEN","expires_in":0}`)}, good},
		{"B3 good for one request", registrytest.Tokens{User: user, Password: password, Uses: 1}, good},
		{"B3 good for two requests", registrytest.Tokens{User: user, Password: password, Uses: 2}, good},
		{"B4 refresh token", registrytest.Tokens{User: "nobody", Password: "else", RefreshToken: refresh}, identity},
		{"B4 refresh token, a new one each time", registrytest.Tokens{User: "nobody", Password: "else", RefreshToken: refresh, Rotate: true, Uses: 1}, identity},
		{"B4 no OAuth2 here: 404", registrytest.Tokens{}, identity},
		{"B4 no OAuth2 here: 405", registrytest.Tokens{NoOAuth: 405}, identity},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, desc, want := pushed(t, s, 100*kib)
			s.RequireTokens(c.tokens)
			client := newClient(t, withKeychain(keychain{config: c.config}))
			if _, err := client.Document(t.Context(), ref); err != nil {
				t.Error(err)
			}
			got, err := read(t.Context(), client, ref, desc)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if c.tokens.Uses == 1 || c.tokens.Uses == 2 {
				return // uploads at the same time would take each other's token away
			}
			if err := client.Push(t.Context(), ref, image(2, kib, 300*kib), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// Docker Hub: an image without a host, credentials under the name that docker gives it, and a token server on another host.
func TestDockerHub(t *testing.T) {
	const user, password = "bob", "hunter22-secret"
	s := registrytest.NewTLS(t.TempDir())
	t.Cleanup(s.Close)
	if err := newClient(t, trusting(s)).Push(t.Context(), parse(t, s.Host+"/library/zlib:1"), image(1, kib), nil); err != nil {
		t.Fatal(err)
	}
	s.RequireTokens(registrytest.Tokens{User: user, Password: password, Challenge: func(_, scope string) []string {
		text := `Bearer realm="https://auth.docker.io/token",service="registry.docker.io"`
		if scope != "" {
			text += `,scope="` + scope + `"`
		}
		return []string{text}
	}})
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	config := fmt.Sprintf(`{"auths":{"https://index.docker.io/v1/":{"auth":%q},"auth.docker.io":{"auth":"bm90OnRoaXM="}}}`, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	hosts := map[string]string{} // and the scheme of their Authorization
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.Host)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its certificate is for other names
	}
	c := newClient(t, func(o *registry.Options) {
		o.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			mu.Lock()
			hosts[r.URL.Host] = scheme
			mu.Unlock()
			return transport.RoundTrip(r)
		})
	})
	for _, text := range []string{"zlib:1", "docker.io/library/zlib:1", "index.docker.io/library/zlib:1"} {
		if _, err := c.Document(t.Context(), parse(t, text)); err != nil {
			t.Error(err)
		}
	}
	if want := map[string]string{"index.docker.io": "Bearer", "auth.docker.io": "Basic"}; !maps.Equal(hosts, want) {
		t.Errorf("asked %v, want %v", hosts, want)
	}
}

// The token runs out in the middle of an upload, whose body has been used up by then, and before the manifest.
func TestTokenExpiresMidPush(t *testing.T) {
	t.Parallel()
	for _, fault := range []registrytest.Fault{{Method: "POST"}, {Method: "PATCH"}, {Method: "PUT", Path: `/uploads/`}, {Method: "PUT", Path: manifests}} {
		t.Run(fault.Method+" "+fault.Path, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.RequireBearer("bob", "hunter22-secret")
			fault.Times = 1
			fault.Act = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				s.ExpireTokens()
				next.ServeHTTP(w, r)
			}
			s.Inject(fault)
			ref := parse(t, s.Host+"/acme/zlib:1")
			src := image(2, kib, 300*kib)
			c := newClient(t, withKeychain(keychain{config: authConfig("bob", "hunter22-secret")}), func(o *registry.Options) {
				if fault.Method != "PATCH" { // whose body cannot be had again; that one costs an attempt
					o.Retry.Attempts = 1
				}
			})
			if err := c.Push(t.Context(), ref, src, nil); err != nil {
				t.Fatal(err)
			}
			got, err := read(t.Context(), c, ref, src.blobs[2])
			if err != nil || !bytes.Equal(got, src.bytes[src.blobs[2].Digest]) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// The token of many downloads runs out for all of them at once, and each refresh token is good for one exchange.
func TestTokenExpiresMidManyBlobs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref := parse(t, s.Host+"/acme/zlib:1")
	src := image(3, 90*kib, 91*kib, 92*kib, 93*kib, 94*kib, 95*kib, 96*kib, 97*kib)
	if err := newClient(t).Push(t.Context(), ref, src, nil); err != nil {
		t.Fatal(err)
	}
	s.RequireTokens(registrytest.Tokens{User: "nobody", Password: "else", RefreshToken: "refresh-secret-77", Rotate: true})
	c := newClient(t, withKeychain(keychain{config: authn.AuthConfig{IdentityToken: "refresh-secret-77"}}), patient)
	var halfway, group sync.WaitGroup
	halfway.Add(len(src.blobs))
	var once sync.Once
	for _, desc := range src.blobs {
		s.Inject(registrytest.Fault{Path: desc.Digest.Hex, Times: 1, Act: registrytest.Cut(desc.Size / 2)})
		s.Inject(registrytest.Fault{Path: desc.Digest.Hex, Times: 1, Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			halfway.Done()
			halfway.Wait()
			once.Do(s.ExpireTokens)
			next.ServeHTTP(w, r)
		}})
	}
	for _, desc := range src.blobs {
		group.Go(func() {
			got, err := read(t.Context(), c, ref, desc)
			if err != nil || !bytes.Equal(got, src.bytes[desc.Digest]) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	group.Wait()
}

// patient is for tests in which a server waits for something.
func patient(o *registry.Options) { o.Retry.HeaderTimeout = time.Minute }

// Answers of token servers that have no token in them; nothing of them is quoted, since it may be one under another name.
func TestTokenNonsense(t *testing.T) {
	t.Parallel()
	const password = "hunter22-secret"
	for _, c := range []struct {
		name  string
		act   registrytest.Act
		kind  diagnostic.Kind
		words string
	}{
		{"empty object", registrytest.Answer(200, "", "", `{}`), diagnostic.Unreachable, "without a token"},
		{"another name", registrytest.Answer(200, "", "", `{"jwt":"tok-in-answer"}`), diagnostic.Unreachable, "without a token"},
		{"a page", registrytest.HTML(), diagnostic.Unreachable, "text/html instead of a token"},
		{"header injection", registrytest.Answer(200, "", "", `{"token":"tok-in-answer\r\nX: y"}`), diagnostic.Unreachable, "without a token"},
		{"endless", registrytest.Answer(200, "", "", strings.Repeat(" ", 1<<20)), diagnostic.Unreachable, "instead of a token"},
		{"a list", registrytest.Answer(200, "", "", `["tok-in-answer"]`), diagnostic.Unreachable, "instead of a token"},
		{"403", registrytest.Answer(403, "", "", `{"errors":[{"code":"DENIED","message":"denied"}]}`), diagnostic.Denied, "which may not do this in acme/zlib"},
		{"404", registrytest.Answer(404, "", "", `nothing here`), diagnostic.NotFound, "404"},
		{"500", registrytest.Answer(500, "", "", `tok-in-answer`), diagnostic.Unreachable, "500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, _, _ := pushed(t, s, kib)
			s.RequireBearer("bob", password)
			s.Inject(registrytest.Fault{Path: `^/token$`, Act: c.act})
			_, err := newClient(t, withKeychain(keychain{config: authConfig("bob", password)})).Document(t.Context(), ref)
			wantError(t, err, c.kind, c.words, s.Host)
			noSecrets(t, err, password, "tok-in-answer")
		})
	}
}

// A token server that fails and comes back is asked again.
func TestTokenRetry(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, _, _ := pushed(t, s, kib)
	s.RequireBearer("", "")
	s.Inject(registrytest.Fault{Path: `^/token$`, Times: 2, Act: registrytest.Answer(500, "", "", "")})
	if _, err := newClient(t).Document(t.Context(), ref); err != nil {
		t.Error(err)
	}
}

// Methods that nobody here speaks, and a token without a place to get it.
func TestOtherChallenges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		challenge string
		kind      diagnostic.Kind
		words     string
	}{
		{`Negotiate`, diagnostic.Denied, `the method "negotiate"`},
		{`Digest realm="x", nonce="abc=="`, diagnostic.Denied, `the method "digest"`},
		{`Bearer service="x"`, diagnostic.Unreachable, "does not say where"},
		{``, diagnostic.Denied, "none were found"},
	} {
		s := newServer(t)
		ref, _, _ := pushed(t, s, kib)
		s.Inject(registrytest.Fault{Act: registrytest.Answer(401, "WWW-Authenticate", c.challenge, "")})
		_, err := newClient(t).Document(t.Context(), ref)
		wantError(t, err, c.kind, c.words, s.Host)
	}
}

// A server that a blob's redirect leads to has no say in where tokens come from, and gets none.
func TestRedirectedChallenge(t *testing.T) {
	t.Parallel()
	const password = "hunter22-secret"
	s, other := newServer(t), newServer(t)
	ref, desc, _ := pushed(t, s, kib)
	s.RequireBearer("bob", password)
	other.RequireBearer("", "")
	s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.RedirectTo(other)})
	_, err := read(t.Context(), newClient(t, withKeychain(keychain{config: authConfig("bob", password)})), ref, desc)
	wantError(t, err, diagnostic.Denied, other.Host+" answered 401")
	other.Close() // its log is complete
	for _, r := range other.Requests("") {
		if r.Path == "/token" || r.Header.Get("Authorization") != "" {
			t.Errorf("the other server got %s %s with %v", r.Method, r.Path, r.Header)
		}
	}
}

// B8: what is wrong, in words, with what to do.
func TestDeniedInWords(t *testing.T) {
	t.Parallel()
	good := authConfig("bob", "hunter22-secret")
	errorBody := func(code string) string { return fmt.Sprintf(`{"errors":[{"code":%q,"message":"m"}]}`, code) }
	for _, c := range []struct {
		name   string
		config authn.AuthConfig
		status int
		code   string
		kind   diagnostic.Kind
		words  []string
	}{
		{"401, nobody", authn.AuthConfig{}, 401, "UNAUTHORIZED", diagnostic.Denied, []string{"none were found", "ocipkg login HOST", "VARIABLE=NAME:PASSWORD"}},
		{"401, somebody", good, 401, "UNAUTHORIZED", diagnostic.Denied, []string{"does not accept the credentials", "they may have expired"}},
		{"403, nobody", authn.AuthConfig{}, 403, "DENIED", diagnostic.Denied, []string{"none were found", "ocipkg login HOST"}},
		{"403, somebody", good, 403, "DENIED", diagnostic.Denied, []string{"may not do this in acme/zlib", "ask for access"}},
		{"404, nobody", authn.AuthConfig{}, 404, "NAME_UNKNOWN", diagnostic.NotFound, []string{"no repository acme/zlib, or none for everybody", "ocipkg login HOST"}},
		{"404, somebody", good, 404, "NAME_UNKNOWN", diagnostic.NotFound, []string{"no repository acme/zlib, or none for this account"}},
		{"404, tag", good, 404, "MANIFEST_UNKNOWN", diagnostic.NotFound, []string{"check the name, the tag and the digest"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.Inject(registrytest.Fault{Path: manifests, Act: registrytest.Answer(c.status, "", "", errorBody(c.code))})
			_, err := newClient(t, withKeychain(keychain{config: c.config})).Document(t.Context(), parse(t, s.Host+"/acme/zlib:1"))
			for i, w := range c.words {
				c.words[i] = strings.NewReplacer("HOST", s.Host, "VARIABLE", credentials.Variable(s.Host)).Replace(w)
			}
			wantError(t, err, c.kind, c.words...)
		})
	}
}

// B7: a registry that repeats what it was sent must not get the secret into our words.
func TestNoSecretsInErrors(t *testing.T) {
	t.Parallel()
	const password = "hunter22-secret"
	encoded := base64.StdEncoding.EncodeToString([]byte("bob:" + password))
	echo := func(status int) registrytest.Act {
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			registrytest.Answer(status, "", "", fmt.Sprintf(`{"errors":[{"code":"DENIED","message":"I do not like %s nor %s (%s)"}]}`, r.Header.Get("Authorization"), password, encoded))(w, r, nil)
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
	// A message that is cut in the middle of the secret.
	for before := 170; before < 200; before += 3 {
		s := newServer(t)
		ref, _, _ := pushed(t, s, kib)
		s.RequireBasic("bob", password)
		s.Inject(registrytest.Fault{Path: manifests, Act: registrytest.Answer(400, "", "", fmt.Sprintf(`{"errors":[{"code":"X","message":"%s%s"}]}`, strings.Repeat("x", before), password))})
		_, err := newClient(t, withKeychain(keychain{config: authConfig("bob", password)})).Document(t.Context(), ref)
		noSecrets(t, err, password[:6])
	}
	var w warnings
	s := newServer(t)
	ref, _, _ := pushed(t, s, kib)
	broken := keychain{err: errors.New("error getting credentials - err: exit status 1, out: `hunter22-secret`")}
	if _, err := newClient(t, w.option, withKeychain(broken)).Document(t.Context(), ref); err != nil {
		t.Error(err)
	}
	if list := w.get(); len(list) != 1 || strings.Contains(list[0], password) {
		t.Errorf("warnings %q", list)
	}
}

// B7: a token that a registry repeats is a secret too.
func TestNoTokensInErrors(t *testing.T) {
	t.Parallel()
	const password = "hunter22-secret"
	s := newServer(t)
	ref, desc, _ := pushed(t, s, kib)
	s.RequireBearer("bob", password)
	var mu sync.Mutex
	var sent []string
	s.Inject(registrytest.Fault{Path: blobs + "|" + manifests, Act: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		mu.Lock()
		sent = append(sent, token)
		mu.Unlock()
		registrytest.Answer(403, "", "", fmt.Sprintf(`{"errors":[{"code":"DENIED","message":"%s is not for this"}]}`, token))(w, r, nil)
	}})
	var w warnings
	c := newClient(t, w.option, func(o *registry.Options) { o.Trace = w.add }, withKeychain(keychain{config: authConfig("bob", password)}))
	_, documentErr := c.Document(t.Context(), ref)
	_, blobErr := read(t.Context(), c, ref, desc)
	pushErr := c.Push(t.Context(), ref, image(3, kib), nil)
	mu.Lock()
	defer mu.Unlock()
	if len(sent) < 3 || sent[0] == "" {
		t.Fatalf("tokens %q", sent)
	}
	for _, err := range []error{documentErr, blobErr, pushErr, errors.New(strings.Join(w.get(), "\n"))} {
		noSecrets(t, err, append(sent, password)...)
	}
}
