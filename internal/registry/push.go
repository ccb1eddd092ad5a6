package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Source is something to push: a manifest or an index, and the blobs it refers to.
type Source interface {
	// Manifest returns the document that is pushed last, byte for byte.
	Manifest() Document
	// Blobs lists the config and the layers; it is empty for an index, whose manifests are pushed before it.
	Blobs() []v1.Descriptor
	// OpenBlob opens one of Blobs from its first byte. It may be called again when an upload has to be repeated. Of what it
	// returns, an io.Seeker is opened anew where the upload goes on; another is read on, as far as that goes (see stream).
	// Where reading it ends with ErrMirrorLied, it is opened again and the upload begun anew.
	OpenBlob(v1.Hash) (io.ReadCloser, error)
}

// Mounter is a Source whose blobs may be in a repository of some registry already. When that registry is the one pushed to, it
// is asked to take them from there, without their bytes; what it does not have there, or does not give, is uploaded.
type Mounter interface {
	MountFrom() name.Repository
}

// mountFrom is where blobs of src can be mounted from when they go to repo; the zero value is nowhere.
func mountFrom(src Source, to name.Repository) name.Repository {
	if m, ok := src.(Mounter); ok {
		if from := m.MountFrom(); from != (name.Repository{}) && from.RegistryStr() == to.RegistryStr() && from.RepositoryStr() != to.RepositoryStr() {
			return from
		}
	}
	return name.Repository{}
}

const uploadsAtOnce = 4

// Push uploads what the registry does not have yet, blobs first and the manifest last, under ref.Tag, or by digest if ref has
// no tag. The manifest's bytes go out as they are, so the digest in the registry is src.Manifest().Digest. A manifest with a
// subject is listed among its referrers, through the referrers tag where the registry has no API for it. progress, which may
// be nil, is told bytes and is never called twice at once.
func (c *Client) Push(ctx context.Context, ref Reference, src Source, progress func(done, total int64)) error {
	what := "push " + ref.String()
	doc := src.Manifest()
	sum := sha256.Sum256(doc.Bytes)
	if doc.Digest.Algorithm != "sha256" || hex.EncodeToString(sum[:]) != doc.Digest.Hex {
		return &diagnostic.Error{Kind: diagnostic.Corrupt, What: what, Why: fmt.Sprintf("the manifest's bytes do not have the digest %s", doc.Digest), Do: "pack it again"}
	}
	if ref.Pinned() && ref.Digest != doc.Digest {
		return &diagnostic.Error{Kind: diagnostic.Usage, What: what, Why: fmt.Sprintf("what is to be pushed has the digest %s", doc.Digest), Do: "leave the digest out of the reference"}
	}
	report := newPushProgress(src, progress)
	if err := c.push(ctx, ref, src, report); err != nil {
		return c.explain(what, ref.Repository, err)
	}
	return nil
}

func (c *Client) push(ctx context.Context, ref Reference, src Source, report *pushProgress) error {
	var s *session
	if err := c.repeat(ctx, func() (err error) {
		s, err = c.session(ctx, ref.Repository, transport.PushScope)
		return err
	}); err != nil {
		return err
	}
	from := mountFrom(src, ref.Repository)

	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(uploadsAtOnce)
	seen := map[v1.Hash]bool{}
	for i, desc := range src.Blobs() {
		if seen[desc.Digest] {
			report.set(i, desc.Size)
			continue
		}
		seen[desc.Digest] = true
		group.Go(func() error {
			blob := &sourceBlob{desc: desc, open: src.OpenBlob, sent: func(n int64) { report.set(i, n) }}
			u := &upload{client: c, session: s, blob: blob, from: from}
			if err := u.run(groupCtx); err != nil {
				return diagnostic.Wrap(c.explain("", ref.Repository, err), "blob %s", desc.Digest)
			}
			report.set(i, desc.Size)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}

	pusher, err := s.pusher()
	if err != nil {
		return err
	}
	doc := src.Manifest()
	put := pusher.Push
	if err := c.repeat(ctx, func() error {
		err := put(ctx, targetOf(s.repo, ref, doc), rawManifest{doc})
		put = pusher.Put // Push would find the manifest there, which says nothing of the list of referrers that comes after it
		if answer, ok := errors.AsType[*transport.Error](err); ok && slices.ContainsFunc(answer.Errors, func(d transport.Diagnostic) bool { return d.Code == transport.DigestInvalidErrorCode }) {
			return &disputedError{err} // Push has hashed it
		}
		return err
	}); err != nil {
		return err
	}
	report.set(len(report.done)-1, int64(len(doc.Bytes)))
	return nil
}

// pusher puts manifests, which is go-containerregistry's to do, with the list of referrers where the registry keeps none. The
// Wrapper keeps it from putting its own retries over the transport, and one step with a predicate that never agrees turns off
// the rest: they know neither Retry-After nor the context.
func (s *session) pusher() (*remote.Pusher, error) {
	return remote.NewPusher(
		remote.WithTransport(s.inner),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryPredicate(func(error) bool { return false }),
	)
}

// repeat does something until it succeeds or the policy ends it.
func (c *Client) repeat(ctx context.Context, do func() error) error {
	tries := attempts{policy: c.policy}
	for {
		err := do()
		if err == nil {
			return nil
		}
		if err := tries.again(ctx, err); err != nil {
			return err
		}
	}
}

// rawManifest is a manifest for go-containerregistry that has only bytes, so that there is nothing to serialise anew.
type rawManifest struct{ doc Document }

func (m rawManifest) RawManifest() ([]byte, error) { return m.doc.Bytes, nil }
func (m rawManifest) MediaType() (types.MediaType, error) {
	return types.MediaType(m.doc.MediaType), nil
}

// sourceBlob is a blob of a Source, which tells errors of reading it from those of the network.
type sourceBlob struct {
	desc v1.Descriptor
	open func(v1.Hash) (io.ReadCloser, error)
	sent func(n int64) // position in the blob

	stream *stream // nil where there is none yet, and of a source that can seek

	mu     sync.Mutex
	failed error // of the source
}

// openAt opens the blob at an offset.
func (b *sourceBlob) openAt(offset int64) (io.ReadCloser, error) {
	r, err := b.openSource(offset)
	if err != nil {
		b.fail(err)
		return nil, err
	}
	return &sourceReader{ReadCloser: r, blob: b, n: offset}, nil
}

func (b *sourceBlob) openSource(offset int64) (io.ReadCloser, error) {
	if b.stream != nil {
		if r := b.stream.from(offset); r != nil {
			return r, nil
		}
		b.stream.close()
		b.stream = nil
	}
	r, err := b.open(b.desc.Digest)
	if err != nil {
		return nil, err
	}
	if seeker, ok := r.(io.Seeker); ok {
		if _, err := seeker.Seek(offset, io.SeekStart); err != nil {
			r.Close()
			return nil, err
		}
		return r, nil
	}
	b.stream = &stream{source: r}
	// What lies before the offset is read over: without it the source could not tell at the end whether its bytes are
	// those of the digest.
	if _, err := io.CopyN(io.Discard, b.stream.from(0), offset); err != nil {
		return nil, err
	}
	return b.stream.from(offset), nil
}

// forget throws away what was read, with whatever was wrong about it.
func (b *sourceBlob) forget() {
	if b.stream != nil {
		b.stream.close()
		b.stream = nil
	}
	b.fail(nil)
}

func (b *sourceBlob) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = err
}

// blame tells an error of the source from one of the network: net/http wraps both in the same way.
func (b *sourceBlob) blame(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && b.failed != nil {
		return &sourceError{b.failed}
	}
	return err
}

type sourceReader struct {
	io.ReadCloser
	blob   *sourceBlob
	n      int64 // position in the blob
	closed atomic.Bool
}

// Read gives the last bytes out only when the source has said that all of them are right: a registry that has them all
// could keep them.
func (r *sourceReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n += int64(n)
	for end := make([]byte, 1); err == nil && r.n == r.blob.desc.Size; {
		var more int
		more, err = r.ReadCloser.Read(end)
		r.n += int64(more)
	}
	r.blob.sent(min(r.n, r.blob.desc.Size))
	switch {
	case err == io.EOF && r.n != r.blob.desc.Size, r.n > r.blob.desc.Size:
		err = fmt.Errorf("it has not the %d bytes that its manifest says", r.blob.desc.Size)
		r.blob.fail(err)
	case err != nil && err != io.EOF && err != errSuperseded && !r.closed.Load():
		r.blob.fail(err)
	}
	if err != nil && err != io.EOF {
		return 0, err
	}
	return n, err
}

// Close may come from net/http while it still reads, when a connection breaks; what Read then says is not the source's.
func (r *sourceReader) Close() error {
	r.closed.Store(true)
	return r.ReadCloser.Close()
}

// pushProgress adds up what several uploads report.
type pushProgress struct {
	mu     sync.Mutex
	done   []int64 // by blob, the manifest last
	total  int64
	report func(done, total int64)
}

func newPushProgress(src Source, report func(done, total int64)) *pushProgress {
	blobs := src.Blobs()
	p := &pushProgress{done: make([]int64, len(blobs)+1), total: int64(len(src.Manifest().Bytes)), report: report}
	for _, desc := range blobs {
		p.total += desc.Size
	}
	return p
}

func (p *pushProgress) set(i int, n int64) {
	if p.report == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[i] = n
	var done int64
	for _, n := range p.done {
		done += n
	}
	p.report(done, p.total)
}
