package embedded_test

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func digest512(s string) string {
	sum := sha512.Sum512([]byte(s))
	return "sha512:" + hex.EncodeToString(sum[:])
}

// A manifest that another reader could take for something else, or cannot pull, is not stored.
func TestManifestRefusals(t *testing.T) {
	r := start(t, t.TempDir())
	config := fmt.Sprintf(`"config":{"digest":%q}`, r.putBlob("a", "x"))
	const layers = `"layers":[]`
	for name, c := range map[string]struct{ mediaType, body, code string }{
		"no type anywhere":           {"", `{"schemaVersion":2,` + config + `}`, "MANIFEST_INVALID"},
		"a type of something else":   {"application/json", `{"schemaVersion":2,` + config + `}`, "MANIFEST_INVALID"},
		"a type that is none":        {"manifest;;", `{"schemaVersion":2,` + config + `}`, "MANIFEST_INVALID"},
		"types that contradict":      {manifestType, `{"schemaVersion":2,"mediaType":"` + indexType + `",` + config + `}`, "MANIFEST_INVALID"},
		"schema 1":                   {manifestType, `{"schemaVersion":1,` + config + `}`, "MANIFEST_INVALID"},
		"no schema":                  {manifestType, `{` + config + `}`, "MANIFEST_INVALID"},
		"no config":                  {manifestType, `{"schemaVersion":2,` + layers + `}`, "MANIFEST_INVALID"},
		"manifest and index":         {manifestType, `{"schemaVersion":2,"manifests":[],` + config + `}`, "MANIFEST_INVALID"},
		"index and manifest":         {indexType, `{"schemaVersion":2,"manifests":[],` + layers + `}`, "MANIFEST_INVALID"},
		"a list":                     {manifestType, `[]`, "MANIFEST_INVALID"},
		"a subject without a digest": {manifestType, `{"schemaVersion":2,"subject":{},` + config + `}`, "MANIFEST_INVALID"},
		"a blob that is not here":    {manifestType, `{"schemaVersion":2,"config":{"digest":"` + digest("y") + `"}}`, "MANIFEST_BLOB_UNKNOWN"},
		"a blob without a digest":    {manifestType, `{"schemaVersion":2,"config":{"digest":"../x"}}`, "MANIFEST_BLOB_UNKNOWN"},
		"a blob without anything":    {manifestType, `{"schemaVersion":2,` + config + `,"layers":[{}]}`, "MANIFEST_BLOB_UNKNOWN"},
		"a manifest that is not":     {indexType, `{"schemaVersion":2,"manifests":[{"digest":"` + digest("y") + `"}]}`, "MANIFEST_BLOB_UNKNOWN"},
		"a manifest without digest":  {indexType, `{"schemaVersion":2,"manifests":[{}]}`, "MANIFEST_BLOB_UNKNOWN"},
	} {
		status, _, body := r.do("PUT", "/v2/a/manifests/x", c.body, "Content-Type", c.mediaType)
		if status != 400 || !strings.Contains(body, c.code) {
			t.Errorf("%s: %d %s, want 400 %s", name, status, body, c.code)
		}
	}
	r.want(404, "GET", "/v2/a/manifests/x", "")
	// The type may stand in the manifest alone, and a subject be missing.
	r.want(201, "PUT", "/v2/a/manifests/x", `{"schemaVersion":2,"mediaType":"`+manifestType+`","subject":{"digest":"`+digest("y")+`"},`+config+`}`, "Content-Type", "")
	r.want(201, "PUT", "/v2/a/manifests/x", `{"schemaVersion":2,`+config+`,"layers":[{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"`+digest("y")+`"}]}`, "Content-Type", manifestType+"; charset=utf-8")
}

func TestUploadRefusals(t *testing.T) {
	r := start(t, t.TempDir())
	begin := func() string {
		t.Helper()
		h, _ := r.want(202, "POST", "/v2/a/blobs/uploads/", "")
		return h.Get("Location")
	}
	at := begin()
	r.want(202, "PATCH", at, "hello", "Content-Range", "0-4", "Content-Type", "application/octet-stream")
	for name, c := range map[string]struct {
		status int
		span   string
	}{
		"a hole":         {416, "6-10"},
		"an overlap":     {416, "4-8"},
		"the same again": {416, "0-4"},
		"too short":      {400, "5-8"},
		"too long":       {400, "5-10"},
		"backwards":      {400, "9-5"},
		"with a unit":    {400, "bytes 5-9"},
		"with a total":   {400, "5-9/10"},
		"negative":       {400, "-5-9"},
		"huge":           {400, "5-99999999999999999999"},
		"of no sense":    {400, "x"},
	} {
		if h, body := r.want(c.status, "PATCH", at, "world", "Content-Range", c.span); c.status == 416 && h.Get("Range") != "0-4" {
			t.Errorf("%s: %v %s", name, h, body)
		}
		if h, _ := r.want(204, "GET", at, ""); h.Get("Range") != "0-4" {
			t.Errorf("%s: the upload has %s", name, h.Get("Range"))
		}
	}
	r.want(415, "PATCH", at, "world", "Content-Type", "application/json")
	r.want(415, "PUT", at+"?digest="+digest("helloworld"), "world", "Content-Type", "text/plain")
	// It is the upload of its repository alone.
	r.want(404, "GET", strings.Replace(at, "/v2/a/", "/v2/b/", 1), "")
	r.want(404, "PATCH", strings.Replace(at, "/v2/a/", "/v2/b/", 1), "world")
	r.want(201, "PUT", at+"?digest="+digest("helloworld"), "world", "Content-Range", "5-9")
}

// sha512 for blobs, manifests and tags, across a restart.
func TestSHA512(t *testing.T) {
	r := start(t, t.TempDir())
	r.want(201, "POST", "/v2/a/blobs/uploads/?digest="+digest512("x"), "x")
	r.want(400, "POST", "/v2/a/blobs/uploads/?digest="+digest512("y"), "x")
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q}}`, digest512("x"))
	h, _ := r.want(201, "PUT", "/v2/a/manifests/"+digest512(manifest)+"?tag=one&tag=Two", manifest, "Content-Type", manifestType)
	if tags := h.Values("OCI-Tag"); !slices.Equal(tags, []string{"one", "Two"}) {
		t.Errorf("OCI-Tag %q", tags)
	}
	r.want(400, "PUT", "/v2/a/manifests/"+digest512("other"), manifest, "Content-Type", manifestType)
	r.want(400, "PUT", "/v2/a/manifests/"+digest512(manifest)+"?tag=..%2fx", manifest, "Content-Type", manifestType)
	r.want(400, "PUT", "/v2/a/manifests/one?tag=two", manifest, "Content-Type", manifestType)
	for r := range r.beforeAndAfterRestart() {
		for _, reference := range []string{"one", "Two", digest512(manifest)} {
			if h, body := r.want(200, "GET", "/v2/a/manifests/"+reference, ""); body != manifest || h.Get("Docker-Content-Digest") != digest512(manifest) {
				t.Errorf("%s: %s %v", reference, body, h)
			}
		}
		r.want(404, "GET", "/v2/a/manifests/"+digest(manifest), "")
		if _, body := r.want(200, "GET", "/v2/a/blobs/"+digest512("x"), ""); body != "x" {
			t.Errorf("blob %q", body)
		}
	}
}

// follow reads all pages of a list and returns how many there were.
func (r *running) follow(path string, read func(body string)) int {
	r.t.Helper()
	pages := 0
	for path != "" && pages < 100 {
		h, body := r.want(200, "GET", path, "")
		read(body)
		pages++
		path = ""
		if link := h.Get("Link"); link != "" {
			target, rest, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
			if rest != `; rel="next"` {
				r.t.Errorf("Link %q", link)
			}
			path = target
		}
	}
	return pages
}

func TestPages(t *testing.T) {
	r := start(t, t.TempDir())
	manifest := r.putImage("a/b", "c", "x")
	for _, tag := range []string{"B", "a", "D", "b"} {
		r.want(201, "PUT", "/v2/a/b/manifests/"+tag, manifest, "Content-Type", manifestType)
	}
	r.putImage("a", "x", "x")
	for path, want := range map[string]struct {
		list  string
		pages int
	}{
		"/v2/a/b/tags/list":              {"a B b c D", 1},
		"/v2/a/b/tags/list?n=2":          {"a B b c D", 3},
		"/v2/a/b/tags/list?n=5":          {"a B b c D", 1},
		"/v2/a/b/tags/list?n=1&last=b":   {"c D", 2},
		"/v2/a/b/tags/list?last=bb":      {"c D", 1},
		"/v2/a/b/tags/list?last=z":       {"", 1},
		"/v2/a/b/tags/list?n=0":          {"", 1},
		"/v2/_catalog":                   {"a a/b", 1},
		"/v2/_catalog?n=1":               {"a a/b", 2},
		"/v2/a/b/tags/list?n=2147483647": {"a B b c D", 1},
	} {
		var got []string
		pages := r.follow(path, func(body string) {
			var page struct{ Tags, Repositories []string }
			if err := json.Unmarshal([]byte(body), &page); err != nil || strings.Contains(body, "null") {
				t.Errorf("%s: %s %v", path, body, err)
			}
			got = append(append(got, page.Tags...), page.Repositories...)
		})
		if strings.Join(got, " ") != want.list || pages != want.pages {
			t.Errorf("%s: %q in %d pages, want %q in %d", path, got, pages, want.list, want.pages)
		}
	}
	r.want(400, "GET", "/v2/a/b/tags/list?n=-1", "")
	r.want(400, "GET", "/v2/a/b/tags/list?n=many", "")
	r.want(404, "GET", "/v2/nobody/tags/list", "")
	r.want(405, "POST", "/v2/a/b/tags/list", "")
	r.want(404, "GET", "/v2/a/b/else", "")
}

func TestReferrers(t *testing.T) {
	r := start(t, t.TempDir())
	subject := r.putImage("a", "1", "x")
	// Annotations of half a MiB each, so that ten do not go on one page of 4 MiB.
	put := func(i int, artifactType string) {
		t.Helper()
		text := fmt.Sprintf(`{"schemaVersion":2,%s"config":{"mediaType":"application/of-config","digest":%q},"subject":{"digest":%q},"annotations":{"n":"%d","filler":%q}}`,
			artifactType, digest("x"), digest(subject), i, strings.Repeat("x", 512<<10))
		h, _ := r.want(201, "PUT", "/v2/a/manifests/"+digest(text), text, "Content-Type", manifestType)
		if h.Get("OCI-Subject") != digest(subject) {
			t.Errorf("OCI-Subject %q", h.Get("OCI-Subject"))
		}
	}
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() {
			if i < 3 {
				put(i, "")
			} else {
				put(i, `"artifactType":"application/own",`)
			}
		})
	}
	group.Wait()
	r.want(400, "GET", "/v2/a/referrers/sha256:x", "")
	for r := range r.beforeAndAfterRestart() {
		for path, want := range map[string]struct{ entries, pages int }{
			"": {10, 2}, "?n=3": {10, 4}, "?artifactType=application/own": {7, 1}, "?artifactType=application/of-config": {3, 1},
			"?n=2&artifactType=application/own": {7, 4}, "?artifactType=application/other": {0, 1}, "?n=0": {0, 1},
		} {
			seen := map[string]bool{}
			pages := r.follow("/v2/a/referrers/"+digest(subject)+path, func(body string) {
				var page struct {
					MediaType string
					Manifests []struct {
						Digest, ArtifactType string
						Size                 int
						Annotations          map[string]string
					}
				}
				if err := json.Unmarshal([]byte(body), &page); err != nil || page.MediaType != indexType || page.Manifests == nil || len(body) > 4<<20 {
					t.Errorf("%s: %.200s %v", path, body, err)
				}
				for _, m := range page.Manifests {
					seen[m.Digest] = true
					if m.Size < 512<<10 || m.Annotations["n"] == "" || m.ArtifactType == "" {
						t.Errorf("%s: %s has %d bytes and is of type %q", path, m.Digest, m.Size, m.ArtifactType)
					}
				}
			})
			if len(seen) != want.entries || pages != want.pages {
				t.Errorf("%s: %d entries in %d pages, want %d in %d", path, len(seen), pages, want.entries, want.pages)
			}
		}
		h, _ := r.want(200, "GET", "/v2/a/referrers/"+digest(subject)+"?artifactType=x", "")
		if h.Get("OCI-Filters-Applied") != "artifactType" || h.Get("Content-Type") != indexType {
			t.Errorf("%v", h)
		}
		// Nothing is known of it, and so nothing refers to it.
		if _, body := r.want(200, "GET", "/v2/nobody/referrers/"+digest("?"), ""); !strings.Contains(body, `"manifests":[]`) {
			t.Errorf("%s", body)
		}
	}
}
