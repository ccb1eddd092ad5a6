package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// RetryPolicy says how long to wait for a registry and how often to ask again. A zero field means the default.
type RetryPolicy struct {
	// Attempts is how often one thing (a manifest, a blob) is tried without progress before it fails; default 6. A try of a
	// blob that brought StallBytes or more is progress and the count begins again.
	Attempts int
	// Base is the wait after the first failure; it doubles with each further one, ±25 %, up to Max. Defaults 200 ms and 30 s.
	Base, Max time.Duration
	// MaxRetryAfter is the longest Retry-After that is obeyed; a longer one fails at once, telling the time. Default 120 s.
	MaxRetryAfter time.Duration
	// StallWindow and StallBytes: a body of which fewer than StallBytes bytes arrive in StallWindow of waiting is given up
	// and resumed. Defaults 30 s and 30 KiB, that is 1 KiB/s.
	StallWindow time.Duration
	StallBytes  int64
	// ConnectTimeout bounds a TCP connection and, again, a TLS handshake; default 10 s.
	ConnectTimeout time.Duration
	// HeaderTimeout bounds the wait for an answer's first byte, default 30 s; uploads get ten times that, because a registry
	// hashes and moves a blob before it answers.
	HeaderTimeout time.Duration
}

func (p *RetryPolicy) withDefaults() RetryPolicy {
	q := RetryPolicy{}
	if p != nil {
		q = *p
	}
	setDefault(&q.Attempts, 6)
	setDefault(&q.Base, 200*time.Millisecond)
	setDefault(&q.Max, 30*time.Second)
	setDefault(&q.MaxRetryAfter, 120*time.Second)
	setDefault(&q.StallWindow, 30*time.Second)
	setDefault(&q.StallBytes, 30<<10)
	setDefault(&q.ConnectTimeout, 10*time.Second)
	setDefault(&q.HeaderTimeout, 30*time.Second)
	return q
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// backoff is the wait after the n-th failure in a row, n ≥ 1.
func (p RetryPolicy) backoff(n int) time.Duration {
	wait := p.Max
	if n <= 30 && p.Base<<(n-1)>>(n-1) == p.Base {
		wait = min(p.Base<<(n-1), p.Max)
	}
	// Clients that failed together must not come back together.
	return min(wait*3/4+rand.N(wait/2+1), p.Max)
}

// attempts counts the failures of one operation since it last made progress.
type attempts struct {
	policy   RetryPolicy
	failures int
}

// again returns nil after it has waited for the next try, or the reason why there is none.
func (a *attempts) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !temporary(err) {
		return err
	}
	a.failures++
	if a.failures >= a.policy.Attempts {
		return err
	}
	wait := a.policy.backoff(a.failures)
	if status, ok := errors.AsType[*statusError](err); ok && status.retryAfter > 0 {
		if status.retryAfter > a.policy.MaxRetryAfter {
			return err
		}
		wait = status.retryAfter
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errStalled = errors.New("the connection stalled")

// cutError is a body that ended too early or whose reading failed.
type cutError struct{ err error }

func (e *cutError) Error() string { return "the connection broke: " + plainText(e.err) }
func (e *cutError) Unwrap() error { return e.err }

// disputedError is a registry's word that what it was sent has another digest than the one that was computed on this side.
// docker-registry 2.8 says so when several clients put the same thing at once: they write to one file, and read it back.
type disputedError struct{ err error }

func (e *disputedError) Error() string { return e.err.Error() }
func (e *disputedError) Unwrap() error { return e.err }

// temporary tells errors that another try may heal. Only what is known to come from the wire qualifies: an error of the
// local disk, of a refused redirect or of a token server's strange answer would just come again, later.
func temporary(err error) bool {
	if _, ok := errors.AsType[*diagnostic.Error](err); ok {
		return false
	}
	if _, ok := errors.AsType[*refusal](err); ok {
		return false
	}
	if _, ok := errors.AsType[*sourceError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*disputedError](err); ok {
		return true
	}
	if status, ok := errors.AsType[*statusError](err); ok {
		return retryable(status.status)
	}
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		return retryable(answer.StatusCode)
	}
	if errors.Is(err, errStalled) {
		return true
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, http.ErrSchemeMismatch) {
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return false
	}
	if isAlert(err) {
		return false
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return !dns.IsNotFound
	}
	if _, ok := errors.AsType[*cutError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// retryable lists the statuses that pass by themselves. 499 and 522 are nginx's and Cloudflare's words for a broken or
// slow connection behind them; 501 and 505 are the two 5xx that describe the request.
func retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, 499:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= 500
}

// retryAfter reads the header in both its forms (RFC 9110, 10.2.3). A date counts from the answer's own Date, so that a
// wrong clock on this side changes nothing. 0 means absent, past or unreadable.
func retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	seconds, err := strconv.ParseUint(text, 10, 63)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		if err != nil || seconds > uint64(math.MaxInt64/time.Second) {
			return math.MaxInt64
		}
		return time.Duration(seconds) * time.Second
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(until.Sub(now), 0)
}
