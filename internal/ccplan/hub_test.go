package ccplan

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bazelbuild/buildtools/build"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
)

func spoke(target string, libraries ...artifact.Library) Spoke {
	p := forTarget(target, libraries...)
	return Spoke{Target: target, Package: "@z__" + target + "//", Plan: New(input("z", p, "include/z.h"))}
}

var hubs = map[string]HubInput{
	"hub_two_platforms": {Name: "z", What: "z 1", Files: []string{"header_index.json"}, LeftOut: []string{"riscv64-unknown-linux-gnu"}, Spokes: []Spoke{
		spoke("aarch64-unknown-linux-gnu", library("z")),
		spoke("x86_64-unknown-linux-musl", library("z")),
	}},
	"hub_a_library_on_one_platform": {Name: "z", What: "z 1", Spokes: []Spoke{
		spoke("x86_64-pc-windows-msvc", dll("z", "lib/z.dll", "lib/z.lib"), dll("winz", "lib/winz.dll", "lib/winz.lib")),
		spoke("x86_64-unknown-linux-gnu", library("z"), library("y")),
	}},
	"hub_headers": {Name: "h", What: "h", Spokes: []Spoke{{Package: "@h__x86_64-unknown-linux-gnu//", Plan: New(input("h", pkg(), "include/h.h"))}}},
	"hub_called_as_our_target": {Name: "z", What: "z", Files: []string{"header_index.json"}, Spokes: []Spoke{
		spoke("x86_64-unknown-linux-gnu", library("unsupported_platform"), library("header_index.json")),
	}},
}

func TestHubs(t *testing.T) {
	for name, in := range hubs {
		t.Run(name, func(t *testing.T) {
			p := Hub(in)
			got := text(p)
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			// Each label leads to a target of a spoke or of the hub, and no two targets have one name.
			targets := map[string]bool{}
			for _, f := range p.Files {
				targets[f] = true
			}
			for _, target := range p.Targets {
				if targets[target.Name] {
					t.Errorf("two things are called %s", target.Name)
				}
				targets[target.Name] = true
			}
			for _, target := range p.Targets {
				for _, label := range target.attr("actual") {
					found := targets[strings.TrimPrefix(label, ":")]
					for _, s := range in.Spokes {
						name, ok := strings.CutPrefix(label, s.Package+":")
						found = found || ok && slices.ContainsFunc(s.Plan.Targets, func(t Target) bool { return t.Name == name })
					}
					if !found {
						t.Errorf(":%s is %s, which is not there", target.Name, label)
					}
				}
			}
		})
	}
}

// rules/private/platforms.bzl says the same of a platform as the targets of a library for it.
func TestConstraintsAreThoseOfTheRules(t *testing.T) {
	file := filepath.Join("..", "..", "rules", "private", "platforms.bzl")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := build.ParseBzl(file, data)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]build.Expr{}
	for _, stmt := range f.Stmt {
		if assign, ok := stmt.(*build.AssignExpr); ok {
			if name, ok := assign.LHS.(*build.Ident); ok {
				values[name.Name] = assign.RHS
			}
		}
	}
	// label is what stands in Label(…), as other modules write it.
	label := func(e build.Expr) string {
		l := e.(*build.CallExpr).List[0].(*build.StringExpr).Value
		if strings.HasPrefix(l, "//") {
			l = "@rules_ocipkg" + l
		}
		return l
	}
	entries := func(name string) map[string]build.Expr {
		all := map[string]build.Expr{}
		dict, ok := values[name].(*build.DictExpr)
		if !ok {
			t.Fatalf("%s has no dict %s", file, name)
		}
		for _, e := range dict.List {
			all[e.Key.(*build.StringExpr).Value] = e.Value
		}
		return all
	}
	cpus, systems := entries("_CPUS"), entries("_SYSTEMS")
	triples, ok := values["TRIPLES"].(*build.ListExpr)
	if !ok || len(triples.List) == 0 {
		t.Fatalf("%s has no list TRIPLES", file)
	}
	for _, e := range triples.List {
		triple := e.(*build.StringExpr).Value
		parsed, err := artifact.ParseTriple(triple)
		if err != nil || parsed.String() != triple {
			t.Errorf("%s is read as %s, %v", triple, parsed, err)
			continue
		}
		cpu, system, _ := strings.Cut(triple, "-")
		list, ok := systems[system].(*build.ListExpr)
		if !ok || cpus[cpu] == nil {
			t.Errorf("%s: no such processor or system", triple)
			continue
		}
		want := []string{label(cpus[cpu])}
		for _, v := range list.List {
			want = append(want, label(v))
		}
		if got := Constraints(parsed); !slices.Equal(got, want) {
			t.Errorf("%s: the targets have %q, the setting %q", triple, got, want)
		}
	}
	for arch := range maps.Keys(cpus) {
		if constraints[arch] == "" {
			t.Errorf("no constraint for %s", arch)
		}
	}
}
