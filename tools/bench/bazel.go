//go:build linux

package main

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/servertest"
)

// A bazelWorkspace is one program that is linked with a hundred libraries, and where they come from.
type bazelWorkspace struct {
	module string   // MODULE.bazel
	flags  []string // of every build
	root   string   // of Bazel's folders
	env    []string
}

const (
	ruleSet = `module(name = "bench")

bazel_dep(name = "rules_cc", version = "0.1.5")
`
	// The opponent at its best: a BUILD file that needs no thought. What the lists at its head name is linked.
	archiveBuild = `load("@rules_cc//cc:defs.bzl", "cc_import", "cc_library")
static = %s
shared = %s
[cc_import(name = a.replace("/", "_"), static_library = a) for a in static]
[cc_import(name = a.replace("/", "_"), shared_library = a) for a in shared]
cc_library(
    name = "lib",
    hdrs = glob(["include/**"]),
    includes = ["include"],
    deps = [a.replace("/", "_") for a in static + shared],
    visibility = ["//visibility:public"],
)
`
)

// libraryPackages are what Debian has of a hundred libraries that many programs use, with the archives for static
// linking: 7 to 590 files and 0.2 to 24 MB each, 1.3 MB in the middle.
var libraryPackages = strings.Fields(`
zlib1g-dev libbz2-dev liblzma-dev libzstd-dev liblz4-dev libbrotli-dev libsnappy-dev liblzo2-dev libssl-dev
libgcrypt20-dev libgpg-error-dev nettle-dev libgmp-dev libmpfr-dev libmpc-dev libsodium-dev libtasn1-6-dev libidn2-dev
libunistring-dev libpsl-dev libcurl4-openssl-dev libnghttp2-dev libssh2-1-dev libssh-dev libevent-dev libuv1-dev
libev-dev libxml2-dev libexpat1-dev libyaml-dev libjansson-dev libjson-c-dev libsqlite3-dev liblmdb-dev libdb5.3-dev
libgdbm-dev libpng-dev libjpeg62-turbo-dev libtiff-dev libwebp-dev libgif-dev libfreetype-dev libfontconfig-dev
libfribidi-dev libpixman-1-dev libcairo2-dev libffi-dev libpcre2-dev libpcre3-dev libreadline-dev libncurses-dev
libedit-dev libcap-dev libattr1-dev libacl1-dev libaudit-dev libseccomp-dev libelf-dev libdw-dev libunwind-dev
libarchive-dev libogg-dev libvorbis-dev libflac-dev libopus-dev libtheora-dev libvpx-dev libx264-dev libmp3lame-dev
libusb-1.0-0-dev libpcap0.8-dev libnl-3-dev libnftnl-dev libprotobuf-dev libprotobuf-c-dev libabsl-dev libre2-dev
libgtest-dev libgmock-dev libgflags-dev libgoogle-glog-dev libbenchmark-dev libhiredis-dev librdkafka-dev libpq-dev
libzmq3-dev libfftw3-dev libgsl-dev libjemalloc-dev libgoogle-perftools-dev libaio-dev liburing-dev libnuma-dev
libudns-dev libc-ares-dev libutf8proc-dev libuchardet-dev libspeex-dev libspeexdsp-dev libmad0-dev
`)

// realLibraries publishes them in the registry at host. The prefixes are kept for the next run.
func (b *bench) realLibraries(host string) ([]library, error) {
	all := make([]library, len(libraryPackages))
	for i, pkg := range libraryPackages {
		l := library{name: strings.TrimSuffix(pkg, "-dev"), prefix: filepath.Join(b.out, "libraries", pkg)}
		if _, err := os.Stat(l.prefix); err != nil {
			fmt.Fprintln(os.Stderr, "bench: getting Debian's", pkg)
			if err := errors.Join(os.MkdirAll(filepath.Dir(l.prefix), 0o755), command("tools/debian-prefix", l.prefix, pkg).run()); err != nil {
				return nil, err
			}
		}
		needed, err := neededBy(l.prefix)
		if err != nil {
			return nil, err
		}
		if l.ref, err = b.published(host, l, needed); err != nil {
			return nil, err
		}
		all[i] = l
	}
	return all, nil
}

// neededBy are the SONAMEs that shared libraries in a prefix need: no program here links them.
func neededBy(prefix string) ([]string, error) {
	var all []string
	err := filepath.WalkDir(prefix, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !strings.Contains(entry.Name(), ".so") {
			return err
		}
		file, err := elf.Open(path)
		if err != nil {
			return nil // a linker script
		}
		defer file.Close()
		needed, err := file.ImportedLibraries()
		all = append(all, needed...)
		return err
	})
	slices.Sort(all)
	return slices.Compact(all), err
}

// bazel builds a workspace of a hundred libraries, ours and the same as http_archive.
func (b *bench) bazel() ([]row, error) {
	// Not the registry of the other jobs, whose work for a library takes more of the two processors than ours: http_archive's server
	// is Go's for files, which does next to nothing, and this one is as near to that as a registry is.
	data, err := b.fresh()
	if err != nil {
		return nil, err
	}
	server, err := servertest.Run(exec.Command(b.ocipkg, "serve", "--quiet", "--address", "127.0.0.1:0", "--dir", data), `(127\.0\.0\.1:\d+)`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = server.Stop() }() // nobody needs what it kept
	libraries, err := b.realLibraries(server.Ready)
	if err != nil {
		return nil, err
	}
	archives, tool, stop, err := b.serveArchives(libraries)
	if err != nil {
		return nil, err
	}
	defer stop()

	repository, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	release, err := b.released(tool)
	if err != nil {
		return nil, err
	}
	bazelw := filepath.Join(repository, "tools", "bazelw")
	run := func(w bazelWorkspace, dir, verb string, args ...string) (time.Duration, error) {
		// Java's second compiler, which tools/bazelw leaves out and the Bazel of users does not.
		flags := append([]string{"--output_user_root=" + w.root, "--host_jvm_args=-XX:TieredStopAtLevel=4", verb}, args...)
		if verb == "build" {
			flags = append(append(flags, w.flags...), "--noshow_progress", "//:app")
		}
		p := command(bazelw, flags...).in(dir).with(w.env...)
		return p.took2(p.run())
	}
	// Each gets a folder for what it keeps between builds.
	ours := func(kept string) bazelWorkspace {
		module := ruleSet + "bazel_dep(name = \"rules_ocipkg\", version = \"0.1.0\")\nlocal_path_override(module_name = \"rules_ocipkg\", path = " +
			fmt.Sprintf("%q", release) + ")\nocipkg_library = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\n"
		for _, l := range libraries {
			module += fmt.Sprintf("ocipkg_library(name = %q, image = %q)\n", l.name, l.ref)
		}
		return bazelWorkspace{module: module, env: []string{"OCIPKG_STORE=" + kept}}
	}
	archive := func(kept string) bazelWorkspace {
		module := ruleSet + "http_archive = use_repo_rule(\"@bazel_tools//tools/build_defs/repo:http.bzl\", \"http_archive\")\n"
		for i, l := range libraries {
			build := fmt.Sprintf(archiveBuild, archives[i].static, archives[i].shared)
			module += fmt.Sprintf("http_archive(name = %q, url = %q, sha256 = %q, build_file_content = %q)\n",
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
		root   string
	}{{of: ours}, {of: archive, target: "//:lib"}}
	for i := range sides {
		// A folder each, in a part of the disk of its own: what one side deletes with `clean --expunge` would otherwise slow down
		// the other, for the reason in main.go.
		if sides[i].root, err = b.fresh(); err != nil {
			return nil, err
		}
	}
	// What each turn took, the shortest where it is built several times in one, by what is built and by side.
	took := map[string][][]time.Duration{}
	note := func(what string, turn, i int, t time.Duration) {
		if took[what] == nil {
			took[what] = make([][]time.Duration, len(sides))
		}
		if len(took[what][i]) == turn {
			took[what][i] = append(took[what][i], t)
		}
		took[what][i][turn] = min(took[what][i][turn], t)
	}
	for turn := range b.turns + 1 {
		for n := range sides {
			i := (n + turn) % len(sides) // so that each is the first as often as not
			s := sides[i]
			kept, err := b.fresh()
			if err != nil {
				return nil, err
			}
			dir, err := b.fresh()
			if err != nil {
				return nil, err
			}
			w := s.of(kept)
			w.root = s.root
			if err := write(w, dir, s.target); err != nil {
				return nil, err
			}
			type step struct{ before, what string }
			noOps := slices.Repeat([]step{{"", "no-op"}}, 30) // a quarter of a second is soon disturbed, and the first dozens of a server are slow
			for _, step := range slices.Concat([]step{{"", "cold"}}, noOps, []step{{"clean --expunge", "after `clean --expunge`"}}) {
				if before := strings.Fields(step.before); len(before) > 0 {
					if _, err := run(w, dir, before[0], before[1:]...); err != nil {
						return nil, err
					}
				}
				if step.what != "no-op" {
					if err := settle(); err != nil {
						return nil, err
					}
				}
				t, err := run(w, dir, "build")
				if err != nil {
					return nil, err
				}
				if turn > 0 { // the first turn downloads the tool, and unpacks Bazel
					note(step.what, turn-1, i, t)
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
			if err := settle(); err != nil {
				return nil, err
			}
			fresh, err := run(w, other, "build")
			if err != nil {
				return nil, err
			}
			if turn > 0 {
				note("another workspace", turn-1, i, fresh)
			}
			if _, err := run(w, other, "shutdown"); err != nil {
				return nil, err
			}
		}
	}
	// The median of the turns' ratios, not the ratio of two minima: a turn compares what was built within two minutes, and from one to
	// the next the machine changes by more than the sides differ.
	times := func(these, those []time.Duration) float64 {
		var ratios []float64
		for turn := range these {
			ratios = append(ratios, ratio(these[turn], those[turn]))
		}
		return median(ratios)
	}
	against := func(what string, ours, theirs []time.Duration) row {
		return atLeast("`bazel build`, 100 libraries, "+what+": faster than `http_archive`", times(theirs, ours), 1,
			fmt.Sprintf(" (%s against %s)", seconds(median(ours)), seconds(median(theirs))))
	}
	none := took["no-op"]
	return []row{
		against("cold", took["cold"][0], took["cold"][1]),
		against("cold, its repository cache warm", took["cold"][0], took["another workspace"][1]),
		against("another workspace, all caches warm", took["another workspace"][0], took["another workspace"][1]),
		against("after `clean --expunge`", took["after `clean --expunge`"][0], took["after `clean --expunge`"][1]),
		atMost("`bazel build`, 100 libraries, no-op: time of `http_archive`", times(none[0], none[1]), 1.1, fmt.Sprintf(" (%s)", seconds(median(none[0])))),
	}, nil
}

// median is the middle one, of an even number halfway between the two.
func median[T time.Duration | float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// released makes a copy of this module as it is in a release, whose tool for this machine is downloaded from url.
func (b *bench) released(url string) (string, error) {
	dir, err := b.fresh()
	if err != nil {
		return "", err
	}
	if err := command("tools/copy-checkout", dir).run(); err != nil {
		return "", err
	}
	program, err := os.ReadFile(b.ocipkg)
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "rules", "private", "released.bzl"), fmt.Appendf(nil,
		"RELEASED_TOOLS = {%q: struct(sha256 = \"%x\", url = %q)}\n", runtime.GOOS+"-"+runtime.GOARCH, sha256.Sum256(program), url), 0o644)
}

// linked are the libraries of a prefix that a program is linked with, as lists in Starlark: those that ours links, but for the few
// whose static form does not fit a program as compilers make it.
func linked(prefix fs.FS) (static, shared string, err error) {
	archives, dynamic := []string{}, []string{}
	for _, folder := range []string{"lib", "lib/*"} {
		found, err := fs.Glob(prefix, folder+"/*.a")
		if err != nil {
			return "", "", err
		}
		archives = append(archives, found...)
		// Where -l finds it; what it leads to is called by its SONAME.
		links, err := fs.Glob(prefix, folder+"/lib*.so")
		if err != nil {
			return "", "", err
		}
		for _, link := range links {
			if slices.Contains(found, strings.TrimSuffix(link, ".so")+".a") {
				continue
			}
			file, err := fs.ReadLink(prefix, link)
			if err != nil {
				continue // libelf-0.188.so: what libelf.so leads to, which has an archive
			}
			dynamic = append(dynamic, path.Join(path.Dir(link), file))
		}
	}
	staticList, err := json.Marshal(archives)
	if err != nil {
		return "", "", err
	}
	sharedList, err := json.Marshal(dynamic)
	return string(staticList), string(sharedList), err
}

type served struct {
	url, sha256 string
	static      string // the static libraries, as a list in Starlark
	shared      string // those that have no static one beside them
}

// serveArchives makes an archive of each library, and serves them and our program on loopback.
func (b *bench) serveArchives(libraries []library) (all []served, tool string, stop func(), err error) {
	dir, err := b.fresh()
	if err != nil {
		return nil, "", nil, err
	}
	if err := os.Link(b.ocipkg, filepath.Join(dir, "ocipkg")); err != nil {
		return nil, "", nil, err
	}
	all = make([]served, len(libraries))
	for i, l := range libraries {
		name := l.name + ".tar.gz"
		if err := command("tar", "-czf", filepath.Join(dir, name), ".").in(l.prefix).run(); err != nil {
			return nil, "", nil, err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, "", nil, err
		}
		sum := sha256.Sum256(data)
		all[i] = served{url: name, sha256: hex.EncodeToString(sum[:])}
		if all[i].static, all[i].shared, err = linked(os.DirFS(l.prefix)); err != nil {
			return nil, "", nil, err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", nil, err
	}
	base := "http://" + listener.Addr().String() + "/"
	for i := range all {
		all[i].url = base + all[i].url
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(dir))}
	go func() { _ = server.Serve(listener) }() // until it is closed
	return all, base + "ocipkg", func() { _ = server.Close() }, nil
}
