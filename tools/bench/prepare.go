//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
)

// The peers, each installed once into .out/bench. crane is of the version in go.mod, whose library we use. Of those that a
// system has or Debian's packages bring, sha256sum and tar are not looked for: a Debian without them cannot open packages.
var (
	fromModules = map[string]string{
		"oras":     "oras.land/oras/cmd/oras@v1.3.6",
		"registry": "github.com/distribution/distribution/v3/cmd/registry@v3.1.2",
		"crane":    "github.com/google/go-containerregistry/cmd/crane",
	}
	fromDebian = []string{"curl", "zstd"}
)

// samplePackages are what the sample is made of: static and shared libraries, large and small, and many headers.
var samplePackages = []string{"libicu-dev", "libssl-dev", "libgrpc++-dev", "libgrpc-dev", "libabsl-dev", "libprotobuf-dev", "libprotoc-dev",
	"libeigen3-dev", "libsqlite3-dev", "libzstd-dev", "zlib1g-dev", "libre2-dev", "libglib2.0-dev"}

// sampleMissing are libraries that the sample's need and that no consumer here links.
var sampleMissing = []string{"libmount.so.1", "libselinux.so.1", "libpcre2-8.so.0", "libffi.so.8", "libcares.so.2"}

// bench is what all jobs share.
type bench struct {
	out, bin       string // kept from one run to the next
	work, turnsDir string
	turns, count   int
	ocipkg         string
	host           string // of the registry
	registry       *exec.Cmd

	prefix     string // what was packed
	tree       string // the artifact's files, as a folder for the tools that push one
	files      int    // in tree
	bytes      int64
	zstd, gzip image
}

// image is the sample in one compression.
type image struct {
	archive string
	ref     string // with its digest
	layers  []artifact.Descriptor
}

func size(layers []artifact.Descriptor) int64 {
	var n int64
	for _, l := range layers {
		n += l.Size
	}
	return n
}

func prepare(out string, turns int) (*bench, error) {
	b := &bench{out: out, bin: filepath.Join(out, "bin"), turns: turns,
		ocipkg: filepath.Join(out, "bin", "ocipkg"), prefix: filepath.Join(out, "prefix")}
	if err := os.MkdirAll(b.bin, 0o755); err != nil {
		return nil, err
	}
	// New ones for each run, which are deleted at its end and not at the beginning of the next, for the reason in main.go.
	work, err := os.MkdirTemp(out, "run")
	if err != nil {
		return nil, err
	}
	b.work, b.turnsDir, b.tree = work, filepath.Join(work, "turns"), filepath.Join(work, "push", "tree")
	for _, dir := range []string{b.turnsDir, filepath.Dir(b.tree)} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := spread(b.turnsDir); err != nil {
		return nil, err
	}
	if err := b.install(); err != nil {
		return nil, err
	}
	if err := b.serve(); err != nil {
		return nil, err
	}
	if err := b.publish(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) install() error {
	// As the repository rule compiles it (rules/private/tool.bzl).
	if err := command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", b.ocipkg, "./fetcher").with("CGO_ENABLED=0").run(); err != nil {
		return err
	}
	// What the system has itself comes first.
	if err := os.Setenv("PATH", os.Getenv("PATH")+string(os.PathListSeparator)+b.bin); err != nil {
		return err
	}
	for name, module := range fromModules {
		if _, err := os.Stat(filepath.Join(b.bin, name)); err == nil {
			continue
		}
		if !strings.Contains(module, "@") {
			version := command("go", "list", "-m", "-f", "{{.Version}}", strings.TrimSuffix(module, "/cmd/crane"))
			if err := version.run(); err != nil {
				return err
			}
			module += "@" + strings.TrimSpace(version.stdout.String())
		}
		fmt.Fprintln(os.Stderr, "bench: installing", module)
		if err := command("go", "install", module).with("GOBIN=" + b.bin).run(); err != nil {
			return err
		}
	}
	for _, name := range fromDebian {
		if err := b.fromPackage(name); err != nil {
			return err
		}
	}
	if _, err := os.Stat(b.prefix); err == nil {
		return nil
	}
	return command("tools/debian-prefix", append([]string{b.prefix}, samplePackages...)...).run()
}

// fromPackage sees to it that there is a program, which a Debian package of its name has.
func (b *bench) fromPackage(name string) error {
	if _, err := exec.LookPath(name); err == nil {
		return nil
	}
	prefix := filepath.Join(b.out, name)
	if _, err := os.Stat(prefix); err != nil {
		fmt.Fprintln(os.Stderr, "bench: getting Debian's", name)
		if err := command("tools/debian-prefix", "--closure", prefix, name).run(); err != nil {
			return err
		}
	}
	libraries, err := filepath.Glob(filepath.Join(prefix, "lib", "*-linux-*"))
	if err != nil {
		return err
	}
	script := fmt.Sprintf("#!/bin/sh\nLD_LIBRARY_PATH='%s' exec '%s' \"$@\"\n", strings.Join(libraries, ":"), filepath.Join(prefix, "bin", name))
	return os.WriteFile(filepath.Join(b.bin, name), []byte(script), 0o755)
}

// serve starts the registry: another project's, so that nobody plays at home.
func (b *bench) serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.host = listener.Addr().String()
	listener.Close()
	config := filepath.Join(b.work, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n",
		filepath.Join(b.work, "registry"), b.host)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	b.registry = exec.Command(filepath.Join(b.bin, "registry"), "serve", config)
	b.registry.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := b.registry.Start(); err != nil {
		return err
	}
	for range 100 {
		if resp, err := http.Get("http://" + b.host + "/v2/"); err == nil {
			resp.Body.Close()
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.close()
	return errors.New("the registry does not answer")
}

func (b *bench) close() {
	_ = b.registry.Process.Kill() // it may have ended by itself
	_ = b.registry.Wait()
	_ = os.RemoveAll(b.work) // what is left is in the way of nobody
}

func (b *bench) publish() error {
	for compression, img := range map[string]*image{"zstd": &b.zstd, "gzip": &b.gzip} {
		img.archive = filepath.Join(b.out, "sample-"+compression+".tar")
		if err := b.pack(compression, img.archive).run(); err != nil {
			return err
		}
		pushed := b.ours("push", "--quiet", "--no-upstream-tags", img.archive, b.host+"/bench/"+compression+":1").with("OCIPKG_STORE=" + filepath.Join(b.turnsDir, "publish"))
		if err := pushed.run(); err != nil {
			return err
		}
		img.ref = strings.TrimSpace(pushed.stdout.String())
		var described struct{ Manifest artifact.Manifest }
		inspected := b.ours("inspect", "--json", img.archive)
		if err := inspected.run(); err != nil {
			return err
		}
		if err := json.Unmarshal(inspected.stdout.Bytes(), &described); err != nil {
			return err
		}
		img.layers = described.Manifest.Layers
	}
	if err := b.ours("pull", "--quiet", b.zstd.ref, "--output", b.tree).with("OCIPKG_STORE=" + filepath.Join(b.turnsDir, "publish")).run(); err != nil {
		return err
	}
	return filepath.WalkDir(b.tree, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.Type().IsRegular() {
			b.files++
			b.bytes += info.Size()
		}
		return nil
	})
}

// pack packs the sample; push's upstream tags would be a second compression.
func (b *bench) pack(compression, archive string) *process {
	args := []string{"pack", "--quiet", b.prefix, "--name", "sample", "--version", "1", "--compression", compression, "-o", archive}
	for _, soname := range sampleMissing {
		args = append(args, "--allow-missing", soname)
	}
	return b.ours(args...)
}

// ours is the command under test.
func (b *bench) ours(args ...string) *process { return command(b.ocipkg, args...) }

// process is a command to run and what it did.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	took           time.Duration
}

func command(name string, args ...string) *process {
	p := &process{cmd: exec.Command(name, args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.Env = os.Environ()
	return p
}

func (p *process) with(env ...string) *process {
	p.cmd.Env = append(p.cmd.Env, env...)
	return p
}

func (p *process) in(dir string) *process {
	p.cmd.Dir = dir
	return p
}

func (p *process) run() error {
	start := time.Now()
	err := p.cmd.Run()
	p.took = time.Since(start)
	if err != nil {
		return fmt.Errorf("%v: %w\n%s%s", p.cmd.Args, err, &p.stdout, &p.stderr)
	}
	return nil
}

// blob opens a blob of the registry's by itself, to measure what the stages cost.
func (b *bench) blob(repository string, digest v1.Hash) (io.ReadCloser, error) {
	resp, err := http.Get("http://" + b.host + "/v2/bench/" + repository + "/blobs/" + digest.String())
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, errors.New(resp.Status)
	}
	return resp.Body, nil
}
