package registry

import (
	"errors"
	"io"
	"sync"
)

// rewindable is how many bytes at least a stream can go back. A broken upload is resumed where the registry has got to;
// what was read of the source beyond that lies in the buffers of two machines and of what is between them.
const rewindable = 4 << 20

// stream reads a source that cannot seek, such as a blob of another registry, once, whatever becomes of the uploads that
// it is for: the next one goes on where the one before has ended, or a little before that. So nothing is fetched twice,
// and the digest that the source checks at its end is that of the bytes that went out.
type stream struct {
	source io.ReadCloser

	mu     sync.Mutex
	n      int64  // bytes read of the source
	tail   []byte // the last of them
	err    error  // what ended it
	reader *streamReader
}

// streamReader is a stream from some byte on. It is worth something until the next one.
type streamReader struct {
	s   *stream
	pos int64
}

// errSuperseded is for whoever still reads, as net/http may, when the registry has answered before the end.
var errSuperseded = errors.New("another request reads on")

// from goes on at an offset, or returns nil where that lies too far back, or ahead.
func (s *stream) from(offset int64) io.ReadCloser {
	s.mu.Lock() // a Read that net/http has not given up yet ends first; what it reads is kept
	defer s.mu.Unlock()
	if offset > s.n || offset < s.n-int64(len(s.tail)) {
		return nil
	}
	s.reader = &streamReader{s, offset}
	return s.reader
}

// Read implements io.Reader.
func (r *streamReader) Read(p []byte) (int, error) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader != r {
		return 0, errSuperseded
	}
	if back := s.n - r.pos; back > 0 {
		n := copy(p, s.tail[int64(len(s.tail))-back:])
		r.pos += int64(n)
		return n, nil
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.source.Read(p)
	if len(s.tail)+n > 2*rewindable { // moved seldom, and then by much
		s.tail = s.tail[:copy(s.tail, s.tail[max(len(s.tail)-rewindable, 0):])]
	}
	s.tail = append(s.tail, p[:n]...)
	s.n += int64(n)
	r.pos, s.err = s.n, err
	return n, err
}

// Close ends the reader, not the stream.
func (r *streamReader) Close() error { return nil }

func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reader = nil
	s.source.Close()
}
