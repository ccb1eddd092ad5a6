package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Blob streams a blob. Connections that break or stall are resumed within the stream. The reader never gives more than
// desc.Size bytes, and answers io.EOF only if exactly that many came and their sha256 is desc.Digest; otherwise the last Read
// answers a diagnostic. So bytes are to be trusted only after io.EOF (io.ReadFull of desc.Size bytes does not see it).
// Mirrors come first, and a stream that one leaves unfinished goes on at the next place; if the whole turns out to be wrong
// because of one, the error has ErrMirrorLied in its chain. Blob itself returns once the registry has begun to answer. The reader is for one goroutine and must be closed.
func (c *Client) Blob(ctx context.Context, repo name.Repository, desc v1.Descriptor) (io.ReadCloser, error) {
	b := &blobReader{
		client: c,
		desc:   desc,
		what:   fmt.Sprintf("blob %s of %s", desc.Digest, repositoryName(repo)),
		hash:   sha256.New(),
		places: c.places(repo, false),
	}
	b.use()
	if desc.Size < 0 {
		return nil, &diagnostic.Error{Kind: diagnostic.Corrupt, What: b.what, Why: fmt.Sprintf("its manifest says it has %d bytes", desc.Size), Do: "do not use it; push it again"}
	}
	if _, err := parseDigest(desc.Digest.String()); err != nil {
		return nil, &diagnostic.Error{Kind: diagnostic.Unsupported, What: b.what, Why: err.Error(), Do: "push it again with a tool that writes sha256 digests", Err: err}
	}
	b.ctx, b.cancel = context.WithCancel(ctx)
	if err := b.connect(); err != nil {
		b.Close()
		return nil, b.fail(err)
	}
	return b, nil
}

type blobReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	client *Client
	desc   v1.Descriptor
	what   string

	repo     name.Repository   // where the blob is being read
	places   []place           // repo's, and where to go on if that fails
	mirrored []name.Repository // mirrors from which bytes have been delivered

	body   io.ReadCloser // nil between connections
	hash   hash.Hash     // of the offset bytes delivered so far
	offset int64
	lost   error // why there is no body, not yet dealt with
	err    error // what every further Read answers

	tries   attempts
	gained  int64 // bytes delivered by the present connection
	noRange bool  // this registry's ranges cannot be relied upon
	whole   int   // how often a body began again at its first byte
}

func (b *blobReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if b.offset == b.desc.Size {
			b.drop()
			b.err = b.verify()
			return 0, b.err
		}
		if err := b.connect(); err != nil {
			b.err = b.fail(err)
			return 0, b.err
		}
		n, err := b.body.Read(p[:min(int64(len(p)), b.desc.Size-b.offset)])
		b.hash.Write(p[:n])
		if n > 0 && b.gained == 0 && b.places[0].mirror && !slices.Contains(b.mirrored, b.repo) {
			b.mirrored = append(b.mirrored, b.repo)
		}
		b.offset += int64(n)
		b.gained += int64(n)
		if err != nil {
			b.drop()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF // harmless if it was the last byte
			}
			b.lost = &cutError{err}
		}
		if n > 0 {
			return n, nil
		}
	}
}

// Close gives up what is still under way. It is not an error to close before io.EOF.
func (b *blobReader) Close() error {
	b.cancel()
	b.drop()
	if b.err == nil {
		b.err = b.fail(context.Canceled)
	}
	return nil
}

func (b *blobReader) drop() {
	if b.body != nil {
		b.body.Close()
		b.body = nil
	}
}

func (b *blobReader) fail(err error) error {
	return b.client.explain(b.what, b.places[len(b.places)-1].repo, err)
}

func (b *blobReader) verify() error {
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(b.hash.Sum(nil))}
	if digest == b.desc.Digest {
		return io.EOF
	}
	return b.fail(b.wrong(&diagnostic.Error{
		Kind: diagnostic.Corrupt,
		Why:  fmt.Sprintf("%s sent other bytes, whose digest is %s", hostName(b.repo.Registry), digest),
		Do:   "run it again; if it stays so, the registry or a proxy between alters what it hands out",
	}))
}

// wrong puts aside the mirrors that may have sent what was found to be wrong.
func (b *blobReader) wrong(err *diagnostic.Error) error {
	if len(b.mirrored) == 0 {
		return err
	}
	for _, m := range b.mirrored {
		b.client.putAside(m, &diagnostic.Error{Kind: diagnostic.Corrupt, Why: fmt.Sprintf("%s sent other bytes than those of the digest", hostName(m.Registry)), Do: "tell the mirror's owner, or take it out of the mirrors; others are asked in its place"})
	}
	err.Err = ErrMirrorLied
	return err
}

// use begins with the first of the places that are left.
func (b *blobReader) use() {
	b.repo = b.places[0].repo
	b.tries = attempts{policy: b.client.policy}
	if b.places[0].mirror {
		b.tries.policy = b.client.policy.mirrorPolicy()
	}
	b.lost, b.gained, b.noRange, b.whole = nil, 0, false, 0
}

// next goes on to the next place where the blob may be had, at the byte that has been reached, and reports whether there is one.
func (b *blobReader) next(err error) bool {
	if !b.places[0].mirror || b.ctx.Err() != nil || errors.Is(err, ErrMirrorLied) {
		return false
	}
	b.client.putAside(b.repo, err)
	b.places = b.places[1:]
	b.use()
	return true
}

// connect makes sure there is a body at the present offset, waiting between tries.
func (b *blobReader) connect() error {
	for b.body == nil {
		if b.lost != nil {
			if b.gained >= b.client.policy.StallBytes {
				b.tries.failures = 0
			}
			b.gained = 0
			if err := b.tries.again(b.ctx, b.lost); err != nil {
				if !b.next(err) {
					return err
				}
			}
		}
		b.lost = b.open()
	}
	return nil
}

// open makes one request.
func (b *blobReader) open() error {
	header := http.Header{"Accept-Encoding": {"identity"}}
	ranged := b.offset > 0 && !b.noRange
	if ranged {
		header.Set("Range", fmt.Sprintf("bytes=%d-", b.offset))
	}
	resp, err := b.client.get(b.ctx, b.repo, "/blobs/"+b.desc.Digest.String(), header)
	if err != nil {
		return err
	}
	if err := b.accept(resp, ranged); err != nil {
		resp.Body.Close()
		return err
	}
	b.body = resp.Body
	return nil
}

func (b *blobReader) accept(resp *http.Response, ranged bool) error {
	host := hostName(b.repo.Registry)
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		// Some stores label the blob's own compression this way, so the bytes may still be right and the digest decides. But
		// a range of an encoded answer is a range of nobody knows what (RFC 9110, 14.2).
		b.noRange = true
		if resp.StatusCode == http.StatusPartialContent {
			return &cutError{fmt.Errorf("%s sent a range of an encoded body", host)}
		}
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		if resp.ContentLength >= 0 && resp.ContentLength != b.desc.Size {
			if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
				return notThis(host, resp.Header.Get("Content-Type"), "blob")
			}
			return &diagnostic.Error{
				Kind: diagnostic.Corrupt,
				Why:  fmt.Sprintf("%s sends %d bytes instead of %d", host, resp.ContentLength, b.desc.Size),
				Do:   "run it again; if it stays so, the registry or a proxy between alters what it hands out",
			}
		}
		return b.skip(resp.Body)
	case resp.StatusCode == http.StatusPartialContent && ranged:
		start, end, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
		if !ok || start != b.offset || end >= b.desc.Size || total >= 0 && total != b.desc.Size ||
			resp.ContentLength >= 0 && resp.ContentLength != end-start+1 {
			b.noRange = true
			return &cutError{fmt.Errorf("%s sent another range (%q) than the one asked for", host, shorten(resp.Header.Get("Content-Range")))}
		}
		return nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && ranged:
		b.noRange = true
		return &cutError{fmt.Errorf("%s does not accept the range from byte %d", host, b.offset)}
	default:
		return newStatusError(resp)
	}
}

// skip reads over what has been delivered already, when a registry answers with the whole body, and makes sure that it is
// the same. It is bounded: otherwise a connection that breaks often would cost the square of the blob's size.
func (b *blobReader) skip(body io.Reader) error {
	if b.offset == 0 {
		return nil
	}
	b.whole++
	if b.whole > b.client.policy.Attempts {
		return &diagnostic.Error{
			Kind: diagnostic.Unreachable,
			Why:  fmt.Sprintf("%s cannot resume a download, and the connection broke %d times", hostName(b.repo.Registry), b.whole),
			Do:   "run it again on a better connection",
		}
	}
	again := sha256.New()
	if _, err := io.CopyN(again, body, b.offset); err != nil {
		return &cutError{err}
	}
	if !bytes.Equal(again.Sum(nil), b.hash.Sum(nil)) {
		return b.wrong(&diagnostic.Error{
			Kind: diagnostic.Corrupt,
			Why:  fmt.Sprintf("%s now sends other bytes than it did before the connection broke", hostName(b.repo.Registry)),
			Do:   "run it again; if it stays so, the registry or a proxy between alters what it hands out",
		})
	}
	return nil
}

// parseContentRange reads "bytes first-last/total"; total is -1 for "*".
func parseContentRange(s string) (first, last, total int64, ok bool) {
	span, totalText, found := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	firstText, lastText, dashed := strings.Cut(span, "-")
	if !strings.HasPrefix(s, "bytes ") || !found || !dashed {
		return 0, 0, 0, false
	}
	f, err1 := strconv.ParseUint(firstText, 10, 63)
	l, err2 := strconv.ParseUint(lastText, 10, 63)
	total = -1
	if totalText != "*" {
		t, err := strconv.ParseUint(totalText, 10, 63)
		if err != nil {
			return 0, 0, 0, false
		}
		total = int64(t)
	}
	if err1 != nil || err2 != nil || f > l {
		return 0, 0, 0, false
	}
	return int64(f), int64(l), total, true
}
