package cgo

import (
	"fmt"
	"go/build"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var linux = Platform{"linux", "amd64"}

// file is a Go file with this preamble.
func file(preamble string) string { return "package p\n\n/*\n" + preamble + "\n*/\nimport \"C\"\n" }

func parse(t testing.TB, name, src string) *File {
	t.Helper()
	f, err := Parse(name, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func shown(needs []Need) string {
	var out []string
	for _, n := range needs {
		out = append(out, fmt.Sprintf([]string{"pkg:%s", "<%s>", "%q", "-l%s"}[n.Kind], n.Name))
	}
	return strings.Join(out, " ")
}

func TestNeeds(t *testing.T) {
	windows, mac := Platform{"windows", "amd64"}, Platform{"darwin", "arm64"}
	for _, c := range []struct {
		name, file, preamble string
		on                   Platform
		tags                 string
		want                 string
	}{
		{"nothing", "a.go", "int f(void);", linux, "", ""},
		{"each kind, each once", "a.go", "#cgo LDFLAGS: -lz -L/x -l m -lz\n#cgo pkg-config: --static zlib 'libpng >= 1.6'\n#include <zlib.h>\n# include \"own.h\" // ours\n#include <zlib.h>", linux, "", `pkg:zlib pkg:libpng <zlib.h> "own.h" -lz -lm`},
		{"a file by name", "a.go", "#cgo LDFLAGS: -l:libz.a -Wl,-lnot", linux, "", ""},
		{"another system", "a.go", "#cgo windows LDFLAGS: -lwsock32\n#cgo !windows LDFLAGS: -lz", linux, "", "-lz"},
		{"either of two", "a.go", "#cgo darwin linux LDFLAGS: -lz", linux, "", "-lz"},
		{"both of two", "a.go", "#cgo linux,arm64 LDFLAGS: -lz", linux, "", ""},
		{"an expression", "a.go", "#cgo (linux&&amd64)||windows LDFLAGS: -lz", linux, "", "-lz"},
		{"no condition at all", "a.go", "#cgo a-b! LDFLAGS: -lz", linux, "", ""},
		{"Android is Linux", "a.go", "#cgo linux LDFLAGS: -lz", Platform{"android", "arm64"}, "", "-lz"},
		{"a tag that is not set", "a.go", "#cgo libsqlite3 LDFLAGS: -lsqlite3", linux, "", ""},
		{"a tag that is", "a.go", "#cgo libsqlite3 LDFLAGS: -lsqlite3", linux, "libsqlite3", "-lsqlite3"},
		{"and one that must not be", "a.go", "#cgo !libsqlite3 LDFLAGS: -lz", linux, "libsqlite3", ""},
		{"a file of another system", "a_windows.go", "#include <zlib.h>", linux, "", ""},
		{"a file of this one", "a_linux_amd64_test.go", "#include <zlib.h>", linux, "", "<zlib.h>"},
		{"only a name", "linux.go", "#include <zlib.h>", windows, "", "<zlib.h>"},
		{"#if 0", "a.go", "#if 0\n#include <a.h>\n#else\n#include <b.h>\n#endif\n#include <c.h>", linux, "", "<b.h> <c.h>"},
		{"a system's macro", "a.go", "#ifdef _WIN32\n#include <a.h>\n#elif defined(__APPLE__) || defined __linux__\n#include <b.h>\n#else\n#include <c.h>\n#endif", linux, "", "<b.h>"},
		{"on Windows", "a.go", "#ifdef _WIN32\n#include <a.h>\n#elif defined(__APPLE__) || defined __linux__\n#include <b.h>\n#else\n#include <c.h>\n#endif", windows, "", "<a.h>"},
		{"on macOS", "a.go", "#if !defined(__linux__) && __APPLE__ && __aarch64__\n#include <a.h>\n#endif", mac, "", "<a.h>"},
		{"-D", "a.go", "#cgo CFLAGS: -DUSE=2 -D SSL -UNOT\n#if USE\n#include <a.h>\n#endif\n#ifdef SSL\n#include <b.h>\n#endif\n#ifdef NOT\n#include <c.h>\n#endif\n#ifdef HAVE\n#include <d.h>\n#endif", linux, "", "<a.h> <b.h>"},
		{"#define and #undef", "a.go", "#define A\n#ifdef A\n#include <a.h>\n#undef A\n#endif\n#ifdef A\n#include <b.h>\n#endif", linux, "", "<a.h>"},
		{"what cannot be decided", "a.go", "#if __GNUC__ >= 4\n#include <a.h>\n#else\n#include <b.h>\n#endif\n#if FOO(1, 2)\n#include <c.h>\n#endif", linux, "", "<a.h> <b.h> <c.h>"},
		{"decided by half", "a.go", "#if defined(NOT) && NOT > 3\n#include <a.h>\n#elif __GNUC__ || 1\n#include <b.h>\n#else\n#include <c.h>\n#endif", linux, "", "<b.h>"},
		{"nested", "a.go", "#if 0\n#if 1\n#include <a.h>\n#else\n#include <b.h>\n#endif\n#include <c.h>\n#endif\n#include <d.h>", linux, "", "<d.h>"},
		{"loose ends", "a.go", "#endif\n#else\n#include <a.h>\n#if 1\n#include <b.h>", linux, "", "<a.h> <b.h>"},
		{"comments and quotes", "a.go", "// #include <a.h>\nchar *s = \"/*\"; int c = '\"';\n#include <b.h> // <c.h>\nchar *u = \"//\";\n#include \\\n  <d.h>", linux, "", "<b.h> <d.h>"},
		{"not the name of a header", "a.go", "#include HEADER\n#include <>\n#include \"\"\n#include <a.h\n#pragma include <b.h>\n#includes <c.h>", linux, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Package{parse(t, c.file, file(c.preamble))}
			if got := shown(p.Needs(c.on, words(c.tags))); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestConstraintsOfAFile(t *testing.T) {
	for _, c := range []struct {
		header string
		tags   string
		want   string // systems of which amd64 is meant
	}{
		{"", "", "linux windows darwin"},
		{"//go:build linux || darwin\n", "", "linux darwin"},
		{"// +build linux darwin\n// +build !darwin\n", "", "linux"},
		{"// a comment\n\n//go:build !windows && cgo && go1.20\n\n// another", "", "linux darwin"},
		{"//go:build sqlite\n", "", ""},
		{"//go:build sqlite\n", "sqlite", "linux windows darwin"},
		{"//go:build !sqlite\n", "sqlite", "linux windows darwin"},
		{"//go:build !(sqlite || linux)\n", "sqlite", "windows darwin"},
		{"//go:build unix\n", "", "linux darwin"},
	} {
		f := parse(t, "a.go", c.header+"\n"+file("#include <a.h>"))
		var got []string
		for _, os := range []string{"linux", "windows", "darwin"} {
			if len((Package{f}).Needs(Platform{os, "amd64"}, words(c.tags))) > 0 {
				got = append(got, os)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q with the tags %q: %v, want %s", c.header, c.tags, got, c.want)
		}
		// What is the same on all systems needs no answer for each.
		if got, want := (Package{f}).Conditional(), len(got) > 0 && len(got) < 3; got != want {
			t.Errorf("%q: conditional is %v", c.header, got)
		}
	}
}

// TestConditional tells conditions on the platform from others, which have one answer for all platforms.
func TestConditional(t *testing.T) {
	for preamble, want := range map[string]bool{
		"#cgo sqlite,!cgo LDFLAGS: -la":                  false,
		"#cgo sqlite,!arm64 LDFLAGS: -la":                true,
		"#cgo (unix&&sqlite) LDFLAGS: -la":               true,
		"#ifdef A\n#include <a.h>\n#endif":               false,
		"#ifndef A_H\n#define A_H 1\n#endif":             false,
		"#if A\n#elif defined(_WIN32)\n#endif":           true,
		"#define A __x86_64__\n#if A\n#endif":            true,
		"#if __GNUC__ > 4 && X__linux__\n#endif":         false,
		"#include <linux/types.h>\n#define A_linux_ 1\n": false,
	} {
		if got := (Package{parse(t, "a.go", file(preamble))}).Conditional(); got != want {
			t.Errorf("%q: conditional is %v", preamble, got)
		}
	}
}

func TestFolders(t *testing.T) {
	f := parse(t, "a.go", file("#cgo CFLAGS: -I${SRCDIR}/a -I b -iquote c -O2 -isystemd -I\n#cgo CPPFLAGS: -iquotee\n#cgo LDFLAGS: -Ino"))
	var got []Folder
	for _, l := range (Package{f}).AllLines() {
		got = append(got, l.Folders()...)
	}
	want := []Folder{{"${SRCDIR}/a", false}, {"b", false}, {"c", true}, {"d", false}, {"e", true}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestOtherFiles: a file that does not import "C" is nil, and is not parsed.
func TestOtherFiles(t *testing.T) {
	for src, is := range map[string]bool{
		"package p\nimport \"fmt\"\nconst s = \"\\n\"":     false,
		"package p\nimport \"fmt\"\nvar s = \"C\"":         false,
		"package p\nimport `C`":                            true,
		"package p\nimport \"\\x43\"":                      true,
		"this is no Go, and says nothing of that language": false,
	} {
		f, err := Parse("a.go", []byte(src))
		if err != nil || (f != nil) != is {
			t.Errorf("%q: %v, %v", src, f, err)
		}
	}
}

func TestWhereThePreambleStands(t *testing.T) {
	for name, src := range map[string]string{
		"":              "package p\n// #include <a.h>\nimport \"fmt\"\n",
		"<a.h>":         "package p\n// #include <a.h>\nimport \"C\"\n",
		"<b.h>":         "package p\n// #include <a.h>\n\n// #include <b.h>\nimport `C`\n",
		"<c.h>":         "package p\n// #include <a.h>\nimport (\n// #include <c.h>\n\"C\"\n\"fmt\")\n",
		"<d.h>":         "package p\n// #include <d.h>\nimport (\"C\")\n",
		"<e.h> <f.h>":   "package p\n// #include <e.h>\nimport \"C\"\nimport \"fmt\"\n// #include <f.h>\nimport \"C\"\n",
		"pkg:zlib -lbz": "package p\n/*\n#cgo pkg-config: zlib\n#cgo noescape f\n#cgo LDFLAGS: -lbz\n*/\nimport \"C\"\n",
	} {
		f := parse(t, "a.go", src)
		if (f == nil) != (name == "") {
			t.Errorf("%q: %v", src, f)
		} else if f != nil {
			if got := shown(Package{f}.Needs(linux, nil)); got != name {
				t.Errorf("%q: %s", src, got)
			}
		}
	}
}

// What Gazelle's language for Go does not see of a comment.
func TestAfterPkgConfig(t *testing.T) {
	f := parse(t, "a.go", "package p\n// #cgo LDFLAGS: -la\n// #cgo pkg-config: b\n// #cgo LDFLAGS: -lc\nimport \"C\"\n// #cgo CFLAGS: -d\nimport \"C\"\n")
	var got []bool
	for _, l := range f.Lines {
		got = append(got, l.AfterPkgConfig)
	}
	if !slices.Equal(got, []bool{false, false, true, false}) {
		t.Errorf("got %v", got)
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for preamble, want := range map[string]string{
		"#cgo LDFLAGS -lz":     "a.go: #cgo line without a verb and a colon: #cgo LDFLAGS -lz",
		"#cgo : -lz":           "a.go: #cgo line without a verb and a colon: #cgo : -lz",
		"#cgo LDFLAG: -lz":     "a.go: #cgo line with the verb LDFLAG, which there is not: #cgo LDFLAG: -lz",
		"#cgo LDFLAGS: '-lz":   "a.go: #cgo line with a quote that is not closed: #cgo LDFLAGS: '-lz",
		"#cgo LDFLAGS: -lz \\": "a.go: #cgo line with nothing behind its last backslash: #cgo LDFLAGS: -lz \\",
	} {
		f := parse(t, "a.go", file(preamble+"\n#cgo LDFLAGS: -lb"))
		if len(f.Wrong) != 1 || f.Wrong[0].Error() != want {
			t.Errorf("%q: %v", preamble, f.Wrong)
		}
		if got := shown(Package{f}.Needs(linux, nil)); got != "-lb" {
			t.Errorf("%q: the other lines: %s", preamble, got)
		}
	}
	if f, err := Parse("a.go", []byte("package \"C\"")); err == nil || f != nil {
		t.Errorf("%v, %v", f, err)
	}
}

func TestParseC(t *testing.T) {
	const both = "#include <a.h>\n#ifdef A\n#include \"b.h\"\n#endif\n"
	for _, c := range []struct{ name, source, needs, includes string }{
		{"a.c", both, "<a.h>", `<a.h> "b.h"`},
		{"a.h", "#define A\n" + both, `<a.h> "b.h"`, `<a.h> "b.h"`},
		{"sub_windows/a.h", both, "<a.h>", `<a.h> "b.h"`},
		{"sub/a_windows.h", both, "", `<a.h> "b.h"`},
		{"a.cc", "/* Licence\n*/ // text\n\n//go:build windows\n\n" + both, "", `<a.h> "b.h"`},
		{"a.cc", "//go:build linux\n" + both, "<a.h>", `<a.h> "b.h"`},
		{"a.cc", "#define B\n//go:build windows\n" + both, "<a.h>", `<a.h> "b.h"`},
		{"a.cc", "//go:build (\n" + both, "<a.h>", `<a.h> "b.h"`},
		{"a.c", "// #include <a.h>\n/* #include <a.h> */\n#cgo LDFLAGS: -la\n", "", ""},
		{"a.c", "/* open", "", ""},
	} {
		f := ParseC(c.name, []byte(c.source))
		if got := shown(Package{f}.Needs(linux, nil)); got != c.needs {
			t.Errorf("%s %q needs %s, want %s", c.name, c.source, got, c.needs)
		}
		if got := shown(f.Includes()); got != c.includes {
			t.Errorf("%s %q includes %s, want %s", c.name, c.source, got, c.includes)
		}
	}
}

// FuzzParse holds the parser against go/build: what that takes this takes, with the same flags and names on each of
// some platforms.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		file("#cgo pkg-config: zlib libpng\n#cgo LDFLAGS: -lz\n#include <zlib.h>"),
		file("#cgo linux,amd64 !darwin CFLAGS: -DA=1 -O\n#cgo (linux||windows)&&!arm64 LDFLAGS: \"-lz\" '-lm' a\\ b\n#cgo windows,!amd64 CXXFLAGS: -x"),
		"//go:build linux && !tag\n\n" + file("#cgo tag CPPFLAGS: -a"),
		"// +build windows\n\n" + file("#cgo LDFLAGS:\n#cgo FFLAGS: -f"),
		"package p\nimport (\n// #cgo CFLAGS: -a\n\"C\"\n)\n// #cgo CFLAGS: -b\nimport \"C\"\n",
		file("#if defined(A) && (B > 1 || !C)\n#include <a.h>\n#elif 0x1uL\n#define D(x) x\n#else\n#include \"b.h\"\n#endif /* x"),
		file("#cgo noescape f\n#cgo nocallback f\n#cgo\tLDFLAGS:-lz\n#cgo bad"),
	} {
		f.Add("a.go", seed)
	}
	f.Add("a_linux_test.go", file("#cgo LDFLAGS: -lz"))
	f.Add("a_windows_arm64.go", file("#cgo LDFLAGS: -lz"))
	f.Fuzz(func(t *testing.T, name, src string) {
		Package{ParseC(name, []byte(src))}.Needs(linux, Tags{"tag": true})
		if name == "" || filepath.Base(name) != name || filepath.Ext(name) != ".go" || name[0] == '_' || name[0] == '.' || strings.ContainsAny(name, "/\\\x00") {
			return
		}
		parsed, err := Parse(name, []byte(src))
		if parsed != nil {
			(Package{parsed}).Conditional()
		}
		for _, on := range []Platform{linux, {"windows", "arm64"}, {"android", "arm"}} {
			if parsed != nil {
				(Package{parsed}).Needs(on, Tags{"tag": true})
			}
			want := reference(name, src, on)
			if want == nil || err != nil {
				continue // what go/build takes and Go's parser does not is garbage behind the imports
			}
			got := map[string][]string{}
			if parsed != nil {
				for _, l := range (Package{parsed}).Lines(on, nil) {
					got[l.Verb] = append(got[l.Verb], l.Args...)
				}
			}
			for verb, args := range want {
				if !slices.Equal(got[verb], args) {
					t.Fatalf("%s on %v: %q, go/build: %q", verb, on, got[verb], args)
				}
			}
		}
	})
}

// reference is what go/build finds in a package of this one file, by verb; nil where it refuses it, or does not look.
func reference(name, src string, on Platform) map[string][]string {
	if strings.Contains(src, "SRCDIR") || strings.Contains(src, "-I") || strings.Contains(src, "-L") {
		return nil // paths, which it makes absolute
	}
	ctx := build.Default
	ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled, ctx.BuildTags, ctx.ToolTags = on.OS, on.Arch, true, nil, nil
	ctx.GOROOT, ctx.GOPATH = "/nowhere", "/nowhere"
	ctx.IsDir = func(string) bool { return true }
	ctx.ReadDir = func(string) ([]fs.FileInfo, error) { return []fs.FileInfo{info{name}}, nil }
	ctx.OpenFile = func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(src)), nil }
	p, err := ctx.ImportDir("/src", 0)
	if _, none := err.(*build.NoGoError); err != nil && !none || p == nil || len(p.CgoFiles)+len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
		return nil
	}
	if len(p.CgoFiles) == 0 {
		return nil // of tests it does not keep the flags
	}
	return map[string][]string{CFlags: p.CgoCFLAGS, CPPFlags: p.CgoCPPFLAGS, CXXFlags: p.CgoCXXFLAGS, FFlags: p.CgoFFLAGS, LDFlags: p.CgoLDFLAGS, PkgConfig: p.CgoPkgConfig}
}

type info struct{ name string }

func (i info) Name() string     { return i.name }
func (info) Size() int64        { return 0 }
func (info) Mode() fs.FileMode  { return 0o644 }
func (info) ModTime() time.Time { return time.Time{} }
func (info) IsDir() bool        { return false }
func (info) Sys() any           { return nil }
