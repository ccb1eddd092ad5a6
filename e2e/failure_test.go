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

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestFailures: whatever is wrong with an image, command and rule say what, why and what to do; the command's exit status
// says of which kind it is; and nothing is left, neither where the library was to be nor in the store. What a rule that
// failed has left in its external repository cannot be seen, because Bazel deletes it.
func TestFailures(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	prefix := strings.TrimSuffix(s.packed(t, "single"), ".tar")
	// Each image has a shared library of its own, so that none is in the store on account of another.
	push := func(name string) string {
		t.Helper()
		library, err := os.OpenFile(filepath.Join(prefix, "lib", "libfoo.so.1.2.3"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := library.WriteString(name); err != nil {
			t.Fatal(err)
		}
		if err := library.Close(); err != nil {
			t.Fatal(err)
		}
		archive := prefix + "-" + name + ".tar"
		s.must(t, s.out, s.ocipkg, "pack", prefix, "--name", "single", "--version", name, "-o", archive)
		return strings.TrimSpace(s.must(t, s.out, s.ocipkg, "push", archive, server.Host+"/"+name+":1"))
	}
	layers := func(image string) []string {
		t.Helper()
		var described struct {
			Manifest struct {
				Layers []struct{ Digest string }
			}
		}
		if err := json.Unmarshal([]byte(s.must(t, s.out, s.ocipkg, "inspect", "--json", image)), &described); err != nil {
			t.Fatal(err)
		}
		var digests []string
		for _, layer := range described.Manifest.Layers {
			digests = append(digests, layer.Digest)
		}
		return digests
	}
	last := func(image string) string {
		t.Helper()
		all := layers(image)
		return all[len(all)-1]
	}
	spoil := func(layer string, act registrytest.Act) {
		server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/" + layer, Act: act})
	}

	truncated := push("truncated")
	altered := push("altered")
	foreign, foreignLayer := pushForeign(t, server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := listener.Addr().String()
	listener.Close()
	server.Inject(registrytest.Fault{Path: "/v2/page/", Act: registrytest.HTML()})
	right := push("right")
	arm := pushArm(t, s, server.Host+"/arm:1")

	_, armDigest, _ := strings.Cut(arm, "@")
	truncatedLayer, alteredLayer := last(truncated), last(altered)
	if truncatedLayer == alteredLayer {
		t.Fatal("two images have one layer: what one leaves in the store, the other finds")
	}
	for _, c := range []struct {
		name    string
		image   string
		spoil   func()
		kind    diagnostic.Kind
		says    []string // what, why, what to do
		refused []string // layers that must not be in the store afterwards
	}{
		{name: "absent", image: server.Host + "/absent:1", kind: diagnostic.NotFound,
			says: []string{"pull " + server.Host + "/absent:1", "404 Not Found", "check the name, the tag and the digest"}},
		{name: "down", image: down + "/zlib:1", kind: diagnostic.Unreachable,
			says: []string{"pull " + down + "/zlib:1", down + " refuses connections", "check that the registry is running, and its port"}},
		{name: "digest", image: right[:len(right)-8] + "00000000", kind: diagnostic.NotFound,
			says: []string{"pull " + server.Host + "/right:1@sha256:", "404 Not Found", "check the name, the tag and the digest"}},
		{name: "swapped", image: strings.Replace(right, "/right:1", "/other:1", 1), kind: diagnostic.Corrupt, spoil: func() {
			// A registry that answers with another manifest than the one of the digest.
			server.Inject(registrytest.Fault{Path: "/v2/other/manifests/", Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				r.URL.Path = "/v2/arm/manifests/1"
				next.ServeHTTP(w, r)
			}})
		}, says: []string{"pull " + server.Host + "/other:1@sha256:", "answered with other content, whose digest is " + armDigest, "do not use it: the registry or a proxy between alters what it hands out"}},
		{name: "truncated", image: truncated, kind: diagnostic.Unreachable, spoil: func() { spoil(truncatedLayer, registrytest.Cut(100)) },
			says: []string{"pull " + truncated, "layer 3 of 3 (" + truncatedLayer + ")", "the connection to " + server.Host + " broke: unexpected EOF", "run it again; check the network connection"}, refused: []string{truncatedLayer}},
		{name: "altered", image: altered, kind: diagnostic.Corrupt, spoil: func() { spoil(alteredLayer, registrytest.Flip(50)) },
			says: []string{"pull " + altered, "layer 3 of 3 (" + alteredLayer + ")", server.Host + " sent other bytes, whose digest is sha256:", "the registry or a proxy between alters what it hands out"}, refused: []string{alteredLayer}},
		{name: "page", image: server.Host + "/page:1", kind: diagnostic.Unreachable,
			says: []string{"pull " + server.Host + "/page:1", "answered with text/html instead of a manifest", "check HTTPS_PROXY and NO_PROXY"}},
		{name: "foreign", image: foreign, kind: diagnostic.Unsupported,
			says: []string{"pull " + foreign, "not an ocipkg artifact", "ocipkg pack"}, refused: []string{foreignLayer}},
		{name: "arm", image: arm, kind: diagnostic.Mismatch,
			says: []string{"the library is for aarch64-unknown-linux-gnu", "was asked for", `target = "aarch64-unknown-linux-gnu"`}, refused: layers(arm)},
		{name: "spelling", image: "ghcr.io/Acme/zlib", kind: diagnostic.Usage,
			says: []string{"ghcr.io/Acme/zlib", `the repository "Acme/zlib" has upper-case letters, which no registry accepts`, `did you mean "acme/zlib"`}},
	} {
		if c.spoil != nil {
			c.spoil()
		}
		check := func(t *testing.T, r result) {
			t.Helper()
			for _, text := range c.says {
				if !strings.Contains(r.stderr, text) {
					t.Errorf("it does not say %q:\n%s", text, r.stderr)
				}
			}
			if strings.Contains(r.stderr, "panic") || strings.Contains(r.stderr, "goroutine") {
				t.Errorf("a stack trace:\n%s", r.stderr)
			}
			trees, partial := s.trees(t)
			if len(partial) > 0 {
				t.Errorf("left half-done in the store: %v", partial)
			}
			for _, layer := range c.refused {
				if slices.Contains(trees, strings.TrimPrefix(layer, "sha256:")) {
					t.Errorf("a refused layer is in the store: %s", layer)
				}
			}
		}
		t.Run(c.name+"/pull", func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "output")
			r := s.exec(t, s.out, nil, s.ocipkg, "pull", c.image, "--output", output)
			if r.code != int(c.kind) {
				t.Errorf("exit status %d, want %d", r.code, c.kind)
			}
			if r.stdout != "" {
				t.Errorf("it printed a result: %s", r.stdout)
			}
			if left, err := os.ReadDir(filepath.Dir(output)); err != nil || len(left) > 0 {
				t.Errorf("left beside the output: %v, %v", left, err)
			}
			check(t, r)
		})
		t.Run(c.name+"/rule", func(t *testing.T) {
			w := s.declare(t, "failures", map[string]string{c.name: c.image})
			r := w.exec(t, nil, "build", "@"+c.name)
			if r.code == 0 {
				t.Fatal("it was built")
			}
			if named := fmt.Sprintf("ocipkg_library(name = %q)", c.name); !strings.Contains(r.stderr, named) {
				t.Errorf("it does not name the line in MODULE.bazel, %s:\n%s", named, r.stderr)
			}
			check(t, r)
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
func pushForeign(t *testing.T, server *registrytest.Server) (image, layer string) {
	t.Helper()
	config := []byte(`{"name":"chart"}`)
	layer = upload(t, server.Host, "chart", config)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"%[1]s","size":%[2]d},`+
		`"layers":[{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip","digest":"%[1]s","size":%[2]d}]}`, layer, len(config))
	put(t, server.URL+"/v2/chart/manifests/1", "application/vnd.oci.image.manifest.v1+json", []byte(manifest))
	return server.Host + "/chart:1", layer
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
