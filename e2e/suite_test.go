// Package e2e runs real Bazel on real workspaces, with libraries from real registries.
//
// It is run by `make e2e`, which sets OCIPKG_E2E; without that its tests are skipped, for they take minutes and, on a
// machine that has no Bazel, make one (tools/bazelw). Everything is written to a folder in .out/e2e, except what Bazel keeps
// in the user's cache folder; the store of ocipkg is one of its own, empty at the start. What OCIPKG_E2E is set to is the
// folder's name: two halves of the suite run side by side, since for much of their time they wait.
package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/servertest"
)

// suite is what all tests share: paths, the command, and the processes to end.
type suite struct {
	repository string // of this checkout
	out        string
	bazel      string
	ocipkg     string
	folders    []*folder
}

var theSuite *suite

func TestMain(m *testing.M) {
	if os.Getenv("OCIPKG_E2E") == "" {
		fmt.Println("e2e: skipped; `make e2e` runs these tests, with a real Bazel")
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	s, err := newSuite()
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		return 1
	}
	theSuite = s
	defer s.close()
	return m.Run()
}

func newSuite() (*suite, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	s := &suite{repository: filepath.Dir(dir)}
	s.out = filepath.Join(s.repository, ".out", "e2e", os.Getenv("OCIPKG_E2E"))
	s.bazel = filepath.Join(s.repository, "tools", "bazelw")
	s.ocipkg = filepath.Join(s.out, "ocipkg")
	for _, stale := range []string{"data", "registry", "native"} {
		if err := os.RemoveAll(filepath.Join(s.out, stale)); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Join(s.out, "data"), 0o755); err != nil {
		return nil, err
	}
	for _, command := range [][]string{
		{"go", "build", "-o", s.ocipkg, "./fetcher"},
		{s.bazel, "--version"}, // makes the private Bazel where there is none
	} {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.repository, environment(), os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("%v: %w", command, err)
		}
	}
	return s, nil
}

// close ends the Bazel servers that the tests started.
func (s *suite) close() {
	for _, f := range s.folders {
		cmd := exec.Command(s.bazel, "shutdown")
		cmd.Dir, cmd.Env = f.dir, append(environment(), f.env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: shutdown in %s: %v\n%s", f.dir, err, out)
		}
	}
}

func (s *suite) store() string { return filepath.Join(s.out, "data", "ocipkg") }

// result is what a command printed and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

// environment is the developer's, without what would change ocipkg's behaviour: a tool, a store, policies and
// credentials are the tests' own. Which Bazel to use stays theirs to say. A make that a test starts is not to take part in
// the one that started the tests.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(setting string) bool {
		name, _, _ := strings.Cut(setting, "=")
		return name == "MAKEFLAGS" || name == "MFLAGS" || strings.HasPrefix(name, "OCIPKG_") && name != "OCIPKG_E2E" && name != "OCIPKG_BAZEL" && !strings.HasPrefix(name, "OCIPKG_AIRGAP")
	})
}

// exec runs a command in a folder, with the suite's store and further settings of the environment.
func (s *suite) exec(t *testing.T, dir string, env []string, command ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(environment(), []string{"XDG_DATA_HOME=" + filepath.Join(s.out, "data")}, env)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	if took := time.Since(start).Round(100 * time.Millisecond); took >= time.Second {
		t.Logf("%s: %.160q", took, command[max(len(command)-8, 0):]) // with -v: where the time goes
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("%v: %v", command, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must is exec for commands that have to succeed.
func (s *suite) must(t *testing.T, dir string, command ...string) string {
	t.Helper()
	r := s.exec(t, dir, nil, command...)
	if r.code != 0 {
		t.Fatalf("%s: exit status %d\n%s\n%s", strings.Join(command, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// inEnv runs a command where what Bazel links can run.
func (s *suite) inEnv(t *testing.T, dir string, command ...string) result {
	t.Helper()
	return s.exec(t, dir, nil, append([]string{s.bazel, "--in-env"}, command...)...)
}

// server starts a server and waits until its output matches ready (servertest.Start).
func (s *suite) server(t *testing.T, ready string, command ...string) *servertest.Server {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = environment()
	return servertest.Start(t, cmd, ready)
}

// workspace is a copy of a workspace whose libraries come from a registry of the test's. Its folder has been others' before
// and will be again, because a folder has a Bazel server of its own, and to start one takes longer than most tests need it.
type workspace struct {
	*suite
	dir string
	env []string // for every command in it
}

// folder is where workspaces are, one at a time.
type folder struct {
	dir   string
	env   []string // that its server was started with
	inUse bool
}

// workspace copies the workspace at source (relative to the repository) to a folder that is the test's until it ends.
func (s *suite) workspace(t *testing.T, source, address string, env ...string) *workspace {
	t.Helper()
	i := slices.IndexFunc(s.folders, func(f *folder) bool { return !f.inUse && slices.Equal(f.env, env) })
	if i < 0 {
		i = len(s.folders)
		s.folders = append(s.folders, &folder{dir: filepath.Join(s.out, "workspaces", fmt.Sprint(i)), env: env})
	}
	f := s.folders[i]
	f.inUse = true
	t.Cleanup(func() { f.inUse = false })
	s.must(t, s.repository, "tools/copy-example", source, f.dir, address)
	return &workspace{suite: s, dir: f.dir, env: env}
}

// inPlace is a workspace that is nobody else's.
func (s *suite) inPlace(dir string) *workspace {
	s.folders = append(s.folders, &folder{dir: dir, inUse: true})
	return &workspace{suite: s, dir: dir}
}

// quiet keeps Bazel's output to what went wrong.
var quiet = []string{"--noshow_progress", "--color=no", "--curses=no"}

func (w *workspace) exec(t *testing.T, env []string, command string, args ...string) result {
	t.Helper()
	return w.suite.exec(t, w.dir, slices.Concat(w.env, env), slices.Concat([]string{w.suite.bazel, command}, quiet, args)...)
}

// bazel runs a command of Bazel's that has to succeed, and returns its standard output.
func (w *workspace) bazel(t *testing.T, command string, args ...string) string {
	t.Helper()
	r := w.exec(t, nil, command, args...)
	if r.code != 0 {
		t.Fatalf("bazel %s %v: exit status %d\n%s\n%s", command, args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

func (w *workspace) pin(t *testing.T) {
	t.Helper()
	w.must(t, w.dir, w.ocipkg, "pin")
	data, err := os.ReadFile(filepath.Join(w.dir, "MODULE.bazel"))
	if err != nil {
		t.Fatal(err)
	}
	if n, pinned := bytes.Count(data, []byte("image = ")), bytes.Count(data, []byte("@sha256:")); n == 0 || pinned < n {
		t.Fatalf("%d of %d images are pinned:\n%s", pinned, n, data)
	}
}

// files lists what is below dir, sorted; a folder that is not there has no files.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() {
			all = append(all, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
