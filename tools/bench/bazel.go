//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A bazelWorkspace is one program that is linked with the small libraries, and where they come from.
type bazelWorkspace struct {
	module string   // MODULE.bazel
	flags  []string // of every build
	env    []string
}

const (
	ruleSet = `module(name = "bench")

bazel_dep(name = "rules_cc", version = "0.1.5")
`
	// The opponent at its best: a BUILD file that needs no thought.
	archiveBuild = `load("@rules_cc//cc:defs.bzl", "cc_import", "cc_library")
cc_library(name = "lib", hdrs = glob(["include/**"]), includes = ["include"], deps = [":import"], visibility = ["//visibility:public"])
cc_import(name = "import", static_library = "lib/lib%s.a")
`
)

// bazel builds a workspace of a hundred libraries, ours and the same as http_archive.
func (b *bench) bazel() ([]row, error) {
	libraries, err := b.smallLibraries()
	if err != nil {
		return nil, err
	}
	archives, stop, err := b.serveArchives(libraries)
	if err != nil {
		return nil, err
	}
	defer stop()

	repository, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	bazelw := filepath.Join(repository, "tools", "bazelw")
	userRoot := "--output_user_root=" + filepath.Join(b.work, "bazel")
	run := func(w bazelWorkspace, dir, verb string, args ...string) (time.Duration, error) {
		flags := append([]string{userRoot, verb}, args...)
		if verb == "build" {
			flags = append(append(flags, w.flags...), "--noshow_progress", "//:app")
		}
		p := command(bazelw, flags...).in(dir).with(w.env...)
		return p.took2(p.run())
	}
	// Each gets a folder for what it keeps between builds.
	ours := func(kept string) bazelWorkspace {
		module := ruleSet + "bazel_dep(name = \"rules_ocipkg\", version = \"0.1.0\")\nlocal_path_override(module_name = \"rules_ocipkg\", path = " +
			fmt.Sprintf("%q", repository) + ")\nocipkg_library = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\n"
		for _, l := range libraries {
			module += fmt.Sprintf("ocipkg_library(name = %q, image = %q)\n", l.name, l.ref)
		}
		return bazelWorkspace{module: module, env: []string{"OCIPKG_STORE=" + kept}}
	}
	archive := func(kept string) bazelWorkspace {
		module := ruleSet + "http_archive = use_repo_rule(\"@bazel_tools//tools/build_defs/repo:http.bzl\", \"http_archive\")\n"
		for i, l := range libraries {
			build := fmt.Sprintf(archiveBuild, l.name)
			module += fmt.Sprintf("http_archive(name = %q, url = %q, sha256 = %q, strip_prefix = \"p\", build_file_content = %q)\n",
				l.name, archives[i].url, archives[i].sha256, build)
		}
		return bazelWorkspace{module: module, flags: []string{"--repository_cache=" + kept}}
	}
	write := func(w bazelWorkspace, dir, target string) error {
		var deps strings.Builder
		for _, l := range libraries {
			fmt.Fprintf(&deps, "        \"@%s%s\",\n", l.name, target)
		}
		return errors.Join(os.WriteFile(filepath.Join(dir, "MODULE.bazel"), []byte(w.module), 0o644),
			os.WriteFile(filepath.Join(dir, ".bazelversion"), []byte("7.7.1\n"), 0o644),
			os.WriteFile(filepath.Join(dir, "BUILD.bazel"), []byte("load(\"@rules_cc//cc:defs.bzl\", \"cc_binary\")\ncc_binary(\n    name = \"app\",\n    srcs = [\"app.c\"],\n    deps = [\n"+
				deps.String()+"    ],\n)\n"), 0o644),
			os.WriteFile(filepath.Join(dir, "app.c"), []byte("int main(void) { return 0; }\n"), 0o644))
	}
	sides := []struct {
		of     func(kept string) bazelWorkspace
		target string
	}{{ours, ""}, {archive, "//:lib"}}
	best := map[string][]time.Duration{}
	note := func(what string, i int, took time.Duration) {
		if best[what] == nil {
			best[what] = make([]time.Duration, len(sides))
		}
		if best[what][i] == 0 || took < best[what][i] {
			best[what][i] = took
		}
	}
	for turn := range min(b.turns, 3) + 1 {
		for i, s := range sides {
			kept, err := b.fresh()
			if err != nil {
				return nil, err
			}
			dir, err := b.fresh()
			if err != nil {
				return nil, err
			}
			w := s.of(kept)
			if err := write(w, dir, s.target); err != nil {
				return nil, err
			}
			for _, step := range []struct{ before, what string }{{"", "cold"}, {"", "no-op"}, {"clean --expunge", "after `clean --expunge`"}} {
				if before := strings.Fields(step.before); len(before) > 0 {
					if _, err := run(w, dir, before[0], before[1:]...); err != nil {
						return nil, err
					}
				}
				took, err := run(w, dir, "build")
				if err != nil {
					return nil, err
				}
				if turn > 0 { // the first turn compiles the tool, and unpacks Bazel
					note(step.what, i, took)
				}
			}
			if _, err := run(w, dir, "shutdown"); err != nil {
				return nil, err
			}
			// Another workspace that needs the same.
			other, err := b.fresh()
			if err != nil {
				return nil, err
			}
			if err := write(w, other, s.target); err != nil {
				return nil, err
			}
			fresh, err := run(w, other, "build")
			if err != nil {
				return nil, err
			}
			if turn > 0 {
				note("another workspace", i, fresh)
			}
			if _, err := run(w, other, "shutdown"); err != nil {
				return nil, err
			}
		}
	}
	against := func(what string, ours, theirs time.Duration) row {
		return atLeast("`bazel build`, 100 libraries, "+what+": faster than `http_archive`", ratio(theirs, ours), 1,
			fmt.Sprintf(" (%s against %s)", seconds(ours), seconds(theirs)))
	}
	none := best["no-op"]
	return []row{
		against("cold", best["cold"][0], best["cold"][1]),
		against("cold, its repository cache warm", best["cold"][0], best["another workspace"][1]),
		against("another workspace, all caches warm", best["another workspace"][0], best["another workspace"][1]),
		against("after `clean --expunge`", best["after `clean --expunge`"][0], best["after `clean --expunge`"][1]),
		atMost("`bazel build`, 100 libraries, no-op: time of `http_archive`", ratio(none[0], none[1]), 1.1, fmt.Sprintf(" (%s)", seconds(none[0]))),
	}, nil
}

type served struct{ url, sha256 string }

// serveArchives makes an archive of each library, and serves them on loopback.
func (b *bench) serveArchives(libraries []smallLibrary) ([]served, func(), error) {
	dir, err := b.fresh()
	if err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(dir))}
	go func() { _ = server.Serve(listener) }() // until it is closed
	stop := func() { _ = server.Close() }
	all := make([]served, len(libraries))
	for i, l := range libraries {
		name := l.name + ".tar.gz"
		if err := command("tar", "-czf", filepath.Join(dir, name), "p").in(filepath.Dir(l.prefix)).run(); err != nil {
			stop()
			return nil, nil, err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			stop()
			return nil, nil, err
		}
		sum := sha256.Sum256(data)
		all[i] = served{"http://" + listener.Addr().String() + "/" + name, hex.EncodeToString(sum[:])}
	}
	return all, stop, nil
}
