package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

var update = flag.Bool("update", false, "write the documentation and the golden files anew")

// TestMain lets the test's own program be the command, for tests of what only a process has: a terminal, signals, a
// standard output that is full.
func TestMain(m *testing.M) {
	if os.Getenv("OCIPKG_BE_THE_COMMAND") != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// packageDir is where golden files are, whatever the working directory.
var packageDir, _ = os.Getwd()

// user is somebody with a home, a store and a working directory of their own, for as long as the test lasts.
type user struct{ dir string }

func newUser(t *testing.T) *user {
	t.Helper()
	u := &user{t.TempDir()}
	t.Chdir(u.dir)
	for name, value := range map[string]string{
		"HOME": u.dir, "XDG_DATA_HOME": "", "XDG_RUNTIME_DIR": "",
		"DOCKER_CONFIG":              filepath.Join(u.dir, "docker"), // nobody's own credentials
		"REGISTRY_AUTH_FILE":         "",
		"OCIPKG_STORE":               filepath.Join(u.dir, "store"),
		"OCIPKG_REQUIRE_DIGEST":      "",
		"OCIPKG_INSECURE_REGISTRIES": "",
	} {
		t.Setenv(name, value)
	}
	return u
}

// command is the command as a process.
func (u *user) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	// Under Bazel a test's program changes to the test's folder as soon as it starts, where it is told of one.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TEST_SRCDIR=") })
	cmd.Env = append(cmd.Env, "OCIPKG_BE_THE_COMMAND=1")
	return cmd
}

type outcome struct {
	code           int
	stdout, stderr string
}

// process runs the command as a process.
func (u *user) process(t *testing.T, args ...string) outcome {
	t.Helper()
	cmd := u.command(t, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// run is the command in this process, its standard output and error being files for as long.
func (u *user) run(t *testing.T, args ...string) (o outcome) {
	t.Helper()
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	var files []*os.File
	for range 2 {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	os.Stdout, os.Stderr = files[0], files[1]
	o.code = run(args)
	for i, text := range []*string{&o.stdout, &o.stderr} {
		data, err := os.ReadFile(files[i].Name())
		if err != nil {
			t.Fatal(err)
		}
		*text = string(data)
	}
	return o
}

// must runs a command that has to succeed and returns its result.
func (u *user) must(t *testing.T, args ...string) string {
	t.Helper()
	o := u.run(t, args...)
	if o.code != 0 {
		t.Fatalf("ocipkg %s: exit status %d\n%s", strings.Join(args, " "), o.code, o.stderr)
	}
	return strings.TrimSuffix(o.stdout, "\n")
}

func (u *user) write(t *testing.T, name string, data []byte) {
	t.Helper()
	name = filepath.Join(u.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// prefix makes an install prefix of two libraries, one of which needs the other; ballast is how many bytes that do not
// compress it has besides.
func (u *user) prefix(t *testing.T, dir, version string, ballast int) {
	t.Helper()
	u.write(t, dir+"/include/ssl.h", []byte("#define SSL_VERSION \""+version+"\"\n"))
	u.write(t, dir+"/lib/libcrypto.so.3", artifacttest.Shared{SONAME: "libcrypto.so.3", Needed: []string{"libc.so.6"}}.Bytes())
	u.write(t, dir+"/lib/libssl.so.3", artifacttest.Shared{SONAME: "libssl.so.3", Needed: []string{"libcrypto.so.3", "libz.so.1", "libm.so.6", "libc.so.6"}}.Bytes())
	u.write(t, dir+"/lib/libcrypto.a", artifacttest.Archive(artifacttest.Object{Defines: []string{"EVP_sha256"}}))
	if ballast > 0 {
		data := make([]byte, ballast)
		random := rand.NewChaCha8([32]byte{})
		_, _ = random.Read(data) // it never fails
		u.write(t, dir+"/include/ballast.h", data)
	}
}

// publish packs and pushes a library and returns its pinned reference.
func (u *user) publish(t *testing.T, image, version string, ballast int) string {
	t.Helper()
	dir := "prefix-" + version
	u.prefix(t, dir, version, ballast)
	u.must(t, "pack", "-q", dir, "--name", "ssl", "--version", version, "--license", "Apache-2.0", "--allow-missing", "libz.so.1", "-o", dir+".tar")
	return u.must(t, "push", "-q", dir+".tar", image)
}

const moduleHead = "ocipkg_library = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\n"

// TestCommands: the exit status of each command, what it prints as its result, and what it says besides.
func TestCommands(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	image := server.Host + "/acme/ssl:3.0"
	pinned := u.publish(t, image, "3.0", 0)
	digest := pinned[strings.Index(pinned, "@")+1:]
	u.publish(t, server.Host+"/acme/ssl:3.1", "3.1", 0)
	u.prefix(t, "prefix", "3.0", 0)
	server.Inject(registrytest.Fault{Path: "/v2/private/", Act: registrytest.Answer(http.StatusForbidden, "", "", "")})
	server.Inject(registrytest.Fault{Path: "/v2/page/", Act: registrytest.HTML()})
	server.Inject(registrytest.Fault{Path: "/v2/changed/ssl/manifests/", Act: registrytest.Flip(40)})
	// Not a port that was free a moment ago: whoever is given it next answers.
	const down = "127.0.0.1:1"
	u.write(t, "container/oci-layout", []byte("{}"))
	u.write(t, "unpinned.bazel", []byte(moduleHead+"ocipkg_library(name = \"ssl\", image = \""+image+"\")\n"))
	u.write(t, "pinned.bazel", []byte(moduleHead+"ocipkg_library(name = \"ssl\", image = \""+pinned+"\")\n"))
	stale := strings.Replace(pinned, digest, "sha256:"+strings.Repeat("0", 64), 1)
	u.write(t, "stale.bazel", []byte(moduleHead+"ocipkg_library(name = \"ssl\", image = \""+stale+"\")\n"))

	moving := server.Host + "/acme/ssl:moving"

	const anything = "…"
	for _, c := range []struct {
		args   string
		code   int
		stdout string // "…" is anything
		stderr string // a part of it; "" is nothing at all, "…" is anything
	}{
		{"--version", 0, "ocipkg version " + version + "\n", ""},
		{"--help", 0, anything, ""},
		{"completion bash", 0, anything, ""},
		{"nonsense", 2, "", "unknown command \"nonsense\""},
		{"pull", 2, "", "see `ocipkg pull --help`"},
		{"pull a b", 2, "", "ocipkg: pull: it takes one argument, and got 2\n  usage: ocipkg pull IMAGE [flags]; see `ocipkg pull --help`\n"},
		{"inspect", 2, "", "inspect: it takes one argument, and got 0\n  usage: ocipkg inspect IMAGE|LAYOUT [flags]; see"},
		{"serve stray", 2, "", "serve: it takes no arguments, and got 1\n  usage: ocipkg serve [flags]; see"},
		{"store gc stray", 2, "", "store gc: it takes no arguments"},
		{"store stray", 2, "", "unknown command \"stray\" for \"ocipkg store\""},
		{"completion bash stray", 2, "", "completion bash: it takes no arguments"},
		{"push", 2, "", "push: it takes at least one argument, and got 0\n  usage: ocipkg push LAYOUT... [IMAGE] [flags]; see"},
		{"pull --nonsense " + image, 2, "", "see `ocipkg pull --help`"},
		{"pull --target", 2, "", "flag needs an argument"},
		{"pull --target nonsense " + image, 2, "", "target \"nonsense\""},
		{"pull UPPER:case/x", 2, "", "image reference"},

		{"pack prefix --name ssl --version 3.0 --license Apache-2.0 --allow-missing libz.so.1 -o again.tar", 0, digest + "\n", "packed ssl 3.0 for x86_64-unknown-linux-gnu"},
		{"pack -q prefix --name ssl --version 3.0 --license Apache-2.0 --allow-missing libz.so.1 --output again.tar", 0, digest + "\n", ""},
		{"pack prefix", 2, "", "no output is named"},
		{"pack prefix --name ssl -o again.tar", 9, "", "need libz.so.1"},
		{"pack none -o again.tar", 3, "", "pack none"},
		{"push again.tar " + image, 0, pinned + "\n", "in MODULE.bazel"},
		{"push -q again.tar " + image, 0, pinned + "\n", ""},
		{"push -q again.tar " + moving, 0, strings.Replace(pinned, ":3.0@", ":moving@", 1) + "\n", ""},
		{"push prefix-3.1.tar " + moving, 0, anything, "\nmoved tag moving: it was " + digest + "\npushed; in"},
		{"push -q prefix-3.0.tar " + moving, 0, anything, ""},
		{"push -q prefix-3.1.tar " + server.Host + "/acme/ssl:other --tag moving", 0, anything, ""},
		{"tag " + image + " moving", 0, anything, "moved tag moving: it was "},
		{"push none.tar " + image, 3, "", "none.tar"},

		{"pull " + image, 0, pinned + "\n", "pull " + image},
		{"pull " + image, 0, pinned + "\n", ""}, // it is in the store
		{"pull -q " + image + " -o out1", 0, pinned + "\n", ""},
		{"pull " + image + " --output out2", 0, pinned + "\n", "wrote out2"},
		{"pull " + image + " -o out2", 2, "", "out2"},
		{"pull --target aarch64-unknown-linux-gnu " + image, 8, "", "the library is for x86_64-unknown-linux-gnu"},
		{"pull " + server.Host + "/acme/ssl:none", 3, "", "404"},
		{"pull " + server.Host + "/private/ssl:1", 4, "", "403"},
		{"pull " + server.Host + "/page/ssl:1", 5, "", "text/html"},
		{"pull " + down + "/ssl:1", 5, "", "refuses connections"},
		{"fetch " + image + " --name ssl --output out3", 0, "{\n  \"image\": \"" + pinned + "\",\n  \"wasPinned\": false\n}\n", ""},
		{"fetch " + image + " --output out4", 2, "", "required flag"},

		{"inspect " + pinned, 0, anything, ""},
		{"inspect again.tar", 0, anything, ""},
		{"inspect none.tar", 3, "", "none.tar"},
		{"inspect container", 7, "", "index.json"},
		{"inspect --target aarch64-unknown-linux-gnu again.tar", 8, "", "platform"},

		{"tag " + image + " stable latest", 0, strings.Replace(pinned, ":3.0@", ":stable@", 1) + "\n" + strings.Replace(pinned, ":3.0@", ":latest@", 1) + "\n", ""},
		{"tag " + image, 2, "", "tag: it takes at least 2 arguments, and got 1"},
		{"tag " + image + " no/tag", 2, "", "it is no tag"},
		{"tag " + server.Host + "/acme/ssl:none new", 3, "", "404"},

		{"copy " + image + " copy.tar", 0, digest + "\n", "1 of which accompany it"}, // the one for the ocipkg project's crate
		{"copy -q " + image + " copy.tar", 0, digest + "\n", ""},
		{"copy -q copy.tar " + server.Host + "/mirror/ssl", 0, strings.Replace(pinned, "/acme/", "/mirror/", 1) + "\n", ""},
		{"copy copy.tar", 2, "", "copy: it takes 2 arguments, and got 1"},
		{"copy " + server.Host + "/acme/ssl:3.1 copy.tar", 2, "", "another artifact"},
		{"push -q copy.tar", 0, pinned + "\n", ""}, // it knows where it came from

		{"pin --file unpinned.bazel --check", 1, "unpinned.bazel:2: ssl: " + image + " has no digest\n", "1 of 1 images"},
		{"pin --file unpinned.bazel --dry-run", 0, "--- unpinned.bazel\n+++ unpinned.bazel\n@@ -2,1 +2,1 @@\n-ocipkg_library(name = \"ssl\", image = \"" + image + "\")\n+ocipkg_library(name = \"ssl\", image = \"" + pinned + "\")\n", ""},
		{"pin --file unpinned.bazel --check --dry-run", 2, "", "give one of them"},
		{"pin --file unpinned.bazel none", 3, "", "no library of that name"},
		{"pin --file unpinned.bazel", 0, "unpinned.bazel:2: ssl: " + pinned + "\n", ""},
		{"pin --file unpinned.bazel", 0, "", "every image has a digest"},
		{"pin -q --file unpinned.bazel --check", 0, "", ""},
		{"pin --file stale.bazel --check", 0, "", anything},
		{"pin --file stale.bazel --check --update", 1, "stale.bazel:2: ssl: " + pinned + "\n", "pin --update"},
		{"pin -q --file stale.bazel --update", 0, "stale.bazel:2: ssl: " + pinned + "\n", ""},
		{"pin --file none.bazel", 3, "", "none.bazel"},
	} {
		o := u.run(t, strings.Fields(c.args)...)
		if o.code != c.code {
			t.Errorf("ocipkg %s: exit status %d, want %d\n%s", c.args, o.code, c.code, o.stderr)
		}
		if c.stdout != anything && o.stdout != c.stdout || c.stdout == anything && o.stdout == "" {
			t.Errorf("ocipkg %s: printed\n%s\nwant\n%s", c.args, o.stdout, c.stdout)
		}
		if c.stderr != anything && !strings.Contains(o.stderr, c.stderr) || c.stderr == "" && o.stderr != "" {
			t.Errorf("ocipkg %s: said\n%s\nwant\n%s", c.args, o.stderr, c.stderr)
		}
		if c.code != 0 && !strings.HasPrefix(o.stderr, "ocipkg: ") {
			t.Errorf("ocipkg %s: said %q, which does not begin with the command's name", c.args, o.stderr)
		}
		if strings.Contains(o.stderr, "goroutine ") {
			t.Errorf("ocipkg %s: a stack trace", c.args)
		}
	}
	for _, file := range []string{"unpinned.bazel", "stale.bazel"} {
		data, err := os.ReadFile(filepath.Join(u.dir, file))
		if want := moduleHead + "ocipkg_library(name = \"ssl\", image = \"" + pinned + "\")\n"; err != nil || string(data) != want {
			t.Errorf("%s holds %q (%v), want %q", file, data, err, want)
		}
	}
}

// TestPullIntoAFullFolder: what cannot be written for a reason that is known beforehand is not fetched.
func TestPullIntoAFullFolder(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	u.write(t, "mine/file", nil)
	for dir, why := range map[string]string{"mine": "the folder mine is not empty", "mine/file": "mine/file"} {
		o := u.run(t, "pull", server.Host+"/acme/ssl:3.0", "-o", dir)
		if o.code == 0 || !strings.HasPrefix(o.stderr, "ocipkg: pull "+server.Host+"/acme/ssl:3.0: ") || !strings.Contains(o.stderr, why) {
			t.Errorf("%s: exit status %d\n%s", dir, o.code, o.stderr)
		}
	}
	if asked := server.Requests("/"); len(asked) > 0 {
		t.Errorf("the registry was asked: %v", asked)
	}
}

// TestInspectOffline: a pinned image that is in the store is shown without a network.
func TestInspectOffline(t *testing.T) {
	server := registrytest.New(t.TempDir())
	u := newUser(t)
	pinned := u.publish(t, server.Host+"/acme/ssl:3.0", "3.0", 0)
	before := u.must(t, "inspect", pinned)
	if !strings.Contains(before, "not in the store") {
		t.Errorf("before it is pulled:\n%s", before)
	}
	u.must(t, "pull", pinned)
	server.Close()
	after := u.must(t, "inspect", pinned)
	if want := strings.ReplaceAll(before, "not in the store", "in the store"); strings.ReplaceAll(after, ", in the store", "") != want {
		t.Errorf("afterwards\n%s\nwant\n%s", after, want)
	}
	// An archive of it is known by its digests.
	if text := u.must(t, "inspect", "prefix-3.0.tar"); !strings.Contains(text, "store    in the store") {
		t.Errorf("the archive:\n%s", text)
	}
}

// TestInterrupted: a signal ends a transfer with its own status, and nothing half-done is left.
func TestInterrupted(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	pinned := u.publish(t, server.Host+"/acme/ssl:3.0", "3.0", 1<<20)
	server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", Skip: 1, Act: registrytest.Stall(100)}) // the config comes first
	cmd := u.command(t, "pull", pinned, "-o", "out")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(stderr)
	if first, err := said.ReadString('\n'); err != nil || !strings.HasPrefix(first, "pull ") { // bytes are arriving
		t.Fatalf("said %q (%v)", first, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(said)
	_ = cmd.Wait() // its status is looked at
	if code := cmd.ProcessState.ExitCode(); code != int(diagnostic.Interrupted) || !strings.Contains(string(rest), "interrupted") {
		t.Errorf("exit status %d, said %s", code, rest)
	}
	if _, err := os.Stat(filepath.Join(u.dir, "out")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the output is there: %v", err)
	}
}

// TestCopyKilled: whenever a copy into a folder is killed, the next one makes a whole layout of what is there.
func TestCopyKilled(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	pinned := u.publish(t, server.Host+"/acme/ssl:3.0", "3.0", 1<<20)
	// Of eight blobs, one of which is read before to find out what belongs to the library.
	for skip := 1; skip <= 4; skip++ {
		server.Clear()
		server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", Skip: skip, Act: registrytest.Stall(100)})
		cmd := u.command(t, "copy", pinned, "folder/")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if first, err := bufio.NewReader(stderr).ReadString('\n'); err != nil || !strings.HasPrefix(first, "copy ") {
			t.Fatalf("said %q (%v)", first, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		if o := u.run(t, "inspect", "folder"); o.code == 0 {
			t.Errorf("after %d blobs a layout is there:\n%s", skip, o.stdout)
		}
	}
	server.Clear()
	u.must(t, "copy", "-q", pinned, "folder/")
	u.must(t, "copy", "-q", "folder", server.Host+"/again/ssl")
	u.must(t, "pull", "-q", server.Host+"/again/ssl@"+pinned[strings.Index(pinned, "sha256:"):])
	left, err := filepath.Glob("folder/blobs/sha256/.*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// TestFullOutput: a result that could not be written is a failure.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("this system has no device that is always full: %v", err)
	}
	defer full.Close()
	u := newUser(t)
	u.prefix(t, "prefix", "3.0", 0)
	u.must(t, "pack", "-q", "prefix", "--name", "ssl", "--allow-missing", "libz.so.1", "-o", "ssl.tar")
	cmd := u.command(t, "inspect", "ssl.tar")
	cmd.Stdout = full
	_ = cmd.Run() // its status is looked at
	if code := cmd.ProcessState.ExitCode(); code != int(diagnostic.Failure) {
		t.Errorf("exit status %d", code)
	}
}

func TestCompletion(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	if got := u.must(t, "__complete", "pull", ""); got != ":4" {
		t.Errorf("without a store: %q", got)
	}
	if _, err := os.Stat(filepath.Join(u.dir, "store")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("completing made a store: %v", err)
	}
	image := server.Host + "/acme/ssl:3.0"
	u.publish(t, image, "3.0", 0)
	u.must(t, "pull", "-q", image)
	u.write(t, "MODULE.bazel", []byte(moduleHead+"ocipkg_library(name = \"ssl\", image = \""+image+"\")\n"))
	for args, want := range map[string]string{
		"pin ":                   "ssl\n:4",
		"pin --file none.bazel ": ":4",
		"pull ":                  image + "\n:4",
		"inspect ":               image + "\n:0", // and files
		"copy x.tar ":            image + "\n:0",
		"pull " + image + " ":    ":4",
	} {
		words := append([]string{"__complete"}, strings.Split(args, " ")...)
		if got := u.must(t, words...); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}

func TestVersionOf(t *testing.T) {
	info := func(version string) *debug.BuildInfo { return &debug.BuildInfo{Main: debug.Module{Version: version}} }
	for _, c := range []struct {
		info *debug.BuildInfo
		ok   bool
		want string
	}{
		{nil, false, release},
		{info(""), true, release},
		{info("(devel)"), true, release},
		{info("v0.1.2"), true, "0.1.2"},
		{info("v0.1.3-0.20261124152000-0b09525aaaaa+dirty"), true, "0.1.3-0.20261124152000-0b09525aaaaa+dirty"},
	} {
		if got := versionOf(c.info, c.ok); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

var (
	digestPattern = regexp.MustCompile(`(sha256[:/])[0-9a-f]{64}`)
	packedPattern = regexp.MustCompile(`"(compressed|size|sent|bytes)": [0-9]+`)
	hostPattern   = regexp.MustCompile(`127\.0\.0\.1(:|__)[0-9]+`)
	timePattern   = regexp.MustCompile(`"used": "[^"]+"`)
)

// TestJSON compares what each command prints with --json to a golden file. Digests and compressed sizes, which another
// release of a compressor would change, ports, times and the user's folder are written as words.
func TestJSON(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	image := server.Host + "/acme/ssl:3.0"
	pinned := u.publish(t, image, "3.0", 0)
	u.publish(t, server.Host+"/acme/ssl:older", "2.0", 0)
	u.write(t, "prefix-3.0/README", []byte("left out\n"))
	u.write(t, "MODULE.bazel", []byte(moduleHead+"ocipkg_library(name = \"ssl\", image = \""+image+"\")\n"))
	// What was pulled is damaged, and no repository is linked to it.
	damage := func() {
		lib, err := filepath.Glob(filepath.Join("store", ".store", "v1", "trees", "sha256", "*", "lib", "libcrypto.a"))
		if err != nil || len(lib) != 1 {
			t.Fatal(lib, err)
		}
		if err := errors.Join(os.RemoveAll("out"), os.RemoveAll("repository"), os.Chmod(lib[0], 0o644), os.Truncate(lib[0], 8), os.Chmod(lib[0], 0o444)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, args string }{
		{"pack", "pack --json prefix-3.0 --name ssl --version 3.0 --license Apache-2.0 --allow-missing libz.so.1 -o again.tar"},
		{"push", "push --json again.tar " + image},
		{"push-tags", "push --json again.tar " + image + " --tag further"},
		{"push-moved", "push --json again.tar " + server.Host + "/acme/ssl:older"},
		{"join", "join --json again.tar -o joined"},
		{"pull", "pull --json " + image + " -o out"},
		{"fetch", "fetch " + image + " --name ssl -o repository"},
		{"inspect", "inspect --json --target " + "x86_64-unknown-linux-gnu " + pinned},
		{"tag", "tag --json " + image + " stable"},
		{"copy", "copy --json " + image + " " + server.Host + "/mirror/ssl"},
		{"copy-layout", "copy --json " + image + " ssl.tar"},
		{"pin", "pin --json --dry-run"},
		{"pin-check", "pin --json --check"},
		{"add", "add --json --dry-run " + image},
		{"index", "index --json"},
		{"list", "list --json"},
		{"store-path", "store path --json " + image},
		{"store-verify", "store verify --json --no-repair"},
		{"store-gc", "store gc --json --dry-run --older-than 0"},
		{"rm", "rm --json " + image},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "store-verify" {
				damage()
			}
			// In a process of its own: what a command has leased of the store it keeps to its end.
			o := u.process(t, strings.Fields(c.args)...)
			if want := map[string]int{"pin-check": 1, "store-verify": 6}[c.name]; o.code != want { // 1: something is to be pinned; 6: damaged
				t.Fatalf("exit status %d\n%s", o.code, o.stderr)
			}
			if !json.Valid([]byte(o.stdout)) {
				t.Fatalf("not JSON:\n%s", o.stdout)
			}
			got := packedPattern.ReplaceAllString(o.stdout, `"$1": 1`)
			got = digestPattern.ReplaceAllString(got, "${1}…")
			got = hostPattern.ReplaceAllString(got, "HOST")
			got = timePattern.ReplaceAllString(got, `"used": "TIME"`)
			got = strings.ReplaceAll(got, u.dir, "HOME")
			golden(t, filepath.Join(packageDir, "testdata", "json", c.name+".json"), got)
		})
	}
}

// golden compares with a file, or with -update writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is\n%s\nand would be\n%s\nrun `go generate ./fetcher` if that is meant", file, want, got)
	}
}

// The first collection gives Go its own pace back: only commands that end before do without.
func TestCollectionIsPostponedOnce(t *testing.T) {
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	t.Setenv("GOGC", "")
	collected := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumGC
	}
	runtime.GC()
	before := collected()
	postponeCollection()
	pace := func() uint64 {
		percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(percent)
		return percent[0].Value.Uint64()
	}
	if now := pace(); now != 1000 && collected() == before {
		t.Errorf("before any collection the pace is %d", now)
	}
	for deadline := time.Now().Add(time.Minute); pace() != 100; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("it is postponed for ever")
		}
	}
	t.Setenv("GOGC", "50")
	postponeCollection()
	if pace() != 100 {
		t.Errorf("GOGC is set, and the pace is %d", pace())
	}
}

// A command that is alone is the one that it is among all others.
func TestCommandsAlone(t *testing.T) {
	all := newRoot()
	for _, c := range commands {
		cmd, _, err := all.Find([]string{c.name})
		if err != nil || cmd.Name() != c.name || len(cmd.Aliases) > 0 {
			t.Fatalf("%s is %s, %q, %v", c.name, cmd.Name(), cmd.Aliases, err)
		}
		root := newRoot(c.name)
		if n := len(root.Commands()); n != 1 {
			t.Errorf("beside %s there are %d commands", c.name, n-1)
		}
		alone, _, err := root.Find([]string{c.name})
		if err != nil || alone.Long != cmd.Long || alone.UsageString() != cmd.UsageString() {
			t.Errorf("%s alone: %v\n%s\namong others:\n%s", c.name, err, alone.UsageString(), cmd.UsageString())
		}
	}
	if n := len(all.Commands()); n != len(commands)+1 { // and completion
		t.Errorf("%d of %d commands", n, len(commands)+1)
	}
}
