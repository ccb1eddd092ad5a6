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

// The digest of testdata comes out for another user too, who packs a tree of his own and has another home, name, language,
// time zone and umask. Root can be another user; others are one in a user namespace of their own, where they may have one.
func TestPackIsReproducibleForAnotherUser(t *testing.T) {
	const inside = "OCIPKG_PACK_TEST_INSIDE"
	if scratch := os.Getenv(inside); scratch != "" {
		syscall.Umask(0o027)
		t.Logf("as %d", os.Getuid())
		prefix := filepath.Join(scratch, "prefix")
		putShuffled(t, prefix, zlibPrefix())
		for _, compression := range []Compression{Zstd, Gzip} {
			t.Logf("%s %s", compression, packed(t, prefix, Claims{License: "Zlib"}, compression, filepath.Join(scratch, "z.tar")).Manifest.Digest)
		}
		return
	}
	const other = 65534
	scratch := t.TempDir()
	// The second way is tried where the first is not open, and a process of the same user is better than none.
	attrs := []*syscall.SysProcAttr{
		{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{{ContainerID: other, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: other, HostID: os.Getgid(), Size: 1}}},
		nil,
	}
	if os.Getuid() == 0 && canPass(t, scratch, other) {
		attrs = append([]*syscall.SysProcAttr{{Credential: &syscall.Credential{Uid: other, Gid: other}}}, attrs...)
	}
	var out []byte
	var err error
	for _, attr := range attrs {
		// Through /proc, because another user may not be able to pass through the folders above the test's binary.
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"="+scratch, "TMPDIR="+scratch, "HOME="+scratch, "USER=other", "LOGNAME=other",
			"LC_ALL=tr_TR.UTF-8", "TZ=Asia/Kathmandu")
		cmd.Dir = "/"
		cmd.SysProcAttr = attr
		out, err = cmd.CombinedOutput()
		if _, ran := errors.AsType[*exec.ExitError](err); err == nil || ran {
			break
		}
		t.Log("this machine does not let the test have the process it wants:", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
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

// canPass gives dir to a user and reports whether he can come to it.
func canPass(t *testing.T, dir string, user int) bool {
	t.Helper()
	if err := errors.Join(os.Chown(dir, user, user), os.Chmod(dir, 0o777)); err != nil {
		t.Log("this machine does not let files change their owner:", err)
		return false
	}
	for up := filepath.Dir(dir); up != filepath.Clean(os.TempDir()) && up != "/"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for up := filepath.Clean(os.TempDir()); up != "/"; up = filepath.Dir(up) {
		if fi, err := os.Stat(up); err != nil || fi.Mode()&0o001 == 0 {
			t.Logf("another user cannot pass through %s (%v)", up, err)
			return false
		}
	}
	return true
}
