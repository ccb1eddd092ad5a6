package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
	"github.com/ocipkg/rules_ocipkg/internal/registry/credentials"
)

// statusError is an answer with a status that is none of the wanted ones.
type statusError struct {
	host       string
	status     int
	message    string        // the registry's own words, may be ""
	retryAfter time.Duration // 0 when it named none
}

const maxErrorBody = 8 << 10

// newStatusError reads what the registry says about itself; it does not close the body.
func newStatusError(resp *http.Response) *statusError {
	e := &statusError{status: resp.StatusCode}
	if resp.Request != nil {
		e.host = resp.Request.URL.Host
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		e.retryAfter = retryAfter(resp.Header)
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what came is enough to quote from
	e.message = errorMessage(body)
	return e
}

// errorMessage finds code and message in an error body of the distribution specification.
func errorMessage(body []byte) string {
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Errors) == 0 {
		return ""
	}
	// Not to its final length: what is cut in the middle of a secret would not be known for one.
	return printable(strings.Trim(answer.Errors[0].Code+": "+answer.Errors[0].Message, ": "), 2000)
}

func shorten(s string) string { return printable(s, 200) }

// printable makes one line of what a registry says, of at most so many characters: no terminal is to be steered by it.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%s answered %d %s", e.host, e.status, http.StatusText(e.status))
	if e.message != "" {
		text += " (" + e.message + ")"
	}
	return strings.TrimSpace(text)
}

// sourceError is a failure to read what is to be pushed; the registry has no part in it.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return plainText(e.err) }
func (e *sourceError) Unwrap() error { return e.err }

// explain turns the error that ended an operation on repo into what a person reads.
func (c *Client) explain(what string, repo name.Repository, err error) error {
	if inner, ok := errors.AsType[*diagnostic.Error](err); ok {
		bare := *inner
		if bare.What == "" {
			bare.What = what
			bare.Why, bare.Do = c.clean(bare.Why), c.clean(bare.Do)
			return &bare
		}
		return diagnostic.Wrap(err, "%s", what)
	}
	if errors.Is(err, context.Canceled) {
		return &diagnostic.Error{Kind: diagnostic.Interrupted, What: what, Why: "interrupted", Do: "run it again; nothing half-done is left", Err: context.Canceled}
	}
	e := &diagnostic.Error{Kind: diagnostic.Failure, What: what, Err: c.quiet(err)}
	host := hostName(repo.Registry)
	if status := statusOf(err); status != nil {
		c.explainStatus(e, repo, status)
	} else {
		c.explainNetwork(e, host, err)
	}
	e.Why, e.Do = c.clean(e.Why), c.clean(e.Do)
	return e
}

// statusOf finds the status in an error of ours or of go-containerregistry's, or returns nil.
func statusOf(err error) *statusError {
	if status, ok := errors.AsType[*statusError](err); ok {
		return status
	}
	answer, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return nil
	}
	status := &statusError{status: answer.StatusCode}
	if answer.Request != nil {
		status.host = answer.Request.URL.Host
	}
	if len(answer.Errors) > 0 {
		status.message = printable(strings.Trim(string(answer.Errors[0].Code)+": "+answer.Errors[0].Message, ": "), 2000)
	}
	return status
}

func (c *Client) explainStatus(e *diagnostic.Error, repo name.Repository, status *statusError) {
	host := hostName(repo.Registry)
	cleaned := *status
	cleaned.message = shorten(c.clean(status.message))
	status = &cleaned
	e.Why = status.Error()
	switch {
	case status.status == http.StatusUnauthorized || status.status == http.StatusForbidden:
		e.Kind = diagnostic.Denied
		login := logIn(host)
		existence := "many registries answer so for a repository that does not exist, too"
		source, anonymous := c.asked(repo)
		if source != "" {
			source = " (" + source + ")"
		}
		switch {
		case anonymous:
			e.Why += fmt.Sprintf("; it wants credentials for %s, and none were found", repo.RepositoryStr())
			e.Do = login + "; " + existence
		case status.status == http.StatusUnauthorized:
			e.Why += fmt.Sprintf("; it does not accept the credentials found for it%s", source)
			e.Do = "they may have expired: renew them, or " + login
		default:
			e.Why += fmt.Sprintf("; it knows the account%s, which may not do this in %s", source, repo.RepositoryStr())
			e.Do = "ask for access or " + login + " with another account; " + existence
		}
	case status.status == http.StatusNotFound:
		e.Kind = diagnostic.NotFound
		e.Do = "check the name, the tag and the digest"
		_, anonymous := c.asked(repo)
		switch {
		case strings.HasPrefix(status.message, "NAME_UNKNOWN") && anonymous:
			e.Why += fmt.Sprintf("; it has no repository %s, or none for everybody", repo.RepositoryStr())
			e.Do = "check the name; if it is private, " + logIn(host)
		case strings.HasPrefix(status.message, "NAME_UNKNOWN"):
			e.Why += fmt.Sprintf("; it has no repository %s, or none for this account", repo.RepositoryStr())
			e.Do = "check the name"
		}
	case status.retryAfter > c.policy.MaxRetryAfter:
		e.Kind = diagnostic.Unreachable
		wait := "longer than this machine can count"
		if status.retryAfter < math.MaxInt64 {
			wait = status.retryAfter.String()
		}
		e.Why += fmt.Sprintf("; it asks to wait %s, and this tool waits %v at most", wait, c.policy.MaxRetryAfter)
		e.Do = "run it again after that time, or log in: most registries give accounts a higher limit"
	case retryable(status.status):
		e.Kind = diagnostic.Unreachable
		e.Do = "run it again later; what has been fetched is not fetched again"
	default:
		e.Kind = diagnostic.Unreachable
		e.Do = fmt.Sprintf("check that %s is an OCI registry", host)
	}
}

// logIn is the advice to log in to a registry.
func logIn(host string) string {
	advice := fmt.Sprintf("log in with `ocipkg login %s`, `docker login %s` or `podman login %s`", host, host, host)
	if variable := credentials.Variable(host); variable != "" {
		advice += fmt.Sprintf(", or set %s=NAME:PASSWORD", variable)
	}
	return advice
}

func (c *Client) explainNetwork(e *diagnostic.Error, host string, err error) {
	e.Kind = diagnostic.Unreachable
	refused, isRefusal := errors.AsType[*refusal](err)
	certificate, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	var timeout net.Error
	switch {
	case isDNS && dns.IsNotFound:
		e.Why = fmt.Sprintf("there is no host called %s", dns.Name)
		e.Do = "check the name for a typing error, and the network's name server"
	case isDNS:
		e.Why = fmt.Sprintf("the name server does not answer for %s", dns.Name)
		e.Do = "check the network connection"
	case isCertificate:
		e.Why = fmt.Sprintf("the TLS certificate of %s is not trusted: %s", host, plainText(certificate.Err))
		e.Do = fmt.Sprintf("for a private authority set %s to its certificate (or SSL_CERT_FILE, or caFile in the configuration); also check this machine's clock", caVariable)
	case isAlert(err):
		e.Why = fmt.Sprintf("%s ends the TLS connection: %s", host, plainText(err))
		e.Do = "if it wants a client's certificate, name one with certFile and keyFile in the configuration (docs/registries.md)"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Why = fmt.Sprintf("%s refuses connections", host)
		e.Do = "check that the registry is running, and its port"
	case errors.Is(err, http.ErrSchemeMismatch):
		e.Why = fmt.Sprintf("%s speaks plain HTTP where TLS was expected", host)
		e.Do = fmt.Sprintf("if that is meant to be, set %s=%s", insecureVariable, host)
	case isRefusal:
		e.Kind = diagnostic.Refused
		e.Why, e.Do = refused.why, refused.do
		if e.Do == "" {
			e.Do = "the registry or something between is not to be trusted; ask whoever runs it"
		}
	case errors.Is(err, errStalled):
		e.Why = fmt.Sprintf("%s sends fewer than %d bytes in %v", host, c.policy.StallBytes, c.policy.StallWindow)
		e.Do = "run it again; check the network connection"
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Why = fmt.Sprintf("%s does not answer in time: %s", host, plainText(err))
		e.Do = "check the network connection and the proxy settings (HTTPS_PROXY, NO_PROXY)"
	case temporary(err):
		e.Why = fmt.Sprintf("the connection to %s broke: %s", host, strings.TrimPrefix(plainText(err), "the connection broke: "))
		e.Do = "run it again; check the network connection"
	default:
		e.Kind = diagnostic.KindOf(err)
		e.Why = plainText(err)
	}
}

// notThis is the diagnostic for an answer that is some page instead of what was asked for.
func notThis(host, contentType, wanted string) *diagnostic.Error {
	answered := "something that is not JSON"
	if mediaType, _, err := mime.ParseMediaType(contentType); err == nil && mediaType != "" {
		answered = mediaType
	}
	return &diagnostic.Error{
		Kind: diagnostic.Unreachable,
		Why:  fmt.Sprintf("%s answered with %s instead of a %s (a proxy or a login page?)", host, answered, wanted),
		Do:   fmt.Sprintf("open https://%s/v2/ in a browser and see who answers; check HTTPS_PROXY and NO_PROXY", host),
	}
}

var (
	urlPattern    = lazyregexp.New(`\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>]+`)
	schemePattern = lazyregexp.New(`(?i)\b(basic|bearer)\s+[a-z0-9._~+/=-]{6,}`)
)

// plainText is err's text without the URLs of net/http's errors, which carry the signatures of redirects, and with user
// names, queries and authorization values cut out of what remains.
func plainText(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	text := urlPattern().ReplaceAllStringFunc(err.Error(), func(s string) string {
		u, err := url.Parse(s)
		if err != nil {
			return "[URL]"
		}
		return u.Scheme + "://" + u.Host + u.Path
	})
	text, _, _ = strings.Cut(text, "\n")
	return schemePattern().ReplaceAllString(text, "$1 [secret]")
}

// clean replaces every secret this client has been given.
func (c *Client) clean(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secret := range c.secrets {
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return schemePattern().ReplaceAllString(text, "$1 [secret]")
}

// quiet keeps an error for errors.Is and errors.As and hides its text, so that nobody prints a cause that has a secret in it.
func (c *Client) quiet(err error) error { return &quietError{err: err, text: c.clean(plainText(err))} }

type quietError struct {
	err  error
	text string
}

func (e *quietError) Error() string { return e.text }
func (e *quietError) Unwrap() error { return e.err }
