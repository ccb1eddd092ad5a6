package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

func TestPush(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := newClient(t)
	ref := parse(t, s.Host+"/acme/zlib:1")
	src := image(1, 300*kib, 200*kib, 0, 300*kib)
	var last, total int64
	if err := c.Push(t.Context(), ref, src, func(done, all int64) {
		if done < 0 || done > all {
			t.Errorf("progress %d of %d", done, all)
		}
		last, total = done, all
	}); err != nil {
		t.Fatal(err)
	}
	if last != total || total < 800*kib {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	doc, err := c.Document(t.Context(), ref.WithDigest(src.doc.Digest))
	if err != nil || !bytes.Equal(doc.Bytes, src.doc.Bytes) {
		t.Fatalf("the registry has %q, %v", doc.Bytes, err)
	}
	for _, desc := range src.blobs {
		if got, err := read(t.Context(), c, ref, desc); err != nil || !bytes.Equal(got, src.bytes[desc.Digest]) {
			t.Errorf("%s: %d bytes, %v", desc.Digest, len(got), err)
		}
	}
	var manifestAt, uploads int
	writes := s.Requests("")
	for i, r := range writes {
		if r.Method == http.MethodPut && strings.Contains(r.Path, manifests) {
			manifestAt = i
		} else if r.Method == http.MethodPut {
			uploads++
			if manifestAt != 0 {
				t.Error("a blob came after the manifest")
			}
		}
	}
	if uploads != 5 {
		t.Errorf("%d uploads, want 5", uploads)
	}

	s.Clear()
	last = -1
	if err := c.Push(t.Context(), ref, src, func(done, _ int64) { last = done }); err != nil {
		t.Fatal(err)
	}
	if last != total {
		t.Errorf("progress of the second push ended at %d of %d", last, total)
	}
	for _, r := range s.Requests("") {
		if r.Method != http.MethodHead && r.Method != http.MethodGet {
			t.Errorf("the second push did %s %s", r.Method, r.Path)
		}
	}
}

// Blobs of one push are sent side by side: the first is not taken before the second has come.
func TestPushUploadsSideBySide(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var begun atomic.Int64
	second, over := make(chan struct{}), make(chan struct{})
	s.Inject(registrytest.Fault{Method: http.MethodPatch, Path: `/blobs/uploads/`, Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		switch begun.Add(1) {
		case 1:
			select {
			case <-second:
			case <-over:
			}
		case 2:
			close(second)
		}
		next.ServeHTTP(w, r)
	}})
	src := image(1, 300*kib, 200*kib)
	ref := parse(t, s.Host+"/acme/zlib:1")
	once := func(o *registry.Options) { o.Retry.Attempts, o.Retry.HeaderTimeout = 1, 3*time.Second } // ten times that for an upload
	err := newClient(t, calm, once).Push(t.Context(), ref, src, nil)
	close(over)
	if err != nil {
		t.Fatalf("the first upload was given up, and %d had begun: %v", begun.Load(), err)
	}
	wantBlobs(t, ref, src)
}

func TestPushByDigestAndIndex(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := newClient(t)
	src := image(1, kib)
	byDigest := parse(t, s.Host+"/acme/zlib@"+src.doc.Digest.String())
	if err := c.Push(t.Context(), byDigest, src, nil); err != nil {
		t.Fatal(err)
	}
	index := &source{doc: document(string(types.OCIImageIndex), fmt.Sprintf(
		`{"schemaVersion":2,  "mediaType":%q,"manifests":[{"mediaType":%q,"size":%d,"digest":%q,"platform":{"os":"linux","architecture":"amd64"}}]}`,
		types.OCIImageIndex, src.doc.MediaType, len(src.doc.Bytes), src.doc.Digest))}
	ref := parse(t, s.Host+"/acme/zlib:1")
	if err := c.Push(t.Context(), ref, index, nil); err != nil {
		t.Fatal(err)
	}
	doc, err := c.Document(t.Context(), ref)
	if err != nil || doc.Digest != index.doc.Digest || doc.MediaType != string(types.OCIImageIndex) {
		t.Errorf("%+v, %v", doc, err)
	}
	other := ref.WithDigest(src.doc.Digest)
	wantError(t, c.Push(t.Context(), other, index, nil), diagnostic.Usage, "leave the digest out")
	index.doc.Bytes = append(index.doc.Bytes, ' ')
	wantError(t, c.Push(t.Context(), ref, index, nil), diagnostic.Corrupt, "pack it again")
}

func TestPushWithSubject(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := newClient(t)
	src := image(1, kib)
	if err := c.Push(t.Context(), parse(t, s.Host+"/acme/zlib:1"), src, nil); err != nil {
		t.Fatal(err)
	}
	signature := image(2, 10)
	text := strings.Replace(string(signature.doc.Bytes), `"zeta":null`, fmt.Sprintf(`"subject":{"mediaType":%q,"size":%d,"digest":%q}`, src.doc.MediaType, len(src.doc.Bytes), src.doc.Digest), 1)
	signature.doc = document(signature.doc.MediaType, text)
	if err := c.Push(t.Context(), parse(t, s.Host+"/acme/zlib@"+signature.doc.Digest.String()), signature, nil); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(s.URL + "/v2/acme/zlib/referrers/" + src.doc.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list v1.IndexManifest
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || len(list.Manifests) != 1 || list.Manifests[0].Digest != signature.doc.Digest {
		t.Errorf("referrers %+v, %v", list.Manifests, err)
	}
}

func TestPushFaults(t *testing.T) {
	uploads := `/blobs/uploads/`
	// The connection goes before anything of the body has been read.
	drop := registrytest.Reset(-1)
	for _, c := range []struct {
		name  string
		fault registrytest.Fault
		kind  diagnostic.Kind
		words string
	}{
		{"A5 reset while asking", registrytest.Fault{Method: "HEAD", Path: blobs, Times: 1, Act: drop}, 0, ""},
		{"A5 reset at the start", registrytest.Fault{Method: "POST", Path: uploads, Times: 1, Act: drop}, 0, ""},
		{"A5 reset during an upload", registrytest.Fault{Method: "PATCH", Path: uploads, Times: 1, Act: drop}, 0, ""},
		{"A5 reset at the commit", registrytest.Fault{Method: "PUT", Path: uploads, Times: 1, Act: drop}, 0, ""},
		{"A5 reset at the manifest", registrytest.Fault{Method: "PUT", Path: manifests, Times: 1, Act: drop}, 0, ""},
		{"A6 upload that nobody takes", registrytest.Fault{Method: "PATCH", Path: uploads, Times: 1, Act: registrytest.Stall(-1)}, 0, ""},
		{"A7 503", registrytest.Fault{Method: "PATCH", Path: uploads, Times: 1, Act: registrytest.Busy(503, "0")}, 0, ""},
		{"A7 429 for long", registrytest.Fault{Method: "POST", Path: uploads, Act: registrytest.Busy(429, "600")}, diagnostic.Unreachable, "asks to wait 10m0s"},
		{"403", registrytest.Fault{Method: "POST", Path: uploads, Act: registrytest.Answer(403, "", "", "")}, diagnostic.Denied, "docker login"},
		{"manifest refused", registrytest.Fault{Method: "PUT", Path: manifests, Act: registrytest.Answer(400, "", "", `{"errors":[{"code":"MANIFEST_INVALID","message":"too odd"}]}`)}, diagnostic.Unreachable, "MANIFEST_INVALID: too odd"},
		{"Location elsewhere", registrytest.Fault{Method: "POST", Path: uploads, Act: registrytest.Answer(202, "Location", "http://127.0.0.1:1/upload?sig=SIGNATURE", "")}, diagnostic.Refused, "another host"},
		{"redirected upload", registrytest.Fault{Method: "PATCH", Path: uploads, Act: registrytest.Redirect(func(*http.Request) string { return "http://127.0.0.1:1/upload?sig=SIGNATURE" })}, diagnostic.Refused, "another host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.Inject(c.fault)
			policy := fast
			policy.HeaderTimeout = fast.HeaderTimeout / 10 // uploads get ten times as much
			client := newClient(t, func(o *registry.Options) { o.Retry = &policy })
			ref := parse(t, s.Host+"/acme/zlib:1")
			src := image(1, 8*kib*kib/64)
			err := client.Push(t.Context(), ref, src, nil)
			if c.kind != 0 {
				wantError(t, err, c.kind, c.words, "push "+ref.String())
				noSecrets(t, err, "SIGNATURE")
				for _, r := range s.Requests(manifests) {
					if r.Status == http.StatusCreated {
						t.Error("there is a manifest")
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := read(t.Context(), newClient(t), ref, src.blobs[1]); err != nil || !bytes.Equal(got, src.bytes[src.blobs[1].Digest]) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// brokenSource cannot read its layer to the end.
type brokenSource struct {
	*source
	open func() (io.ReadCloser, error)
}

func (s brokenSource) OpenBlob(v1.Hash) (io.ReadCloser, error) { return s.open() }

// What is wrong with the source must not look like the registry's fault, nor be tried six times.
func TestPushBrokenSource(t *testing.T) {
	t.Parallel()
	disk := errors.New("input/output error")
	for name, open := range map[string]func() (io.ReadCloser, error){
		"cannot be opened": func() (io.ReadCloser, error) { return nil, disk },
		"cannot be read": func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(disk))), nil
		},
		"too short": func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abc")), nil },
		"too long":  func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(make([]byte, 300*kib))), nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			err := newClient(t).Push(t.Context(), parse(t, s.Host+"/acme/zlib:1"), brokenSource{image(1, 100*kib), open}, nil)
			wantError(t, err, diagnostic.Failure, "blob sha256:")
			if n := len(s.Requests(manifests)); n != 0 {
				t.Errorf("%d requests for the manifest", n)
			}
			if n := len(s.Requests(`/blobs/uploads/$`)); n > 2 {
				t.Errorf("%d uploads began", n)
			}
		})
	}
}

// verdictSource gives the right number of bytes of each blob, and says at the end that they are wrong.
type verdictSource struct {
	*source
	verdict error
	opened  atomic.Int64
}

func (s *verdictSource) OpenBlob(h v1.Hash) (io.ReadCloser, error) {
	s.opened.Add(1)
	end := io.Reader(strings.NewReader(""))
	if s.verdict != nil {
		end = iotest.ErrReader(s.verdict)
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(s.bytes[h]), end)), nil
}

// A registry never has all of a blob of which its source says at the end that it is wrong.
func TestPushWaitsForTheSourcesVerdict(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	src := &verdictSource{source: image(1, 100*kib, kib), verdict: errors.New("other bytes")}
	err := newClient(t).Push(t.Context(), parse(t, s.Host+"/acme/zlib:1"), src, nil)
	wantError(t, err, diagnostic.Failure, "other bytes")
	s.Close() // the log is whole only when every handler has returned
	for _, r := range s.Requests(`/blobs/uploads/`) {
		if r.Method == http.MethodPut || r.Method == http.MethodPatch && r.Status == http.StatusAccepted {
			t.Errorf("%s: %d", r.Method, r.Status)
		}
	}
}

// A source is opened once for an upload, also where that is resumed, or its token has to be renewed.
func TestPushOpensItsSourceOnce(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]registrytest.Fault{
		"in one go": nil,
		"cut":       {{Method: http.MethodPatch, Path: `/blobs/uploads/`, Times: 2, Act: registrytest.CutUpload(100 * kib)}},
		"lost": {{Method: http.MethodPatch, Path: `/blobs/uploads/`, Times: 2, Act: registrytest.CutUpload(100 * kib)},
			{Method: http.MethodGet, Path: `/blobs/uploads/`, Act: registrytest.Answer(404, "", "", "")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			for _, f := range faults {
				s.Inject(f)
			}
			src := &verdictSource{source: image(1, 1024*kib, 512*kib)}
			ref := parse(t, s.Host+"/acme/zlib:1")
			if err := newClient(t, calm).Push(t.Context(), ref, src, nil); err != nil {
				t.Fatal(err)
			}
			if n := src.opened.Load(); n != 3 {
				t.Errorf("3 blobs were opened %d times", n)
			}
			wantBlobs(t, ref, src.source)
		})
	}
}
