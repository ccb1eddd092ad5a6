package library

import (
	"io"
	"sync"
)

// meter sums the bytes of several streams into one account of progress.
type meter struct {
	mu     sync.Mutex
	report func(done, total int64)
	done   int64
	total  int64
}

func newMeter(report func(done, total int64), total int64) *meter {
	return &meter{report: report, total: total}
}

func (m *meter) reader(r io.Reader) io.Reader {
	if m.report == nil {
		return r
	}
	return &meteredReader{r: r, m: m}
}

type meteredReader struct {
	r io.Reader
	m *meter
}

func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.m.done += int64(n)
	r.m.report(r.m.done, r.m.total)
	return n, err
}
