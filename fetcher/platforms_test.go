package main

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// Pack twice, push once, and each platform pulls its own.
func TestSeveralPlatforms(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("OCIPKG_STORE", filepath.Join(t.TempDir(), "store"))
	t.Chdir(t.TempDir())
	must := func(args ...string) {
		t.Helper()
		if code := run(append(args, "--quiet")); code != 0 {
			t.Fatalf("ocipkg %q: exit status %d", args, code)
		}
	}
	machines := map[string]elf.Machine{"x86_64-unknown-linux-gnu": elf.EM_X86_64, "aarch64-unknown-linux-gnu": elf.EM_AARCH64}
	image := server.Host + "/acme/z:1"
	push := []string{"push"}
	for target, machine := range machines {
		library := filepath.Join(target, "lib", "libz.so.1")
		if err := os.MkdirAll(filepath.Dir(library), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(library, artifacttest.Shared{Machine: machine, SONAME: "libz.so.1"}.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		must("pack", target, "--name", "z", "-o", target+".tar")
		push = append(push, target+".tar")
	}
	must(append(push, image)...)

	// Joined before it is pushed, it has the same digest.
	must(append(append([]string{"join"}, push[1:]...), "-o", "joined", "--digest-file", "digest")...)
	digest, err := os.ReadFile("digest")
	if err != nil {
		t.Fatal(err)
	}
	must("push", "joined", server.Host+"/acme/z:joined")
	for _, tag := range []string{"1", "joined"} {
		must("inspect", server.Host+"/acme/z:"+tag+"@"+strings.TrimSpace(string(digest)))
		must("pull", "--target", "aarch64-unknown-linux-gnu", server.Host+"/acme/z:"+tag+"-aarch64-unknown-linux-gnu")
	}
	for target, machine := range machines {
		must("pull", "--target", target, "--output", "pulled-"+target, image)
		f, err := elf.Open(filepath.Join("pulled-"+target, "lib", "libz.so.1"))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if f.Machine != machine {
			t.Errorf("%s is for %s", target, f.Machine)
		}
		must("pull", "--target", target, image+"-"+target)
	}
	must("push", "--no-upstream-tags", "x86_64-unknown-linux-gnu.tar", server.Host+"/acme/z:2")
	if code := run([]string{"pull", "--quiet", server.Host + "/acme/z:2-x86_64-unknown-linux-gnu"}); code != 3 {
		t.Errorf("a tag that was not wanted: exit status %d", code)
	}
}
