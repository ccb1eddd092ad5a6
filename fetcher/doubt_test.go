package main

import (
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestDoubt: a digest that was copied from another library's line is noticed where it is fetched and where lines are pinned,
// once and whatever else was asked for; and what --of-hub fetches, the hub has spoken of.
func TestDoubt(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	ssl := server.Host + "/acme/ssl:3.0"
	_, digest, _ := strings.Cut(u.publish(t, ssl, "3.0.13", 0), "@")
	bread := server.Host + "/acme/bread:1@" + digest
	module := moduleHead
	for _, l := range [][2]string{{"ssl", ssl + "@" + digest}, {"bread", bread}, {"old", server.Host + "/acme/ssl:3.1@" + digest}} {
		module += "ocipkg_library(name = \"" + l[0] + "\", image = \"" + l[1] + "\")\n"
	}
	u.write(t, "MODULE.bazel", []byte(module))
	const spoke = " --spoke x86_64-unknown-linux-gnu=s --spoke aarch64-unknown-linux-gnu=a"
	const is, called = "ocipkg: warning: bread: the digest is of ssl 3.0.13, and the ", "image is called "
	for _, c := range []struct {
		command string
		says    []string
	}{
		{"pin", nil},                           // nobody knows yet, and nobody is asked
		{"pull -q " + ssl + "@" + digest, nil}, // without it in the store, the registry knows no such digest under the other name
		{"fetch -q " + bread + " --name bread -o one", []string{is + called}},
		{"fetch -q " + bread + " --name bread -o hub" + spoke, []string{is + called}},
		{"fetch -q " + bread + " --name bread -o spoke --of-hub", nil},
		{"fetch -q " + bread + " --name bread --blobs blobs", nil}, // the rule fetches once more
		{"fetch -q " + bread + " --name ssl -o named", nil},
		{"pull -q " + bread, []string{"ocipkg: warning: the digest is of ssl 3.0.13, and the " + called}},
		{"pin -q", []string{is + called, "ocipkg: warning: old: the digest is of ssl 3.0.13, and the tag says 3.1: "}},
		{"pin -q --check old", []string{"ocipkg: warning: old: "}},
		{"pin -q ssl", nil},
	} {
		before := len(server.Requests(""))
		o := u.run(t, strings.Fields(c.command)...)
		if o.code != 0 || strings.Count(o.stderr, "warning") != len(c.says) {
			t.Errorf("%s: exit status %d, and %d warnings are wanted in\n%s", c.command, o.code, len(c.says), o.stderr)
		}
		for _, text := range c.says {
			if !strings.Contains(o.stderr, text) {
				t.Errorf("%s: %q is not in\n%s", c.command, text, o.stderr)
			}
		}
		if requests := server.Requests("")[before:]; strings.HasPrefix(c.command, "pin") && len(requests) > 0 {
			t.Errorf("%s: it asked %v", c.command, requests)
		}
	}
}
