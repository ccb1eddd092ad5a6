package artifact

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

const everyKey = `{
  "name": "ssl", "version": "3.0", "license": "Apache-2.0", "target": "x86_64-unknown-linux-gnu",
  "headers": ["src/include"], "libraries": ["build/*.a"], "pkgConfig": ["build/ssl.pc"], "licenses": ["LICENSE.txt"],
  "includes": ["include", "include/openssl"], "defines": ["A=1"], "linkopts": ["-Wl,-z,now"],
  "systemLibraries": ["dl"], "requires": {"ssl": ["crypto"]}, "alwaysLink": ["ssl"], "allowMissing": ["libGL.so.1"],
  "dependencies": {"zlib": "ghcr.io/acme/zlib@sha256:00"}
}`

func TestParseDescription(t *testing.T) {
	got, err := ParseDescription([]byte(everyKey))
	if err != nil {
		t.Fatal(err)
	}
	want := Claims{Name: "ssl", Version: "3.0", License: "Apache-2.0", Target: "x86_64-unknown-linux-gnu", Defines: []string{"A=1"}, Linkopts: []string{"-Wl,-z,now"},
		Selection: Selection{Headers: []string{"src/include"}, Libraries: []string{"build/*.a"}, PkgConfig: []string{"build/ssl.pc"}, Licenses: []string{"LICENSE.txt"}},
		Includes:  []string{"include", "include/openssl"}, SystemLibraries: []string{"dl"}, Requires: map[string][]string{"ssl": {"crypto"}}, AlwaysLink: []string{"ssl"}, AllowMissing: []string{"libGL.so.1"},
		Dependencies: map[string]string{"zlib": "ghcr.io/acme/zlib@sha256:00"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	for _, c := range []struct{ data, says string }{
		{"", "no JSON object"},
		{"[]", "no JSON object"},
		{`"name"`, "no JSON object"},
		{`{"nam": "z"}`, `"nam" is not known`},
		{`{"Name": "z"}`, `"Name" is not known`},
		{`{"name": "z", "name": "y"}`, "twice"},
		{`{"name": 1}`, "name: "},
		{`{"headers": "include"}`, "headers: "},
		{`{"requires": ["crypto"]}`, "requires: "},
		{`{"name": "z"`, "EOF"},
		{`{"name": "z"} {}`, "follows"},
		{`{"name": "z",}`, "invalid character"},
	} {
		_, err := ParseDescription([]byte(c.data))
		if diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", c.data, err)
		}
	}
}

// docs/packing.md describes each key, and none that there is not.
func TestDescriptionIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/packing.md")
	if err != nil {
		t.Skip("SKIPPED, the documentation is not here:", err)
	}
	_, table, _ := strings.Cut(string(doc), "| key |")
	table, _, _ = strings.Cut(table, "\n\n")
	documented := 0
	for line := range strings.Lines(table) {
		if key, ok := strings.CutPrefix(line, "| `"); ok {
			key, _, _ = strings.Cut(key, "`")
			documented++
			if !strings.Contains(everyKey, `"`+key+`":`) {
				t.Errorf("docs/packing.md describes %q", key)
			}
		}
	}
	if documented != 16 {
		t.Errorf("docs/packing.md describes %d keys, not 16", documented)
	}
}

func TestClaimsWith(t *testing.T) {
	file := Claims{Name: "z", Version: "1", Dependencies: map[string]string{"x": "1"}, Defines: []string{"A"}, Requires: map[string][]string{"a": {"b"}}, Selection: Selection{Headers: []string{"x"}}}
	flags := Claims{Version: "2", Dependencies: map[string]string{"x": "2", "y": "1"}, Target: "x86_64-unknown-linux-gnu", Defines: []string{"B"}, Requires: map[string][]string{"a": {"c"}, "d": {"a"}}, Selection: Selection{Headers: []string{"y"}, Licenses: []string{"L"}}}
	want := Claims{Name: "z", Version: "2", Dependencies: map[string]string{"x": "2", "y": "1"}, Target: "x86_64-unknown-linux-gnu", Defines: []string{"A", "B"}, Requires: map[string][]string{"a": {"b", "c"}, "d": {"a"}}, Selection: Selection{Headers: []string{"x", "y"}, Licenses: []string{"L"}}}
	if got := file.With(flags); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if len(file.Requires) != 1 || len(file.Requires["a"]) != 1 {
		t.Errorf("the file's own became %+v", file)
	}
}

// What bytes do not tell, its author may say; what he says has to be possible.
func TestClaimsThatAreNotMeasured(t *testing.T) {
	files := map[string]string{"include/sdl/z.h": "", "lib/liba.a": static("a", "memcpy"), "lib/libb.a": static("b"), "lib/libc.so.1": shared("libc.so.1")}
	p, err := Pack(os.DirFS(prefixOf(t, files)), Claims{Name: "z", Includes: []string{"include", "include/sdl/", "include"}, SystemLibraries: []string{"m", "dl", "m"}, Requires: map[string][]string{"b": {"a", "a", "b"}}, AlwaysLink: []string{"b"}}, Zstd, memory{})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Package.Includes, " ") + "; " + strings.Join(p.Package.SystemLibraries, " "); got != "include include/sdl; dl m" {
		t.Errorf("got %q", got)
	}
	for _, l := range p.Package.Libraries[:2] {
		if got, want := strings.Join(l.Requires, " "), map[string]string{"a": "", "b": "a"}[l.Name]; got != want {
			t.Errorf("%s requires %q, want %q", l.Name, got, want)
		}
		if l.Static.AlwaysLink != (l.Name == "b") {
			t.Errorf("%s is always linked: %v", l.Name, l.Static.AlwaysLink)
		}
	}
	for _, c := range []struct {
		what   string
		claims Claims
		says   string
	}{
		{"include folder that is not there", Claims{Includes: []string{"include/SDL"}}, "include folder include/SDL"},
		{"include folder outside", Claims{Includes: []string{"../include"}}, "include folder ../include"},
		{"system library that is a flag", Claims{SystemLibraries: []string{"-lm"}}, `"-lm"`},
		{"library that is not there", Claims{Requires: map[string][]string{"d": {"a"}}}, `library "d"`},
		{"needed library that is not there", Claims{Requires: map[string][]string{"a": {"d"}}}, `library "d"`},
		{"library that is always linked and not there", Claims{AlwaysLink: []string{"d"}}, `library "d"`},
		{"shared library that is always linked", Claims{AlwaysLink: []string{"c"}}, "shared library alone"},
		{"include folder that writes lines", Claims{Includes: []string{"include\n"}}, "control character"},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.claims.Name = "z"
			_, err := Pack(os.DirFS(prefixOf(t, files)), c.claims, Zstd, memory{})
			if diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestPackFindsThePrefixBelow(t *testing.T) {
	files := map[string]string{"usr/local/include/z.h": "", "usr/local/lib/libz.a": static("a"), "etc/z.conf": ""}
	_, err := Pack(os.DirFS(prefixOf(t, files)), Claims{Name: "z"}, Zstd, memory{})
	if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), "usr/local in it looks like an install prefix") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseDescription(f *testing.F) {
	f.Add([]byte(everyKey))
	f.Add([]byte(`{"name": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := ParseDescription(data); err != nil && diagnostic.KindOf(err) != diagnostic.Usage {
			t.Errorf("kind %d: %v", diagnostic.KindOf(err), err)
		}
	})
}
