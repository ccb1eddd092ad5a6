package store

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Blob returns the content of blob d, hashed on every read: blobs are small, and a manifest decides what is trusted
// next. A blob that is not there is an fs.ErrNotExist. So is one whose bytes are not d: it is moved aside, and who
// fetches it again heals the store.
func (s *Store) Blob(d v1.Hash) ([]byte, error) {
	path, err := s.object("blobs", d)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, absent("blob " + d.String())
	}
	if err != nil {
		return nil, readError("blob "+d.String(), err)
	}
	defer f.Close()
	data, err := readAll(f)
	if err != nil {
		return nil, readError("blob "+d.String(), err)
	}
	if digestOf(data) != d {
		s.setAside(path, f)
		return nil, absent("an undamaged blob " + d.String())
	}
	return data, nil
}

// readAll is os.ReadFile of an open file.
func readAll(f *os.File) ([]byte, error) {
	var b bytes.Buffer
	if fi, err := f.Stat(); err == nil && fi.Size() < 64<<20 {
		b.Grow(int(fi.Size()) + bytes.MinRead)
	}
	_, err := b.ReadFrom(f)
	return b.Bytes(), err
}

// PutBlob stores data and returns its digest. On return it is there whole; what a power cut leaves of it is another
// blob's, as Blob finds. Of what is there already it writes the time alone: what has no name yet is removed by its age,
// and this one has just come.
func (s *Store) PutBlob(data []byte) (v1.Hash, error) {
	d := digestOf(data)
	path, err := s.object("blobs", d)
	if err != nil {
		return v1.Hash{}, err
	}
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, data) {
		now := time.Now()
		if err := os.Chtimes(path, now, now); !errors.Is(err, fs.ErrNotExist) {
			if s.boot() == "" {
				// Whoever renamed it may not have come to its fsync yet. A store that cannot be written has no such writer.
				_ = syncDir(filepath.Dir(path))
			}
			return d, nil
		}
		// A Removal has just taken it.
	}
	// A damaged one, if any, is replaced by the rename.
	if err := s.writeFile(path, data, 0o444, false); err != nil {
		return v1.Hash{}, s.writeError("store blob "+d.String(), err)
	}
	return d, nil
}

// A Hold keeps blobs where they are: no Removal takes one that a Hold has returned before Release, or the end of the
// process. Who reads a manifest to set a name for it, or puts one, does so through a Hold, and gives it back when the
// name is set. Its methods may be called from several goroutines.
type Hold struct {
	store *Store

	mu       sync.Mutex
	leases   []lease
	released bool
	coming   map[v1.Hash][]byte // what PutBlob was given
	failure  error              // of the first that could not be stored
	writes   sync.WaitGroup
}

// Hold returns a Hold of nothing yet.
func (s *Store) Hold() *Hold {
	s.stagings.stay()
	return &Hold{store: s, coming: map[v1.Hash][]byte{}}
}

// Blob is Store.Blob, and holds what it returns.
func (h *Hold) Blob(d v1.Hash) ([]byte, error) {
	h.mu.Lock()
	data, ok := h.coming[d]
	h.mu.Unlock()
	if ok {
		return data, nil
	}
	if err := h.take(d); err != nil {
		return nil, err
	}
	return h.store.Blob(d)
}

// PutBlob has data stored, as Store.PutBlob does it, and held. It does not wait for that, which may be some times the
// disk's latency; Settle does.
func (h *Hold) PutBlob(data []byte) {
	d := digestOf(data)
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.coming[d]; ok {
		return
	}
	h.coming[d] = data
	h.writes.Go(func() {
		if err := h.put(data); err != nil {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.failure == nil {
				h.failure = err
			}
		}
	})
}

func (h *Hold) put(data []byte) error {
	for {
		d, err := h.store.PutBlob(data)
		if err != nil {
			return err
		}
		if err := h.take(d); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Between the two calls a Removal took it.
	}
}

// Settle returns when everything that was put is there whole: not before may a name that leads to it be set. Its error is
// that of the first that could not be stored.
func (h *Hold) Settle() error {
	h.writes.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failure
}

func (h *Hold) take(d v1.Hash) error {
	path, err := h.store.object("blobs", d)
	if err != nil {
		return err
	}
	l, err := lend(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent("blob " + d.String())
	case err != nil:
		return readError("blob "+d.String(), err)
	}
	h.mu.Lock()
	h.leases = append(h.leases, l)
	h.mu.Unlock()
	if l.file == nil {
		// Where there are no locks, a Removal goes by the time.
		if fi, err := os.Lstat(path); err == nil {
			touch(path, fi)
		}
	}
	return nil
}

// Release gives all of it back.
func (h *Hold) Release() {
	h.writes.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.leases {
		l.release()
	}
	h.leases = nil
	if !h.released {
		h.released = true
		h.store.stagings.leave(&h.store.stagings.holds)
	}
}

// setAside moves the damaged file at path, which the caller has read through f, out of the way. It is best effort: a
// store that cannot be written keeps the file, and each read finds it damaged again.
func (s *Store) setAside(path string, f *os.File) {
	// Another process may have found the damage, too, and may have put a good file here since: that one stays. Should
	// it come between this look and the rename, the good file is moved away, which costs a fetch and no wrong byte.
	was, err := f.Stat()
	if err != nil {
		return
	}
	is, err := os.Lstat(path)
	if err != nil || !os.SameFile(was, is) {
		return
	}
	dir := filepath.Join(s.dir, "corrupt")
	if os.MkdirAll(dir, 0o755) != nil {
		return
	}
	_ = rename(path, filepath.Join(dir, filepath.Base(path)+"-"+rand.Text()))
}

func digestOf(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// readError tells that something in the store is there and cannot be read.
func readError(what string, err error) error {
	return &diagnostic.Error{Kind: diagnostic.Failure, What: fmt.Sprintf("read %s from the store", what), Err: err,
		Do: "make the store readable, or set OCIPKG_STORE to another directory"}
}
