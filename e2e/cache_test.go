package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// cacheServer is a cache of Bazel's HTTP protocol: blobs under /cas/ by their digest, which is checked, and results of
// actions under /ac/.
type cacheServer struct {
	*httptest.Server
	disk    string // a folder that Bazel has as --disk_cache, for what nobody put here; empty for none
	mu      sync.Mutex
	entries map[string][]byte
	got     map[string]int // path -> how often it was handed out
	refused []string       // blobs that were not what their name said
}

func newCacheServer(t *testing.T) *cacheServer {
	c := &cacheServer{entries: map[string][]byte{}, got: map[string]int{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *cacheServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := regexp.MustCompile(`^/(ac|cas)/([0-9a-f]{64})$`).FindStringSubmatch(r.URL.Path)
	if m == nil {
		http.NotFound(w, r)
		return
	}
	switch r.Method {
	case http.MethodPut:
		data, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if sum := sha256.Sum256(data); m[1] == "cas" && hex.EncodeToString(sum[:]) != m[2] {
			c.refused = append(c.refused, r.URL.Path)
			http.Error(w, "the content has another digest", http.StatusBadRequest)
			return
		}
		c.entries[r.URL.Path] = data
	case http.MethodGet, http.MethodHead:
		c.mu.Lock()
		data, ok := c.entries[r.URL.Path]
		if !ok && c.disk != "" {
			var err error
			data, err = os.ReadFile(filepath.Join(c.disk, m[1], m[2][:2], m[2]))
			ok = err == nil
		}
		if ok && r.Method == http.MethodGet {
			c.got[r.URL.Path]++
		}
		c.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(data) // to a client that may have gone
		}
	default:
		http.Error(w, "GET, HEAD and PUT are known here", http.StatusMethodNotAllowed)
	}
}

// handedOut reports whether the cache gave out the content of a file.
func (c *cacheServer) handedOut(t *testing.T, path string) bool {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got["/cas/"+sum(t, path)] > 0
}

func sum(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// TestRemoteCache: what one workspace built and put into a remote cache, another one, in another folder, takes from there
// without running an action, and without downloading more than it is asked for; and what it then has is the same, to the
// byte, and runs.
func TestRemoteCache(t *testing.T) {
	s := theSuite
	address := s.dockerRegistry(t)
	s.must(t, s.repository, "tools/publish-examples", s.ocipkg, filepath.Join(s.repository, ".out", "prefixes"), address)
	for example, programs := range map[string][]string{
		"c_zlib":          {"app", "app_test"},
		"cc_openssl_zstd": {"app", "app_test"},
		"go_sqlite3":      {"app/app_/app", "go_sqlite3_test_/go_sqlite3_test"},
	} {
		t.Run(example, func(t *testing.T) {
			cache := newCacheServer(t)
			remote := []string{"--remote_cache=" + cache.URL, "--disk_cache="}
			first := s.workspace(t, filepath.Join("examples", example), address)
			first.pin(t)
			first.bazel(t, "clean")
			if example == "go_sqlite3" {
				// To put Go's standard library there, it would be compiled anew, for minutes. The remote cache has what the disk
				// cache that all tests share has, where the same results lie under the same names.
				cache.disk = first.diskCache(t)
				first.bazel(t, "test", "//...")
				first.bazel(t, "build", "//...")
			} else {
				first.bazel(t, "test", append(remote, "//...")...)
				first.bazel(t, "build", append(remote, "//...")...)
				if len(cache.refused) > 0 || len(cache.entries) == 0 {
					t.Fatalf("the cache has %d entries, and refused %v", len(cache.entries), cache.refused)
				}
			}

			second := s.workspace(t, filepath.Join("examples", example), address)
			second.pin(t)
			second.bazel(t, "clean")
			r := second.exec(t, nil, "test", append(remote, "--noremote_upload_local_results", "--remote_download_minimal", "//...")...)
			if r.code != 0 {
				t.Fatalf("exit status %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			onlyHits(t, r.stderr)
			for _, program := range programs {
				if _, err := os.Stat(filepath.Join(second.dir, "bazel-bin", program)); err == nil {
					t.Errorf("%s was downloaded, and nobody asked for it", program)
				}
				if cache.handedOut(t, filepath.Join(first.dir, "bazel-bin", program)) {
					t.Errorf("the cache handed out %s, and nobody asked for it", program)
				}
			}

			r = second.exec(t, nil, "build", append(remote, "--noremote_upload_local_results", "--remote_download_toplevel", "//...")...)
			if r.code != 0 {
				t.Fatalf("exit status %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			for _, program := range programs {
				if a, b := sum(t, filepath.Join(first.dir, "bazel-bin", program)), sum(t, filepath.Join(second.dir, "bazel-bin", program)); a != b {
					t.Errorf("%s is another one", program)
				}
				if !cache.handedOut(t, filepath.Join(first.dir, "bazel-bin", program)) {
					t.Errorf("%s did not come from the cache", program)
				}
			}
			second.checkBinaries(t, `kind("(cc|go)_(binary|test) rule", //...)`, remote...)
		})
	}
}

// diskCache is the folder that is --disk_cache without a word, or the test is skipped.
func (w *workspace) diskCache(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(`--disk_cache=(.*?)(?: --|\n)`).FindStringSubmatch(w.exec(t, nil, "info", "--announce_rc", "release").stderr)
	if m == nil {
		t.Skip("SKIPPED: this Bazel has no disk cache, and what all tests need would be compiled anew")
	}
	return m[1]
}

// onlyHits checks that Bazel ran no action, but took each result from the remote cache.
func onlyHits(t *testing.T, output string) {
	t.Helper()
	m := regexp.MustCompile(`INFO: (\d+) processes?: (.*)\.`).FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("Bazel does not say what it ran:\n%s", output)
	}
	hits := false
	for kind := range strings.SplitSeq(m[2], ", ") {
		switch _, kind, _ = strings.Cut(kind, " "); kind {
		case "remote cache hit":
			hits = true
		case "internal": // what Bazel does by itself: links, files of its own content
		default:
			t.Errorf("not everything came from the cache: %s", m[0])
		}
	}
	if !hits {
		t.Errorf("nothing came from the cache: %s", m[0])
	}
}

// TestActions: no action of an example names a place outside the execution root, but for the compiler's own; so that it
// means the same on every machine, and in every sandbox.
func TestActions(t *testing.T) {
	s := theSuite
	address := s.dockerRegistry(t)
	s.must(t, s.repository, "tools/publish-examples", s.ocipkg, filepath.Join(s.repository, ".out", "prefixes"), address)
	for _, example := range s.examples(t) {
		t.Run(example, func(t *testing.T) {
			w := s.workspace(t, filepath.Join("examples", example), address)
			w.pin(t)
			w.checkActions(t)
		})
	}
	if found := absolutePaths("-L/home/me/.local/share/ocipkg/x -Wl,-rpath,/opt/lib -iquote . -I/usr/include a//b https://e.com/x"); len(found) != 2 {
		t.Errorf("found %q, want two", found)
	}
}

// checkActions looks at every action of the workspace.
func (w *workspace) checkActions(t *testing.T) {
	t.Helper()
	var graph struct {
		Actions []struct {
			Mnemonic             string
			Arguments            []string
			EnvironmentVariables []struct{ Key, Value string }
			ParamFiles           []struct{ Arguments []string }
		}
		PathFragments []struct {
			Label    string
			ParentID int `json:"parentId"`
		}
	}
	if err := json.Unmarshal([]byte(w.bazel(t, "aquery", "--output=jsonproto", "--include_param_files", "deps(//...)")), &graph); err != nil {
		t.Fatal(err)
	}
	linked := 0
	for _, action := range graph.Actions {
		if action.Mnemonic == "CppLink" || action.Mnemonic == "GoLink" {
			linked++
		}
		values := action.Arguments
		for _, file := range action.ParamFiles {
			values = append(values, file.Arguments...)
		}
		for _, variable := range action.EnvironmentVariables {
			if variable.Key != "PATH" {
				values = append(values, variable.Value)
			}
		}
		for _, value := range values {
			for _, path := range absolutePaths(value) {
				t.Errorf("%s names %s, in %q", action.Mnemonic, path, value)
			}
		}
	}
	for _, fragment := range graph.PathFragments {
		if fragment.ParentID == 0 && fragment.Label != "external" && fragment.Label != "bazel-out" && strings.HasPrefix(fragment.Label, "/") {
			t.Errorf("an input lies in %s", fragment.Label)
		}
	}
	if linked == 0 {
		t.Errorf("%d actions, and none of them links", len(graph.Actions))
	}
}

// absolutePaths finds paths in an argument that begin at the root of the file system, but those of the toolchain and of
// the shell that actions run in, which have to be the same on every machine that shares a cache.
func absolutePaths(argument string) []string {
	var found []string
	for _, m := range regexp.MustCompile(`(?:^|[\s=:,;"'(])(?:-[A-Za-z]+)?(/[\w.+~-]+(?:/[^\s=:,;"')]*)?)`).FindAllStringSubmatch(argument, -1) {
		top, _, _ := strings.Cut(strings.TrimPrefix(m[1], "/"), "/")
		switch top {
		case "usr", "bin", "dev", "proc":
		default:
			found = append(found, m[1])
		}
	}
	return found
}
