package diagnostic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestWrapKeepsKindAndAdvice(t *testing.T) {
	cause := &Error{Kind: Corrupt, What: "layer 2 of 3", Why: "digest differs", Do: "pull again", Err: io.ErrUnexpectedEOF}
	err := Wrap(fmt.Errorf("while reading: %w", cause), "pull example.com/zlib")
	want := "pull example.com/zlib: layer 2 of 3: digest differs\n  pull again"
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if KindOf(err) != Corrupt {
		t.Errorf("kind = %d, want %d", KindOf(err), Corrupt)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause was lost")
	}
	if Wrap(nil, "x") != nil {
		t.Error("Wrap(nil) is not nil")
	}
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{errors.New("x"), Failure},
		{fmt.Errorf("x: %w", context.Canceled), Interrupted},
		{Wrap(context.Canceled, "pull"), Interrupted},
		{Wrap(io.EOF, "pull"), Failure},
		{&Error{Kind: Denied}, Denied},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}
