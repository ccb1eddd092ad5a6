package embedded_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/registry/embedded"
	"github.com/ocipkg/rules_ocipkg/internal/servertest"
)

const killed = "OCIPKG_TEST_REGISTRY_DIR"

// TestKilled attacks the first invariant: a registry that is killed in the midst of uploads has, when it runs again, all that it
// said it had stored, each as a whole, and of what it did not come to say either all or nothing.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killed); dir != "" {
		registry, err := embedded.New(dir, embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(httptest.NewServer(registry).URL)
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent ends it, or has ended
		return
	}
	rounds := 8
	if os.Getenv("OCIPKG_SOAK") != "" {
		rounds = 200
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var mu sync.Mutex
	stored := map[string]string{} // path to content, of what was acknowledged
	for round := range rounds {
		cmd := exec.Command(self, "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killed+"="+dir)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		server := servertest.Start(t, cmd, `(?m)^(http://\S+)`)
		url := server.Ready
		put := func(method, path, body, mediaType string) bool {
			req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return false
			}
			req.Header.Set("Content-Type", mediaType)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusCreated
		}
		var clients sync.WaitGroup
		begun := make(chan struct{})
		begin := sync.OnceFunc(func() { close(begun) })
		for client := range 4 {
			clients.Go(func() {
				for i := 0; ; i++ {
					content := strings.Repeat(fmt.Sprintf("%d %d %d ", round, client, i), 2000)
					if !put("POST", "/v2/a/blobs/uploads/?digest="+digest(content), content, "application/octet-stream") {
						begin()
						return
					}
					manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q}}`, digest(content))
					tag := fmt.Sprintf("tag-%d", client) // moves all the time
					done := put("PUT", "/v2/a/manifests/"+tag, manifest, manifestType)
					mu.Lock()
					stored["/v2/a/blobs/"+digest(content)] = content
					if done {
						stored["/v2/a/manifests/"+digest(manifest)] = manifest
					}
					mu.Unlock()
					begin()
					if !done {
						return
					}
				}
			})
		}
		<-begun
		time.Sleep(rand.N(100 * time.Millisecond))
		server.Signal(os.Kill)
		_ = server.Wait() // it was killed
		stdin.Close()
		clients.Wait()

		r := start(t, dir)
		if r.log.Len() > 0 {
			t.Errorf("round %d: at the next start: %s", round, r.log)
		}
		for path, content := range stored {
			if status, _, body := r.do("GET", path, ""); status != 200 || body != content {
				t.Fatalf("round %d: %s: %d, %d bytes of %d", round, path, status, len(body), len(content))
			}
		}
		// Every tag is at a manifest that is whole, and whose blob is there.
		_, list := r.want(200, "GET", "/v2/a/tags/list", "")
		var tags struct{ Tags []string }
		if err := json.Unmarshal([]byte(list), &tags); err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags.Tags {
			_, manifest := r.want(200, "GET", "/v2/a/manifests/"+tag, "")
			var m struct{ Config struct{ Digest string } }
			if err := json.Unmarshal([]byte(manifest), &m); err != nil {
				t.Fatalf("%s: %q %v", tag, manifest, err)
			}
			if _, content := r.want(200, "GET", "/v2/a/blobs/"+m.Config.Digest, ""); digest(content) != m.Config.Digest {
				t.Errorf("%s: its blob has the digest %s", tag, digest(content))
			}
		}
		r.stop()
	}
	if len(stored) == 0 {
		t.Error("nothing was ever stored")
	}
	t.Logf("%d blobs and manifests were stored in %d rounds", len(stored), rounds)
}
