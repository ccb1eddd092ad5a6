package credentials_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/credentials"
)

const secret = "hunter22-secret"

// machine is a home folder with nothing in it but what the test puts there.
type machine struct {
	t   *testing.T
	dir string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir()}
	for _, v := range []string{"DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "NETRC"} {
		t.Setenv(v, "")
	}
	t.Setenv("HOME", m.dir)
	t.Setenv("USERPROFILE", m.dir)
	t.Setenv("PATH", filepath.Join(m.dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	return m
}

func (m *machine) write(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// helper puts a shell script into PATH.
func (m *machine) helper(name, script string) {
	m.t.Helper()
	if runtime.GOOS == "windows" {
		m.t.Skip("the helpers of this test are shell scripts")
	}
	if err := os.Chmod(m.write("bin/docker-credential-"+name, "#!/bin/sh\n"+script), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// answering is a helper that knows one server and keeps a log of its questions.
func (m *machine) answering(name, server, user string) {
	m.helper(name, fmt.Sprintf(`read -r server
echo "$1 $server" >>"%[1]s/log-%[2]s"
if [ "$server" = "%[3]s" ]; then echo '{"ServerURL":"%[3]s","Username":"%[4]s","Secret":"%[5]s"}'
else echo "credentials not found in native keychain"; exit 1; fi
`, m.dir, name, server, user, secret))
}

func (m *machine) log(name string) string {
	data, err := os.ReadFile(filepath.Join(m.dir, "log-"+name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	return string(data)
}

type lines struct {
	mu   sync.Mutex
	list []string
}

func (l *lines) add(m string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, m)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.list, "\n")
}

// find asks a new chain, and looks for secrets in what it says.
func find(t *testing.T, host, path string) (found *credentials.Credential, warnings, trace string) {
	t.Helper()
	var w, tr lines
	c := &credentials.Chain{Warn: w.add, Trace: tr.add}
	found, err := c.Find(t.Context(), host, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{w.text(), tr.text(), fmt.Sprintf("%v %+v %#v %s", found, found, found, found)} {
		if strings.Contains(text, "hunter") || strings.Contains(text, auth("bob")) {
			t.Errorf("%q has a secret in it", text)
		}
	}
	return found, w.text(), tr.text()
}

func auth(user string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
}

func wantUser(t *testing.T, found *credentials.Credential, user, source string) {
	t.Helper()
	switch {
	case user == "" && found != nil:
		t.Errorf("found %+v of %v, want none", found.Username, found)
	case user == "":
	case found == nil:
		t.Errorf("found nothing, want %s", user)
	case found.Username != user || found.Password != secret || !strings.HasSuffix(found.Source, source):
		t.Errorf("found %s of %q, want %s of %q", found.Username, found.Source, user, source)
	}
}

// Every source, each asked when those before it have nothing.
func TestOrder(t *testing.T) {
	m := newMachine(t)
	config := func(user string) string { return fmt.Sprintf(`{"auths":{"reg.example.com":{"auth":%q}}}`, auth(user)) }
	steps := []struct {
		user, source string
		undo         func()
	}{
		{"environment", "OCIPKG_AUTH_REG_EXAMPLE_COM", func() { os.Unsetenv("OCIPKG_AUTH_REG_EXAMPLE_COM") }},
		{"inline", "DOCKER_AUTH_CONFIG", func() { os.Unsetenv("DOCKER_AUTH_CONFIG") }},
		{"dockerdir", "d/config.json", func() { os.Unsetenv("DOCKER_CONFIG") }},
		{"authfile", "p/a.json", func() { os.Unsetenv("REGISTRY_AUTH_FILE") }},
		{"docker", ".docker/config.json", func() { os.Remove(filepath.Join(m.dir, ".docker/config.json")) }},
		{"runtime", "run/containers/auth.json", func() { os.Remove(filepath.Join(m.dir, "run/containers/auth.json")) }},
		{"config", ".config/containers/auth.json", func() { os.Remove(filepath.Join(m.dir, ".config/containers/auth.json")) }},
		{"netrc", ".netrc", func() { os.Remove(filepath.Join(m.dir, ".netrc")) }},
		{"netrc2", "_netrc", func() { os.Remove(filepath.Join(m.dir, "_netrc")) }},
		{"", "", func() {}},
	}
	t.Setenv("OCIPKG_AUTH_REG_EXAMPLE_COM", "environment:"+secret+"\n")
	t.Setenv("DOCKER_AUTH_CONFIG", config("inline"))
	t.Setenv("DOCKER_CONFIG", filepath.Dir(m.write("d/config.json", config("dockerdir"))))
	t.Setenv("REGISTRY_AUTH_FILE", m.write("p/a.json", config("authfile")))
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(m.dir, "run"))
	m.write(".docker/config.json", config("docker"))
	m.write("run/containers/auth.json", config("runtime"))
	m.write(".config/containers/auth.json", config("config"))
	m.write(".netrc", "machine reg.example.com login netrc password "+secret)
	m.write("_netrc", "machine reg.example.com login netrc2 password "+secret)
	for _, step := range steps {
		found, warnings, trace := find(t, "reg.example.com", "acme/zlib")
		wantUser(t, found, step.user, step.source)
		if warnings != "" {
			t.Errorf("warnings %q", warnings)
		}
		last := trace[strings.LastIndex(trace, "\n")+1:]
		if step.user != "" && (!strings.HasSuffix(last, ": used") || !strings.Contains(last, step.source)) || step.user == "" && !strings.HasSuffix(last, "without credentials") {
			t.Errorf("%s: the trace ends with %q", step.user, last)
		}
		step.undo()
	}
	// What was asked and had nothing is in the trace as well.
	_, _, trace := find(t, "reg.example.com", "acme/zlib")
	for _, source := range []string{"OCIPKG_AUTH_REG_EXAMPLE_COM: not set", ".docker/config.json: does not exist", "auth.json: does not exist", ".netrc: does not exist"} {
		if !strings.Contains(trace, source) {
			t.Errorf("the trace does not say %q:\n%s", source, trace)
		}
	}
}

// Docker's files and Podman's, as they are found.
func TestConfigFiles(t *testing.T) {
	for _, c := range []struct {
		name, config, host, path, user string
	}{
		{"host", `{"auths":{"ghcr.io":{"auth":"AUTH"}}}`, "ghcr.io", "acme/zlib", "bob"},
		{"another host", `{"auths":{"ghcr.io":{"auth":"AUTH"}}}`, "evil-ghcr.io", "acme/zlib", ""},
		{"another port", `{"auths":{"ghcr.io:5000":{"auth":"AUTH"}}}`, "ghcr.io", "acme/zlib", ""},
		{"URL", `{"auths":{"https://ghcr.io":{"auth":"AUTH"}}}`, "ghcr.io", "acme/zlib", "bob"},
		{"URL with a path", `{"auths":{"https://ghcr.io/v2/":{"auth":"AUTH"}}}`, "ghcr.io", "acme/zlib", "bob"},
		{"Hub as docker writes it", `{"auths":{"https://index.docker.io/v1/":{"auth":"AUTH"}}}`, "index.docker.io", "library/zlib", "bob"},
		{"Hub as podman writes it", `{"auths":{"docker.io":{"auth":"AUTH"}}}`, "index.docker.io", "library/zlib", "bob"},
		{"Hub's registry", `{"auths":{"registry-1.docker.io":{"auth":"AUTH"}}}`, "index.docker.io", "library/zlib", "bob"},
		{"Hub without a scheme", `{"auths":{"index.docker.io/v1/":{"auth":"AUTH"}}}`, "index.docker.io", "library/zlib", "bob"},
		{"Hub, one repository", `{"auths":{"docker.io/library":{"auth":"AUTH"}}}`, "index.docker.io", "library/zlib", "bob"},
		{"upper case", `{"auths":{"GHCR.io":{"auth":"AUTH"}}}`, "ghcr.io", "acme/zlib", "bob"},
		{"repository before registry", `{"auths":{"ghcr.io":{"auth":"OTHER"},"ghcr.io/acme":{"auth":"AUTH"}}}`, "ghcr.io", "acme/zlib", "bob"},
		{"whole parts of a path", `{"auths":{"ghcr.io/acme":{"auth":"AUTH"}}}`, "ghcr.io", "acme2/zlib", ""},
		{"longest", `{"auths":{"ghcr.io/acme/zlib":{"auth":"AUTH"},"ghcr.io/acme":{"auth":"OTHER"}}}`, "ghcr.io", "acme/zlib", "bob"},
		{"empty entry in front", `{"auths":{"ghcr.io/acme":{},"ghcr.io":{"auth":"AUTH"}}}`, "ghcr.io", "acme/zlib", "bob"},
		{"name and password apart", `{"auths":{"ghcr.io":{"username":"bob","password":"SECRET"}}}`, "ghcr.io", "acme/zlib", "bob"},
		{"zeros behind", `{"auths":{"ghcr.io":{"auth":"ZEROS"}}}`, "ghcr.io", "acme/zlib", "bob"},
		{"no padding", `{"auths":{"ghcr.io":{"auth":"BARE"}}}`, "ghcr.io", "acme/zlib", "bob"},
		{"what else docker has there", `{"HttpHeaders":{"X":"y"},"detachKeys":"ctrl-e","auths":{"ghcr.io":{"auth":"AUTH","email":"x@y"}},"plugins":{}}`, "ghcr.io", "a", "bob"},
		{"empty file", ``, "ghcr.io", "acme/zlib", ""},
		{"null", `null`, "ghcr.io", "acme/zlib", ""},
		{"nothing", `{}`, "ghcr.io", "acme/zlib", ""},
		{"no password", `{"auths":{"ghcr.io":{"username":"bob"}}}`, "ghcr.io", "acme/zlib", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			config := strings.NewReplacer("AUTH", auth("bob"), "OTHER", auth("other"), "SECRET", secret, "BARE", strings.TrimRight(auth("bob"), "="),
				"ZEROS", base64.StdEncoding.EncodeToString([]byte("bob:"+secret+"\x00\x00"))).Replace(c.config)
			m.write(".docker/config.json", config)
			found, warnings, _ := find(t, c.host, c.path)
			wantUser(t, found, c.user, ".docker/config.json")
			if warnings != "" {
				t.Errorf("warnings %q", warnings)
			}
		})
	}
}

// The three kinds of credential.
func TestKinds(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		want   credentials.Credential
	}{
		"identity token":               {`{"auths":{"r.example.com":{"auth":"` + auth("bob") + `","identitytoken":"idt"}}}`, credentials.Credential{IdentityToken: "idt"}},
		"identity token as a password": {`{"auths":{"r.example.com":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("<token>:idt")) + `"}}}`, credentials.Credential{IdentityToken: "idt"}},
		"registry token":               {`{"auths":{"r.example.com":{"registrytoken":"rt"}}}`, credentials.Credential{RegistryToken: "rt"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			c.want.Source = m.write(".docker/config.json", c.config)
			found, _, _ := find(t, "r.example.com", "x")
			if found == nil || *found != c.want {
				t.Errorf("found %#v", found)
			}
		})
	}
}

// B9: what gcloud, Amazon's helper and Docker Desktop leave in the file; the helper decides.
func TestHelperChoice(t *testing.T) {
	for _, c := range []struct {
		name, config, helper, server string
		host, path, user             string
		asked                        string
	}{
		{"gcloud", `{"credHelpers":{"gcr.io":"x","europe-docker.pkg.dev":"x"}}`, "x", "europe-docker.pkg.dev", "europe-docker.pkg.dev", "p/r/i", "_dcgcloud_token", "get europe-docker.pkg.dev\n"},
		{"ECR", `{"credHelpers":{"public.ecr.aws":"x","123456789012.dkr.ecr.eu-central-1.amazonaws.com":"x"}}`, "x", "123456789012.dkr.ecr.eu-central-1.amazonaws.com", "123456789012.dkr.ecr.eu-central-1.amazonaws.com", "zlib", "AWS", "get 123456789012.dkr.ecr.eu-central-1.amazonaws.com\n"},
		{"Docker Desktop", `{"auths":{"https://index.docker.io/v1/":{}},"credsStore":"x"}`, "x", "https://index.docker.io/v1/", "index.docker.io", "library/zlib", "bob", "get https://index.docker.io/v1/\n"},
		{"one has none, the file has", `{"auths":{"ghcr.io":{"auth":"` + auth("file") + `"}},"credsStore":"x"}`, "x", "elsewhere", "ghcr.io", "acme/zlib", "file", "get ghcr.io\n"},
		{"of its own before the store", `{"credHelpers":{"ghcr.io":"x"},"credsStore":"nowhere"}`, "x", "ghcr.io", "ghcr.io", "acme/zlib", "bob", "get ghcr.io\n"},
		{"for one path (podman)", `{"credHelpers":{"ghcr.io/acme":"x"}}`, "x", "ghcr.io/acme", "ghcr.io", "acme/zlib", "bob", "get ghcr.io/acme\n"},
		{"for another host", `{"credHelpers":{"gcr.io":"x"}}`, "x", "gcr.io", "ghcr.io", "acme/zlib", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.answering(c.helper, c.server, c.user)
			m.write(".docker/config.json", c.config)
			found, warnings, _ := find(t, c.host, c.path)
			wantUser(t, found, c.user, "")
			if warnings != "" || m.log(c.helper) != c.asked {
				t.Errorf("warnings %q, asked %q, want %q", warnings, m.log(c.helper), c.asked)
			}
		})
	}
}

// B6: each is one warning that names host and helper, and the next source is asked.
func TestBrokenHelpers(t *testing.T) {
	for _, c := range []struct{ name, script, words string }{
		{"fails", "echo '" + secret + " is locked'; echo " + secret + " >&2; exit 3", "exit status 3"},
		{"killed", "kill -9 $$", "killed"},
		{"garbage", "echo 'token=" + secret + "'", "not JSON"},
		{"nothing", "exit 0", "no credential"},
		{"an array", `echo '["` + secret + `"]'`, "no credential"},
		{"endless", "yes " + secret, "far more than a credential"},
		{"missing", "", "is not in PATH"},
		{"not a program", "\x00", "cannot be run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			switch c.name {
			case "missing":
			case "not a program":
				m.helper("x", "")
				if err := os.WriteFile(filepath.Join(m.dir, "bin/docker-credential-x"), []byte("\x7fELF"), 0o755); err != nil {
					t.Fatal(err)
				}
			default:
				m.helper("x", c.script)
			}
			m.write(".docker/config.json", `{"credsStore":"x"}`)
			m.write(".netrc", "machine ghcr.io login bob password "+secret)
			found, warnings, trace := find(t, "ghcr.io", "acme/zlib")
			wantUser(t, found, "bob", ".netrc")
			if strings.Contains(warnings, "\n") || !strings.HasPrefix(warnings, "credentials for ghcr.io: ") || !strings.Contains(warnings, "docker-credential-x") || !strings.Contains(warnings, c.words) {
				t.Errorf("warnings %q, want one with %q", warnings, c.words)
			}
			if !strings.Contains(trace, "docker-credential-x: does not work") {
				t.Errorf("trace %s", trace)
			}
		})
	}
	t.Run("a path", func(t *testing.T) {
		m := newMachine(t)
		m.helper("x", "touch '"+m.dir+"/ran'")
		m.write(".docker/config.json", `{"credsStore":"/../bin/docker-credential-x"}`)
		_, warnings, _ := find(t, "ghcr.io", "acme/zlib")
		if _, err := os.Stat(filepath.Join(m.dir, "ran")); err == nil || !strings.Contains(warnings, "is not run") {
			t.Errorf("warnings %q, and %v", warnings, err)
		}
	})
}

// A helper is asked once for a host, whatever the number of repositories.
func TestHelperOnce(t *testing.T) {
	m := newMachine(t)
	m.answering("x", "ghcr.io", "bob")
	m.write(".docker/config.json", `{"credsStore":"x"}`)
	c := &credentials.Chain{}
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			found, err := c.Find(t.Context(), "ghcr.io", fmt.Sprintf("acme/lib%d", i))
			if err != nil {
				t.Error(err)
			}
			wantUser(t, found, "bob", "docker-credential-x")
		})
	}
	group.Wait()
	if got := m.log("x"); got != "get ghcr.io\n" {
		t.Errorf("asked %q", got)
	}
}

// Files that do not do are one warning each, quote nothing, and the next is asked.
func TestBrokenFiles(t *testing.T) {
	for _, c := range []struct{ name, file, text, words string }{
		{"no JSON", ".docker/config.json", "{\n\"auths\": " + secret + "}", "line 2 is not JSON"},
		{"wrong kind", ".docker/config.json", "{\"auths\":\n[\"" + secret + "\"]}", "line 2 has a value of the wrong kind"},
		{"cut", ".docker/config.json", `{"auths":{"ghcr.io":{"auth":"` + auth("bob"), "is not JSON"},
		{"entry of another kind", ".docker/config.json", `{"auths":{"ghcr.io":"` + secret + `"}}`, "the entry ghcr.io is not an object"},
		{"not base64", ".docker/config.json", `{"auths":{"ghcr.io":{"auth":"hunter22!"}}}`, "not base64"},
		{"no colon", ".docker/config.json", `{"auths":{"ghcr.io":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(secret)) + `"}}}`, "not base64 of NAME:PASSWORD"},
		{"podman's", ".config/containers/auth.json", secret, "is not JSON"},
		{"netrc", ".netrc", "machine ghcr.io login bob password", "nothing follows"},
		{"netrc, no keyword", ".netrc", "machine ghcr.io login bob\npassword a " + secret, "line 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.write(c.file, c.text)
			found, warnings, trace := find(t, "ghcr.io", "acme/zlib")
			wantUser(t, found, "", "")
			if strings.Contains(warnings, "\n") || !strings.Contains(warnings, c.words) || !strings.Contains(warnings, filepath.Base(c.file)) {
				t.Errorf("warnings %q, want one with %q", warnings, c.words)
			}
			if !strings.Contains(trace, "cannot be used") {
				t.Errorf("trace %s", trace)
			}
		})
	}
	t.Run("a folder", func(t *testing.T) {
		m := newMachine(t)
		m.write(".netrc/x", "")
		if _, warnings, _ := find(t, "ghcr.io", "x"); !strings.Contains(warnings, ".netrc") {
			t.Errorf("warnings %q", warnings)
		}
	})
}

func TestVariable(t *testing.T) {
	for host, want := range map[string]string{
		"ghcr.io":                        "OCIPKG_AUTH_GHCR_IO",
		"GHCR.io":                        "OCIPKG_AUTH_GHCR_IO",
		"registry.acme-corp.com:5000":    "OCIPKG_AUTH_REGISTRY_ACME__CORP_COM___5000",
		"registry.acme.corp.com:5000":    "OCIPKG_AUTH_REGISTRY_ACME_CORP_COM___5000",
		"localhost:5000":                 "OCIPKG_AUTH_LOCALHOST___5000",
		"index.docker.io":                "OCIPKG_AUTH_DOCKER_IO",
		"docker.io":                      "OCIPKG_AUTH_DOCKER_IO",
		"xn--bcher-kva.example":          "OCIPKG_AUTH_XN____BCHER__KVA_EXAMPLE",
		"[::1]:5000":                     "",
		"123456789012.dkr.ecr.eu-west-1": "OCIPKG_AUTH_123456789012_DKR_ECR_EU__WEST__1",
	} {
		if got := credentials.Variable(host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

func TestEnvironmentValues(t *testing.T) {
	newMachine(t)
	for _, c := range []struct {
		value string
		want  *credentials.Credential
		warns bool
	}{
		{"bob:" + secret, &credentials.Credential{Username: "bob", Password: secret}, false},
		{"bob:a:b c", &credentials.Credential{Username: "bob", Password: "a:b c"}, false},
		{"bob:" + secret + "\r\n", &credentials.Credential{Username: "bob", Password: secret}, false},
		{"<token>:idt", &credentials.Credential{IdentityToken: "idt"}, false},
		{"Bearer abc.def", &credentials.Credential{RegistryToken: "abc.def"}, false},
		{"bearer  abc:def ", &credentials.Credential{RegistryToken: "abc:def"}, false},
		{"", nil, false},
		{secret, nil, true},
		{":" + secret, nil, true},
		{"bob:", nil, true},
		{"Bearer ", nil, true},
	} {
		t.Setenv("OCIPKG_AUTH_GHCR_IO", c.value)
		found, warnings, _ := find(t, "ghcr.io", "acme/zlib")
		if c.want != nil {
			c.want.Source = "OCIPKG_AUTH_GHCR_IO"
		}
		if (found == nil) != (c.want == nil) || found != nil && *found != *c.want || (warnings != "") != c.warns {
			t.Errorf("%q: %v, warnings %q", c.value, found, warnings)
		}
		if other, _, _ := find(t, "ghcr-io", "x"); other != nil {
			t.Errorf("%q is another host's too", c.value)
		}
	}
}
