package artifact

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The digest of testdata comes out for another user too, who packs a tree of his own.
func TestPackIsReproducibleForAnotherUser(t *testing.T) {
	const inside = "OCIPKG_PACK_TEST_INSIDE"
	if scratch := os.Getenv(inside); scratch != "" {
		prefix := filepath.Join(scratch, "prefix")
		putShuffled(t, prefix, zlibPrefix())
		for _, compression := range []Compression{Zstd, Gzip} {
			t.Logf("%s %s", compression, packed(t, prefix, Claims{License: "Zlib"}, compression, filepath.Join(scratch, "z.tar")).Manifest.Digest)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, only root can be another user")
	}
	scratch := t.TempDir()
	if err := os.Chown(scratch, 65534, 65534); err != nil {
		t.Skip("SKIPPED, this machine does not let files change their owner:", err)
	}
	for dir := filepath.Dir(scratch); dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for dir := filepath.Clean(os.TempDir()); dir != "/"; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err != nil || fi.Mode()&0o001 == 0 {
			t.Skipf("SKIPPED, another user cannot pass through %s (%v)", dir, err)
		}
	}
	// Through /proc, because another user may not be able to pass through the folders above the test's binary.
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+scratch, "TMPDIR="+scratch)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) {
		t.Skip("SKIPPED, this machine does not let the test have the process it needs:", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(f[2], "sha256:") {
			said[f[1]] = f[2]
		}
	}
	for _, compression := range []Compression{Zstd, Gzip} {
		checkGolden(t, string(compression), said[string(compression)])
	}
}
