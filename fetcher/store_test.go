package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// storeCommand is the command as a process, with a store at root.
func storeCommand(t *testing.T, root string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "OCIPKG_BE_THE_COMMAND=1", "OCIPKG_STORE="+root, "OCIPKG_REQUIRE_DIGEST=",
		"GORACE=atexit_sleep_ms=0")
	return cmd
}

func ocipkg(t *testing.T, root string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := storeCommand(t, root, args...)
	var out, told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &told
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), told.String(), cmd.ProcessState.ExitCode()
}

// published packs and pushes a small library, by the command.
func published(t *testing.T, server *registrytest.Server, root string) (pinned string) {
	t.Helper()
	return publishedAs(t, server, root, "foo", map[string][]byte{
		"include/foo.h":   []byte("int foo(void);\n"),
		"lib/libfoo.a":    artifacttest.Archive(artifacttest.Object{Defines: []string{"foo"}}),
		"lib/libfoo.so.1": artifacttest.Shared{SONAME: "libfoo.so.1"}.Bytes(),
	})
}

func publishedAs(t *testing.T, server *registrytest.Server, root, name string, files map[string][]byte) (pinned string) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		p := filepath.Join(dir, "prefix", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	layout := filepath.Join(dir, "foo.tar")
	if _, told, status := ocipkg(t, root, "pack", filepath.Join(dir, "prefix"), "--name", name, "-o", layout); status != 0 {
		t.Fatal(told)
	}
	out, told, status := ocipkg(t, root, "push", layout, server.Host+"/acme/"+name+":1")
	if status != 0 {
		t.Fatal(told)
	}
	return strings.TrimSpace(out)
}

// Invariant: the store's commands print what scripts may rely on, and their status is of the kind of what went wrong.
func TestStoreCommands(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	root := t.TempDir()
	pinned := published(t, server, root)
	tag, digest, _ := strings.Cut(pinned, "@")
	ok := func(args ...string) string {
		t.Helper()
		out, told, status := ocipkg(t, root, args...)
		if status != 0 {
			t.Fatalf("%v: status %d: %s", args, status, told)
		}
		return out
	}
	fails := func(kind diagnostic.Kind, args ...string) {
		t.Helper()
		out, told, status := ocipkg(t, root, args...)
		if status != int(kind) || told == "" {
			t.Errorf("%v: status %d, not %d: %s%s", args, status, kind, out, told)
		}
	}
	if out := ok("list"); out != "" {
		t.Errorf("an empty store lists %q", out)
	}
	if out := ok("list", "--json"); out != "[]\n" {
		t.Errorf("an empty store lists %q", out)
	}
	fails(diagnostic.NotFound, "store", "path", tag)
	fails(diagnostic.NotFound, "rm", tag)
	if out := ok("-q", "pull", tag); out != pinned+"\n" {
		t.Errorf("pull says %q", out)
	}

	var images []library.Image
	if err := json.Unmarshal([]byte(ok("list", "--json")), &images); err != nil || len(images) != 1 || images[0].Reference != tag || images[0].Digest != digest || !images[0].Complete {
		t.Errorf("%+v, %v", images, err)
	}
	if out := ok("list"); !strings.Contains(out, tag) || !strings.Contains(out, digest[:19]) || !strings.Contains(out, artifact.HostTriple().Arch) {
		t.Errorf("it lists %s", out)
	}
	dir := strings.TrimSuffix(ok("store", "path", tag), "\n")
	if data, err := os.ReadFile(filepath.Join(dir, "include", "foo.h")); err != nil || string(data) != "int foo(void);\n" {
		t.Errorf("%q, %v", data, err)
	}
	if want := filepath.Join(root, strings.Replace(server.Host, ":", "__", 1), "acme", "foo", "__1"); dir != want {
		t.Errorf("it is at %s, not %s", dir, want)
	}

	lib, err := filepath.Glob(filepath.Join(root, ".store", "v1", "trees", "sha256", "*", "lib", "libfoo.a"))
	if err != nil || len(lib) != 1 {
		t.Fatal(lib, err)
	}
	if err := errors.Join(os.Chmod(lib[0], 0o644), os.Truncate(lib[0], 8), os.Chmod(lib[0], 0o444)); err != nil {
		t.Fatal(err)
	}
	fails(diagnostic.Corrupt, "store", "verify", "--no-repair")
	if out := ok("store", "verify"); !strings.Contains(out, "lib/libfoo.a: it has 8 bytes") || !strings.Contains(out, "fetched again") {
		t.Errorf("verify says %s", out)
	}
	if out := ok("store", "verify"); out != "" {
		t.Errorf("verify says %s", out)
	}

	// What has been set aside and could not be fetched is no damage any more, and missing all the same.
	if err := os.RemoveAll(filepath.Dir(filepath.Dir(lib[0]))); err != nil {
		t.Fatal(err)
	}
	if _, told, status := ocipkg(t, root, "store", "verify"); status != 0 || !strings.Contains(told, "images without all of their files: 1,") {
		t.Errorf("verify says %s (%d)", told, status)
	}
	if out := ok("-q", "pull", tag); out != pinned+"\n" {
		t.Errorf("pull says %q", out)
	}
	if _, told, _ := ocipkg(t, root, "store", "verify"); strings.Contains(told, "images without") {
		t.Errorf("verify says %s", told)
	}

	if out := ok("store", "gc"); out != "" {
		t.Errorf("gc of what was just used: %s", out)
	}
	for _, bad := range [][]string{{"--older-than", "soon"}, {"--older-than", "-1h"}, {"--max-size", "big"}, {"--max-size", "-1"}, {"more"}} {
		fails(diagnostic.Usage, append([]string{"store", "gc"}, bad...)...)
	}
	if out := ok("store", "gc", "--older-than", "0", "--dry-run"); !strings.Contains(out, tag) {
		t.Errorf("gc says %q", out)
	}
	if out := ok("rm", digest[:19]); !strings.Contains(out, tag) {
		t.Errorf("rm says %q", out)
	}
	if out := ok("list"); out != "" {
		t.Errorf("it lists %s", out)
	}
	fails(diagnostic.Usage, "rm")
	fails(diagnostic.Usage, "list", "x")
	fails(diagnostic.Usage, "store", "nonsense")
}

// Invariant: a signal ends a pull at once, with a status of its own, and leaves nothing half-done; the next one goes
// through.
func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such signals there")
	}
	server := registrytest.New(t.TempDir())
	defer server.Close()
	root := t.TempDir()
	pinned := published(t, server, root)
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		stalled := make(chan struct{}, 8)
		stall := registrytest.Stall(10)
		server.Inject(registrytest.Fault{Method: "GET", Path: "/blobs/", Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			stalled <- struct{}{}
			stall(w, r, next)
		}})
		cmd := storeCommand(t, root, "pull", pinned)
		var told bytes.Buffer
		cmd.Stdout, cmd.Stderr = io.Discard, &told
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-stalled:
		case <-time.After(time.Minute):
			t.Fatal("it asks for nothing")
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if status := cmd.ProcessState.ExitCode(); status != int(diagnostic.Interrupted) || !strings.Contains(told.String(), "interrupted") {
			t.Errorf("%v: status %d: %s", signal, status, told.String())
		}
		for _, dir := range []string{"tmp", "locks", "trees/sha256"} {
			if left, err := os.ReadDir(filepath.Join(root, ".store", "v1", filepath.FromSlash(dir))); err != nil || len(left) > 0 {
				t.Errorf("%v: left in %s: %v, %v", signal, dir, left, err)
			}
		}
		server.Clear()
	}
	if _, told, status := ocipkg(t, root, "pull", pinned); status != 0 {
		t.Errorf("status %d: %s", status, told)
	}
}

func TestSizesAndAges(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "1": 1, "1kB": 1000, "1KiB": 1024, "1.5MiB": 3 << 19, "10GiB": 10 << 30, "2TB": 2e12,
		"": -1, "x": -1, "1 GiB": -1, "1Gi": -1, "-1": -1, "1e30TiB": -1, "NaN": -1} {
		if got, err := parseSize(s); err == nil && got != want || err != nil && want >= 0 {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for s, want := range map[string]time.Duration{"0": 0, "30d": 720 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute,
		"": -1, "d": -1, "-1d": -1, "-1h": -1, "99999d": -1, "1w": -1, "5": -1} {
		if got, err := parseAge(s); err == nil && got != want || err != nil && want >= 0 {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}
