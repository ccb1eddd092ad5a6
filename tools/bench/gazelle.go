//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ocipkg/rules_ocipkg/gazelle_ext/gazelletest"
	"github.com/ocipkg/rules_ocipkg/internal/buildfile"
)

const (
	gazelleFolders   = 50
	gazellePackages  = 100 // a folder; one in ten uses cgo
	gazelleLibraries = 100
	gazelleHeaders   = 200 // a library
)

// gazelle runs Gazelle with and without our language over a workspace whose BUILD files are as they should be.
func (b *bench) gazelle() ([]row, error) {
	var commands []string
	for i, languages := range [][]string{{gazelletest.Go}, {gazelletest.Go, "github.com/ocipkg/rules_ocipkg/gazelle_ext"}} {
		dir := filepath.Join(b.work, fmt.Sprintf("gazelle%d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		command, err := gazelletest.Build(dir, languages...)
		if err != nil {
			return nil, err
		}
		commands = append(commands, command)
	}
	const without, with = 0, 1
	plain, err := b.gazelleWorkspace("plain", false)
	if err != nil {
		return nil, err
	}
	indexed, err := b.gazelleWorkspace("indexed", true)
	if err != nil {
		return nil, err
	}
	// The BUILD files of all runs are those of our language: the other one leaves cdeps alone.
	for _, dir := range []string{plain, indexed} {
		if err := command(commands[with]).in(dir).run(); err != nil {
			return nil, err
		}
	}
	run := func(which int, workspace string, args ...string) contestant {
		return contestant{"gazelle", func(string) (time.Duration, error) {
			p := command(commands[which], args...).in(workspace)
			return p.took2(p.run())
		}}
	}
	one := []string{"-r=false", "-index=lazy", "f00/p000"} // which uses cgo
	// A run varies by several times what is to be seen.
	best, err := b.race(4*b.turns,
		run(without, indexed), run(with, indexed), run(without, plain), run(with, plain),
		run(without, indexed, one...), run(with, indexed, one...), run(without, plain, one...), run(with, plain, one...),
	)
	if err != nil {
		return nil, err
	}
	detail := func(i int) string { return fmt.Sprintf(" (%s against %s)", seconds(best[i+1]), seconds(best[i])) }
	added := best[5] - best[4]
	none := best[7] - best[6]
	what := fmt.Sprintf("Gazelle over %d packages, a tenth cgo, %d libraries with %d headers: with our language against without", gazelleFolders*gazellePackages, gazelleLibraries, gazelleLibraries*gazelleHeaders)
	return []row{
		{what, fmt.Sprintf("%.2f times%s", ratio(best[1], best[0]), detail(0)), "at most 1.02", ratio(best[1], best[0]) <= 1.02},
		{"the same where no library is declared", fmt.Sprintf("%.2f times%s", ratio(best[3], best[2]), detail(2)), "at most 1.01", ratio(best[3], best[2]) <= 1.01},
		{"Gazelle over one cgo package of these: what our language adds", seconds(added) + detail(4), "at most 5 ms", added <= 5*time.Millisecond},
		{"the same where no library is declared", seconds(none) + detail(6), "at most 1 ms", none <= time.Millisecond},
	}, nil
}

func (b *bench) gazelleWorkspace(name string, indexed bool) (string, error) {
	dir := filepath.Join(b.work, "gazelle-"+name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	write := func(name, text string) error {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, []byte(text), 0o644)
	}
	var module strings.Builder
	module.WriteString("ocipkg_library = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\n")
	var indexes []buildfile.Index
	for l := range gazelleLibraries {
		library := fmt.Sprintf("lib%d", l)
		index := map[string]string{"-l" + library: library, "pkg-config:" + library: library}
		for h := range gazelleHeaders {
			index[fmt.Sprintf("%s/part/header%d.h", library, h)] = library
		}
		indexes = append(indexes, buildfile.Index{Repository: library, Targets: index})
		fmt.Fprintf(&module, "ocipkg_library(name = %q, image = \"localhost:5000/%s:1\")\n", library, library)
	}
	if err := write("BUILD.bazel", "# gazelle:prefix example.com/bench\n"); err != nil {
		return "", err
	}
	if indexed {
		data, err := buildfile.JoinIndexes(indexes)
		if err != nil {
			return "", err
		}
		if err := write("ocipkg_index.json", string(data)); err != nil {
			return "", err
		}
		if err := write("MODULE.bazel", module.String()); err != nil {
			return "", err
		}
	} else if err := write("MODULE.bazel", ""); err != nil {
		return "", err
	}
	for f := range gazelleFolders {
		for p := range gazellePackages {
			n := f*gazellePackages + p
			text := fmt.Sprintf("package p%03d\n\n", p)
			if p%10 == 0 {
				l := n % gazelleLibraries
				text += fmt.Sprintf("/*\n#cgo LDFLAGS: -llib%d\n#include <stdio.h>\n#include <lib%d/part/header%d.h>\n*/\nimport \"C\"\n", l, l, n%gazelleHeaders)
			}
			text += "import \"fmt\"\n\nfunc F() { fmt.Println() }\n"
			if err := write(fmt.Sprintf("f%02d/p%03d/p.go", f, p), text); err != nil {
				return "", err
			}
		}
	}
	return dir, nil
}
