package artifact

import "io"

// pieces reads what comes in pieces, whose bytes can be looked at before they are read.
type pieces struct {
	another func() ([]byte, error) // the next piece, in the place of the one before
	rest    []byte                 // of it, not read yet
	n       int64                  // bytes read
}

// newPieces reads from another reader when it is read from.
func newPieces(r io.Reader) *pieces {
	buffer := make([]byte, 64<<10)
	var err error
	return &pieces{another: func() ([]byte, error) {
		if err != nil {
			return nil, err
		}
		var n int
		n, err = r.Read(buffer)
		return buffer[:n], nil
	}}
}

// next returns bytes that the following Read begins with, one at least, or the error that it returns. A Read into that slice
// finds them where they belong and moves nothing.
func (p *pieces) next() ([]byte, error) {
	for len(p.rest) == 0 {
		piece, err := p.another()
		if err != nil {
			return nil, err
		}
		p.rest = piece
	}
	return p.rest, nil
}

func (p *pieces) Read(to []byte) (int, error) {
	rest, err := p.next()
	if err != nil {
		return 0, err
	}
	n := copy(to, rest)
	p.rest = rest[n:]
	p.n += int64(n)
	return n, nil
}

// An aheadReader reads from another reader in a goroutine of its own, some buffers ahead: where files are written while
// the next ones are decompressed and those after them arrive, a layer that is alone takes two processors and more.
//
// It costs memory and changes of goroutines: more than it saves for a layer that is smaller than worthAhead (compressed).
type aheadReader struct {
	full, empty chan []byte
	stop, ended chan struct{}
	err         error  // of the other reader, when full is closed
	buffer      []byte // at hand; empty gets it back
	pieces
}

const worthAhead = 1 << 20

// The first buffer is small: with it, measured, a layer is there 2 % sooner. The others are made when they are needed.
const firstAhead, otherAhead, buffersAhead = 32 << 10, 256 << 10, 4

func newAheadReader(r io.Reader) *aheadReader {
	a := &aheadReader{full: make(chan []byte, buffersAhead), empty: make(chan []byte, buffersAhead), stop: make(chan struct{}), ended: make(chan struct{})}
	a.pieces.another = a.another
	a.empty <- make([]byte, firstAhead)
	go a.run(r)
	return a
}

func (a *aheadReader) run(r io.Reader) {
	defer close(a.ended)
	defer close(a.full)
	made := 1
	for a.err == nil {
		if made < buffersAhead && len(a.empty) == 0 {
			made++
			a.empty <- make([]byte, otherAhead)
		}
		select {
		case <-a.stop:
			return
		case buffer := <-a.empty:
			n := 0
			for n < len(buffer) && a.err == nil {
				var more int
				more, a.err = r.Read(buffer[n:])
				n += more
				if more > 0 && len(a.full) == 0 {
					break // whoever reads may be waiting for this little, and refuse what follows
				}
				select {
				case <-a.stop:
					return
				default:
				}
			}
			a.full <- buffer[:n] // has room for all there are
		}
	}
}

func (a *aheadReader) another() ([]byte, error) {
	if a.buffer != nil {
		a.empty <- a.buffer[:cap(a.buffer)]
		a.buffer = nil
	}
	buffer, ok := <-a.full
	if !ok {
		return nil, a.err
	}
	a.buffer = buffer
	return buffer, nil
}

// Close returns when nobody reads from the other reader any more: at the latest, when a Read that is under way ends.
func (a *aheadReader) Close() {
	close(a.stop)
	<-a.ended
}
