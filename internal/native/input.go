package native

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// input reads one file piece by piece, so that a library of a gigabyte, most of it debugging information, costs only
// the tables that are asked for.
type input struct {
	r    io.ReaderAt
	size int64
	// budget is how many bytes may still be read or scanned. A well-formed file has each of its tables read about once
	// and names whose tails are shared at the worst a few times over; 8 times the size is far from both, and keeps a
	// file whose tables all claim to be the whole file from being read once for each of them.
	budget int64
}

func newInput(r io.ReaderAt, size int64) input {
	size = max(size, 0)
	return input{r: r, size: size, budget: 8*min(size, 1<<58) + 1<<16}
}

func (f *input) charge(n uint64) error {
	if n > uint64(f.budget) {
		return errors.New("its tables overlap so much that reading them would take many times its size")
	}
	f.budget -= int64(n)
	return nil
}

// read returns n bytes at off; it allocates nothing for a claim that goes beyond the end.
func (f *input) read(off, n uint64) ([]byte, error) {
	if n > uint64(f.size) || off > uint64(f.size)-n {
		return nil, fmt.Errorf("%d bytes at offset %d go beyond the end of the file (%d bytes)", n, off, f.size)
	}
	if err := f.charge(n); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if got, err := f.r.ReadAt(b, int64(off)); got < len(b) {
		return nil, cutShort(err)
	}
	return b, nil
}

// table reads count entries of stride bytes each, of which at least want are used.
func (f *input) table(off, count, stride, want uint64) ([]byte, error) {
	if stride < want {
		return nil, fmt.Errorf("entries of %d bytes, %d are needed", stride, want)
	}
	if count > uint64(f.size)/stride {
		return nil, fmt.Errorf("%d entries of %d bytes go beyond the end of the file (%d bytes)", count, stride, f.size)
	}
	return f.read(off, count*stride)
}

func cutShort(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// stringTable hands out substrings of one table, so that a thousand symbols sharing one long name cost one copy of it.
type stringTable struct {
	f *input
	s string
}

func (f *input) stringTable(off, size uint64) (stringTable, error) {
	b, err := f.read(off, size)
	return stringTable{f, string(b)}, err
}

func (t stringTable) at(off uint64) (string, error) {
	if off == 0 {
		return "", nil // also where there is no table at all
	}
	if off >= uint64(len(t.s)) {
		return "", fmt.Errorf("a name at offset %d of a string table of %d bytes", off, len(t.s))
	}
	name, _, ok := strings.Cut(t.s[off:], "\x00")
	if !ok {
		return "", fmt.Errorf("the name at offset %d has no end", off)
	}
	return name, t.f.charge(uint64(len(name)) + 1)
}
