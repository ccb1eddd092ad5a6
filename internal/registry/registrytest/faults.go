package registrytest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// spoiled is a ResponseWriter with hooks on the header and on the body's bytes, which it counts.
type spoiled struct {
	http.ResponseWriter
	header func(status int)              // before the header goes out
	body   func(at int64, p []byte) bool // before bytes from position at go out; false leaves them out

	begun bool
	at    int64
}

func (w *spoiled) WriteHeader(status int) {
	if !w.begun {
		w.begun = true
		if w.header != nil {
			w.header(status)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *spoiled) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.body != nil {
		p = append([]byte(nil), p...)
		if !w.body(w.at, p) {
			w.at += int64(len(p))
			return len(p), nil
		}
	}
	n, err := w.ResponseWriter.Write(p)
	w.at += int64(n)
	return n, err
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() } // nobody may be there any more

// after lets n bytes of the body out and then calls do, which does not return.
func after(w http.ResponseWriter, r *http.Request, next http.Handler, n int64, do func()) {
	s := &spoiled{ResponseWriter: w}
	s.body = func(at int64, p []byte) bool {
		if at+int64(len(p)) < n {
			return true
		}
		_, _ = w.Write(p[:n-at])
		flush(w)
		do()
		return false
	}
	next.ServeHTTP(s, r)
}

// Cut closes the connection after n bytes of the body.
func Cut(n int64) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		after(w, r, next, n, func() { panic(http.ErrAbortHandler) })
	}
}

// Reset sends a TCP RST after n bytes of the body; before the header if n is negative.
func Reset(n int64) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		reset := func() {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				if tcp, ok := conn.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0) // that is what makes close a reset
				}
				conn.Close()
			}
			panic(http.ErrAbortHandler)
		}
		if n < 0 {
			reset()
		}
		after(w, r, next, n, reset)
	}
}

// CutUpload lets the registry have n bytes of the request's body, then closes the connection without an answer.
func CutUpload(n int64) Act {
	return func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		body := io.MultiReader(io.LimitReader(r.Body, n), brokenReader{})
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(body)
		next.ServeHTTP(&unsent{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Unanswered lets the registry do what it was asked and closes the connection without its answer.
func Unanswered() Act {
	return func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&unsent{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
}

// unsent is an answer that nobody gets.
type unsent struct{ header http.Header }

func (u *unsent) Header() http.Header         { return u.header }
func (u *unsent) WriteHeader(int)             {}
func (u *unsent) Write(p []byte) (int, error) { return len(p), nil }

// Query changes the request's parameters, for a registry that does not know them (delete "artifactType": it does not filter;
// delete "mount": it does not mount) or has its own idea of them (set "n": its pages are short).
func Query(change func(url.Values)) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		query := r.URL.Query()
		change(query)
		r = r.Clone(r.Context())
		r.URL.RawQuery = query.Encode()
		next.ServeHTTP(w, r)
	}
}

// Asked changes the request's header before the registry sees it.
func Asked(change func(http.Header)) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r = r.Clone(r.Context())
		change(r.Header)
		next.ServeHTTP(w, r)
	}
}

// Stall sends n bytes of the body, then nothing more, and keeps the connection open until the client leaves; nothing at all,
// not even a header, if n is negative.
func Stall(n int64) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		wait := func() {
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		if n < 0 {
			wait()
		}
		after(w, r, next, n, wait)
	}
}

// Trickle sends the body one byte every pause.
func Trickle(pause time.Duration) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s := &spoiled{ResponseWriter: w}
		s.body = func(_ int64, p []byte) bool {
			for i := range p {
				if _, err := w.Write(p[i : i+1]); err != nil {
					panic(http.ErrAbortHandler)
				}
				flush(w)
				select {
				case <-time.After(pause):
				case <-r.Context().Done():
					panic(http.ErrAbortHandler)
				}
			}
			return false
		}
		next.ServeHTTP(s, r)
	}
}

// Flip changes the body's byte at a position, counted from the first byte of this answer.
func Flip(position int64) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s := &spoiled{ResponseWriter: w}
		s.body = func(at int64, p []byte) bool {
			if i := position - at; i >= 0 && i < int64(len(p)) {
				p[i] ^= 0xff
			}
			return true
		}
		next.ServeHTTP(s, r)
	}
}

// Length says that the body is by bytes longer than it is, or shorter, and then sends no more than it says.
func Length(by int64) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s := &spoiled{ResponseWriter: w}
		limit := int64(-1)
		s.header = func(int) {
			if n, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64); err == nil {
				limit = n + by
				w.Header().Set("Content-Length", strconv.FormatInt(limit, 10))
			}
		}
		s.body = func(at int64, p []byte) bool {
			if limit < 0 || at+int64(len(p)) <= limit {
				return true
			}
			if at < limit {
				_, _ = w.Write(p[:limit-at])
			}
			return false
		}
		next.ServeHTTP(s, r)
	}
}

// Extra sends the whole body and then n bytes more, with a Content-Length to match.
func Extra(n int) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		Length(int64(n))(w, r, next)
		_, _ = w.Write(make([]byte, n))
	}
}

// Chunked sends the body without a Content-Length, and extra bytes after it.
func Chunked(extra int) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s := &spoiled{ResponseWriter: w}
		s.header = func(int) { w.Header().Del("Content-Length") }
		s.body = func(int64, []byte) bool { flush(w); return true }
		next.ServeHTTP(s, r)
		_, _ = w.Write(make([]byte, extra))
	}
}

// ChunkedCut sends n bytes of the body and ends it properly, as a proxy does that hides a broken connection behind it.
func ChunkedCut(n int64) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s := &spoiled{ResponseWriter: w}
		s.header = func(int) { w.Header().Del("Content-Length") }
		s.body = func(at int64, p []byte) bool {
			flush(w) // or net/http adds the length of a short body
			if at+int64(len(p)) <= n {
				return true
			}
			if at < n {
				_, _ = w.Write(p[:n-at])
			}
			return false
		}
		next.ServeHTTP(s, r)
	}
}

// Answer sends a status, one header field and a body of its own instead of the registry's answer; field may be "".
func Answer(status int, field, value, body string) Act {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		if field != "" {
			w.Header().Set(field, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// Busy answers 429 or 503 with a Retry-After, which may be "".
func Busy(status int, retryAfter string) Act {
	field := "Retry-After"
	if retryAfter == "" {
		field = ""
	}
	return Answer(status, field, retryAfter, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`)
}

// HTML answers 200 with a page.
func HTML() Act {
	return Answer(http.StatusOK, "Content-Type", "text/html; charset=utf-8", "<!DOCTYPE html><title>Log in to the guest network</title>")
}

// Redirect answers 307 with the Location that to makes of the request.
func Redirect(to func(r *http.Request) string) Act {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Location", to(r))
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// RedirectTo redirects to the same path and query on another server.
func RedirectTo(other *Server) Act {
	return Redirect(func(r *http.Request) string { return other.URL + r.URL.RequestURI() })
}

// NoRange answers as if the request had asked for everything.
func NoRange() Act { return Asked(func(h http.Header) { h.Del("Range") }) }

// Header changes the answer's header before it goes out.
func Header(change func(http.Header)) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s := &spoiled{ResponseWriter: w}
		s.header = func(int) { change(w.Header()) }
		next.ServeHTTP(s, r)
	}
}

// Raw closes the connection after writing exactly these bytes to it, which need not be HTTP.
func Raw(answer string) Act {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(fmt.Sprintf("registrytest: %v", err))
		}
		_, _ = conn.Write([]byte(answer))
		conn.Close()
	}
}

// RawTrickle writes exactly these bytes, one every pause, until the client leaves, and then nothing until it does.
func RawTrickle(answer string, pause time.Duration) Act {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(fmt.Sprintf("registrytest: %v", err))
		}
		defer conn.Close()
		for i := range answer {
			if _, err := conn.Write([]byte{answer[i]}); err != nil {
				return
			}
			time.Sleep(pause)
		}
		_, _ = io.Copy(io.Discard, conn)
	}
}

// Then does one fault with another inside it, for example NoRange around Cut.
func (a Act) Then(b Act) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		a(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b(w, r, next) }))
	}
}
