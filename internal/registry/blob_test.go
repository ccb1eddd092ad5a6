package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"

	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

const (
	kib   = 1 << 10
	blobs = `/blobs/sha256`
)

// TestBlobFaults: a whole blob out of a broken wire, or a clear error; never wrong bytes followed by io.EOF.
func TestBlobFaults(t *testing.T) {
	const size = 256 * kib
	header := func(name, value string) registrytest.Act {
		return registrytest.Header(func(h http.Header) { h.Set(name, value) })
	}
	cut := registrytest.Cut
	for _, c := range []struct {
		name   string
		first  registrytest.Act // for the first request
		second registrytest.Act // for the second; nil is none
		kind   diagnostic.Kind  // 0: the blob arrives
		words  string
	}{
		{name: "A1 cut at 0", first: cut(0)},
		{name: "A1 cut at 1", first: cut(1)},
		{name: "A1 cut at 64K", first: cut(64 * kib)},
		{name: "A1 cut at 128K-1", first: cut(128*kib - 1)},
		{name: "A1 cut before last byte", first: cut(size - 1)},
		{name: "A1 cut twice", first: cut(100 * kib), second: cut(10)},
		{name: "A2 length short", first: registrytest.Length(-1), kind: diagnostic.Corrupt, words: "instead of 262144"},
		{name: "A2 length long", first: registrytest.Length(1), kind: diagnostic.Corrupt, words: "sends 262145 bytes"},
		{name: "A2 length absent", first: registrytest.Chunked(0)},
		{name: "A2 length negative", first: registrytest.Raw("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello")},
		{name: "A3 chunked and cut", first: registrytest.Chunked(0).Then(cut(70 * kib))},
		{name: "A3 chunked and ended early", first: registrytest.ChunkedCut(70 * kib)},
		{name: "A4 200 to a range", first: cut(64 * kib), second: registrytest.NoRange()},
		{name: "A4 other 200 to a range", first: cut(64 * kib), second: registrytest.NoRange().Then(registrytest.Flip(5)), kind: diagnostic.Corrupt, words: "now sends other bytes"},
		{name: "A4 206 wrong start", first: cut(64 * kib), second: header("Content-Range", fmt.Sprintf("bytes 0-%d/%d", size-1, size))},
		{name: "A4 206 wrong total", first: cut(64 * kib), second: header("Content-Range", fmt.Sprintf("bytes %d-%d/%d", 64*kib, size-1, size+1))},
		{name: "A4 206 without Content-Range", first: cut(64 * kib), second: registrytest.Header(func(h http.Header) { h.Del("Content-Range") })},
		{name: "A4 416", first: cut(64 * kib), second: registrytest.Answer(416, "Content-Range", "bytes */10", "")},
		{name: "A4 changed ETag", first: cut(64 * kib), second: header("ETag", `"other"`)},
		{name: "A4 206 with other bytes", first: cut(64 * kib), second: registrytest.Flip(7), kind: diagnostic.Corrupt, words: "sent other bytes"},
		{name: "A5 reset before header", first: registrytest.Reset(-1)},
		{name: "A5 reset in the middle", first: registrytest.Reset(90 * kib)},
		{name: "A5 reset after the last byte", first: registrytest.Reset(size)},
		{name: "A5 closed before header", first: registrytest.Raw("")},
		{name: "A5 not HTTP", first: registrytest.Raw("220 smtp.example ESMTP\r\n")},
		{name: "A6 slow header", first: registrytest.Stall(-1)},
		{name: "A6 header by and by", first: registrytest.RawTrickle("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 100), 10*time.Millisecond)},
		{name: "A6 stalled body", first: registrytest.Stall(64 * kib)},
		{name: "A6 trickling body", first: registrytest.Trickle(5 * time.Millisecond)},
		{name: "A7 503", first: registrytest.Busy(503, ""), second: registrytest.Busy(500, "")},
		{name: "A7 429", first: registrytest.Busy(429, "0"), second: registrytest.Busy(429, "garbage")},
		{name: "A9 page of another length", first: registrytest.HTML(), kind: diagnostic.Unreachable, words: "answered with text/html instead of a blob"},
		{name: "A9 nothing", first: registrytest.Answer(200, "Content-Length", "0", ""), kind: diagnostic.Corrupt, words: "sends 0 bytes"},
		{name: "A9 error with 200", first: registrytest.Answer(200, "Content-Type", "application/json", `{"errors":[{"code":"DENIED"}]}`), kind: diagnostic.Corrupt, words: "instead of 262144"},
		{name: "A10 labelled as gzip", first: header("Content-Encoding", "gzip").Then(cut(64 * kib))},
		{name: "A10 other bytes labelled as gzip", first: header("Content-Encoding", "gzip").Then(registrytest.Flip(0)), kind: diagnostic.Corrupt, words: "other bytes"},
		{name: "A11 wrong byte", first: registrytest.Flip(200 * kib), kind: diagnostic.Corrupt, words: "sent other bytes"},
		{name: "A11 wrong last byte", first: registrytest.Flip(size - 1), kind: diagnostic.Corrupt, words: "sent other bytes"},
		{name: "A11 right prefix and more", first: registrytest.Extra(100), kind: diagnostic.Corrupt, words: "sends 262244 bytes"},
		{name: "A11 right prefix and more, chunked", first: registrytest.Chunked(100)}, // the bytes given out are right
		{name: "404", first: registrytest.Answer(404, "", "", `{"errors":[{"code":"BLOB_UNKNOWN","message":"gone"}]}`), kind: diagnostic.NotFound, words: "BLOB_UNKNOWN: gone"},
		{name: "403", first: registrytest.Answer(403, "", "", ""), kind: diagnostic.Denied, words: "docker login 127.0.0.1"},
		{name: "206 without a range", first: registrytest.Answer(206, "Content-Range", "bytes 0-1/2", "ab"), kind: diagnostic.Unreachable, words: "206"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, desc, want := pushed(t, s, size)
			acts := []registrytest.Act{c.first}
			if c.second != nil {
				acts = append(acts, c.second)
			}
			for i, act := range acts {
				f := registrytest.Fault{Method: http.MethodGet, Path: blobs, Times: 1, Act: act}
				if c.kind != 0 && i == len(acts)-1 {
					f.Times = 0 // on a busy machine one more try may be needed, and must not find all well
				}
				s.Inject(f)
			}
			got, err := read(t.Context(), newClient(t), ref, desc)
			if c.kind != 0 {
				wantError(t, err, c.kind, c.words, "acme/zlib")
				return
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, equal %v, error %v; requests %v", len(got), bytes.Equal(got, want), err, s.Requests(blobs))
			}
		})
	}
}

// TestBlobA1_CutAtEvery64KiB breaks the first connection at each place, and the second at the next.
func TestBlobA1_CutAtEvery64KiB(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, desc, want := pushed(t, s, 1024*kib)
	c := newClient(t)
	for at := int64(0); at <= 1024*kib; at += 64 * kib {
		s.Clear()
		s.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Cut(at)})
		s.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Cut(64 * kib)})
		if got, err := read(t.Context(), c, ref, desc); err != nil || !bytes.Equal(got, want) {
			t.Errorf("at %d: %d bytes, %v", at, len(got), err)
		}
	}
}

// Each connection breaks after 64 KiB, far more often than there are attempts.
func TestBlobCutAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, desc, want := pushed(t, s, 2048*kib+1)
	s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Cut(64 * kib)})
	c := newClient(t, calm)
	got, err := read(t.Context(), c, ref, desc)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if n := len(s.Requests(blobs)); n != 33 {
		t.Errorf("%d requests, want 33", n)
	}
	if c.Received() > desc.Size+64 {
		t.Errorf("%d bytes came for a blob of %d", c.Received(), desc.Size)
	}
}

// A cut at 90 % must not fetch more than the rest again (P9).
func TestBlobResumeTransfersTheRest(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, desc, _ := pushed(t, s, 1000*kib)
	s.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Cut(900 * kib)})
	if _, err := read(t.Context(), newClient(t, calm), ref, desc); err != nil {
		t.Fatal(err)
	}
	log := s.Requests(blobs)
	if len(log) != 2 || log[1].Range != fmt.Sprintf("bytes=%d-", 900*kib) || log[1].Status != 206 || log[1].Bytes != 100*kib {
		t.Errorf("requests %+v", log)
	}
}

func TestBlobWithoutProgressEnds(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]registrytest.Act{
		"A5 no bytes":     registrytest.Cut(0),
		"A6 few bytes":    registrytest.Cut(100), // fewer than StallBytes is no progress
		"A7 503":          registrytest.Busy(503, ""),
		"A4 no range":     registrytest.NoRange().Then(registrytest.Cut(100 * kib)),
		"A2 ends early":   registrytest.ChunkedCut(0),
		"A5 reset always": registrytest.Reset(-1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, desc, _ := pushed(t, s, 200*kib)
			s.Inject(registrytest.Fault{Path: blobs, Act: act})
			_, err := read(t.Context(), newClient(t), ref, desc)
			wantError(t, err, diagnostic.Unreachable, s.Host)
			if n := len(s.Requests(blobs)); n > 8 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// The whole body again, again and again, is bounded even when each time brings something new: else N cuts cost N² bytes.
func TestBlobWholeBodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, desc, _ := pushed(t, s, 1000*kib)
	for i := range 40 {
		s.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.NoRange().Then(registrytest.Cut(int64(i+1) * 20 * kib))})
	}
	_, err := read(t.Context(), newClient(t, calm), ref, desc)
	wantError(t, err, diagnostic.Unreachable, "cannot resume")
	s.Close() // until the last request, which the client has left, is in the log as well
	if n := len(s.Requests(blobs)); n != 8 {
		t.Errorf("%d requests, want the first, six whole ones and the one too many", n)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		status      int
		wait        time.Duration
		words       string
	}{
		{"seconds", "1", 503, time.Second, ""},
		{"seconds at 429", "1", 429, time.Second, ""},
		{"date", "", 503, 0, ""}, // filled in below
		{"huge", "3600", 429, 0, "asks to wait 1h0m0s"},
		{"absurd", "999999999999999999999999", 503, 0, "longer than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, desc, _ := pushed(t, s, kib)
			if c.name == "date" {
				c.value = time.Now().Add(time.Second).UTC().Format(http.TimeFormat)
			}
			s.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Busy(c.status, c.value)})
			start := time.Now()
			_, err := read(t.Context(), newClient(t), ref, desc)
			if c.words != "" {
				wantError(t, err, diagnostic.Unreachable, c.words, "1.5s at most")
			} else if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d < c.wait {
				t.Errorf("it took %v, want at least %v", d, c.wait)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	const user, password = "bob", "hunter22-secret"
	login := withKeychain(keychain{config: authConfig(user, password)})

	t.Run("A8 another port gets no credentials", func(t *testing.T) {
		t.Parallel()
		s, other := newServer(t), newServer(t)
		ref, desc, want := pushed(t, s, 100*kib)
		pushed(t, other, 100*kib)
		s.RequireBasic(user, password)
		s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.RedirectTo(other)})
		got, err := read(t.Context(), newClient(t, calm, login), ref, desc)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if log := s.Requests(blobs); len(log) != 1 || log[0].Header.Get("Authorization") == "" {
			t.Errorf("the registry itself got %+v", log)
		}
		for _, r := range other.Requests("") {
			if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
				t.Errorf("%s %s came with %v", r.Method, r.Path, r.Header)
			}
		}
	})
	t.Run("A8 another host gets no credentials", func(t *testing.T) {
		t.Parallel()
		s, other := newServer(t), newServer(t)
		ref, desc, want := pushed(t, s, kib)
		pushed(t, other, kib)
		s.RequireBasic(user, password)
		s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Redirect(func(r *http.Request) string {
			return strings.Replace(other.URL, "127.0.0.1", "localhost", 1) + r.URL.RequestURI()
		})})
		got, err := read(t.Context(), newClient(t, calm, login), ref, desc)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		for _, r := range other.Requests("") {
			if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
				t.Errorf("%s %s came with %v", r.Method, r.Path, r.Header)
			}
		}
	})
	t.Run("A8 resume goes through the registry again", func(t *testing.T) {
		t.Parallel()
		s, other := newServer(t), newServer(t)
		ref, desc, want := pushed(t, s, 100*kib)
		pushed(t, other, 100*kib)
		s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.RedirectTo(other)})
		other.Inject(registrytest.Fault{Path: blobs, Times: 1, Act: registrytest.Cut(50 * kib)})
		got, err := read(t.Context(), newClient(t, calm), ref, desc)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if n := len(s.Requests(blobs)); n != 2 { // a signed URL may have expired meanwhile
			t.Errorf("the registry was asked %d times, want 2", n)
		}
	})
	t.Run("A8 loop", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		ref, desc, _ := pushed(t, s, kib)
		s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.RedirectTo(s)})
		_, err := read(t.Context(), newClient(t, calm), ref, desc)
		wantError(t, err, diagnostic.Refused, "more than 10 redirects")
		if n := len(s.Requests(blobs)); n != 11 {
			t.Errorf("%d requests, want 11", n)
		}
	})
	t.Run("A8 ten hops are fine", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		ref, desc, _ := pushed(t, s, kib)
		s.Inject(registrytest.Fault{Path: blobs, Times: 10, Act: registrytest.RedirectTo(s)})
		if _, err := read(t.Context(), newClient(t, calm), ref, desc); err != nil {
			t.Error(err)
		}
	})
	for name, c := range map[string]struct{ to, words string }{
		"A8 user in URL":                      {"http://eve:swordfish@127.0.0.1:1/x?sig=SIGNATURE", "user name"},
		"A8 http to a host that is not local": {"http://registry.invalid/x?sig=SIGNATURE", "without TLS"},
		"A8 file":                             {"file:///etc/passwd", "file: URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ref, desc, _ := pushed(t, s, kib)
			s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Redirect(func(*http.Request) string { return c.to })})
			_, err := read(t.Context(), newClient(t, calm), ref, desc)
			wantError(t, err, diagnostic.Refused, c.words)
			noSecrets(t, err, "SIGNATURE", "swordfish")
		})
	}
	t.Run("A8 broken behind a signed redirect", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		ref, desc, _ := pushed(t, s, kib)
		s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Redirect(func(*http.Request) string { return "http://127.0.0.1:1/x?sig=SIGNATURE" })})
		_, err := read(t.Context(), newClient(t, calm), ref, desc)
		wantError(t, err, diagnostic.Unreachable, "refuses connections")
		noSecrets(t, err, "SIGNATURE")
	})
	t.Run("A8 from https to http", func(t *testing.T) {
		t.Parallel()
		s, plain := registrytest.NewTLS(t.TempDir()), newServer(t)
		t.Cleanup(s.Close)
		trust := trusting(s)
		ref := parse(t, s.Host+"/acme/zlib:1")
		src := image(1, kib)
		if err := newClient(t, calm, trust).Push(t.Context(), ref, src, nil); err != nil {
			t.Fatal(err)
		}
		s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.RedirectTo(plain)})
		_, err := read(t.Context(), newClient(t, calm, trust), ref, src.blobs[1])
		wantError(t, err, diagnostic.Refused, "from https to http")
		if n := len(plain.Requests("")); n != 0 {
			t.Errorf("the other server got %d requests", n)
		}
	})
}

// noSecrets looks in the text of an error and of every cause.
func noSecrets(t *testing.T, err error, secrets ...string) {
	t.Helper()
	text := err.Error()
	if e, ok := errors.AsType[*diagnostic.Error](err); ok && e.Err != nil {
		text += e.Err.Error()
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%q has %q in it", text, secret)
		}
	}
}

func TestBlobContext(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, desc, _ := pushed(t, s, 100*kib)
	s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Stall(10 * kib)})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := newClient(t).Blob(ctx, ref.Repository, desc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10*kib)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = r.Read(make([]byte, 1))
	wantError(t, err, diagnostic.Interrupted)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, again := r.Read(make([]byte, 1)); again != err {
		t.Errorf("the next Read answers %v", again)
	}
}

// Waiting for a retry ends with the context, too.
func TestRetryWaitContext(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, desc, _ := pushed(t, s, kib)
	s.Inject(registrytest.Fault{Path: blobs, Act: registrytest.Busy(503, "3600")})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	patient := fast
	patient.MaxRetryAfter = 2 * time.Hour // longer than the test may take: waiting it out is a failure
	_, err := read(ctx, newClient(t, func(o *registry.Options) { o.Retry = &patient }), ref, desc)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// A reader that takes its time is no stalled connection.
func TestSlowReaderIsNoStall(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, desc, want := pushed(t, s, 8*kib)
	r, err := newClient(t).Blob(t.Context(), ref.Repository, desc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []byte
	for {
		p := make([]byte, 2*kib)
		n, err := r.Read(p)
		got = append(got, p[:n]...)
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		time.Sleep(fast.StallWindow + fast.StallWindow/4)
	}
	if !bytes.Equal(got, want) || len(s.Requests(blobs)) != 1 {
		t.Errorf("%d bytes in %d requests", len(got), len(s.Requests(blobs)))
	}
}

func TestBlobDescriptors(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, desc, _ := pushed(t, s, kib)
	c := newClient(t)
	hash := func(algorithm, hex string) v1.Descriptor {
		d := desc
		d.Digest = v1.Hash{Algorithm: algorithm, Hex: hex}
		return d
	}
	negative := desc
	negative.Size = -1
	for name, d := range map[string]struct {
		desc v1.Descriptor
		kind diagnostic.Kind
		word string
	}{
		"C7 negative size":      {negative, diagnostic.Corrupt, "-1 bytes"},
		"C11 sha512":            {hash("sha512", strings.Repeat("0", 128)), diagnostic.Unsupported, "sha512"},
		"C11 unknown algorithm": {hash("md5", strings.Repeat("0", 32)), diagnostic.Unsupported, "md5"},
		"C11 upper-case hex":    {hash("sha256", strings.ToUpper(desc.Digest.Hex)), diagnostic.Unsupported, "lower case"},
		"C11 short":             {hash("sha256", desc.Digest.Hex[:63]), diagnostic.Unsupported, "63 hex digits"},
		"C11 path":              {hash("sha256", "../../"+desc.Digest.Hex[:58]), diagnostic.Unsupported, "hex digits"},
		"C11 none":              {hash("", ""), diagnostic.Unsupported, "digest"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Blob(t.Context(), ref.Repository, d.desc)
			wantError(t, err, d.kind, d.word)
		})
	}
	if n := len(s.Requests("")); n != 0 {
		t.Errorf("%d requests", n)
	}
	t.Run("C7 more bytes than there are", func(t *testing.T) {
		long := desc
		long.Size = math.MaxInt64
		_, err := read(t.Context(), c, ref, long)
		wantError(t, err, diagnostic.Corrupt, "sends 1024 bytes instead of 9223372036854775807")
	})
	// The size is a promise as well: bytes beyond it are never given out.
	short := desc
	short.Size--
	_, err := read(t.Context(), c, ref, short)
	wantError(t, err, diagnostic.Corrupt, "instead of 1023")
}

func TestEmptyBlob(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ref, desc, _ := pushed(t, s, 0)
	got, err := read(t.Context(), newClient(t), ref, desc)
	if err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}

// A descriptor's urls are another's word for where the bytes are. They are not asked, even where the registry has no such blob.
func TestBlobC10_ForeignURLs(t *testing.T) {
	t.Parallel()
	s, foreign := newServer(t), newServer(t)
	ref, _, _ := pushed(t, s, kib)
	_, desc, _ := pushed(t, foreign, 2*kib)
	desc.URLs = []string{foreign.URL + "/v2/acme/zlib/blobs/" + desc.Digest.String()}
	_, err := read(t.Context(), newClient(t), ref, desc)
	wantError(t, err, diagnostic.NotFound, desc.Digest.String())
	if n := len(foreign.Requests("")); n != 0 {
		t.Errorf("the other server got %d requests", n)
	}
}
