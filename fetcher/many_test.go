package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// Invariant: of many processes that pull overlapping sets into one store, one downloads each layer, all of them have what
// they asked for, and what they leave is whole. They are 64 with OCIPKG_SOAK.
func TestManyPulls(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	// Two libraries after the other have the same headers, and the same shared library lies in all: so layers are shared,
	// by libraries and by processes.
	var images []string
	for i := range 6 {
		name := fmt.Sprintf("lib%d", i)
		images = append(images, publishedAs(t, server, t.TempDir(), name, map[string][]byte{
			"include/x.h":        bytes.Repeat(fmt.Appendf(nil, "int f%d(void);\n", i/2), 2000),
			"lib/" + name + ".a": artifacttest.Archive(artifacttest.Object{Defines: []string{name}}),
			"lib/libx.so.1":      artifacttest.Shared{SONAME: "libx.so.1"}.Bytes(),
		}))
	}
	server.Clear()
	processes := 16
	if os.Getenv("OCIPKG_SOAK") != "" {
		processes = 64
	}
	root, out := t.TempDir(), t.TempDir()
	type puller struct {
		cmd   *exec.Cmd
		said  bytes.Buffer
		image int
	}
	var running []*puller
	for i := range processes {
		p := &puller{image: i % len(images)}
		args := []string{"pull", images[p.image]}
		if i%3 == 0 { // others show it to the crate, all at once
			args = append(args, "--output", filepath.Join(out, fmt.Sprint(i)))
		}
		p.cmd = storeCommand(t, root, args...)
		p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, p)
	}
	for i, p := range running {
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, p.said.String())
		}
		if i%3 == 0 {
			data, err := os.ReadFile(filepath.Join(out, fmt.Sprint(i), "include", "x.h"))
			if err != nil || !strings.HasPrefix(string(data), fmt.Sprintf("int f%d(void);\n", p.image/2)) {
				t.Errorf("%s: %d bytes of another's: %v", images[p.image], len(data), err)
			}
		}
	}
	layers := map[string]int{}
	digest := regexp.MustCompile(`/blobs/(sha256:[0-9a-f]+)$`)
	for _, r := range server.Requests("/blobs/") {
		if m := digest.FindStringSubmatch(r.Path); m != nil && r.Method == http.MethodGet {
			layers[m[1]]++
		}
	}
	trees, err := os.ReadDir(filepath.Join(root, ".store", "v1", "trees", "sha256"))
	if err != nil || len(trees) <= len(images) || len(trees) >= 3*len(images) {
		t.Errorf("%d layers, which shows nothing of what they share: %v", len(trees), err)
	}
	for _, tree := range trees {
		if n := layers["sha256:"+tree.Name()]; n != 1 {
			t.Errorf("layer %s was downloaded %d times", tree.Name(), n)
		}
	}
	if said, told, status := ocipkg(t, root, "store", "verify"); said != "" || status != 0 {
		t.Errorf("verify: status %d: %s%s", status, said, told)
	}
	if list, told, status := ocipkg(t, root, "list"); status != 0 || strings.Count(list, "/acme/") != len(images) {
		t.Errorf("status %d: %s%s", status, list, told)
	}
	for _, dir := range []string{"tmp", "locks", "corrupt"} {
		if left, err := os.ReadDir(filepath.Join(root, ".store", "v1", dir)); len(left) > 0 {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
}
