//go:build linux

// Package interop runs the ocipkg project's own command and crate, compiled from source by cargo, against this
// project's command and registry: what each writes, the other reads.
//
// It is run by `make interop`, which sets OCIPKG_INTEROP=1; it needs cargo with a registry of crates, a C compiler, and
// Debian's package zlib1g-dev, which tools/debian-prefix fetches. Where one of them cannot be had the tests that need
// it are skipped and say so. docs/interoperation.md is what they found.
package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
	"github.com/ocipkg/rules_ocipkg/internal/servertest"
)

// suite is what all tests share. Of the paths, out is .out/interop in the checkout.
type suite struct {
	repository, out, ocipkg string
	zlib                    string // an install prefix of Debian's zlib
	address                 string // of our registry: localhost and a port, which is what upstream speaks plain HTTP to
	missing                 string // why nothing can run, "" where it can
}

var theSuite suite

func TestMain(m *testing.M) {
	if os.Getenv("OCIPKG_INTEROP") == "" {
		fmt.Println("interop: skipped; `make interop` runs these tests, with the ocipkg project's own programs")
		os.Exit(0)
	}
	os.Exit(func() int {
		stop, err := theSuite.start()
		if err != nil {
			fmt.Fprintf(os.Stderr, "interop: %v\n", err)
			return 1
		}
		defer stop()
		return m.Run()
	}())
}

func (s *suite) start() (stop func(), err error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	s.repository = filepath.Dir(filepath.Dir(dir))
	s.out = filepath.Join(s.repository, ".out", "interop")
	s.ocipkg = filepath.Join(s.out, "ocipkg")
	s.zlib = filepath.Join(s.out, "zlib")
	for _, program := range []string{"cargo", "cc", "apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			s.missing = err.Error()
			return func() {}, nil
		}
	}
	for _, stale := range []string{"work", "registry"} {
		if err := os.RemoveAll(filepath.Join(s.out, stale)); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{"home", "run", "work"} {
		if err := os.MkdirAll(filepath.Join(s.out, d), 0o700); err != nil {
			return nil, err
		}
	}
	build := exec.Command("go", "build", "-o", s.ocipkg, "./fetcher")
	build.Dir, build.Stderr = s.repository, os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("%v: %w", build.Args, err)
	}
	if _, err := os.Stat(s.zlib); err != nil {
		if out, err := exec.Command(filepath.Join(s.repository, "tools", "debian-prefix"), s.zlib, "zlib1g-dev").CombinedOutput(); err != nil {
			s.missing = fmt.Sprintf("Debian's zlib1g-dev: %v\n%s", err, out)
			return func() {}, nil
		}
	}
	server, err := servertest.Run(exec.Command(s.ocipkg, "serve", "--quiet", "--dir", filepath.Join(s.out, "registry"), "--address", "localhost:0"), `on http://(\S+)`)
	if err != nil {
		return nil, err
	}
	s.address = "localhost" + server.Ready[strings.LastIndex(server.Ready, ":"):]
	return func() { _ = server.Stop() }, nil
}

// need skips a test where the programs cannot be had.
func need(t *testing.T) *suite {
	t.Helper()
	if theSuite.missing != "" {
		t.Skip("SKIPPED:", theSuite.missing)
	}
	return &theSuite
}

// upstream is one version of the ocipkg project's command. With an empty version it is the newest one.
func (s *suite) upstream(t *testing.T, version string) *theirs {
	t.Helper()
	root := filepath.Join(s.out, "newest")
	args := []string{"install", "--quiet", "--locked", "--root", root, "--target-dir", filepath.Join(s.out, "target"), "ocipkg-cli"}
	if version != "" {
		root = filepath.Join(s.out, version)
		args = append(args, "--version", "="+version)
		args[4] = root
	}
	u := &theirs{suite: s, program: filepath.Join(root, "bin", "ocipkg")}
	if _, err := os.Stat(u.program); err != nil {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "cargo", args...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED, cargo could not install ocipkg-cli %s: %v\n%s", version, err, out)
		}
	}
	u.data = filepath.Join(t.TempDir(), "data")
	out := u.must(t, "--version")
	u.version = strings.TrimSpace(strings.TrimPrefix(out, "ocipkg-cli "))
	t.Logf("the ocipkg project's command %s", u.version)
	return u
}

// presentFormat are the versions that read and write the format of today: the newest, and the last one of 0.3.
var presentFormat = []string{"", "0.3.9"}

// each runs a test with versions of their command.
func each(t *testing.T, versions []string, test func(t *testing.T, s *suite, u *theirs)) {
	s := need(t)
	machine(t)
	for _, version := range versions {
		name := version
		if name == "" {
			name = "newest"
		}
		t.Run(name, func(t *testing.T) { test(t, s, s.upstream(t, version)) })
	}
}

type theirs struct {
	*suite
	program, version, data string
}

func (s *suite) environment(data string) []string {
	// Neither program is to see the credentials and the store of whoever runs the tests.
	return append(os.Environ(), "XDG_DATA_HOME="+data, "HOME="+filepath.Join(s.out, "home"), "XDG_RUNTIME_DIR="+filepath.Join(s.out, "run"), "DOCKER_CONFIG="+filepath.Join(s.out, "home"))
}

func execute(t *testing.T, env []string, command ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("%v: %v", command, err)
	}
	return out.String(), errs.String(), err
}

// must runs their command, which has to succeed, and returns what it printed on standard output.
func (u *theirs) must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, err := execute(t, u.environment(u.data), append([]string{u.program}, args...)...)
	if err != nil {
		t.Fatalf("their ocipkg %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

// refuses runs their command, which has to fail and to say so.
func (u *theirs) refuses(t *testing.T, says string, args ...string) {
	t.Helper()
	out, errs, err := execute(t, u.environment(u.data), append([]string{u.program}, args...)...)
	if err == nil || !strings.Contains(errs, says) {
		t.Errorf("their ocipkg %s: %v, without %q\n%s%s", strings.Join(args, " "), err, says, out, errs)
	}
}

// ours runs our command, which has to succeed, with a store of the test's.
func (s *suite) ours(t *testing.T, store string, args ...string) string {
	t.Helper()
	out, errs, err := execute(t, s.environment(store), append([]string{s.ocipkg}, args...)...)
	if err != nil {
		t.Fatalf("ocipkg %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return strings.TrimSpace(out)
}

// manifest reads a manifest from our registry and returns its digest and bytes.
func (s *suite) manifest(t *testing.T, repository, reference string) (string, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/v2/"+repository+"/manifests/"+reference, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s:%s: %s, %v", repository, reference, response.Status, err)
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:]), data
}

// one finds the one file of a name in a folder.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == pattern {
			found = append(found, p)
		}
		return err
	})
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in %s: %q, %v", pattern, dir, found, err)
	}
	return found[0]
}

func sameFile(t *testing.T, got, want string) {
	t.Helper()
	a, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%s has %d bytes, and other ones than the %d of %s", got, len(a), len(b), want)
	}
}

const target = "x86_64-unknown-linux-gnu"

func machine(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("cc", "-dumpmachine").Output(); err != nil || !strings.HasPrefix(string(out), "x86_64-") {
		t.Skipf("SKIPPED, the libraries are for x86-64 and this machine is %s (%v)", out, err)
	}
}

// What we publish, their command fetches: under the tag of the platform, not under the main one.
func TestTheyGetOurs(t *testing.T) {
	each(t, presentFormat, theyGetOurs)
}

func theyGetOurs(t *testing.T, s *suite, u *theirs) {
	work := t.TempDir()
	layout := filepath.Join(work, "zlib.tar")
	s.ours(t, work, "pack", s.zlib, "--name", "zlib", "--license", "Zlib", "-o", layout)
	image := s.address + "/get/zlib:1"
	s.ours(t, work, "push", layout, image)

	tag := image + "-" + target
	u.must(t, "get", tag)
	dir := strings.TrimSpace(u.must(t, "image-directory", tag))
	if listed := strings.Fields(u.must(t, "list")); !slices.Equal(listed, []string{tag}) {
		t.Errorf("they list %q", listed)
	}
	sameFile(t, filepath.Join(dir, "libz.a"), one(t, s.zlib, "libz.a"))
	sameFile(t, filepath.Join(dir, "include", "zlib.h"), one(t, s.zlib, "zlib.h"))
	sameFile(t, filepath.Join(dir, "lib", "libz.so.1"), one(t, s.zlib, "libz.so.1"))

	digest, written := s.manifest(t, "get/zlib", "1-"+target)
	kept, err := os.ReadFile(filepath.Join(dir, ".oci-dir", "blobs", "sha256", strings.TrimPrefix(digest, "sha256:")))
	if err != nil || !bytes.Equal(kept, written) {
		t.Errorf("the manifest that they keep is another one: %v", err)
	}

	// The folder that they keep beside the files is a layout, and nobody wrote it but they.
	var described struct{ Digest string }
	if err := json.Unmarshal([]byte(s.ours(t, work, "inspect", "--json", filepath.Join(dir, ".oci-dir"))), &described); err != nil || described.Digest != digest {
		t.Errorf("in their store we see %s, not %s, %v", described.Digest, digest, err)
	}
	if got := s.ours(t, work, "push", filepath.Join(dir, ".oci-dir")); got != tag+"@"+digest {
		t.Errorf("out of their store we push %s", got)
	}

	pinned := s.address + "/get/zlib:" + digest
	u.must(t, "get", pinned)
	sameFile(t, filepath.Join(strings.TrimSpace(u.must(t, "image-directory", pinned)), "libz.a"), one(t, s.zlib, "libz.a"))

	u.refuses(t, "Unsupported layer type", "get", image)
	left, err := os.ReadDir(strings.TrimSpace(u.must(t, "image-directory", image)))
	if err != nil || len(left) != 1 || left[0].Name() != ".oci-dir" {
		t.Errorf("after what they refused they have %v, %v", left, err)
	}
	u.refuses(t, "Invalid name", "get", s.address+"/get/zlib@"+digest)
}

// Of several platforms they get each by its tag; the index itself they cannot read.
func TestTheyGetOneOfSeveral(t *testing.T) {
	each(t, presentFormat, theyGetOneOfSeveral)
}

func theyGetOneOfSeveral(t *testing.T, s *suite, u *theirs) {
	work := t.TempDir()
	const arm = "aarch64-unknown-linux-gnu"
	other := filepath.Join(work, "libz.a")
	if err := os.WriteFile(other, artifacttest.Archive(artifacttest.Object{Machine: elf.EM_AARCH64, Defines: []string{"zlibVersion"}}), 0o644); err != nil {
		t.Fatal(err)
	}
	libraries := map[string]string{target: one(t, s.zlib, "libz.a"), arm: other}
	first, second := filepath.Join(work, "intel.tar"), filepath.Join(work, "arm.tar")
	s.ours(t, work, "pack", s.zlib, "--name", "zlib", "--version", "1", "-o", first)
	s.ours(t, work, "pack", other, one(t, s.zlib, "zlib.h"), one(t, s.zlib, "zconf.h"), "--name", "zlib", "--version", "1", "-o", second)
	image := s.address + "/several/zlib:1"
	pinned := s.ours(t, work, "push", first, second, image)
	if again := s.ours(t, work, "push", second, first, image); again != pinned {
		t.Errorf("in another order it is %s, not %s", again, pinned)
	}
	for triple, library := range libraries {
		u.must(t, "get", image+"-"+triple)
		sameFile(t, filepath.Join(strings.TrimSpace(u.must(t, "image-directory", image+"-"+triple)), "libz.a"), library)
		if got := s.ours(t, t.TempDir(), "pull", "--target", triple, image); got != pinned {
			t.Errorf("%s: pulled %s, not %s", triple, got, pinned)
		}
	}
	u.refuses(t, "missing field", "get", image)
	u.refuses(t, "ref.name is not found", "inspect", first)
}

// What their command makes of a program is a container, in which there is no library.
func TestWeRefuseTheirContainers(t *testing.T) {
	s := need(t)
	machine(t)
	u := s.upstream(t, "")
	work := t.TempDir()
	source, program, layout := filepath.Join(work, "main.c"), filepath.Join(work, "program"), filepath.Join(work, "program.tar")
	if err := os.WriteFile(source, []byte("int main(void) { return 0; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-static", "-o", program, source).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, this machine links no static programs: %v\n%s", err, out)
	}
	u.must(t, "runnable", program, "--output", layout, "--tag", s.address+"/program:1")
	_, errs, err := execute(t, s.environment(work), s.ocipkg, "inspect", layout)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 || !strings.Contains(errs, "container image") {
		t.Errorf("we say %v:\n%s", err, errs)
	}
}

// Our archives, packed with gzip, go through all of their commands, and the digest stays.
func TestTheyPushOurs(t *testing.T) {
	each(t, presentFormat, theyPushOurs)
}

func theyPushOurs(t *testing.T, s *suite, u *theirs) {
	work := t.TempDir()
	for _, compression := range []string{"gzip", "zstd"} {
		layout := filepath.Join(work, compression+".tar")
		image := s.address + "/push/zlib:" + compression
		digest := s.ours(t, work, "pack", s.zlib, "--name", "zlib", "--compression", compression, "--image", image, "-o", layout)
		shown := u.must(t, "inspect", layout)
		for _, part := range []string{image, "libz.a", "zlib.h", "zlib.pc"} {
			if !strings.Contains(shown, part) {
				t.Errorf("%s: inspect shows no %s:\n%s", compression, part, shown)
			}
		}
		u.must(t, "push", layout)
		if got, _ := s.manifest(t, "push/zlib", compression); got != digest {
			t.Errorf("%s: pushed by them it is %s, and packed %s", compression, got, digest)
		}
		if got := s.ours(t, filepath.Join(work, "store-"+compression), "pull", "--target", target, image); got != image+"@"+digest {
			t.Errorf("%s: pulled %s", compression, got)
		}
		if compression == "zstd" {
			u.refuses(t, "Unsupported layer type", "load", layout)
			continue
		}
		u.must(t, "load", layout)
		dir := strings.TrimSpace(u.must(t, "image-directory", image))
		sameFile(t, filepath.Join(dir, "libz.a"), one(t, s.zlib, "libz.a"))
	}
}

// A crate that links our library by ocipkg::link_package, and calls it.
func TestTheirCrateLinksOurs(t *testing.T) {
	s := need(t)
	machine(t)
	u := s.upstream(t, "")
	work := t.TempDir()
	layout := filepath.Join(work, "zlib.tar")
	s.ours(t, work, "pack", s.zlib, "--name", "zlib", "-o", layout)
	image := s.address + "/crate/zlib:1"
	s.ours(t, work, "push", layout, image)
	u.linksZlib(t, image+"-"+target)
}

// linksZlib builds and runs a crate that links an image by ocipkg::link_package, with their data folder.
func (u *theirs) linksZlib(t *testing.T, image string) {
	t.Helper()
	s := u.suite
	crate := filepath.Join(t.TempDir(), "crate")
	for name, text := range map[string]string{
		"Cargo.toml":  "[package]\nname = \"interop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[build-dependencies]\nocipkg = \"=" + u.version + "\"\n\n[workspace]\n",
		"build.rs":    "fn main() {\n    ocipkg::link_package(\"" + image + "\").unwrap();\n}\n",
		"src/main.rs": crateMain,
	} {
		p := filepath.Join(crate, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), "XDG_DATA_HOME="+u.data, "XDG_RUNTIME_DIR="+filepath.Join(s.out, "run"), "CARGO_TARGET_DIR="+filepath.Join(s.out, "crate-target"))
	if out, errs, err := execute(t, env, "cargo", "fetch", "--quiet", "--manifest-path", filepath.Join(crate, "Cargo.toml")); err != nil {
		t.Skipf("SKIPPED, cargo could not fetch the crate ocipkg %s: %v\n%s%s", u.version, err, out, errs)
	}
	out, errs, err := execute(t, env, "cargo", "run", "--quiet", "--manifest-path", filepath.Join(crate, "Cargo.toml"))
	if err != nil {
		t.Fatalf("cargo run: %v\n%s%s", err, out, errs)
	}
	header, err := os.ReadFile(one(t, s.zlib, "zlib.h"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`#define ZLIB_VERSION "([^"]*)"`).FindSubmatch(header)
	if version == nil || strings.TrimSpace(out) != "zlib "+string(version[1])+": 1000 bytes became fewer and 1000 again" {
		t.Errorf("it printed %q; zlib.h says %q", out, version)
	}
	t.Logf("%s", out)
}

const crateMain = `use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_ulong};

extern "C" {
    fn zlibVersion() -> *const c_char;
    fn compress(dest: *mut u8, dest_len: *mut c_ulong, source: *const u8, source_len: c_ulong) -> c_int;
    fn uncompress(dest: *mut u8, dest_len: *mut c_ulong, source: *const u8, source_len: c_ulong) -> c_int;
}

fn main() {
    let plain = [7u8; 1000];
    let mut packed = [0u8; 2000];
    let mut packed_len = packed.len() as c_ulong;
    let mut again = [0u8; 1000];
    let mut again_len = again.len() as c_ulong;
    unsafe {
        assert_eq!(compress(packed.as_mut_ptr(), &mut packed_len, plain.as_ptr(), plain.len() as c_ulong), 0);
        assert!(packed_len < 1000);
        assert_eq!(uncompress(again.as_mut_ptr(), &mut again_len, packed.as_ptr(), packed_len), 0);
        assert_eq!(plain, again);
        println!("zlib {}: 1000 bytes became fewer and {} again", CStr::from_ptr(zlibVersion()).to_str().unwrap(), again_len);
    }
}
`

// One data folder for both: what we pulled they find and link, also what they could not get by themselves; what they got
// is ours without the network; and neither touches the other's.
func TestOneStore(t *testing.T) {
	s := need(t)
	machine(t)
	u := s.upstream(t, "")
	work := t.TempDir()
	layout := filepath.Join(work, "zlib.tar")
	s.ours(t, work, "pack", s.zlib, "--name", "zlib", "-o", layout)
	server := registrytest.New(t.TempDir())
	defer server.Close()
	registry := strings.Replace(server.Host, "127.0.0.1", "localhost", 1)
	image := registry + "/shared/zlib:1"
	pinned := s.ours(t, work, "push", layout, image)

	if got := s.ours(t, u.data, "pull", image); got != pinned {
		t.Errorf("pulled %s, not %s", got, pinned)
	}
	if listed := strings.Fields(u.must(t, "list")); !slices.Equal(listed, []string{image}) {
		t.Errorf("they list %q", listed)
	}
	dir := strings.TrimSpace(u.must(t, "image-directory", image))
	if ours := s.ours(t, u.data, "store", "path", image); ours != dir {
		t.Errorf("to us it is at %s, to them at %s", ours, dir)
	}
	sameFile(t, filepath.Join(dir, "libz.a"), one(t, s.zlib, "libz.a"))

	theirTag := image + "-" + target
	u.must(t, "get", theirTag)
	theirDir := strings.TrimSpace(u.must(t, "image-directory", theirTag))
	if out := s.ours(t, u.data, "list"); !strings.Contains(out, "fetched by the ocipkg crate") || strings.Count(out, "\n") != 2 {
		t.Errorf("we list\n%s", out)
	}
	// Without what we had of it, and without a registry.
	if err := os.RemoveAll(filepath.Join(u.data, "ocipkg", ".store")); err != nil {
		t.Fatal(err)
	}
	server.Close()
	data, err := os.ReadFile(filepath.Join(theirDir, ".oci-dir", "index.json"))
	var index struct{ Manifests []struct{ Digest string } }
	if err != nil || json.Unmarshal(data, &index) != nil || len(index.Manifests) != 1 {
		t.Fatalf("%v: %s", err, data)
	}
	s.ours(t, u.data, "pull", theirTag+"@"+index.Manifests[0].Digest)
	u.linksZlib(t, image)

	// Theirs stays, whatever we remove.
	s.ours(t, u.data, "rm", theirTag+"@"+index.Manifests[0].Digest)
	s.ours(t, u.data, "store", "gc", "--older-than", "0")
	if listed := strings.Fields(u.must(t, "list")); !slices.Contains(listed, theirTag) {
		t.Errorf("they list %q", listed)
	}
	sameFile(t, filepath.Join(theirDir, "libz.a"), one(t, s.zlib, "libz.a"))
}

// What their packers write, we inspect, push and pull, and their push of it is the same as ours.
func TestWeReadTheirs(t *testing.T) {
	each(t, append(presentFormat, "0.2.9"), weReadTheirs)
}

func weReadTheirs(t *testing.T, s *suite, u *theirs) {
	repository := "theirs/" + strings.ReplaceAll(u.version, ".", "-")
	for _, how := range []string{"pack", "compose"} {
		work := t.TempDir()
		layout := filepath.Join(work, how+".tar")
		image := s.address + "/" + repository + "/" + how + ":v1"
		if how == "pack" {
			u.must(t, "pack", s.zlib, layout, "--tag", image)
		} else {
			u.must(t, "compose", one(t, s.zlib, "libz.a"), one(t, s.zlib, "zlib.h"), one(t, s.zlib, "zconf.h"), "--output", layout, "--tag", image)
		}
		var described struct {
			Digest  string
			Package struct {
				Target    string
				Libraries []struct {
					Name           string
					Static, Shared *struct{ Path string }
				}
			}
		}
		if err := json.Unmarshal([]byte(s.ours(t, work, "inspect", "--json", layout)), &described); err != nil {
			t.Fatal(err)
		}
		p := described.Package
		if p.Target != target || len(p.Libraries) != 1 || p.Libraries[0].Name != "z" || p.Libraries[0].Static == nil || (p.Libraries[0].Shared != nil) != (how == "pack") {
			t.Errorf("%s: we see %+v", how, p)
		}

		// The name is the one they gave it.
		if got := s.ours(t, work, "push", layout); got != image+"@"+described.Digest {
			t.Errorf("%s: pushed %s, and it is %s", how, got, described.Digest)
		}
		u.must(t, "push", layout)
		if got, _ := s.manifest(t, repository+"/"+how, "v1"); got != described.Digest {
			t.Errorf("%s: pushed by them it is %s, and by us %s", how, got, described.Digest)
		}

		for _, asked := range []string{image, s.address + "/" + repository + "/" + how + ":" + described.Digest} {
			output := filepath.Join(t.TempDir(), "z")
			s.ours(t, t.TempDir(), "pull", "--target", target, "--output", output, asked)
			sameFile(t, one(t, output, "libz.a"), one(t, s.zlib, "libz.a"))
			sameFile(t, one(t, output, "zlib.h"), one(t, s.zlib, "zlib.h"))
		}
	}
}

// The versions up to 0.2.9 read the format of their time alone.
func TestOldVersionsRefuseOurs(t *testing.T) {
	s := need(t)
	machine(t)
	u := s.upstream(t, "0.2.9")
	work := t.TempDir()
	layout := filepath.Join(work, "zlib.tar")
	s.ours(t, work, "pack", s.zlib, "--name", "zlib", "-o", layout)
	image := s.address + "/old/zlib:1"
	s.ours(t, work, "push", layout, image)
	u.refuses(t, "MissingLayer", "get", image+"-"+target)
}
