package registry_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

const uploads = `/blobs/uploads/`

// requests counts those of a method whose path matches.
func requests(s *registrytest.Server, method, path string) int {
	n := 0
	for _, r := range s.Requests(path) {
		if r.Method == method {
			n++
		}
	}
	return n
}

// wantBlobs pulls what was pushed.
func wantBlobs(t *testing.T, ref registry.Reference, src *source) {
	t.Helper()
	for _, desc := range src.blobs {
		if got, err := read(t.Context(), newClient(t, calm), ref, desc); err != nil || !bytes.Equal(got, src.bytes[desc.Digest]) {
			t.Errorf("%s: %d bytes, %v", desc.Digest, len(got), err)
		}
	}
}

// An upload is one request with the whole blob and one that commits it, unless something breaks.
func TestUploadG_Monolithic(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	src := image(1, 100*kib)
	if err := newClient(t, calm).Push(t.Context(), parse(t, s.Host+"/acme/zlib:1"), src, nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Requests(uploads) {
		if r.Method == http.MethodPatch && r.Header.Get("Content-Range") != "" {
			t.Errorf("a chunk: %v", r.Header)
		}
	}
	if n := requests(s, http.MethodPatch, uploads); n != 2 {
		t.Errorf("%d uploads of two blobs", n)
	}
}

// Whether a blob is there is a question that need not have an answer.
func TestUploadG_HeadUnanswered(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 403, 405} {
		s := newServer(t)
		s.Inject(registrytest.Fault{Method: http.MethodHead, Path: blobs, Act: registrytest.Answer(status, "", "", "")})
		ref := parse(t, s.Host+"/acme/zlib:1")
		src := image(1, kib)
		if err := newClient(t, calm).Push(t.Context(), ref, src, nil); err != nil {
			t.Errorf("%d: %v", status, err)
		}
		wantBlobs(t, ref, src)
	}
}

func TestUploadG_Resumed(t *testing.T) {
	const size = 256 * kib
	status := func(value string) registrytest.Fault {
		return registrytest.Fault{Method: http.MethodGet, Path: uploads, Times: 1, Act: registrytest.Header(func(h http.Header) { h.Set("Range", value) })}
	}
	cut := registrytest.Fault{Method: http.MethodPatch, Path: uploads, Skip: 1, Times: 1, Act: registrytest.CutUpload(100 * kib)}
	for _, c := range []struct {
		name   string
		faults []registrytest.Fault
		chunks []string // Content-Range of the requests after the broken one
	}{
		{"where the registry says", []registrytest.Fault{cut}, []string{"102400-262143"}},
		{"cut twice", []registrytest.Fault{cut, {Method: http.MethodPatch, Path: uploads, Skip: 1, Times: 1, Act: registrytest.CutUpload(10 * kib)}}, []string{"102400-262143", "112640-262143"}},
		{"the whole was there", []registrytest.Fault{{Method: http.MethodPatch, Path: uploads, Skip: 1, Times: 1, Act: registrytest.Unanswered()}}, nil},
		{"the registry cannot say", []registrytest.Fault{cut, {Method: http.MethodGet, Path: uploads, Times: 1, Act: registrytest.Answer(404, "", "", "")}}, []string{""}},
		{"a status nobody asked for", []registrytest.Fault{cut, {Method: http.MethodGet, Path: uploads, Times: 1, Act: registrytest.HTML()}}, []string{""}},
		{"nothing or one byte", []registrytest.Fault{cut, status("0-0")}, []string{""}},
		{"no sense", []registrytest.Fault{cut, status("all")}, []string{""}},
		{"more than there is", []registrytest.Fault{cut, status("0-999999999")}, []string{""}},
		{"more than it has", []registrytest.Fault{cut, status("0-200000")}, []string{"200001-262143", ""}},
		{"less than it has", []registrytest.Fault{cut, status("0-1000")}, []string{"1001-262143", ""}},
		{"less than it has, and the range ignored", []registrytest.Fault{
			cut, status("0-1000"),
			{Method: http.MethodPatch, Path: uploads, Act: registrytest.Asked(func(h http.Header) { h.Del("Content-Range") })},
		}, []string{"1001-262143", ""}},
		{"with bytes=", []registrytest.Fault{cut, status("bytes=0-102399")}, []string{"102400-262143"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			// The config goes first, so that the faults, which skip one upload, are the layer's.
			src := image(1, size)
			config := &source{bytes: src.bytes, doc: src.doc, blobs: src.blobs[:1]}
			ref := parse(t, s.Host+"/acme/zlib:1")
			for _, f := range c.faults {
				f.Path = uploads
				s.Inject(f)
			}
			_ = newClient(t, calm).Push(t.Context(), ref, config, nil) // its manifest is refused: the layer is missing
			if err := newClient(t, calm).Push(t.Context(), ref, src, nil); err != nil {
				t.Fatal(err)
			}
			wantBlobs(t, ref, src)
			var chunks []string
			for _, r := range s.Requests(uploads) {
				if r.Method == http.MethodPatch {
					chunks = append(chunks, r.Header.Get("Content-Range"))
				}
			}
			if got := fmt.Sprintf("%q", chunks[min(2, len(chunks)):]); got != fmt.Sprintf("%q", append([]string{}, c.chunks...)) {
				t.Errorf("the requests after the broken one were %s, want %q", got, c.chunks)
			}
		})
	}
}

// What was committed although the answer was lost is found, not sent again.
func TestUploadG_CommitUnanswered(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.Inject(registrytest.Fault{Method: http.MethodPut, Path: uploads, Times: 1, Act: registrytest.Unanswered()})
	ref := parse(t, s.Host+"/acme/zlib:1")
	src := image(1, 10*kib)
	if err := newClient(t, calm).Push(t.Context(), ref, src, nil); err != nil {
		t.Fatal(err)
	}
	wantBlobs(t, ref, src)
	if n := requests(s, http.MethodPatch, uploads); n != 2 {
		t.Errorf("%d uploads of two blobs", n)
	}
}

// docker-registry 2.8 calls a digest invalid when another client puts the same thing at the same time; once more, it is there. Of a
// blob it is tried once, since only the registry has hashed it.
func TestUploadG_DigestDisputed(t *testing.T) {
	t.Parallel()
	dispute := registrytest.Answer(400, "Content-Type", "application/json", `{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}`)
	s := newServer(t)
	s.Inject(registrytest.Fault{Method: http.MethodPut, Path: uploads, Times: 1, Act: dispute})
	s.Inject(registrytest.Fault{Method: http.MethodPut, Path: manifests, Times: 2, Act: dispute})
	ref := parse(t, s.Host+"/acme/zlib:1")
	src := image(1, 10*kib)
	if err := newClient(t, calm).Push(t.Context(), ref, src, nil); err != nil {
		t.Fatal(err)
	}
	wantBlobs(t, ref, src)

	s.Clear()
	wrong := image(2, 10*kib)
	wrong.bytes[wrong.blobs[1].Digest][5] ^= 1
	err := newClient(t, calm).Push(t.Context(), ref, wrong, nil)
	wantError(t, err, diagnostic.Unreachable, "DIGEST_INVALID", "blob sha256:")
	if n := requests(s, http.MethodPatch, uploads); n != 2 {
		t.Errorf("%d uploads", n)
	}
	s.Inject(registrytest.Fault{Method: http.MethodPut, Path: manifests, Act: dispute})
	err = newClient(t, calm).Push(t.Context(), ref, image(3, kib), nil)
	wantError(t, err, diagnostic.Unreachable, "DIGEST_INVALID")
}

// A registry that takes parts and loses them is not tried for ever, however much it takes each time.
func TestUploadG_LostAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.Inject(registrytest.Fault{Method: http.MethodPut, Path: uploads, Act: registrytest.Answer(404, "", "", `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}`)})
	s.Inject(registrytest.Fault{Method: http.MethodPatch, Path: uploads, Act: registrytest.CutUpload(64 * kib)})
	err := newClient(t, calm).Push(t.Context(), parse(t, s.Host+"/acme/zlib:1"), image(1, 128*kib), nil)
	wantError(t, err, diagnostic.Unreachable, "blob sha256:")
	if n := requests(s, http.MethodPost, uploads); n > 20 {
		t.Errorf("%d uploads began", n)
	}
}

// mountable is an image that another repository has.
type mountable struct {
	*source
	from name.Repository
}

func (m mountable) MountFrom() name.Repository { return m.from }

func TestUploadG_Mount(t *testing.T) {
	deleteMount := registrytest.Query(func(v url.Values) { v.Del("mount"); v.Del("from") })
	for _, c := range []struct {
		name  string
		fault registrytest.Act // of requests that begin an upload
		from  string           // repository; "" is the one that has the blobs
		sent  int              // uploads of the two blobs
		posts int
	}{
		{name: "granted", sent: 0, posts: 2},
		{name: "refused with 202", fault: deleteMount, sent: 2, posts: 2},
		{name: "not there", from: "acme/other", sent: 2, posts: 2},
		{name: "the same repository", from: "mine/zlib", sent: 2, posts: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.SeparateRepositories()
			src := image(1, 10*kib)
			theirs, mine := parse(t, s.Host+"/acme/zlib:1"), parse(t, s.Host+"/mine/zlib:1")
			if err := newClient(t, calm).Push(t.Context(), theirs, src, nil); err != nil {
				t.Fatal(err)
			}
			s.Clear()
			from := theirs.Repository
			if c.from != "" {
				from = parse(t, s.Host+"/"+c.from).Repository
			}
			if c.fault != nil {
				s.Inject(registrytest.Fault{Method: http.MethodPost, Path: uploads, Act: c.fault})
			}
			if err := newClient(t, calm).Push(t.Context(), mine, mountable{src, from}, nil); err != nil {
				t.Fatal(err)
			}
			wantBlobs(t, mine, src)
			sent, posts := requests(s, http.MethodPatch, uploads), requests(s, http.MethodPost, uploads)
			if sent != c.sent || posts != c.posts {
				t.Errorf("%d uploads and %d requests that begin one, want %d and %d", sent, posts, c.sent, c.posts)
			}
		})
	}
	// Registries that do not know the question answer with all kinds of errors; it is asked once a blob.
	for name, act := range map[string]registrytest.Act{
		"400": registrytest.Answer(400, "", "", ""), "405": registrytest.Answer(405, "", "", ""),
		"403": registrytest.Answer(403, "", "", ""), "500": registrytest.Answer(500, "", "", ""), "reset": registrytest.Reset(-1),
	} {
		t.Run("answered with "+name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.Inject(registrytest.Fault{Method: http.MethodPost, Path: uploads, Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.URL.Query().Has("mount") {
					act(w, r, next)
				} else {
					next.ServeHTTP(w, r)
				}
			}})
			ref := parse(t, s.Host+"/mine/zlib:1")
			src := image(1, 10*kib)
			if err := newClient(t, calm).Push(t.Context(), ref, mountable{src, parse(t, s.Host+"/acme/zlib").Repository}, nil); err != nil {
				t.Fatal(err)
			}
			wantBlobs(t, ref, src)
			if n := requests(s, http.MethodPost, uploads); n != 4 {
				t.Errorf("%d requests that begin an upload, want 4", n)
			}
		})
	}
	t.Run("of another registry", func(t *testing.T) {
		t.Parallel()
		s, other := newServer(t), newServer(t)
		ref := parse(t, s.Host+"/mine/zlib:1")
		src := image(1, kib)
		s.Inject(registrytest.Fault{Method: http.MethodPost, Path: uploads, Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.URL.Query().Has("from") {
				t.Errorf("asked for %s", r.URL.RawQuery)
			}
			next.ServeHTTP(w, r)
		}})
		if err := newClient(t, calm).Push(t.Context(), ref, mountable{src, parse(t, other.Host+"/acme/zlib").Repository}, nil); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("with tokens", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		s.RequireBearer("bob", "hunter22-secret")
		s.SeparateRepositories()
		login := withKeychain(keychain{config: authConfig("bob", "hunter22-secret")})
		src := image(1, kib)
		theirs, mine := parse(t, s.Host+"/acme/zlib:1"), parse(t, s.Host+"/mine/zlib:1")
		for _, push := range []struct {
			ref registry.Reference
			src registry.Source
		}{{theirs, src}, {mine, mountable{src, theirs.Repository}}} {
			if err := newClient(t, calm, login).Push(t.Context(), push.ref, push.src, nil); err != nil {
				t.Fatal(err)
			}
		}
		if n := requests(s, http.MethodPatch, `^/v2/mine/`); n != 0 {
			t.Errorf("%d uploads", n)
		}
	})
}

// A body goes to the registry and nowhere else.
func TestUploadG_LocationElsewhere(t *testing.T) {
	t.Parallel()
	s := registrytest.NewTLS(t.TempDir())
	t.Cleanup(s.Close)
	other := newServer(t)
	for name, c := range map[string]struct{ location, words string }{
		"another port":      {other.URL + "/v2/a/blobs/uploads/x", "another host"},
		"another name":      {"https://evil.invalid/upload", "another host"},
		"without a scheme":  {"//evil.invalid/upload", "another host"},
		"without TLS":       {"http://" + s.Host + "/v2/a/blobs/uploads/x", "wants an upload to go by http"},
		"a file":            {"file:///etc/passwd", "another host"},
		"none":              {"", "does not say where"},
		"a user before it":  {"https://" + s.Host + "@evil.invalid/", "another host"},
		"not to be parsed":  {"https://%zz", "does not say where"},
		"a backslash trick": {`https://evil.invalid\@` + s.Host, "does not say where"},
	} {
		s.Clear()
		s.Inject(registrytest.Fault{Method: http.MethodPost, Path: uploads, Act: registrytest.Answer(202, "Location", c.location, "")})
		err := newClient(t, calm, trusting(s)).Push(t.Context(), parse(t, s.Host+"/acme/zlib:1"), image(1, kib), nil)
		t.Log(name)
		wantError(t, err, diagnostic.Refused, c.words)
	}
	if n := len(other.Requests("")); n != 0 {
		t.Errorf("the other server got %d requests", n)
	}
}

func TestPushG_ConcurrentPushOfOneBlob(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	src := image(1, 200*kib, 50*kib)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if err := newClient(t, calm).Push(t.Context(), parse(t, fmt.Sprintf("%s/acme/zlib:%d", s.Host, i)), src, nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	wantBlobs(t, parse(t, s.Host+"/acme/zlib:7"), src)
}

// Several platforms: their manifests by digest, then an index under the tag. What they share is sent once, and nobody sees an
// index without its manifests.
func TestPushG_IndexPushOrder(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := newClient(t, calm)
	one, two := image(1, 10*kib), image(2, 20*kib) // of one config
	ref := parse(t, s.Host+"/acme/zlib:1")
	var list []string
	for _, src := range []*source{one, two} {
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"size":%d,"digest":%q}`, src.doc.MediaType, len(src.doc.Bytes), src.doc.Digest))
	}
	index := &source{doc: document(string(types.OCIImageIndex), fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, types.OCIImageIndex, strings.Join(list, ",")))}

	err := c.Push(t.Context(), ref, index, nil)
	wantError(t, err, diagnostic.Unreachable, "MANIFEST_BLOB_UNKNOWN")
	for _, src := range []*source{one, two} {
		if err := c.Push(t.Context(), registry.Reference{Repository: ref.Repository}.WithDigest(src.doc.Digest), src, nil); err != nil {
			t.Fatal(err)
		}
	}
	var done, total int64
	if err := c.Push(t.Context(), ref, index, func(d, all int64) { done, total = d, all }); err != nil {
		t.Fatal(err)
	}
	if done != total || total != int64(len(index.doc.Bytes)) {
		t.Errorf("progress %d of %d", done, total)
	}
	if n := requests(s, http.MethodPatch, uploads); n != 3 {
		t.Errorf("%d uploads of three blobs", n)
	}
	s.Clear()
	for _, push := range []struct {
		ref registry.Reference
		src *source
	}{{registry.Reference{Repository: ref.Repository}.WithDigest(one.doc.Digest), one}, {ref, index}} {
		if err := c.Push(t.Context(), push.ref, push.src, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range s.Requests("") {
		if r.Method != http.MethodHead && r.Method != http.MethodGet {
			t.Errorf("the second push did %s %s", r.Method, r.Path)
		}
	}
}

// Without the API, a referrer is listed under the subject's tag, once however often it is pushed.
func TestPushG_ReferrersTag(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.WithoutReferrers()
	c := newClient(t, calm)
	src := image(1, kib)
	if err := c.Push(t.Context(), parse(t, s.Host+"/acme/zlib:1"), src, nil); err != nil {
		t.Fatal(err)
	}
	for _, seed := range []uint64{2, 3, 2} {
		signature := image(seed, 10)
		text := strings.Replace(string(signature.doc.Bytes), `"zeta":null`, fmt.Sprintf(`"subject":{"mediaType":%q,"size":%d,"digest":%q}`, src.doc.MediaType, len(src.doc.Bytes), src.doc.Digest), 1)
		signature.doc = document(signature.doc.MediaType, text)
		if err := c.Push(t.Context(), parse(t, s.Host+"/acme/zlib@"+signature.doc.Digest.String()), signature, nil); err != nil {
			t.Fatal(err)
		}
	}
	doc, err := c.Document(t.Context(), parse(t, s.Host+"/acme/zlib:sha256-"+src.doc.Digest.Hex))
	if err != nil || doc.MediaType != string(types.OCIImageIndex) || strings.Count(string(doc.Bytes), `"digest"`) != 2 {
		t.Errorf("%s, %v", doc.Bytes, err)
	}
}

// A list of referrers that could not be written at first is written by the next try, although the manifest is there by then.
func TestPushG_ReferrersTagAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.WithoutReferrers()
	c := newClient(t, calm)
	src := image(1, kib)
	if err := c.Push(t.Context(), parse(t, s.Host+"/acme/zlib:1"), src, nil); err != nil {
		t.Fatal(err)
	}
	signature := image(2, 10)
	text := strings.Replace(string(signature.doc.Bytes), `"zeta":null`, fmt.Sprintf(`"subject":{"mediaType":%q,"size":%d,"digest":%q}`, src.doc.MediaType, len(src.doc.Bytes), src.doc.Digest), 1)
	signature.doc = document(signature.doc.MediaType, text)
	s.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/sha256-", Times: 1, Act: registrytest.Busy(503, "")})
	if err := c.Push(t.Context(), parse(t, s.Host+"/acme/zlib@"+signature.doc.Digest.String()), signature, nil); err != nil {
		t.Fatal(err)
	}
	doc, err := c.Document(t.Context(), parse(t, s.Host+"/acme/zlib:sha256-"+src.doc.Digest.Hex))
	if err != nil || !strings.Contains(string(doc.Bytes), signature.doc.Digest.String()) {
		t.Errorf("%s, %v", doc.Bytes, err)
	}
}

// A token that expires between two requests of a push is had anew, and the body is sent from its first byte.
func TestUploadG_TokenExpires(t *testing.T) {
	for _, c := range []struct{ method, path string }{
		{http.MethodHead, blobs}, {http.MethodPost, uploads}, {http.MethodPatch, uploads}, {http.MethodPut, uploads}, {http.MethodPut, manifests},
	} {
		t.Run(c.method+c.path, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.RequireBearer("bob", "hunter22-secret")
			s.Inject(registrytest.Fault{Method: c.method, Path: c.path, Times: 1, Act: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				s.ExpireTokens()
				next.ServeHTTP(w, r)
			}})
			ref := parse(t, s.Host+"/acme/zlib:1")
			src := image(1, 600*kib)
			login := withKeychain(keychain{config: authConfig("bob", "hunter22-secret")})
			if err := newClient(t, calm, login).Push(t.Context(), ref, src, nil); err != nil {
				t.Fatal(err)
			}
			for _, desc := range src.blobs {
				if got, err := read(t.Context(), newClient(t, calm, login), ref, desc); err != nil || !bytes.Equal(got, src.bytes[desc.Digest]) {
					t.Errorf("%s: %d bytes, %v", desc.Digest, len(got), err)
				}
			}
			for _, r := range s.Requests(uploads) {
				if r.Method == http.MethodPatch && r.Header.Get("Content-Range") != "" {
					t.Errorf("the upload broke: %s", r.Header.Get("Content-Range"))
				}
			}
			if n := requests(s, http.MethodPost, uploads); n > 4 {
				t.Errorf("%d uploads began", n)
			}
		})
	}
}
