package buildfile

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bazelbuild/buildtools/build"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
)

var update = flag.Bool("update", false, "write the goldens anew")

const header = "zlib 1.3.1, from example.com/acme/zlib:1.3.1@sha256:00.\nWritten by ocipkg."

func plan(name string, p *artifact.Package, files ...string) ccplan.Plan {
	slices.Sort(files)
	return ccplan.New(ccplan.Input{Name: name, Package: p, Files: files})
}

var plans = map[string]ccplan.Plan{
	"one_library": plan("zlib", &artifact.Package{Name: "zlib", Target: "x86_64-unknown-linux-gnu", Includes: []string{"include"}, SystemLibraries: []string{"m"}, Defines: []string{"Z=1"},
		PkgConfig: []string{"lib/pkgconfig/zlib.pc"}, Licenses: []string{"share/licenses/zlib/LICENSE"},
		Libraries: []artifact.Library{{Name: "z", Static: &artifact.StaticLibrary{Path: "lib/libz.a", PIC: "pie", Reason: "o.o: R_X86_64_PC32 against symbol table"}, Shared: &artifact.SharedLibrary{Path: "lib/libz.so.1", SONAME: "libz.so.1"}}}},
		"include/zlib.h", "include/zconf.h", "lib/libz.a", "lib/libz.so", "lib/libz.so.1", "libz.a", "lib/pkgconfig/zlib.pc", "share/licenses/zlib/LICENSE"),
	"siblings": plan("ab", &artifact.Package{Name: "ab", Target: "aarch64-unknown-linux-gnu", Libraries: []artifact.Library{
		{Name: "a", Static: &artifact.StaticLibrary{Path: "lib/liba.a", PIC: "pic"}, Shared: &artifact.SharedLibrary{Path: "lib/liba.so.1", SONAME: "liba.so.1", Needed: []string{"libb.so.1"}}, Requires: []string{"b"}},
		{Name: "b", Static: &artifact.StaticLibrary{Path: "lib/libb.a", PIC: "pic"}, Shared: &artifact.SharedLibrary{Path: "lib/libb.so.1", SONAME: "libb.so.1"}, Requires: []string{"a"}}}},
		"lib/liba.a", "lib/liba.so.1", "lib/libb.a", "lib/libb.so.1"),
	"dependency": ccplan.New(ccplan.Input{Name: "curl", Files: []string{"lib/libcurl.so.4"},
		Package: &artifact.Package{Name: "curl", Target: "x86_64-unknown-linux-gnu", Libraries: []artifact.Library{
			{Name: "curl", Shared: &artifact.SharedLibrary{Path: "lib/libcurl.so.4", SONAME: "libcurl.so.4", Needed: []string{"libz.so.1"}}}}},
		Dependencies: []ccplan.Dependency{{Name: "zlib", Label: "@my_z//:zlib", Image: "example.com/zlib@sha256:00", Needed: []string{"libz.so.1"}}, {Label: "@@other+more//:more"}}}),
	"described": ccplan.New(ccplan.Input{Name: "z", Files: []string{"include/z.h"}, Artifact: "artifact.json", Package: &artifact.Package{Name: "z", Includes: []string{"include"}}}),
	"hub": ccplan.Hub(ccplan.HubInput{Name: "h", What: "h 1", Files: []string{"header_index.json"}, LeftOut: []string{"riscv64-unknown-linux-gnu"}, Spokes: []ccplan.Spoke{
		{Target: "aarch64-unknown-linux-gnu", Package: "//aarch64-unknown-linux-gnu", Plan: plan("h", &artifact.Package{Name: "h", Includes: []string{"include"}}, "include/h.h")},
		{Target: "x86_64-unknown-linux-gnu", Package: "@h__x86_64-unknown-linux-gnu//", Plan: plan("h", &artifact.Package{Name: "h", Includes: []string{"include"}}, "include/h.h")},
	}}),
	"odd_names": plan("h", &artifact.Package{Name: "h", Includes: []string{"include", "."}, Defines: []string{`Q="a b"`, "D=$x"}},
		"@at.h", "@a/b", "-dash.h", "$dollar.h", "%percent.h", `"quoted".h`, "'single'.h", "with space.h", "größe.h", "a+b=c,d;e.h", "[x](y){z}.h", "#hash.h", "include/@at.h", "include/a@b.h", "~tilde", "&and<or>|pipe?star*!", "`tick", "^hat"),
}

func TestRender(t *testing.T) {
	repositories := Repositories{"rules_cc": "@@rules_cc+", "rules_ocipkg": "@@rules_ocipkg+", "platforms": "@@platforms"}
	for name, p := range plans {
		t.Run(name, func(t *testing.T) {
			got := Render(p, header, repositories)
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if again := Render(p, header, repositories); !bytes.Equal(got, again) {
				t.Error("the same plan is another text")
			}
			f, err := build.ParseBuild("BUILD.bazel", got)
			if err != nil {
				t.Fatal(err)
			}
			build.Rewrite(f)
			if formatted := build.Format(f); !bytes.Equal(got, formatted) {
				t.Errorf("buildifier would write\n%s\nin place of\n%s", formatted, got)
			}
		})
	}
}

// A label may begin with "@" or look like one, a file's name must not be taken for one; and what a plan says is what
// Bazel reads.
func TestFilesAreNamedAsThemselves(t *testing.T) {
	p := plans["odd_names"]
	f, err := build.ParseBuild("BUILD.bazel", Render(p, header, nil))
	if err != nil {
		t.Fatal(err)
	}
	rule := f.RuleNamed("files")
	if rule == nil {
		t.Fatal("no :files")
	}
	var named []string
	for _, l := range rule.AttrStrings("srcs") {
		if strings.HasPrefix(l, "@") || strings.HasPrefix(l, "//") {
			t.Errorf("%q is a label of something else", l)
		}
		named = append(named, strings.TrimPrefix(l, ":"))
	}
	slices.Sort(named)
	if !slices.Equal(named, p.Files) {
		t.Errorf("srcs are %q, want %q", named, p.Files)
	}
	var exported []string
	for _, r := range f.Rules("exports_files") {
		exported = build.Strings(r.Call.List[0])
	}
	if !slices.Equal(exported, p.Files) {
		t.Errorf("exported are %q, want %q", exported, p.Files)
	}
}

func TestCommentsStayComments(t *testing.T) {
	p := plan("h", &artifact.Package{Name: "h", Target: "x86_64-unknown-linux-gnu", Libraries: []artifact.Library{{Name: "a", Static: &artifact.StaticLibrary{Path: "liba.a", PIC: "none", Reason: "x\nload(\"@evil//:x.bzl\", \"x\")\r\fy()"}}}}, "liba.a")
	f, err := build.ParseBuild("BUILD.bazel", Render(p, "a\nb\r\nload(\"@evil//:y.bzl\", \"y\")\vz()", nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range f.Stmt {
		if load, ok := statement.(*build.LoadStmt); ok && strings.Contains(load.Module.Value, "evil") {
			t.Errorf("it loads %s", load.Module.Value)
		}
	}
	text := string(build.Format(f))
	if strings.ContainsAny(text, "\r\f\v") {
		t.Errorf("control characters in\n%q", text)
	}
}

func TestRepositories(t *testing.T) {
	for l, want := range map[string]string{
		"@rules_cc//cc:defs.bzl": "@@rules_cc~//cc:defs.bzl",
		"@platforms//os:linux":   "@platforms//os:linux",
		":headers":               ":headers",
		"include/zlib.h":         "include/zlib.h",
		"@rules_cc/x.h":          ":@rules_cc/x.h",
		"@":                      ":@",
		"include/@rules_cc/x.h":  "include/@rules_cc/x.h",
	} {
		if got := (Repositories{"rules_cc": "@@rules_cc~"}).label(l); got != want {
			t.Errorf("%s: got %s, want %s", l, got, want)
		}
	}
}

func TestHeaderIndex(t *testing.T) {
	data, err := HeaderIndex(plans["one_library"], "zlib")
	if err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"-lz\": [\"@zlib//:zlib\"],\n  \"pkg-config:zlib\": [\"@zlib//:zlib\"],\n  \"zconf.h\": [\"@zlib//:zlib\"],\n  \"zlib.h\": [\"@zlib//:zlib\"]\n}\n"; string(data) != want {
		t.Errorf("got %s", data)
	}
	if data, err = HeaderIndex(plans["odd_names"], "h"); err != nil {
		t.Fatal(err)
	}
	var index map[string][]string
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	if got := index[`"quoted".h`]; !slices.Equal(got, []string{"@h//:h"}) || len(index) < 5 {
		t.Errorf("got %q", index)
	}
	if data, err = HeaderIndex(ccplan.Plan{}, "h"); err != nil || string(data) != "{}\n" {
		t.Errorf("of nothing: %q, %v", data, err)
	}
}

func TestJoinIndexes(t *testing.T) {
	data, err := JoinIndexes([]Index{{"b", map[string]string{"b.h": "b", "both.h": "b"}}, {"a", map[string]string{"both.h": "x", "-la": "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string][]string
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"b.h": {"@b//:b"}, "both.h": {"@b//:b", "@a//:x"}, "-la": {"@a//:a"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}
