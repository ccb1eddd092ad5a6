package registry

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// counted counts what is read of a source.
type counted struct {
	io.Reader
	n      int64
	closed bool
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counted) Close() error { c.closed = true; return nil }

// A stream gives the same bytes whatever it is asked to go back to, and reads its source once.
func TestStream(t *testing.T) {
	t.Parallel()
	var key [32]byte
	want := make([]byte, 3*rewindable+7)
	_, _ = rand.NewChaCha8(key).Read(want) // never fails
	c := &counted{Reader: iotest.HalfReader(bytes.NewReader(want))}
	s := &stream{source: c}
	var got []byte
	read := func(offset, n int) {
		t.Helper()
		r := s.from(int64(offset))
		if r == nil {
			t.Fatalf("it does not go back to %d", offset)
		}
		part := make([]byte, n)
		if _, err := io.ReadFull(r, part); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		got = append(got[:offset], part...)
	}
	read(0, 100)
	read(0, 1000)
	read(500, rewindable)
	read(rewindable, 2*rewindable)
	read(2*rewindable+1, 100)
	if r := s.from(1); r != nil {
		t.Error("it goes back to what it cannot have kept")
	}
	if r := s.from(int64(len(want))); r != nil {
		t.Error("it goes on ahead of what it has read")
	}
	before := s.from(2 * rewindable)
	after := s.from(2*rewindable + 5)
	if n, err := before.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errSuperseded) {
		t.Errorf("two at once: %d, %v", n, err)
	}
	rest, err := io.ReadAll(after)
	if err != nil || !bytes.Equal(append(got[:2*rewindable+5], rest...), want) {
		t.Errorf("other bytes, %v", err)
	}
	// The end is told again, too.
	if rest, err := io.ReadAll(s.from(int64(len(want)) - 3)); err != nil || !bytes.Equal(rest, want[len(want)-3:]) {
		t.Errorf("%q, %v", rest, err)
	}
	if c.n != int64(len(want)) {
		t.Errorf("%d bytes were read of %d", c.n, len(want))
	}
	if len(s.tail) > 2*rewindable+64<<10 {
		t.Errorf("%d bytes are kept", len(s.tail))
	}
	s.close()
	if !c.closed {
		t.Error("the source is open")
	}
	if _, err := after.Read(make([]byte, 1)); !errors.Is(err, errSuperseded) {
		t.Errorf("after its end: %v", err)
	}
}

// Of a blob of which its source says at the end that it is wrong, not all goes out, however it is read.
func TestVerdictBeforeTheLastByte(t *testing.T) {
	t.Parallel()
	wrong := errors.New("other bytes")
	want := make([]byte, 1000)
	for _, size := range []int{1, 7, 1000, 4096} {
		b := &sourceBlob{desc: v1.Descriptor{Size: int64(len(want))}, sent: func(int64) {}, open: func(v1.Hash) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(want), iotest.ErrReader(wrong))), nil
		}}
		r, err := b.openAt(0)
		if err != nil {
			t.Fatal(err)
		}
		var got int
		for buf := make([]byte, size); err == nil; {
			var n int
			n, err = r.Read(buf)
			got += n
		}
		if !errors.Is(err, wrong) || got >= len(want) {
			t.Errorf("by %d: %d bytes, %v", size, got, err)
		}
		if _, ok := errors.AsType[*sourceError](b.blame(err)); !ok {
			t.Errorf("by %d: the source is not to blame", size)
		}
	}
}
