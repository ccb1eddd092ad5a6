package library

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// Invariant: what the disk has no room for is not downloaded, and who pulls learns how much is needed and how much is free.
func TestPullAsksForRoom(t *testing.T) {
	const inside = "OCIPKG_LIBRARY_TEST_ROOM"
	if os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran || strings.Contains(string(out), "--- SKIP") {
			t.Skipf("SKIPPED, this machine does not let the test mount: %v\n%s", err, out)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("SKIPPED, cannot mount:", err)
	}
	defer syscall.Unmount(root, syscall.MNT_DETACH)
	server := registrytest.New(t.TempDir())
	defer server.Close()
	files := installed("foo", "foo.h")
	files["include/large.h"] = &fstest.MapFile{Data: bytes.Repeat([]byte("int large;\n"), 5<<20/11)}
	pinned := publishLibrary(t, server, "acme/foo:1", files)
	small := publishLibrary(t, server, "acme/bar:1", installed("bar", "bar.h"))
	server.Clear()

	d := newDepot(t, root)
	_, err := d.Pull(t.Context(), pinned, x86)
	if !errors.Is(err, syscall.ENOSPC) || diagnostic.KindOf(err) != diagnostic.Failure {
		t.Fatal(err)
	}
	for _, part := range []string{"layer ", "no space left for the store " + root, "it unpacks to 5", "are free", "set OCIPKG_STORE"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("it does not say %q: %v", part, err)
		}
	}
	hold := d.Store.Hold()
	defer hold.Release()
	_, config, err := d.describe(t.Context(), hold, pinned, x86)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.Package.Components {
		if asked := server.Requests("/acme/foo/blobs/" + c.Layer); c.Unpacked > 4<<20 && len(asked) > 0 {
			t.Errorf("the layer was asked for: %+v", asked)
		}
	}
	pull(t, d, small)
}
