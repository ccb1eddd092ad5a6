package native

import (
	"reflect"
	"strings"
	"testing"
)

func TestParsePkgConfig(t *testing.T) {
	for _, c := range []struct {
		name      string
		text      string
		overrides map[string]string
		want      PkgConfig
	}{
		{
			"all fields",
			`prefix=/usr
exec_prefix=${prefix}
libdir = ${exec_prefix}/lib/x86_64-linux-gnu
includedir=${prefix}/include

Name: zlib
Description: zlib compression library
Version: 1.3.1
URL: https://zlib.net/
License: Zlib
Requires: a >= 1.2, b c = 3,d
Requires.private: e<2 f
Libs: -L${libdir} -lz
Libs.private: -lm
Cflags: -I${includedir}
Conflicts: old < 1
`,
			nil,
			PkgConfig{
				Name: "zlib", Description: "zlib compression library", Version: "1.3.1", URL: "https://zlib.net/", License: "Zlib",
				Requires: []string{"a", "b", "c", "d"}, RequiresPrivate: []string{"e", "f"},
				Libs: []string{"-L/usr/lib/x86_64-linux-gnu", "-lz"}, LibsPrivate: []string{"-lm"}, Cflags: []string{"-I/usr/include"},
				Variables: map[string]string{"prefix": "/usr", "exec_prefix": "/usr", "libdir": "/usr/lib/x86_64-linux-gnu", "includedir": "/usr/include"},
			},
		},
		{
			"overrides win and are there without a definition",
			"prefix=/usr\nlibdir=${prefix}/lib\nLibs: -L${libdir} -L${pcfiledir}\n",
			map[string]string{"prefix": "/opt/z", "pcfiledir": "/opt/z/lib/pkgconfig"},
			PkgConfig{
				Libs:      []string{"-L/opt/z/lib", "-L/opt/z/lib/pkgconfig"},
				Variables: map[string]string{"prefix": "/opt/z", "libdir": "/opt/z/lib", "pcfiledir": "/opt/z/lib/pkgconfig"},
			},
		},
		{
			"comments, continuations, CRLF, no newline at the end",
			"# a comment ${undefined}\r\nName: x # of x\r\nLibs: -la \\\r\n  -lb \\\n -lc\nDescription: number \\# one\nVersion: 2",
			nil,
			PkgConfig{Name: "x", Description: "number # one", Version: "2", Libs: []string{"-la", "-lb", "-lc"}, Variables: map[string]string{}},
		},
		{
			"quotes and dollars",
			"dir=/a b\nLibs: \"-L${dir}\" '-L${dir}/c' -L/d\\ e -DX=\\\"1\\\" \"q\\\"\\x\" ''\nDescription: $${dir} costs 5$\n",
			nil,
			PkgConfig{
				Description: "${dir} costs 5$",
				Libs:        []string{"-L/a b", "-L/a b/c", "-L/d e", `-DX="1"`, `q"\x`, ""},
				Variables:   map[string]string{"dir": "/a b"},
			},
		},
		{
			"fields of any case, twice, unknown, and lines that are nothing",
			"CFlags: -DA\ncflags: -DB\nMaintainer: ${nobody}\nnothing here\n= 1\n:\n---\nempty=\nlast=1\nlast=2\nLibs: ${empty}-l${last}\n",
			nil,
			PkgConfig{Cflags: []string{"-DA", "-DB"}, Libs: []string{"-l2"}, Variables: map[string]string{"empty": "", "last": "2"}},
		},
		{"version constraints in every spelling", "Requires: a>=1 b != 2 , c =3, d= 4 e>= 5\n", nil,
			PkgConfig{Requires: []string{"a", "b", "c", "d", "e"}, Variables: map[string]string{}}},
		{"nothing", "", nil, PkgConfig{Variables: map[string]string{}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParsePkgConfig(strings.NewReader(c.text), c.overrides)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got  %+v\nwant %+v", *got, c.want)
			}
		})
	}
}

func TestParsePkgConfigRefuses(t *testing.T) {
	doubling := "a=xxxxxxxxxxxxxxxx\n" + strings.Repeat("a=${a}${a}\n", 64)
	for _, c := range []struct{ name, text, want string }{
		{"undefined variable", "Name: x\n\nLibs: -L${libdir}\n", `line 3: variable "libdir" is not defined`},
		{"variable used before its definition", "libdir=${prefix}/lib\nprefix=/usr\n", `line 1: variable "prefix" is not defined`},
		{"recursion", "a=${a}\n", `line 1: variable "a" is not defined`},
		{"line number after a continuation", "Name: x \\\n y\nLibs: ${z}\n", "line 3:"},
		{"reference without end", "Libs: ${libdir\n", "line 1: ${ without }"},
		{"double quotation without end", "Libs: \"-lx\n", "line 1: a quotation"},
		{"single quotation without end", "Libs: '-lx\n", "line 1: a quotation"},
		{"backslash at the end", "b=\\\\\nLibs: -lx \\", "line 2: a backslash"},
		{"doubling", doubling, "expand to more than"},
		{"too large", strings.Repeat("#", maxPC+1), "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParsePkgConfig(strings.NewReader(c.text), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestParsePkgConfigLeavesTheOverridesAlone(t *testing.T) {
	overrides := map[string]string{"prefix": "/opt"}
	if _, err := ParsePkgConfig(strings.NewReader("libdir=${prefix}/lib\n"), overrides); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"prefix": "/opt"}; !reflect.DeepEqual(overrides, want) {
		t.Errorf("the caller's map became %v", overrides)
	}
}
