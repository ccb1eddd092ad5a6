package embedded_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/embedded"
)

// A registry for this machine alone is not to be had under a name that somebody else has given to its address.
func TestHosts(t *testing.T) {
	const here, everywhere = "127.0.0.1:5000", "[::]:5000"
	for _, c := range []struct {
		address, host string
		status        int
	}{
		{here, "127.0.0.1:5000", 200},
		{here, "127.0.0.1", 200},
		{here, "127.9.9.9:80", 200},
		{here, "[::1]:5000", 200},
		{here, "[::1]", 200},
		{here, "localhost:5000", 200},
		{here, "LOCALHOST", 200},
		{here, "localhost:6000", 200}, // a port forwarded to it
		{here, "registry.localhost:5000", 200},
		{"[::1]:5000", "localhost:5000", 200},
		{here, "registry.example.com", 200},
		{here, "Registry.Example.com:443", 200},
		{here, "evil.example.com:5000", 421},
		{here, "localhost.evil.example.com:5000", 421},
		{here, "127.0.0.1.evil.example.com:5000", 421},
		{here, "a.registry.example.com", 421},
		{here, "localhost.", 421},
		{here, "10.0.0.1:5000", 421},
		{here, "0.0.0.0:5000", 421},
		{here, "localhost@evil.example.com", 421},
		{here, "", 421},
		{"[::1]:5000", "evil.example.com", 421},
		{everywhere, "evil.example.com", 200}, // who listens for others has no name of his own
		{"10.0.0.1:5000", "registry.lab:5000", 200},
		{"", "anything", 200},
	} {
		registry, err := embedded.New(t.TempDir(), embedded.Options{Address: c.address, Hosts: []string{"REGISTRY.example.com:443"}})
		if err != nil {
			t.Fatal(err)
		}
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/", nil)
		request.Host = c.host
		answer := httptest.NewRecorder()
		registry.ServeHTTP(answer, request)
		if answer.Code != c.status {
			t.Errorf("at %s, Host %q: %d %s, want %d", c.address, c.host, answer.Code, answer.Body, c.status)
		}
		if answer.Code >= 400 {
			wantRefusal(t, answer.Result())
		}
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	}
}

// wantRefusal looks for the specification's error body, with what helps in it.
func wantRefusal(t *testing.T, answer *http.Response) {
	t.Helper()
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(data, &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Code != "DENIED" || body.Errors[0].Message == "" || answer.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s, %v", answer.Header.Get("Content-Type"), data, err)
	}
}

// Pages of other hosts cannot have a browser store something here. What browsers say of where a request comes from is the same
// whether the page's author means it or not.
func TestPagesOfOtherHosts(t *testing.T) {
	r := start(t, t.TempDir())
	upload := "/v2/a/blobs/uploads/?digest=" + digest("x")
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example.com"}, {"Sec-Fetch-Site", "same-site", "Origin", "null"}} {
		status, h, body := r.do("POST", upload, "x", header...)
		if status != 403 {
			t.Errorf("%v: %d %s", header, status, body)
		}
		wantRefusal(t, &http.Response{Header: h, Body: io.NopCloser(strings.NewReader(body))})
		r.want(200, "GET", "/v2/", "", header...) // the browser keeps it from the page
	}
	r.want(404, "GET", "/v2/a/blobs/"+digest("x"), "")
	r.want(201, "POST", upload, "x", "Sec-Fetch-Site", "same-origin")
	r.want(201, "POST", upload, "x")
}
