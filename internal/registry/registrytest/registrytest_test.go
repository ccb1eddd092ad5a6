package registrytest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const manifestType = "application/vnd.oci.image.manifest.v1+json"

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func do(t *testing.T, s *Server, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(got)
}

func want(t *testing.T, s *Server, status int, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	resp, got := do(t, s, method, path, body, header...)
	if resp.StatusCode != status {
		t.Errorf("%s %s: %d %s, want %d", method, path, resp.StatusCode, got, status)
	}
	return resp, got
}

// Referrers: on, off, in pages, not filtered.
func TestReferrersAsScripted(t *testing.T) {
	s := New(t.TempDir())
	defer s.Close()
	want(t, s, 201, "POST", "/v2/a/blobs/uploads/?digest="+digest("x"), "x")
	subject := digest("subject")
	put := func(artifactType string) *http.Response {
		text := fmt.Sprintf(`{"schemaVersion":2,"artifactType":%q,"config":{"digest":%q},"subject":{"digest":%q}}`, artifactType, digest("x"), subject)
		resp, _ := want(t, s, 201, "PUT", "/v2/a/manifests/"+digest(text), text, "Content-Type", manifestType)
		return resp
	}
	if resp := put("a/a"); resp.Header.Get("OCI-Subject") != subject {
		t.Errorf("on: %v", resp.Header)
	}
	put("b/b")
	list := "/v2/a/referrers/" + subject
	entries := func(path string) (int, http.Header) {
		resp, body := want(t, s, 200, "GET", path, "")
		return strings.Count(body, `"digest"`), resp.Header
	}
	if n, _ := entries(list); n != 2 {
		t.Errorf("on: %d entries", n)
	}
	if n, h := entries(list + "?artifactType=a/a"); n != 1 || h.Get("OCI-Filters-Applied") == "" {
		t.Errorf("filtered: %d entries, %v", n, h)
	}
	s.Inject(Fault{Path: "/referrers/", Times: 1, Act: Query(func(v url.Values) { v.Del("artifactType") })})
	if n, h := entries(list + "?artifactType=a/a"); n != 2 || h.Get("OCI-Filters-Applied") != "" {
		t.Errorf("not filtered: %d entries, %v", n, h)
	}
	s.Inject(Fault{Path: "/referrers/", Times: 1, Act: Query(func(v url.Values) { v.Set("n", "1") })})
	n, h := entries(list)
	next, _, _ := strings.Cut(strings.TrimPrefix(h.Get("Link"), "<"), ">")
	if rest, _ := entries(next); n != 1 || rest != 1 {
		t.Errorf("pages of %d and %d entries, by %q", n, rest, h.Get("Link"))
	}
	s.WithoutReferrers()
	want(t, s, 404, "GET", list, "")
	if resp := put("c/c"); resp.Header.Get("OCI-Subject") != "" {
		t.Errorf("off: %v", resp.Header)
	}
}

func TestSeparateRepositories(t *testing.T) {
	s := New(t.TempDir())
	defer s.Close()
	s.SeparateRepositories()
	blob := digest("x")
	want(t, s, 201, "POST", "/v2/a/blobs/uploads/?digest="+blob, "x")
	want(t, s, 200, "HEAD", "/v2/a/blobs/"+blob, "")
	want(t, s, 404, "GET", "/v2/b/blobs/"+blob, "")
	want(t, s, 202, "POST", "/v2/b/blobs/uploads/?from=c&mount="+blob, "")
	want(t, s, 202, "POST", "/v2/b/blobs/uploads/?mount="+blob, "")
	want(t, s, 201, "POST", "/v2/b/blobs/uploads/?from=a&mount="+blob, "")
	if _, body := want(t, s, 200, "GET", "/v2/b/blobs/"+blob, ""); body != "x" {
		t.Errorf("%q", body)
	}
}

// An upload that is cut, or whose answer is lost, has done what it did.
func TestUploadFaults(t *testing.T) {
	s := New(t.TempDir())
	defer s.Close()
	begin := func() string {
		resp, _ := want(t, s, 202, "POST", "/v2/a/blobs/uploads/", "")
		return resp.Header.Get("Location")
	}
	broken := func(method, path, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			t.Errorf("%s %s was answered with %d", method, path, resp.StatusCode)
		}
	}
	at := begin()
	s.Inject(Fault{Method: "PATCH", Times: 1, Act: CutUpload(5)})
	broken("PATCH", at, "hello world")
	if resp, _ := want(t, s, 204, "GET", at, ""); resp.Header.Get("Range") != "0-4" {
		t.Errorf("Range %q", resp.Header.Get("Range"))
	}
	s.Inject(Fault{Method: "PUT", Times: 1, Act: Unanswered()})
	broken("PUT", at+"?digest="+digest("hello world"), " world")
	want(t, s, 404, "GET", at, "")
	if _, body := want(t, s, 200, "GET", "/v2/a/blobs/"+digest("hello world"), ""); body != "hello world" {
		t.Errorf("%q", body)
	}
}

// Before a registry that runs elsewhere, faults and the log are the same, and Locations lead back here.
func TestFront(t *testing.T) {
	behind := New(t.TempDir())
	defer behind.Close()
	s := NewFront(behind.Host)
	defer s.Close()
	want(t, s, 201, "POST", "/v2/a/blobs/uploads/?digest="+digest("x"), "x")
	s.Inject(Fault{Path: "/blobs/sha256", Times: 1, Act: Busy(503, "1")})
	want(t, s, 503, "GET", "/v2/a/blobs/"+digest("x"), "")
	want(t, s, 200, "GET", "/v2/a/blobs/"+digest("x"), "")
	if n := len(behind.Requests("/blobs/sha256")); n != 1 {
		t.Errorf("%d requests came through", n)
	}
	if log := s.Requests(""); len(log) != 3 || log[0].Proto != "HTTP/1.1" {
		t.Errorf("%+v", log)
	}
}
