package credentials

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestParseNetrc(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []machine
		words      string
	}{
		{"one line", "machine ghcr.io login bob password p", []machine{{"ghcr.io", "bob", "p"}}, ""},
		{"many lines", "machine ghcr.io\n\tlogin bob\r\n  password p\n\nmachine a\nlogin b\n", []machine{{"ghcr.io", "bob", "p"}, {"a", "b", ""}}, ""},
		{"default is nobody's", "machine a login b password c\ndefault login d password e", []machine{{"a", "b", "c"}}, ""},
		{"comments", "# machine x login y\nmachine a # login\n", nil, "line 2"},
		{"a comment in between", "machine a\n  # it is old\nlogin b password #c", []machine{{"a", "b", "#c"}}, ""},
		{"a password that begins so in the first line", "machine a login b password #c\nmachine d login e password f", []machine{{"a", "b", "#c"}, {"d", "e", "f"}}, ""},
		{"quotes", `machine a login "b c" password "d\"e\\f\n"`, []machine{{"a", "b c", "d\"e\\f\n"}}, ""},
		{"account", "machine a login b account x password c", []machine{{"a", "b", "c"}}, ""},
		{"macro", "machine a login b password c\nmacdef init\n cd /tmp\n machine evil login x\n\nmachine d login e password f\n", []machine{{"a", "b", "c"}, {"d", "e", "f"}}, ""},
		{"macro to the end", "macdef init\nmachine a", nil, ""},
		{"empty", " \n\t", nil, ""},
		{"not closed", `machine a login "b`, nil, "not closed"},
		{"nothing follows", "machine", nil, "nothing follows"},
		{"before any machine", "login b", nil, "before any machine"},
		{"not netrc", "{\"auths\":{}}", nil, "something else"},
	} {
		got, err := parseNetrc([]byte(c.text))
		switch {
		case c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.words)
		case c.words == "" && (err != nil || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%s: got %v, %v, want %v", c.name, got, err, c.want)
		}
	}
}

// No input makes it panic, or quote a line's words in an error.
func FuzzParseNetrc(f *testing.F) {
	for _, seed := range []string{"machine a login b password c", "macdef x\n\n", `machine "a\`, "default login x", "# x\nmachine a"} {
		f.Add([]byte(seed))
	}
	quoted := regexp.MustCompile(`^line \d+: (nothing follows "(machine|login|password|account|macdef)"|"(login|password|account)" comes before any machine|something else than .*|a quotation mark is not closed)$`)
	f.Fuzz(func(t *testing.T, data []byte) {
		machines, err := parseNetrc(data)
		if err != nil && !quoted.MatchString(err.Error()) {
			t.Errorf("error %q", err)
		}
		if len(machines) > len(data) {
			t.Errorf("%d machines of %d bytes", len(machines), len(data))
		}
	})
}

// No file makes it panic or quote what is in it, and an entry is found for its own host alone.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		`{"auths":{"ghcr.io":{"auth":"Ym9iOnNlY3JldA=="},"https://index.docker.io/v1/":{"identitytoken":"x"},"ghcr.io/acme":{}},"credHelpers":{"gcr.io":"gcloud"},"credsStore":"desktop"}`,
		`{"auths":[]}`, `{"auths":{"a":1}}`, `null`, ``, `{"auths":{"/":{},"://":{}, "x/v1/":{"username":"a","password":"b"}}}`,
	} {
		f.Add([]byte(seed), "ghcr.io", "acme/zlib")
	}
	quoted := regexp.MustCompile(`^(line \d+ (is not JSON|has a value of the wrong kind)|it is not what it should be)$`)
	f.Fuzz(func(t *testing.T, data []byte, host, path string) {
		c, err := parseConfig(data)
		if err != nil {
			if !quoted.MatchString(err.Error()) {
				t.Errorf("error %q", err)
			}
			return
		}
		at := target{host: canonicalHost(host), path: path}
		for _, key := range matching(c.Auths, at) {
			if k, _ := splitKey(key); k.host != at.host || k.path != "" && k.path != path && !strings.HasPrefix(path, k.path+"/") {
				t.Errorf("%q matches %v", key, at)
			}
			_, _ = parseEntry(c.Auths[key])
		}
		c.helperFor(at)
	})
}

// Two hosts never share a variable.
func FuzzVariable(f *testing.F) {
	f.Add("a-b.c", "a.b.c")
	f.Add("a--b:1", "a-b.c:1")
	// What registry.ParseReference lets through.
	host := regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[1-9][0-9]*)?$`)
	f.Fuzz(func(t *testing.T, a, b string) {
		if host.MatchString(a) && host.MatchString(b) && canonicalHost(a) != canonicalHost(b) && Variable(a) == Variable(b) {
			t.Errorf("%q and %q share %s", a, b, Variable(a))
		}
	})
}
