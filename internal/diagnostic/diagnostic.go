// Package diagnostic holds the one shape in which this project tells a person that something failed.
//
// Invariant: a diagnostic says what failed with the thing's name, why, and what to do about it; it carries no
// secret and no stack trace, and its Kind is the exit code of the command, which is stable and documented in
// docs/errors.md. Every other package may return one; fetcher prints it.
package diagnostic

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Kind classifies a failure. Its value is the process's exit code.
type Kind int

const (
	Failure     Kind = 1 // anything that has no kind of its own, for example a full disk
	Usage       Kind = 2 // wrong flags or arguments, or a file the user wrote that cannot be parsed
	NotFound    Kind = 3 // image, tag, blob or file that does not exist
	Denied      Kind = 4 // the registry refused the credentials or their absence
	Unreachable Kind = 5 // the registry does not answer, or answers nonsense
	Corrupt     Kind = 6 // bytes that are not what their digest or size says
	Unsupported Kind = 7 // well-formed, but not an ocipkg artifact, or one of a newer kind
	Mismatch    Kind = 8 // a library for another platform than the one asked for
	Refused     Kind = 9 // against a policy, or content that is not safe to unpack or to publish

	Interrupted Kind = 130 // Ctrl-C or SIGTERM
)

// Error is a failure told in three parts. What is a phrase with the thing's name ("pull ghcr.io/acme/zlib:1.3.1"),
// Why and Do are phrases without a closing full stop; Do may be empty where nothing helps. Err is the cause, kept
// for errors.Is and errors.As; its text is shown only where Why is empty.
type Error struct {
	Kind Kind
	What string
	Why  string
	Do   string
	Err  error
}

// Error renders "what: why" and, on a line of its own, what to do.
func (e *Error) Error() string {
	why := e.Why
	if why == "" && e.Err != nil {
		why = e.Err.Error()
	}
	var b strings.Builder
	b.WriteString(e.What)
	if e.What != "" && why != "" {
		b.WriteString(": ")
	}
	b.WriteString(why)
	if e.Do != "" {
		b.WriteString("\n  ")
		b.WriteString(e.Do)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Wrap puts what was being done in front of err and keeps its kind and its advice, so that the text reads
// "what: inner what: why" with the advice last, once. It returns nil for a nil error.
func Wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	inner, ok := errors.AsType[*Error](err)
	if !ok {
		return &Error{Kind: KindOf(err), What: what, Err: err}
	}
	bare := *inner
	bare.Do = ""
	return &Error{Kind: inner.Kind, What: what, Why: bare.Error(), Do: inner.Do, Err: err}
}

// KindOf returns the kind of the outermost diagnostic in err's chain, Interrupted for a cancelled context, else Failure.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	if errors.Is(err, context.Canceled) {
		return Interrupted
	}
	return Failure
}
