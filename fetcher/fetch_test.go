package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// What the rules ask for: a repository for one platform, a hub, and a hub with folders; and flags that contradict each
// other or mean nothing are wrong usage, which leaves nothing.
func TestFetch(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	image := server.Host + "/acme/ssl:3.0"
	u.write(t, "prefix/lib/libssl.a", artifacttest.Archive(artifacttest.Object{Defines: []string{"ssl"}}))
	u.write(t, "prefix/lib/libssl.so.3", artifacttest.Shared{SONAME: "libssl.so.3"}.Bytes())
	for _, command := range []string{"pack prefix --name ssl -o ssl.tar", "push ssl.tar " + image} {
		if o := u.run(t, strings.Fields(command)...); o.code != 0 {
			t.Fatal(o.stderr)
		}
	}
	const intel = "x86_64-unknown-linux-gnu"
	for _, c := range []struct {
		name, flags string
		code        int
		says        string // in BUILD.bazel, or in the message
	}{
		{"one", "--target " + intel, 0, `name = "ssl_auto"`},
		{"linkage", "--linkage shared", 0, "linked dynamically, as was asked for"},
		{"hub", "--spoke " + intel + "=ssl__x --spoke aarch64-unknown-linux-gnu=ssl__a", 0, `"@ssl__x//:ssl"`},
		{"folders", "--spoke " + intel, 0, `"//` + intel + `:ssl"`},
		{"no-linkage", "--linkage dynamic", 2, "auto, static or shared"},
		{"no-triple", "--spoke linux", 2, "x86_64-unknown-linux-gnu"},
		{"no-repository", "--spoke " + intel + "=", 2, "names no repository"},
		{"twice", "--spoke " + intel + "=a --spoke x86_64-linux-gnu=b", 2, "for the second time"},
		{"both", "--target " + intel + " --spoke " + intel, 2, "--target and --spoke"},
		{"absent", "--spoke riscv64-unknown-linux-gnu=r", 8, "riscv64-unknown-linux-gnu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "repository")
			o := u.run(t, append([]string{"fetch", image, "--name", "ssl", "--output", dir}, strings.Fields(c.flags)...)...)
			text := o.stderr
			if build, err := os.ReadFile(filepath.Join(dir, "BUILD.bazel")); err == nil {
				text = string(build)
			}
			if o.code != c.code || !strings.Contains(text, c.says) {
				t.Errorf("exit status %d, want %d, and %q in\n%s\n%s", o.code, c.code, c.says, text, o.stderr)
			}
			if _, err := os.Stat(dir); (err == nil) != (c.code == 0) {
				t.Errorf("the folder: %v", err)
			}
		})
	}
}
