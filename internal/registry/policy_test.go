package registry

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	p := (*RetryPolicy)(nil).withDefaults()
	for n, want := range map[int]time.Duration{1: 200 * time.Millisecond, 2: 400 * time.Millisecond, 5: 3200 * time.Millisecond, 9: 30 * time.Second, 1000: 30 * time.Second} {
		for range 100 {
			got := p.backoff(n)
			if got < want*3/4 || got > want*5/4 || got > p.Max {
				t.Fatalf("backoff(%d) = %v, want %v ±25 %%, at most %v", n, got, want, p.Max)
			}
		}
	}
}

// The values of the network policy, to which tests elsewhere give others: a change of one is meant, not a slip.
func TestPolicyDefaults(t *testing.T) {
	want := RetryPolicy{
		Attempts:       6,
		Base:           200 * time.Millisecond,
		Max:            30 * time.Second,
		MaxRetryAfter:  2 * time.Minute,
		StallWindow:    30 * time.Second,
		StallBytes:     30 << 10,
		ConnectTimeout: 10 * time.Second,
		HeaderTimeout:  30 * time.Second,
	}
	for _, p := range []*RetryPolicy{nil, {}, {Attempts: 6}, {Attempts: -1, Base: -1}} {
		if got := p.withDefaults(); got != want {
			t.Errorf("%+v becomes %+v, want %+v", p, got, want)
		}
	}
	if got := NewClient(Options{}).policy; got != want {
		t.Errorf("a client has %+v, want %+v", got, want)
	}
	own := RetryPolicy{Attempts: 2, Base: 1, Max: 2, MaxRetryAfter: 3, StallWindow: 4, StallBytes: 5, ConnectTimeout: 6, HeaderTimeout: 7}
	if got := own.withDefaults(); got != own {
		t.Errorf("%+v becomes %+v", own, got)
	}
}

func TestRetryAfter(t *testing.T) {
	date := "Tue, 03 Mar 2026 10:00:00 GMT"
	for _, c := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0}, {"0", 0}, {"5", 5 * time.Second}, {" 7 ", 7 * time.Second}, {"-1", 0}, {"soon", 0}, {"1.5", 0},
		{"99999999999999999999999", math.MaxInt64}, {"9300000000", math.MaxInt64},
		{"Tue, 03 Mar 2026 10:01:30 GMT", 90 * time.Second}, {"Tue, 03 Mar 2026 09:00:00 GMT", 0},
	} {
		// The server's clock is what a date is relative to; it is months away from any machine's that runs this.
		got := retryAfter(http.Header{"Retry-After": {c.value}, "Date": {date}})
		if got != c.want {
			t.Errorf("Retry-After %q: %v, want %v", c.value, got, c.want)
		}
	}
}

func TestCheckRedirect(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"https://r.example/v2/", "https://cdn.example/x", ""},
		{"https://r.example/v2/", "https://r.example:444/x", ""},
		{"http://127.0.0.1:1/v2/", "http://127.0.0.1:2/x", ""},
		{"http://127.0.0.1:1/v2/", "https://cdn.example/x", ""},
		{"https://10.0.0.1/v2/", "https://10.0.0.2/x", ""},
		{"https://r.example/v2/", "http://r.example/x", "from https to http"},
		{"https://r.example/v2/", "ftp://r.example/x", "to a ftp: URL"},
		{"https://r.example/v2/", "file:///etc/passwd", "to a file: URL"},
		{"https://r.example/v2/", "https://u:p@cdn.example/x", "user name"},
		{"https://r.example/v2/", "https://169.254.169.254/latest", "private address"},
		{"https://r.example/v2/", "https://10.1.2.3/x", "private address"},
		{"https://r.example/v2/", "https://[::1]/x", "private address"},
		{"https://r.example/v2/", "https://[::ffff:192.168.0.1]/x", "private address"},
		{"https://r.example/v2/", "https://0.0.0.0/x", "private address"},
		{"https://r.example/v2/", "https://localhost/x", "private address"},
	} {
		from, _ := url.Parse(c.from)
		to, _ := url.Parse(c.to)
		err := checkRedirect(from, to)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s → %s: %v, want %q", c.from, c.to, err, c.want)
		}
	}
}

func TestPlainAllowed(t *testing.T) {
	t.Setenv(insecureVariable, "10.1.2.3:5000, Mirror.example ,")
	c := NewClient(Options{})
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "LOCALHOST:1": true, "127.0.0.1": true, "127.9.8.7:5000": true, "[::1]:5000": true, "r.localhost": true,
		"10.1.2.3:5000": true, "mirror.example": true, "mirror.example:81": true,
		"10.1.2.3": false, "10.1.2.3:5001": false, "192.168.1.1": false, "r.local": false, "localhost.example": false, "ghcr.io": false,
		"127.0.0.1.example": false, "[fe80::1]": false, "128.0.0.1": false,
	} {
		if got := c.plainAllowed(host); got != want {
			t.Errorf("plainAllowed(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestContentRange(t *testing.T) {
	for s, want := range map[string][3]int64{
		"bytes 1-2/3": {1, 2, 3}, "bytes 0-0/*": {0, 0, -1},
	} {
		first, last, total, ok := parseContentRange(s)
		if !ok || [3]int64{first, last, total} != want {
			t.Errorf("%q: %d %d %d %v", s, first, last, total, ok)
		}
	}
	for _, s := range []string{"", "bytes", "bytes 1-2", "bytes 2-1/3", "bytes -1-2/3", "items 1-2/3", "bytes 1-/3", "bytes */3", "bytes 1-2/x", "bytes 1-99999999999999999999/x"} {
		if _, _, _, ok := parseContentRange(s); ok {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestPlainText(t *testing.T) {
	err := &url.Error{Op: "Get", URL: "https://u:pass@cdn.example/x?X-Sig=abcdef", Err: errors.New(`refused: https://u:pass@cdn.example/x?X-Sig=abcdef with Authorization: Bearer abcdef123456` + "\nmore")}
	got := plainText(err)
	for _, secret := range []string{"pass", "X-Sig", "abcdef", "more"} {
		if strings.Contains(got, secret) {
			t.Errorf("%q has %q in it", got, secret)
		}
	}
	if !strings.Contains(got, "https://cdn.example/x") {
		t.Errorf("%q lost the address", got)
	}
}
