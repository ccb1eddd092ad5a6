package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// The last of several arguments is the image, unless it is a layout, or was meant to be one.
func TestPackAndPushArguments(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"z.h": "", "LICENSE": "", "main.c": "", "any.json": `{"name": "z", "version": "1"}`, "bad.json": `{"nam": "z"}`, "prefix/include/z.h": ""} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image := server.Host + "/z:1"
	const done = diagnostic.Kind(0)
	for _, c := range []struct {
		args []string
		want diagnostic.Kind
	}{
		{[]string{"pack", "prefix", "--name", "z", "-o", "plain.tar"}, done},
		{[]string{"pack", "z.h", "LICENSE", "--name", "z", "-o", "files.tar"}, done},
		{[]string{"pack", "z.h", "main.c", "--name", "z", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "z.h", "prefix", "--name", "z", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "missing", "--name", "z", "-o", "none.tar"}, diagnostic.NotFound},
		{[]string{"pack", "prefix", "--description", "any.json", "--tag", image, "-o", "tagged.tar"}, done},
		{[]string{"pack", "prefix", "--description", "bad.json", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "prefix", "--description", "missing.json", "-o", "none.tar"}, diagnostic.NotFound},
		{[]string{"pack", "prefix", "--name", "z", "--header", "inc", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "prefix", "--name", "z", "--requires", "z", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "prefix", "--name", "z", "--tag", image + "@sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"push", "plain.tar", image}, done},
		{[]string{"push", "tagged.tar"}, done},
		{[]string{"push", "plain.tar"}, diagnostic.Usage},
		{[]string{"push", "plain.tar", "typo.tar"}, diagnostic.NotFound},
		{[]string{"push", "plain.tar", "./typo"}, diagnostic.NotFound},
		{[]string{"push", "plain.tar", "tagged.tar"}, diagnostic.Usage},          // the first names no image
		{[]string{"push", "plain.tar", "tagged.tar", image}, diagnostic.Refused}, // headers alone have no platform
		{[]string{"push", image}, diagnostic.NotFound},
		{[]string{"push"}, diagnostic.Usage},
	} {
		if got := diagnostic.Kind(run(append(c.args, "--quiet"))); got != c.want {
			t.Errorf("ocipkg %q: exit status %d, want %d", c.args, got, c.want)
		}
	}
	if _, err := os.Stat("none.tar"); err == nil {
		t.Error("what failed wrote something")
	}
}
