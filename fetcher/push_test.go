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
	for name, text := range map[string]string{"z.h": "", "LICENSE": "", "main.c": "", "any.json": `{"name": "z", "version": "1"}`, "bad.json": `{"nam": "z"}`, "prefix/include/z.h": "",
		"places.json": `{"include/z.h": "z.h"}`, "bad-places.json": `{"include/z.h": "none.h"}`, "status.txt": "STABLE_V 1.0\nSTABLE_HOST " + server.Host + "\n"} {
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
		{[]string{"pack", "prefix", "--description", "any.json", "--image", image, "-o", "tagged.tar"}, done},
		{[]string{"pack", "prefix", "--description", "bad.json", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "prefix", "--description", "missing.json", "-o", "none.tar"}, diagnostic.NotFound},
		{[]string{"pack", "prefix", "--name", "z", "--header", "inc", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "prefix", "--name", "z", "--requires", "z", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "prefix", "--name", "z", "--image", image + "@sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "--name", "z", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "prefix", "--files", "places.json", "--name", "z", "-o", "none.tar"}, diagnostic.Usage},
		{[]string{"pack", "--files", "missing.json", "--name", "z", "-o", "none.tar"}, diagnostic.NotFound},
		{[]string{"pack", "--files", "any.json", "--name", "z", "-o", "none.tar"}, diagnostic.NotFound}, // it names other files
		{[]string{"pack", "--files", "bad-places.json", "--name", "z", "-o", "none.tar"}, diagnostic.NotFound},
		{[]string{"pack", "--files", "places.json", "--name", "z", "--version", "3", "-o", "placed", "--digest-file", "placed.digest"}, done},
		{[]string{"join", "plain.tar", "-o", "none.tar"}, diagnostic.Refused}, // headers alone have no platform
		{[]string{"join", "plain.tar"}, diagnostic.Usage},
		{[]string{"join", "missing.tar", "-o", "none.tar"}, diagnostic.NotFound},
		{[]string{"push", "placed", "--to", server.Host + "/version"}, done}, // as 3
		{[]string{"inspect", server.Host + "/version:3"}, done},
		{[]string{"push", "plain.tar", "--to", server.Host + "/version"}, diagnostic.Usage}, // it has none
		{[]string{"push", "plain.tar", "--to", server.Host + "/tags", "--tag", "a", "--tag", "b"}, done},
		{[]string{"inspect", server.Host + "/tags:b"}, done},
		{[]string{"push", "plain.tar", server.Host + "/more:a", "--tag", "b"}, done},
		{[]string{"inspect", server.Host + "/more:b"}, done},
		{[]string{"push", "plain.tar", "--to", server.Host + "/none", "--tag", "a", "--tag", "b c"}, diagnostic.Usage},
		{[]string{"push", "plain.tar", "--to", server.Host + "/none", "--tag", "b c"}, diagnostic.Usage},
		{[]string{"inspect", server.Host + "/none:a"}, diagnostic.NotFound}, // one tag that is none, and nothing is pushed
		{[]string{"push", "plain.tar", "--to", server.Host + "/none:a"}, diagnostic.Usage},
		{[]string{"push", "plain.tar", "--to", server.Host + "/none:latest"}, diagnostic.Usage},
		{[]string{"push", "plain.tar", image, "--to", server.Host + "/none"}, diagnostic.Usage},
		{[]string{"push", "plain.tar", "--to", "{STABLE_HOST}/stamped", "--tag", "v{STABLE_V}", "--workspace-status", "status.txt"}, done},
		{[]string{"inspect", server.Host + "/stamped:v1.0"}, done},
		{[]string{"push", "plain.tar", server.Host + "/stamped:{STABLE_V}", "--workspace-status", "status.txt"}, done},
		{[]string{"inspect", server.Host + "/stamped:1.0"}, done},
		{[]string{"push", "plain.tar", "--to", server.Host + "/none", "--tag", "{STABLE_V}"}, diagnostic.Usage},
		{[]string{"push", "plain.tar", image, "--workspace-status", "missing.txt"}, diagnostic.NotFound},
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
	placed, err := os.ReadFile("placed.digest")
	if err != nil || !digestPattern.MatchString(string(placed)) || len(placed) != len("sha256:")+64+1 {
		t.Errorf("the file of the digest is %q, %v", placed, err)
	}
}
