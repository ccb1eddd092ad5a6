package embedded_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/embedded"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
)

// running is a registry on a folder, which a test may stop and start again.
type running struct {
	t    *testing.T
	dir  string
	url  string
	log  *bytes.Buffer
	mu   *sync.Mutex
	stop func()
}

func start(t *testing.T, dir string) *running {
	t.Helper()
	r := &running{t: t, dir: dir, log: &bytes.Buffer{}, mu: &sync.Mutex{}}
	registry, err := embedded.New(dir, embedded.Options{Logf: func(format string, args ...any) {
		r.mu.Lock()
		defer r.mu.Unlock()
		fmt.Fprintf(r.log, format+"\n", args...)
	}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry)
	r.stop = sync.OnceFunc(func() {
		server.Close()
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	r.url = server.URL
	return r
}

// restart stops the registry and starts another one on its folder.
func (r *running) restart() *running {
	r.t.Helper()
	r.stop()
	return start(r.t, r.dir)
}

// beforeAndAfterRestart yields the registry, and then the one that finds what it has left.
func (r *running) beforeAndAfterRestart() iter.Seq[*running] {
	return func(yield func(*running) bool) {
		if yield(r) {
			yield(r.restart())
		}
	}
}

// do makes a request; headers are name, value, name, value.
func (r *running) do(method, path, body string, header ...string) (int, http.Header, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Error(err)
		return 0, nil, ""
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Error(err)
		return 0, nil, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Error(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func (r *running) want(status int, method, path, body string, header ...string) (http.Header, string) {
	r.t.Helper()
	got, h, b := r.do(method, path, body, header...)
	if got != status {
		r.t.Errorf("%s %s: %d %s, want %d", method, path, got, b, status)
	}
	return h, b
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (r *running) putBlob(repository, content string) string {
	r.t.Helper()
	r.want(201, "POST", "/v2/"+repository+"/blobs/uploads/?digest="+digest(content), content)
	return digest(content)
}

// putImage stores an image of one blob and returns its manifest.
func (r *running) putImage(repository, tag, content string) string {
	r.t.Helper()
	blob := r.putBlob(repository, content)
	manifest := fmt.Sprintf(`{"schemaVersion":2, "config":{"mediaType":"application/x","size":%d,"digest":%q},"layers":[]}`, len(content), blob)
	reference := tag
	if tag == "" {
		reference = digest(manifest)
	}
	h, _ := r.want(201, "PUT", "/v2/"+repository+"/manifests/"+reference, manifest, "Content-Type", manifestType)
	if h.Get("Docker-Content-Digest") != digest(manifest) || h.Get("Location") != "/v2/"+repository+"/manifests/"+digest(manifest) {
		r.t.Errorf("header of the answer: %v", h)
	}
	return manifest
}

func index(manifests ...string) string {
	var list []string
	for _, m := range manifests {
		mediaType := manifestType
		if strings.Contains(m, `"manifests"`) {
			mediaType = indexType
		}
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"size":%d,"digest":%q}`, mediaType, len(m), digest(m)))
	}
	return `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[` + strings.Join(list, ",") + `]}`
}

func TestRestart(t *testing.T) {
	r := start(t, t.TempDir())
	one, two := r.putImage("acme/zlib", "1", "one"), r.putImage("acme/zlib", "", "two")
	old := r.putImage("acme/zlib", "moving", "old")
	moved := r.putImage("acme/zlib", "moving", "new")
	upper := r.putImage("acme/zlib", "V1", "upper")
	lower := r.putImage("acme/zlib", "v1", "lower")
	inner := index(one, two)
	r.want(201, "PUT", "/v2/acme/zlib/manifests/inner", inner, "Content-Type", indexType)
	outer := index(inner)
	r.want(201, "PUT", "/v2/acme/zlib/manifests/outer", outer, "Content-Type", indexType)
	nested := r.putImage("acme", "zlib", "a repository in whose folder another one is")
	subject := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"subject":{"mediaType":%q,"size":%d,"digest":%q},"config":{"mediaType":"application/x","size":3,"digest":%q},"layers":[]}`,
		manifestType, manifestType, len(one), digest(one), digest("one"))
	if h, _ := r.want(201, "PUT", "/v2/acme/zlib/manifests/"+digest(subject), subject, "Content-Type", manifestType); h.Get("OCI-Subject") != digest(one) {
		t.Errorf("header of the answer: %v", h)
	}
	r.want(202, "DELETE", "/v2/acme/zlib/manifests/v1", "")
	r.want(404, "DELETE", "/v2/acme/zlib/manifests/v1", "")
	gone := r.putImage("acme/zlib", "gone", "gone")
	r.want(202, "DELETE", "/v2/acme/zlib/manifests/"+digest(gone), "")

	for r := range r.beforeAndAfterRestart() {
		for path, want := range map[string]string{
			"acme/zlib/manifests/1":                one,
			"acme/zlib/manifests/" + digest(two):   two,
			"acme/zlib/manifests/" + digest(old):   old,
			"acme/zlib/manifests/moving":           moved,
			"acme/zlib/manifests/V1":               upper,
			"acme/zlib/manifests/" + digest(lower): lower,
			"acme/zlib/manifests/outer":            outer,
			"acme/zlib/manifests/inner":            inner,
			"acme/manifests/zlib":                  nested,
			"acme/zlib/blobs/" + digest("one"):     "one",
		} {
			if _, body := r.want(200, "GET", "/v2/"+path, ""); body != want {
				t.Errorf("%s: %q, want %q", path, body, want)
			}
		}
		r.want(404, "GET", "/v2/acme/zlib/manifests/v1", "")
		r.want(404, "GET", "/v2/acme/zlib/manifests/gone", "")
		r.want(404, "GET", "/v2/acme/zlib/manifests/"+digest(gone), "")
		if h, _ := r.want(200, "HEAD", "/v2/acme/zlib/manifests/1", ""); h.Get("Content-Type") != manifestType {
			t.Errorf("media type %q", h.Get("Content-Type"))
		}
		if _, body := r.want(200, "GET", "/v2/acme/zlib/tags/list", ""); body != `{"name":"acme/zlib","tags":["1","inner","moving","outer","V1"]}` {
			t.Errorf("tags %s", body)
		}
		if _, body := r.want(200, "GET", "/v2/acme/zlib/referrers/"+digest(one), ""); !strings.Contains(body, digest(subject)) {
			t.Errorf("referrers %s", body)
		}
	}
}

// Whatever lies in the folder, what can be read is served and the rest is told.
func TestDamagedFolder(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	good := r.putImage("acme/zlib", "good", "good")
	bad := r.putImage("acme/zlib", "bad", "bad")
	truncated := r.putImage("acme/zlib", "truncated", "truncated")
	broken := index(good, bad)
	r.want(201, "PUT", "/v2/acme/zlib/manifests/broken", broken, "Content-Type", indexType)

	file := func(m string) string {
		return filepath.Join(dir, "manifests", "acme", "zlib", "_digests", strings.TrimPrefix(digest(m), "sha256:")+".json")
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	other, err := json.Marshal(map[string]any{"mediaType": manifestType, "manifest": []byte(truncated)})
	if err != nil {
		t.Fatal(err)
	}
	write(file(bad), string(other))
	write(file(truncated), `{"mediaType":"app`)
	write(filepath.Join(dir, "manifests", "acme", "zlib", "_tags", "evil.json"), `{"tag":"../../x","digest":"`+digest(good)+`"}`)
	write(filepath.Join(dir, "manifests", "acme", "zlib", "_tags", "empty.json"), ``)
	write(filepath.Join(dir, "manifests", ".DS_Store"), `x`)
	write(filepath.Join(dir, "manifests", "UPPER", "_tags", "x.json"), `{}`)
	write(filepath.Join(dir, "uploads", "left-over"), `x`)

	r = r.restart()
	r.want(200, "GET", "/v2/acme/zlib/manifests/good", "")
	r.want(200, "GET", "/v2/acme/zlib/manifests/broken", "") // its own bytes are right
	for _, tag := range []string{"bad", "truncated"} {
		r.want(404, "GET", "/v2/acme/zlib/manifests/"+tag, "")
	}
	for _, word := range []string{"other", "unexpected end", "zlib:bad", "zlib:truncated", "evil.json", "empty.json", ".DS_Store", "UPPER"} {
		if !strings.Contains(r.log.String(), word) {
			t.Errorf("the log does not have %q:\n%s", word, r.log)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "uploads")); err != nil || len(left) != 0 {
		t.Errorf("uploads holds %v, %v", left, err)
	}
	// It can be put right by pushing again.
	r.putImage("acme/zlib", "bad", "bad")
	r.want(201, "PUT", "/v2/acme/zlib/manifests/broken", broken, "Content-Type", indexType)
	r = r.restart()
	r.want(200, "GET", "/v2/acme/zlib/manifests/broken", "")
}

func TestRanges(t *testing.T) {
	r := start(t, t.TempDir())
	blob := r.putBlob("a", "0123456789")
	path := "/v2/a/blobs/" + blob
	for _, c := range []struct {
		span, body, contentRange string
		status                   int
	}{
		{"", "0123456789", "", 200},
		{"bytes=4-", "456789", "bytes 4-9/10", 206},
		{"bytes=4-5", "45", "bytes 4-5/10", 206},
		{"bytes=4-100", "456789", "bytes 4-9/10", 206},
		{"bytes=-3", "789", "bytes 7-9/10", 206},
		{"bytes=10-", "", "bytes */10", 416},
		{"lines=1-", "", "", 416},
	} {
		status, h, body := r.do("GET", path, "", "Range", c.span)
		if status != c.status || status < 400 && body != c.body || h.Get("Content-Range") != c.contentRange {
			t.Errorf("Range %q: %d %q %q", c.span, status, body, h.Get("Content-Range"))
		}
	}
	h, _ := r.want(200, "HEAD", path, "")
	if h.Get("Content-Length") != "10" || h.Get("Accept-Ranges") != "bytes" || h.Get("Docker-Content-Digest") != blob {
		t.Errorf("HEAD: %v", h)
	}
	r.want(202, "DELETE", path, "")
	r.want(404, "GET", path, "")
	r.want(404, "DELETE", path, "")
}

func TestUploads(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	begin := func() string {
		t.Helper()
		h, _ := r.want(202, "POST", "/v2/a/b/blobs/uploads/", "")
		return h.Get("Location")
	}
	// In chunks.
	at := begin()
	r.want(202, "PATCH", at, "hello ", "Content-Range", "0-5")
	r.want(416, "PATCH", at, "world", "Content-Range", "7-11")
	if h, _ := r.want(204, "GET", at, ""); h.Get("Range") != "0-5" {
		t.Errorf("Range %q", h.Get("Range"))
	}
	r.want(202, "PATCH", at, "wor", "Content-Range", "6-8")
	r.want(400, "PUT", at, "ld")
	h, _ := r.want(201, "PUT", at+"?digest="+digest("hello world"), "ld")
	if h.Get("Location") != "/v2/a/b/blobs/"+digest("hello world") {
		t.Errorf("Location %q", h.Get("Location"))
	}
	if _, body := r.want(200, "GET", h.Get("Location"), ""); body != "hello world" {
		t.Errorf("got %q", body)
	}
	r.want(404, "PUT", at+"?digest="+digest("hello world"), "")
	// With another digest, nothing stays.
	at = begin()
	r.want(400, "PUT", at+"?digest="+digest("one"), "two")
	r.want(404, "GET", "/v2/a/b/blobs/"+digest("one"), "")
	r.want(404, "GET", at, "")
	// Given up.
	at = begin()
	r.want(204, "DELETE", at, "")
	r.want(404, "PATCH", at, "x")
	// Mounted.
	r.want(201, "POST", "/v2/c/blobs/uploads/?from=a/b&mount="+digest("hello world"), "")
	r.want(202, "POST", "/v2/c/blobs/uploads/?from=a/b&mount="+digest("unknown"), "")

	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(filepath.Dir(path)) != "uploads" && filepath.Base(path) != "lock" {
			files = append(files, filepath.Base(path))
		}
		return err
	})
	if err != nil || len(files) != 1 || "sha256:"+files[0] != digest("hello world") {
		t.Errorf("the folder holds %v, %v", files, err)
	}
}

// A client that goes away in the middle leaves no blob.
func TestAbortedUpload(t *testing.T) {
	r := start(t, t.TempDir())
	h, _ := r.want(202, "POST", "/v2/a/blobs/uploads/", "")
	body, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "PUT", r.url+h.Get("Location")+"?digest="+digest("whole"), body)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = w.Write([]byte("who"))
		w.CloseWithError(io.ErrUnexpectedEOF)
	}()
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Fatalf("status %d", resp.StatusCode)
	}
	r.want(404, "GET", "/v2/a/blobs/"+digest("whole"), "")
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	blob := r.putBlob("a", "x")
	missing := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q},"layers":[{"digest":%q}]}`, blob, digest("missing"))
	elsewhere := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q},"layers":[{"digest":%q,"urls":["https://x.invalid/"]}]}`, blob, digest("missing"))
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"PUT", "/v2/a/manifests/" + digest("other"), elsewhere, 400},
		{"PUT", "/v2/a/manifests/x", missing, 400},
		{"PUT", "/v2/a/manifests/x", elsewhere, 201},
		{"PUT", "/v2/a/manifests/x", "not JSON", 400},
		{"PUT", "/v2/a/manifests/x", `"` + strings.Repeat("x", 4<<20) + `"`, 413},
		{"PUT", "/v2/a/manifests/-x", elsewhere, 400},
		{"PUT", "/v2/a/manifests/..%2fx", elsewhere, 400},
		{"PUT", "/v2/A/manifests/x", elsewhere, 400},
		{"PUT", "/v2/..%2f..%2fa/manifests/x", elsewhere, 400},
		{"PUT", "/v2/a/_tags/manifests/x", elsewhere, 400},
		{"PUT", "/v2/" + strings.Repeat("a", 256) + "/manifests/x", elsewhere, 400},
		{"GET", "/v2/a/blobs/sha256:..%2f..%2f" + strings.Repeat("0", 58), "", 400},
		{"GET", "/v2/a/blobs/sha512:00", "", 400},
		{"GET", "/v2/a/blobs/" + strings.ToUpper(blob), "", 400},
		{"POST", "/v2/a/blobs/" + blob, "", 405},
		{"GET", "/v2/a/blobs/uploads/", "", 405},
		{"GET", "/v2/a/blobs/uploads/..%2fx", "", 404},
		{"PUT", "/v2/a/blobs/uploads/?digest=sha256:x", "", 400},
		{"GET", "/", "", 404},
		{"GET", "/v2/", "", 200},
		{"GET", "/v2", "", 200},
	} {
		status, _, body := r.do(c.method, c.path, c.body, "Content-Type", manifestType)
		if status != c.status {
			t.Errorf("%s %.60s: %d %.100s, want %d", c.method, c.path, status, body, c.status)
		}
	}
	if _, err := embedded.New(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(blob, "sha256:")), embedded.Options{}); err == nil {
		t.Error("a file was served as a folder")
	}
}

// Many clients at once, each with its own upload and the same tag.
func TestConcurrent(t *testing.T) {
	r := start(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() { r.putImage("acme/zlib", "latest", fmt.Sprintf("blob %d", i%4)) })
	}
	wg.Wait()
	_, before := r.want(200, "GET", "/v2/acme/zlib/manifests/latest", "")
	if _, after := r.restart().want(200, "GET", "/v2/acme/zlib/manifests/latest", ""); after != before {
		t.Errorf("latest was %s, and is %s after a restart", before, after)
	}
}
