package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestFailures: whatever is wrong with an image, the rule says what, why and what to do, and nothing is left: neither in
// the external repository nor in the store.
func TestFailures(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	// Each image has bytes of its own, so that none is in the store on account of another.
	push := func(name string, flags ...string) string {
		t.Helper()
		return strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", s.packed(t, "single", append(flags, "--version", name)...), server.Host+"/"+name+":1"))
	}
	lookup := func(image string) (layer string) {
		t.Helper()
		var described struct {
			Manifest struct {
				Layers []struct{ Digest string }
			}
		}
		if err := json.Unmarshal([]byte(s.must(t, s.out, s.ocipkg, "inspect", "--json", image)), &described); err != nil {
			t.Fatal(err)
		}
		return described.Manifest.Layers[len(described.Manifest.Layers)-1].Digest
	}
	spoil := func(image string, act registrytest.Act) {
		t.Helper()
		server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/" + lookup(image), Act: act})
	}

	truncated := push("truncated", "--define", "TRUNCATED")
	altered := push("altered", "--define", "ALTERED")
	foreign := pushForeign(t, server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := listener.Addr().String()
	listener.Close()
	server.Inject(registrytest.Fault{Path: "/v2/page/", Act: registrytest.HTML()})
	right := push("right")
	arm := pushArm(t, s, server.Host+"/arm:1")

	for _, c := range []struct {
		name  string
		image string
		spoil func()
		says  []string // what, why, what to do
	}{
		{name: "absent", image: server.Host + "/absent:1", says: []string{"pull " + server.Host + "/absent:1", "404"}},
		{name: "down", image: down + "/zlib:1", says: []string{"pull " + down + "/zlib:1", down + " refuses connections"}},
		{name: "digest", image: right[:len(right)-8] + "00000000", says: []string{"pull " + server.Host + "/right:1@sha256:", "404"}},
		{name: "swapped", image: strings.Replace(right, "/right:1", "/other:1", 1), spoil: func() {
			// A registry that answers with another manifest than the one of the digest.
			server.Inject(registrytest.Fault{Path: "/v2/other/manifests/", Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				r.URL.Path = "/v2/arm/manifests/1"
				next.ServeHTTP(w, r)
			}})
		}, says: []string{"pull " + server.Host + "/other:1", "sha256:"}},
		{name: "truncated", image: truncated, spoil: func() { spoil(truncated, registrytest.Cut(100)) }, says: []string{"layer 3 of 3"}},
		{name: "altered", image: altered, spoil: func() { spoil(altered, registrytest.Flip(50)) }, says: []string{"layer 3 of 3"}},
		{name: "page", image: server.Host + "/page:1", says: []string{"pull " + server.Host + "/page:1", "text/html"}},
		{name: "foreign", image: foreign, says: []string{"pull " + foreign, "not an ocipkg artifact", "ocipkg pack"}},
		{name: "arm", image: arm, says: []string{"the library is for aarch64-unknown-linux-gnu", `target = "aarch64-unknown-linux-gnu"`}},
		{name: "spelling", image: "ghcr.io/Acme/zlib", says: []string{"ghcr.io/Acme/zlib"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.spoil != nil {
				c.spoil()
			}
			images := map[string]string{c.name: c.image}
			w := s.declare(t, "failures", images)
			trees, partial := s.trees(t)
			r := w.exec(t, nil, "build", "@"+c.name)
			if r.code == 0 {
				t.Fatal("it was built")
			}
			for _, text := range c.says {
				if !strings.Contains(r.stderr, text) {
					t.Errorf("it does not say %q:\n%s", text, r.stderr)
				}
			}
			if strings.Contains(r.stderr, "panic") || strings.Contains(r.stderr, "goroutine") {
				t.Errorf("a stack trace:\n%s", r.stderr)
			}
			left := filepath.Join(strings.TrimSpace(w.bazel(t, "info", "output_base")), "external", "_main~_repo_rules~"+c.name)
			if f := files(t, left); len(f) > 0 {
				t.Errorf("left in the external repository: %v", f)
			}
			treesAfter, partialAfter := s.trees(t)
			if len(partialAfter) > len(partial) {
				t.Errorf("left half-done in the store: %v", partialAfter)
			}
			for _, tree := range treesAfter {
				if !slices.Contains(trees, tree) && (c.name == "foreign" || c.name == "arm") {
					t.Errorf("a refused library is in the store: %s", tree)
				}
			}
		})
	}

	t.Run("altered heals", func(t *testing.T) {
		// What was refused is fetched anew once the registry sends the right bytes.
		server.Clear()
		w := s.declare(t, "failures", map[string]string{"altered": altered})
		w.bazel(t, "build", "@altered")
	})
	t.Run("target", func(t *testing.T) {
		// The library for another platform can be had by asking for it, and then says itself where it does not fit.
		w := s.declare(t, "failures", nil, fmt.Sprintf("ocipkg_library(name = \"arm\", image = %q, target = \"aarch64-unknown-linux-gnu\")", arm))
		if r := w.exec(t, nil, "build", "@arm"); r.code == 0 || !strings.Contains(r.stderr, "is incompatible and cannot be built") {
			t.Errorf("exit status %d\n%s", r.code, r.stderr)
		}
	})
}

// trees lists the trees in the store, and the files in it that are on their way to become one.
func (s *suite) trees(t *testing.T) (whole, partial []string) {
	t.Helper()
	own := filepath.Join(s.store(), ".store", "v1")
	entries, err := os.ReadDir(filepath.Join(own, "trees", "sha256"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		whole = append(whole, e.Name())
	}
	return whole, files(t, filepath.Join(own, "tmp"))
}

// pushArm publishes a library for aarch64. Its description says so; its layers are never read here.
func pushArm(t *testing.T, s *suite, image string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "prefix")
	if err := os.MkdirAll(filepath.Join(dir, "include"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "include", "arm.h"), []byte("int arm(void);\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	archive := dir + ".tar"
	s.must(t, s.out, s.ocipkg, "pack", dir, "--name", "arm", "--target", "aarch64-unknown-linux-gnu", "-o", archive)
	return strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", archive, image))
}

// pushForeign publishes what registries hold too: another kind of artifact.
func pushForeign(t *testing.T, server *registrytest.Server) string {
	t.Helper()
	config := []byte(`{"name":"chart"}`)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"%[1]s","size":%[2]d},`+
		`"layers":[{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip","digest":"%[1]s","size":%[2]d}]}`, upload(t, server.Host, "chart", config), len(config))
	put(t, server.URL+"/v2/chart/manifests/1", "application/vnd.oci.image.manifest.v1+json", []byte(manifest))
	return server.Host + "/chart:1"
}

// TestCommandFailures: what the command refuses by itself, with the exit codes that its help promises.
func TestCommandFailures(t *testing.T) {
	s := theSuite
	dir := t.TempDir()
	module := filepath.Join(dir, "MODULE.bazel")
	broken := "ocipkg_library = use_repo_rule(\"@rules_ocipkg//rules:defs.bzl\", \"ocipkg_library\")\nocipkg_library(name = \n"
	if err := os.WriteFile(module, []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
	single := filepath.Join(filepath.Dir(s.packed(t, "single")), "single")
	for _, c := range []struct {
		name    string
		command []string
		code    int
		says    []string
	}{
		{"module that does not parse", []string{"pin"}, 2, []string{"read MODULE.bazel: it does not parse: 4:1"}},
		{"no module", []string{"pin", "--file", "nowhere/MODULE.bazel"}, 3, []string{"nowhere/MODULE.bazel", "--file"}},
		{"library claimed for another architecture", []string{"pack", single, "--name", "x", "--target", "aarch64-unknown-linux-gnu", "-o", "x.tar"}, 9,
			[]string{"lib/libfoo", "it is for x86_64-unknown-linux and was said to be for aarch64-unknown-linux-gnu"}},
		{"empty folder", []string{"pack", t.TempDir(), "--name", "x", "-o", "x.tar"}, 9, []string{"neither headers nor libraries"}},
		{"no such folder", []string{"pack", "nowhere", "-o", "x.tar"}, 3, []string{"nowhere"}},
		{"no output", []string{"pack", single}, 2, []string{"-o"}},
		{"not a layout", []string{"push", module, "localhost:1/x"}, 7, []string{"MODULE.bazel", "not a tar archive of an OCI layout"}},
		{"unknown flag", []string{"pull", "--wrong", "x"}, 2, []string{"--wrong", "--help"}},
		{"unknown command", []string{"pul"}, 2, []string{"pul"}},
		{"bad reference", []string{"pull", "ghcr.io/acme/zlib@sha256:12"}, 2, []string{"sha256:12"}},
		{"misspelt policy", []string{"pull", "localhost:1/x"}, 2, []string{"OCIPKG_REQUIRE_DIGEST", "neither 1 nor 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var env []string
			if c.name == "misspelt policy" {
				env = []string{"OCIPKG_REQUIRE_DIGEST=please"}
			}
			before := files(t, dir)
			r := s.exec(t, dir, env, append([]string{s.ocipkg}, c.command...)...)
			if r.code != c.code {
				t.Errorf("exit status %d, want %d: %s", r.code, c.code, r.stderr)
			}
			for _, text := range c.says {
				if !strings.Contains(r.stderr, text) {
					t.Errorf("it does not say %q: %s", text, r.stderr)
				}
			}
			if after := files(t, dir); !slices.Equal(before, after) {
				t.Errorf("files before: %v, after: %v", before, after)
			}
		})
	}
	if data, err := os.ReadFile(module); err != nil || string(data) != broken {
		t.Errorf("MODULE.bazel that does not parse was changed: %q, %v", data, err)
	}
}
