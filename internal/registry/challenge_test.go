package registry

import (
	"maps"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func TestParseChallenges(t *testing.T) {
	bearer := func(pairs ...string) challenge { return challengeOf("bearer", pairs...) }
	basic := func(pairs ...string) challenge { return challengeOf("basic", pairs...) }
	for _, c := range []struct {
		name   string
		fields []string
		want   []challenge
	}{
		{"Docker Hub", []string{`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/zlib:pull"`},
			[]challenge{bearer("realm", "https://auth.docker.io/token", "service", "registry.docker.io", "scope", "repository:library/zlib:pull")}},
		{"Docker Hub, scope lacking", []string{`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:acme/zlib:pull,push",error="insufficient_scope"`},
			[]challenge{bearer("realm", "https://auth.docker.io/token", "service", "registry.docker.io", "scope", "repository:acme/zlib:pull,push", "error", "insufficient_scope")}},
		{"GHCR", []string{`Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull"`},
			[]challenge{bearer("realm", "https://ghcr.io/token", "service", "ghcr.io", "scope", "repository:user/image:pull")}},
		{"GitLab", []string{`Bearer realm="https://gitlab.com/jwt/auth",service="container_registry",error="invalid_token"`},
			[]challenge{bearer("realm", "https://gitlab.com/jwt/auth", "service", "container_registry", "error", "invalid_token")}},
		{"Harbor", []string{`Bearer realm="https://harbor.example.com/service/token",service="harbor-registry"`},
			[]challenge{bearer("realm", "https://harbor.example.com/service/token", "service", "harbor-registry")}},
		{"distribution, htpasswd", []string{`Basic realm="Registry Realm"`}, []challenge{basic("realm", "Registry Realm")}},
		{"zot", []string{`Bearer realm="https://zot.example.com/token", service="zot", scope="repository:a:pull,push"`},
			[]challenge{bearer("realm", "https://zot.example.com/token", "service", "zot", "scope", "repository:a:pull,push")}},
		{"two in one", []string{`Basic realm="x", Bearer realm="https://x/t", service="x"`}, []challenge{basic("realm", "x"), bearer("realm", "https://x/t", "service", "x")}},
		{"two in two", []string{`BASIC realm="x"`, `bearer REALM="https://x/t"`}, []challenge{basic("realm", "x"), bearer("realm", "https://x/t")}},
		{"bare and another", []string{`Negotiate, Basic realm="x"`}, []challenge{challengeOf("negotiate"), basic("realm", "x")}},
		{"spaces everywhere", []string{"  Bearer\trealm = \"https://x/t\" ,\tservice =x  ,, scope=\"a b\""}, []challenge{bearer("realm", "https://x/t", "service", "x", "scope", "a b")}},
		{"empty parameters", []string{`Bearer realm="https://x/t",scope="",service=,error="e"`}, []challenge{bearer("realm", "https://x/t", "scope", "", "service", "", "error", "e")}},
		{"escapes", []string{`Basic realm="a\"b\\c"`}, []challenge{basic("realm", `a"b\c`)}},
		{"not quoted", []string{`Bearer realm=https://x/t,service=x`}, []challenge{bearer("realm", "https://x/t", "service", "x")}},
		{"not closed", []string{`Bearer realm="https://x/t`}, []challenge{bearer("realm", "https://x/t")}},
		{"twice", []string{`Bearer realm="https://x/t",realm="https://evil/t"`}, []challenge{bearer("realm", "https://x/t")}},
		{"parameter without a scheme", []string{`realm="x", Basic realm="y"`}, []challenge{basic("realm", "y")}},
		{"nothing", []string{"", " , "}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parseChallenges(c.fields); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func challengeOf(scheme string, pairs ...string) challenge {
	c := challenge{scheme: scheme, params: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		c.params[pairs[i]] = pairs[i+1]
	}
	return c
}

// What is written is read back, and no byte from outside can end a parameter and begin another, or a header field.
func FuzzParseChallenges(f *testing.F) {
	for _, seed := range []string{
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/zlib:pull,push"`,
		`Negotiate, Basic realm="a\"b", Bearer realm = https://x/t ,scope=""`, `=,"`, "Bearer realm=\"\n\r", `Basic`, `Digest nonce=abc==,x`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range parseChallenges([]string{s}) {
			if c.scheme == "" || strings.ToLower(c.scheme) != c.scheme {
				t.Errorf("scheme %q", c.scheme)
			}
			if c.scheme != "bearer" && c.scheme != "basic" {
				continue
			}
			header := c.header()
			if strings.ContainsAny(header, "\r\n") {
				t.Errorf("header %q", header)
			}
			again := parseChallenges([]string{header})
			want := maps.Clone(c.params)
			maps.DeleteFunc(want, func(k, v string) bool {
				return k != "realm" && k != "service" && k != "scope" || v == "" || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f })
			})
			if len(again) != 1 || again[0].scheme != c.scheme || !maps.Equal(again[0].params, want) {
				t.Errorf("%q becomes %q, which is %v", s, header, again)
			}
		}
	})
}

func TestCheckRealm(t *testing.T) {
	for _, c := range []struct{ registry, realm, words string }{
		{"https://registry-1.docker.io/v2/", "https://auth.docker.io/token", ""},
		{"https://registry.example.com:5000/v2/", "https://registry.example.com:5000/token", ""},
		{"https://10.0.0.5:5000/v2/", "https://10.0.0.5:5000/token", ""},
		{"http://localhost:5000/v2/", "http://localhost:5000/token", ""},
		{"https://ghcr.io/v2/", "http://ghcr.io/token", "ghcr.io without TLS"},
		{"https://ghcr.io/v2/", "https://169.254.169.254/token", "private address 169.254.169.254"},
		{"https://ghcr.io/v2/", "https://[::ffff:10.0.0.1]/token", "private address"},
		{"https://ghcr.io/v2/", "https://localhost/token", "private address localhost"},
		{"https://ghcr.io/v2/", "https://metadata.localhost/token", "private address"},
		{"https://ghcr.io/v2/", "https://10.0.0.5/token", "private address 10.0.0.5"},
		{"https://ghcr.io/v2/", "https://[fd00::5]/token", "private address"},
		{"https://ghcr.io/v2/", "https://127.0.0.1/token", "private address"},
		{"https://ghcr.io/v2/", "https://0.0.0.0/token", "private address"},
		{"https://8.8.8.8/v2/", "https://10.0.0.5/token", "private address 10.0.0.5"},
		{"https://registry.lab:5000/v2/", "https://10.0.0.5/token", "private address 10.0.0.5"},
		{"https://registry.lab:5000/v2/", "https://auth.lab/token", ""},
		{"https://10.0.0.5:5050/v2/", "https://10.0.0.5/jwt/auth", ""},
		{"https://10.0.0.5:5050/v2/", "https://192.168.0.6:8443/jwt/auth", ""},
		{"https://[fd00::5]:5050/v2/", "https://[fd00::6]/jwt/auth", ""},
		{"https://169.254.1.1:5050/v2/", "https://169.254.1.1:5001/token", ""},
		{"https://169.254.1.1:5050/v2/", "https://169.254.169.254/token", "private address 169.254.169.254"},
		{"http://127.0.0.1:5000/v2/", "http://localhost:5001/token", ""},
		{"http://localhost:5000/v2/", "http://127.0.0.1:5001/token", ""},
		{"http://localhost:5000/v2/", "https://192.168.0.6/token", ""},
		{"https://10.0.0.5:5000/v2/", "https://127.0.0.1/token", "private address 127.0.0.1"},
		{"https://10.0.0.5:5000/v2/", "https://localhost/token", "private address localhost"},
		{"http://localhost:5000/v2/", "http://0.0.0.0:5001/token", "private address 0.0.0.0"},
		{"https://10.0.0.5:5000/v2/", "https://169.254.169.254/token", "private address 169.254.169.254"},
		{"http://localhost:5000/v2/", "http://169.254.169.254/token", "private address 169.254.169.254"},
		{"https://ghcr.io/v2/", "https://bob:hunter22@ghcr.io/token", "a user name"},
		{"https://ghcr.io/v2/", "file:///etc/passwd", "no URL"},
		{"https://ghcr.io/v2/", "ftp://ghcr.io/token", "a ftp: URL"},
		{"https://ghcr.io/v2/", "/token", "no URL"},
		{"https://ghcr.io/v2/", "https://%zz/", "no URL"},
	} {
		registry, err := url.Parse(c.registry)
		if err != nil {
			t.Fatal(err)
		}
		_, err = checkRealm(registry, c.realm)
		switch {
		case c.words == "" && err != nil:
			t.Errorf("%s for %s: %v", c.realm, c.registry, err)
		case c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "hunter22")):
			t.Errorf("%s for %s: got %v, want %q", c.realm, c.registry, err, c.words)
		}
	}
}
