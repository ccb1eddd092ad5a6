package library

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// memory is a source of documents and blobs made by a test.
type memory struct {
	doc   registry.Document
	blobs []v1.Descriptor
	bytes map[v1.Hash][]byte
}

func (m *memory) Manifest() registry.Document { return m.doc }
func (m *memory) Blobs() []v1.Descriptor      { return m.blobs }
func (m *memory) OpenBlob(h v1.Hash) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(m.bytes[h]))), nil
}

func hashOf(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

func document(t *testing.T, mediaType string, v map[string]any) registry.Document {
	t.Helper()
	v["schemaVersion"], v["mediaType"] = 2, mediaType
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return registry.Document{MediaType: mediaType, Digest: hashOf(data), Bytes: data}
}

func describe(doc registry.Document) map[string]any {
	return map[string]any{"mediaType": doc.MediaType, "digest": doc.Digest.String(), "size": len(doc.Bytes)}
}

// statement is an artifact of one small blob, such as a signature; about, where not nil, is its subject.
func statement(t *testing.T, text string, about *registry.Document) *memory {
	t.Helper()
	m := &memory{bytes: map[v1.Hash][]byte{}}
	var descriptors []map[string]any
	for _, data := range []string{"{}", text} {
		h := hashOf([]byte(data))
		m.bytes[h] = []byte(data)
		m.blobs = append(m.blobs, v1.Descriptor{MediaType: "application/octet-stream", Digest: h, Size: int64(len(data))})
		descriptors = append(descriptors, map[string]any{"mediaType": "application/octet-stream", "digest": h.String(), "size": len(data)})
	}
	v := map[string]any{"artifactType": "application/vnd.example.statement", "config": descriptors[0], "layers": descriptors[1:]}
	if about != nil {
		v["subject"] = describe(*about)
	}
	m.doc = document(t, artifact.TypeManifest, v)
	return m
}

// packed is a library for a machine, as `ocipkg pack` makes it.
func packed(t *testing.T, target, version string, compression artifact.Compression) *memory {
	t.Helper()
	machine := artifacttest.Shared{SONAME: "libz.so.1", Needed: []string{"libc.so.6"}}
	if strings.HasPrefix(target, "aarch64") {
		machine.Machine = 183
	}
	files := fstest.MapFS{
		"include/zlib.h": {Data: []byte("#define ZLIB_VERSION \"" + version + "\"\n")},
		"lib/libz.so.1":  {Data: machine.Bytes(), Mode: 0o755},
		"lib/libz.so":    {Data: []byte("libz.so.1"), Mode: fs.ModeSymlink},
	}
	dir := filepath.Join(t.TempDir(), "layout")
	w, err := artifact.CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	p, err := artifact.Pack(files, artifact.Claims{Name: "zlib", Version: version, Target: target}, compression, w)
	if err != nil {
		t.Fatal(err)
	}
	w.Add(p.Manifest, "")
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	read := func(h v1.Hash) []byte {
		data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", h.Hex))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	m := &memory{bytes: map[v1.Hash][]byte{}}
	m.doc = registry.Document{MediaType: artifact.TypeManifest, Digest: p.Manifest.Digest, Bytes: read(p.Manifest.Digest)}
	manifest, err := artifact.ParseManifest(m.doc.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range append([]artifact.Descriptor{manifest.Config}, manifest.Layers...) {
		m.blobs = append(m.blobs, descriptor(d))
		m.bytes[d.Digest] = read(d.Digest)
	}
	return m
}

func testClient() *registry.Client {
	return registry.NewClient(registry.Options{Retry: &registry.RetryPolicy{Attempts: 2, Base: 1}})
}

func place(t *testing.T, s string) Place {
	t.Helper()
	p, err := ParsePlace(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustPush(t *testing.T, client *registry.Client, ref string, src registry.Source) {
	t.Helper()
	if err := client.Push(t.Context(), reference(t, ref), src, nil); err != nil {
		t.Fatal(err)
	}
}

// published is an index for two platforms with everything that can belong to it, under image.
type published struct {
	root registry.Document
	// documents are all digests that a copy has to have, by what they are.
	documents map[string]v1.Hash
	// tags are the tags beside the image's own, with what they name.
	tags map[string]v1.Hash
}

const amd64Linux = "x86_64-unknown-linux-gnu"

func publish(t *testing.T, image string) published {
	t.Helper()
	client := testClient()
	repository, tag, _ := strings.Cut(image, "/zlib:")
	repository += "/zlib"
	p := published{documents: map[string]v1.Hash{}, tags: map[string]v1.Hash{}}
	put := func(what, tag string, src *memory) {
		ref := repository + "@" + src.doc.Digest.String()
		if tag != "" {
			ref = repository + ":" + tag
			p.tags[tag] = src.doc.Digest
		}
		mustPush(t, client, ref, src)
		p.documents[what] = src.doc.Digest
	}
	amd64, arm64 := packed(t, amd64Linux, "1.3.1", artifact.Zstd), packed(t, "aarch64-unknown-linux-gnu", "1.3.1", artifact.Zstd)
	put("amd64", "", amd64)
	put("arm64", "", arm64)
	platform := func(m *memory, target, architecture string) map[string]any {
		d := describe(m.doc)
		d["annotations"] = map[string]string{artifact.AnnotationTarget: target}
		d["platform"] = map[string]string{"os": "linux", "architecture": architecture}
		return d
	}
	p.root = document(t, artifact.TypeIndex, map[string]any{"artifactType": artifact.TypeArtifact, "manifests": []any{
		platform(amd64, amd64Linux, "amd64"), platform(arm64, "aarch64-unknown-linux-gnu", "arm64")}})
	mustPush(t, client, image, &memory{doc: p.root})
	p.documents["index"] = p.root.Digest
	signature := statement(t, "signature of the index", &p.root)
	put("signature", "", signature)
	put("countersignature", "", statement(t, "signature of the signature", &signature.doc))
	put("bill of materials of amd64", "", statement(t, "bill", &amd64.doc))
	put("cosign's signature", registry.ReferrersTag(p.root.Digest)+".sig", statement(t, "cosign of the index", nil))
	put("cosign's attestation of arm64", registry.ReferrersTag(arm64.doc.Digest)+".att", statement(t, "cosign of arm64", nil))
	put("upstream's", tag+"-"+amd64Linux, packed(t, amd64Linux, "1.3.1", artifact.Gzip))
	// What does not belong to it stays where it is.
	mustPush(t, client, repository+":other", packed(t, amd64Linux, "1.2", artifact.Zstd))
	return p
}

// complete checks that a repository has everything, and everything right, by the client's own verification.
func (p published) complete(t *testing.T, image string) {
	t.Helper()
	client := testClient()
	ref := reference(t, image)
	root, err := client.Document(t.Context(), ref)
	if err != nil || root.Digest != p.root.Digest {
		t.Fatalf("%s is %s (%v), want %s", image, root.Digest, err, p.root.Digest)
	}
	for what, digest := range p.documents {
		doc, err := client.Document(t.Context(), registry.Reference{Repository: ref.Repository, Digest: digest})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		o, err := outlineOf(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range o.Layers {
			blob, err := client.Blob(t.Context(), ref.Repository, d)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			if _, err := io.Copy(io.Discard, blob); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			blob.Close()
		}
	}
	for tag, digest := range p.tags {
		doc, err := client.Document(t.Context(), registry.Reference{Repository: ref.Repository, Tag: tag})
		if err != nil || doc.Digest != digest {
			t.Errorf("tag %s names %s (%v), want %s", tag, doc.Digest, err, digest)
		}
	}
	for subject, want := range map[string]string{"index": "signature", "signature": "countersignature", "amd64": "bill of materials of amd64"} {
		list, err := client.Referrers(t.Context(), ref.Repository, p.documents[subject])
		if err != nil || len(list) != 1 || list[0].Digest != p.documents[want] {
			t.Errorf("referrers of %s: %v (%v), want %s", subject, list, err, p.documents[want])
		}
	}
}

func mustCopy(t *testing.T, from, to string) *Copied {
	t.Helper()
	copied, err := Copy(t.Context(), testClient(), place(t, from), place(t, to), nil)
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

// changing counts the requests that send something to a registry.
func changing(server *registrytest.Server) (methods []string) {
	server.Close() // the log is whole only when every handler has returned
	for _, r := range server.Requests("") {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			methods = append(methods, r.Method+" "+r.Path)
		}
	}
	return methods
}

// TestCopyAcrossAnAirGap takes an index with everything that belongs to it from a registry into a layout and from
// there into another registry, and pulls it from there by the same digest. The registries are, in turn, ones with the
// referrers API and ones without.
func TestCopyAcrossAnAirGap(t *testing.T) {
	noAPI := registrytest.Fault{Path: "/referrers/", Act: registrytest.Answer(http.StatusNotFound, "", "", "")}
	for _, c := range []struct {
		name        string
		from, to    bool // whether they have the API
		destination string
	}{
		{"archive", true, true, "zlib.tar"},
		{"folder, then without the referrers API", true, false, "zlib/"},
		{"archive, from without the referrers API", false, true, "zlib.tar"},
		{"archive, both without the referrers API", false, false, "zlib.tar"},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, there := registrytest.New(t.TempDir()), t.TempDir()
			second := registrytest.New(there)
			defer second.Close()
			if !c.from {
				first.Inject(noAPI)
			}
			if !c.to {
				second.Inject(noAPI)
			}
			image := first.Host + "/acme/zlib:1.3.1"
			p := publish(t, image)
			layout := filepath.Join(t.TempDir(), c.destination)
			if strings.HasSuffix(c.destination, "/") {
				layout += "/" // Join takes it away
			}
			copied := mustCopy(t, image, layout)
			if copied.Digest != p.root.Digest || copied.Sent != copied.Size || copied.Manifests != len(p.documents) || copied.Accompanying != len(p.documents)-3 {
				t.Errorf("copied %+v of %d documents", copied, len(p.documents))
			}
			if again := mustCopy(t, image, layout); again.Sent != 0 {
				t.Errorf("the second copy wrote %d bytes", again.Sent)
			}
			first.Close()

			mirror := second.Host + "/mirror/zlib"
			if copied := mustCopy(t, layout, mirror); copied.Image != mirror+":1.3.1@"+p.root.Digest.String() || copied.Sent == 0 {
				t.Errorf("copied %+v", copied)
			}
			p.complete(t, mirror+":1.3.1")

			s, err := store.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			depot := &Depot{Registry: testClient(), Store: s}
			l, err := depot.Pull(t.Context(), reference(t, mirror+"@"+p.root.Digest.String()), triple(t, amd64Linux))
			if err != nil {
				t.Fatal(err)
			}
			if l.Digest != p.documents["amd64"] {
				t.Errorf("pulled %s, want %s", l.Digest, p.documents["amd64"])
			}

			second.Close()
			third := registrytest.New(there) // with an empty log
			if !c.to {
				third.Inject(noAPI)
			}
			if again := mustCopy(t, layout, third.Host+"/mirror/zlib:1.3.1"); again.Sent != 0 {
				t.Errorf("the second copy sent %d bytes", again.Sent)
			}
			if sent := changing(third); len(sent) > 0 {
				t.Errorf("the second copy made the requests %v", sent)
			}
		})
	}
}

func TestCopyBetweenRepositories(t *testing.T) {
	server := registrytest.New(t.TempDir())
	image := server.Host + "/acme/zlib:1.3.1"
	p := publish(t, image)
	server.Clear()
	// The registry keeps all blobs in one place and would say it has them: only a mount shows where they come from.
	server.Inject(registrytest.Fault{Method: http.MethodHead, Path: "/v2/mirror/zlib/blobs/", Act: registrytest.Answer(http.StatusNotFound, "", "", "")})
	copied := mustCopy(t, image+"@"+p.root.Digest.String(), server.Host+"/mirror/zlib:stable")
	if copied.Sent != 0 {
		t.Errorf("%d bytes were sent, which a mount had saved", copied.Sent)
	}
	// Upstream's tag begins with the tag of the copy.
	p.tags["stable-"+amd64Linux] = p.tags["1.3.1-"+amd64Linux]
	delete(p.tags, "1.3.1-"+amd64Linux)
	p.complete(t, server.Host+"/mirror/zlib:stable")
	if want := slices.Sorted(maps.Keys(p.tags)); !slices.Equal(slices.Sorted(slices.Values(copied.Tags)), want) {
		t.Errorf("tags %v, want %v", copied.Tags, want)
	}
	server.Close()
	mounts := 0
	for _, r := range server.Requests("/v2/mirror/zlib/blobs/uploads/") {
		if r.Method == http.MethodPost && r.Status == http.StatusCreated {
			mounts++
		} else {
			t.Errorf("%s %s: %d", r.Method, r.Path, r.Status)
		}
	}
	if mounts < copied.Blobs {
		t.Errorf("%d blobs were mounted of %d", mounts, copied.Blobs)
	}
}

// TestCopyOfAMovedTag: upstream's manifest under <tag>-<amd64Linux> is of what the tag names now, and not of a pinned
// digest that it named once.
func TestCopyOfAMovedTag(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	image := server.Host + "/acme/zlib:1.3.1"
	p := publish(t, image)
	mustPush(t, testClient(), image, packed(t, amd64Linux, "1.3.1.1", artifact.Zstd))
	copied := mustCopy(t, image+"@"+p.root.Digest.String(), filepath.Join(t.TempDir(), "zlib.tar"))
	if slices.Contains(copied.Tags, "1.3.1-"+amd64Linux) {
		t.Errorf("tags %v", copied.Tags)
	}
}

// TestCopyIsContinued: what arrived before a copy was interrupted is not sent again, whatever the destination.
func TestCopyIsContinued(t *testing.T) {
	first, second := registrytest.New(t.TempDir()), registrytest.New(t.TempDir())
	defer first.Close()
	defer second.Close()
	image := first.Host + "/acme/zlib:1.3.1"
	p := publish(t, image)
	for _, to := range []string{second.Host + "/acme/zlib:1.3.1", filepath.Join(t.TempDir(), "zlib") + "/"} {
		first.Clear()
		// More than are under way at a time, so that some have arrived.
		first.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", Skip: 8, Act: registrytest.Answer(http.StatusForbidden, "", "", "")})
		if _, err := Copy(t.Context(), testClient(), place(t, image), place(t, to), nil); diagnostic.KindOf(err) != diagnostic.Denied {
			t.Fatalf("error %v", err)
		}
		first.Clear()
		copied := mustCopy(t, image, to)
		if copied.Sent == 0 || copied.Sent >= copied.Size {
			t.Errorf("%s: %d of %d bytes were sent the second time", to, copied.Sent, copied.Size)
		}
	}
	p.complete(t, second.Host+"/acme/zlib:1.3.1")
}

// TestCopyListsReferrersAgain: a copy that was interrupted between a referrer and the list under its fallback tag is
// repaired by the next one.
func TestCopyListsReferrersAgain(t *testing.T) {
	first, second := registrytest.New(t.TempDir()), registrytest.New(t.TempDir())
	defer first.Close()
	defer second.Close()
	image := first.Host + "/acme/zlib:1.3.1"
	p := publish(t, image)
	noAPI := registrytest.Fault{Path: "/referrers/", Act: registrytest.Answer(http.StatusNotFound, "", "", "")}
	second.Inject(noAPI)
	second.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/sha256-[0-9a-f]+$", Act: registrytest.Answer(http.StatusForbidden, "", "", "")})
	to := second.Host + "/acme/zlib:1.3.1"
	if _, err := Copy(t.Context(), testClient(), place(t, image), place(t, to), nil); diagnostic.KindOf(err) != diagnostic.Denied {
		t.Fatalf("error %v", err)
	}
	second.Clear()
	second.Inject(noAPI)
	mustCopy(t, image, to)
	p.complete(t, to)
}

// TestCopyRefusesWrongBytes damages each blob of a layout in turn.
func TestCopyRefusesWrongBytes(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	image := server.Host + "/acme/zlib:1.3.1"
	publish(t, image)
	dir := filepath.Join(t.TempDir(), "zlib")
	mustCopy(t, image, dir+"/")
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	if err != nil || len(blobs) < 10 {
		t.Fatal(len(blobs), err)
	}
	out := t.TempDir()
	for _, b := range blobs {
		file := filepath.Join(dir, "blobs", "sha256", b.Name())
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(data)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(file, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Copy(t.Context(), testClient(), place(t, dir), place(t, filepath.Join(out, "bad.tar")), nil); diagnostic.KindOf(err) != diagnostic.Corrupt || !strings.Contains(err.Error(), b.Name()) {
			t.Errorf("%s: %v", b.Name(), err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	// A registry that has nothing yet.
	empty := registrytest.New(t.TempDir())
	defer empty.Close()
	data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", blobs[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	data[0] ^= 1
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", blobs[0].Name()), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), testClient(), place(t, dir), place(t, empty.Host+"/zlib:1"), nil); diagnostic.KindOf(err) != diagnostic.Corrupt {
		t.Errorf("to a registry: %v", err)
	}
	if _, err := testClient().Document(t.Context(), reference(t, empty.Host+"/zlib:1")); diagnostic.KindOf(err) != diagnostic.NotFound {
		t.Errorf("the tag is there: %v", err)
	}
}

// TestCopyReadsEachBlobOnce counts what the source is asked for, also when the destination breaks off.
func TestCopyReadsEachBlobOnce(t *testing.T) {
	cut := registrytest.Fault{Method: http.MethodPatch, Path: "/blobs/uploads/", Skip: 1, Times: 1, Act: registrytest.CutUpload(50)}
	for _, name := range []string{"index", "manifest", "broken off"} {
		t.Run(name, func(t *testing.T) {
			first, second := registrytest.New(t.TempDir()), registrytest.New(t.TempDir())
			defer first.Close()
			defer second.Close()
			image, to := first.Host+"/acme/zlib:1.3.1", second.Host+"/acme/zlib:1.3.1"
			p := publish(t, image)
			if name == "manifest" {
				image, to = first.Host+"/acme/zlib:other", second.Host+"/acme/zlib:other"
			}
			if name == "broken off" {
				second.Inject(cut)
			}
			first.Clear()
			copied := mustCopy(t, image, to)
			if copied.Sent != copied.Size {
				t.Errorf("%d bytes were read of %d", copied.Sent, copied.Size)
			}
			first.Close() // the log is whole only when every handler has returned
			asked := map[string]int{}
			for _, r := range first.Requests("/blobs/") {
				if r.Method == http.MethodGet {
					asked[r.Path]++
				}
			}
			for path, n := range asked {
				if n != 1 {
					t.Errorf("%s was asked for %d times", path, n)
				}
			}
			if len(asked) != copied.Blobs {
				t.Errorf("%d blobs were asked for of %d", len(asked), copied.Blobs)
			}
			if name != "manifest" {
				p.complete(t, to)
			}
			second.Close()
			resumed := slices.ContainsFunc(second.Requests("/blobs/uploads/"), func(r registrytest.Request) bool {
				return r.Method == http.MethodPatch && strings.HasPrefix(r.Header.Get("Content-Range"), "50-")
			})
			if resumed != (name == "broken off") {
				t.Errorf("an upload was resumed: %v", resumed)
			}
		})
	}
}

// TestCopyFromLyingMirror: what a mirror of the source hands out wrongly comes from the source itself.
func TestCopyFromLyingMirror(t *testing.T) {
	for _, c := range []struct{ name, tag string }{{"archive.tar", "1.3.1"}, {"folder", "1.3.1"}, {"registry", "1.3.1"}, {"config.tar", "other"}} {
		t.Run(c.name, func(t *testing.T) {
			origin, mirror, second := registrytest.New(t.TempDir()), registrytest.New(t.TempDir()), registrytest.New(t.TempDir())
			defer origin.Close()
			defer mirror.Close()
			defer second.Close()
			image := origin.Host + "/acme/zlib:1.3.1"
			p := publish(t, image)
			publish(t, mirror.Host+"/acme/zlib:1.3.1")
			mirror.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", Act: registrytest.Flip(1)})
			mirrors, err := registry.ParseMirrors(origin.Host + "=" + mirror.Host)
			if err != nil {
				t.Fatal(err)
			}
			var warnings atomic.Int64
			client := registry.NewClient(registry.Options{Keychain: anonymous{}, Mirrors: mirrors, Retry: &registry.RetryPolicy{Attempts: 2, Base: 1},
				Warn: func(string) { warnings.Add(1) }})
			to := second.Host + "/acme/zlib:" + c.tag
			first := to
			if c.name != "registry" {
				first = filepath.Join(t.TempDir(), c.name)
				if c.name == "folder" {
					first += "/"
				}
			}
			copied, err := Copy(t.Context(), client, place(t, origin.Host+"/acme/zlib:"+c.tag), place(t, first), nil)
			if err != nil {
				t.Fatal(err)
			}
			if warnings.Load() == 0 {
				t.Error("nothing was asked of the mirror")
			}
			if first != to {
				if again := mustCopy(t, first, to); again.Digest != copied.Digest || again.Blobs != copied.Blobs {
					t.Errorf("copied %+v, then %+v", copied, again)
				}
			}
			if c.tag == "1.3.1" {
				p.complete(t, to)
			}
		})
	}
}

// TestCopyBounds: a registry that lies makes neither endless work nor lets strangers in.
func TestCopyBounds(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	client := testClient()
	leaf := statement(t, "leaf", nil)
	mustPush(t, client, server.Host+"/deep:0", leaf)
	doc := leaf.doc
	for i := 1; i <= maxNesting+1; i++ {
		doc = document(t, artifact.TypeIndex, map[string]any{"manifests": []any{describe(doc)}})
		mustPush(t, client, fmt.Sprintf("%s/deep:%d", server.Host, i), &memory{doc: doc})
	}
	out := t.TempDir()
	mustCopy(t, fmt.Sprintf("%s/deep:%d", server.Host, maxNesting), filepath.Join(out, "deep.tar"))
	_, err := Copy(t.Context(), client, place(t, fmt.Sprintf("%s/deep:%d", server.Host, maxNesting+1)), place(t, filepath.Join(out, "deeper.tar")), nil)
	if diagnostic.KindOf(err) != diagnostic.Refused {
		t.Errorf("too deep: %v", err)
	}
	if _, err := os.Stat(filepath.Join(out, "deeper.tar")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}

	// A list of referrers that names the image itself, an artifact about something else, and one that is gone.
	mustPush(t, client, server.Host+"/lied:1", leaf)
	stranger := statement(t, "about nothing", nil)
	mustPush(t, client, server.Host+"/lied:stranger", stranger)
	gone := statement(t, "gone", &leaf.doc)
	list := document(t, artifact.TypeIndex, map[string]any{"manifests": []any{describe(leaf.doc), describe(stranger.doc), describe(gone.doc)}})
	server.Inject(registrytest.Fault{Path: "/v2/lied/referrers/", Act: registrytest.Answer(http.StatusOK, "Content-Type", artifact.TypeIndex, string(list.Bytes))})
	copied := mustCopy(t, server.Host+"/lied:1", filepath.Join(out, "lied.tar"))
	if copied.Manifests != 1 {
		t.Errorf("copied %+v", copied)
	}
}

// shelf is a source of documents alone, which says of any what belongs to it.
type shelf struct {
	documents map[v1.Hash]registry.Document
	about     map[v1.Hash][]v1.Hash
}

func (s *shelf) put(doc registry.Document) registry.Document {
	s.documents[doc.Digest] = doc
	return doc
}

func (s *shelf) document(_ context.Context, digest v1.Hash) (registry.Document, error) {
	doc, ok := s.documents[digest]
	if !ok {
		return doc, &diagnostic.Error{Kind: diagnostic.NotFound}
	}
	return doc, nil
}

func (s *shelf) tagged(context.Context, string) (registry.Document, error) {
	return registry.Document{}, &diagnostic.Error{Kind: diagnostic.NotFound}
}
func (s *shelf) referrers(_ context.Context, digest v1.Hash) ([]v1.Hash, error) {
	return s.about[digest], nil
}
func (s *shelf) blob(context.Context, v1.Descriptor) (io.ReadCloser, error) {
	return nil, &diagnostic.Error{Kind: diagnostic.NotFound}
}
func (s *shelf) close() {}

// TestCopyIsBounded: how many documents belong to an artifact, how large they are together, and how many are looked at in vain.
func TestCopyIsBounded(t *testing.T) {
	s := &shelf{documents: map[v1.Hash]registry.Document{}, about: map[v1.Hash][]v1.Hash{}}
	var docs []registry.Document
	var leaves []any
	for i := range maxDocuments {
		doc := s.put(document(t, artifact.TypeManifest, map[string]any{"annotations": map[string]any{"n": fmt.Sprint(i)}}))
		docs, leaves = append(docs, doc), append(leaves, describe(doc))
	}
	index := func(manifests ...any) registry.Document {
		return s.put(document(t, artifact.TypeIndex, map[string]any{"manifests": manifests}))
	}
	root := s.put(document(t, artifact.TypeManifest, map[string]any{}))
	signed := func(n int, about registry.Document) registry.Document {
		signed := s.put(document(t, artifact.TypeManifest, map[string]any{"annotations": map[string]any{"signed": fmt.Sprint(n)}}))
		for i := range n {
			s.about[signed.Digest] = append(s.about[signed.Digest], s.put(document(t, artifact.TypeManifest, map[string]any{"subject": describe(about), "annotations": map[string]any{"n": fmt.Sprintf("%d of %d", i, n)}})).Digest)
		}
		return signed
	}
	three := index(leaves[:2]...)
	size := len(three.Bytes) + len(docs[0].Bytes) + len(docs[1].Bytes)
	for name, c := range map[string]struct {
		root registry.Document
		held int    // bytes of documents that were collected before
		says string // "" where it is within the bounds
	}{
		"as many as are possible":           {index(leaves[:maxDocuments-1]...), 0, ""},
		"one more":                          {index(leaves...), 0, "more than 2048 manifests"},
		"as large as is possible":           {three, maxDocumentBytes - size, ""},
		"a byte more":                       {three, maxDocumentBytes - size + 1, "64.0 MiB of them"},
		"as many strangers as are possible": {signed(maxDocuments, root), 0, ""},
		"one stranger more":                 {signed(maxDocuments+1, root), 0, "2048 manifests that do not"},
	} {
		t.Run(name, func(t *testing.T) {
			all := &collector{source: s, found: map[v1.Hash]*parcel{}, read: map[v1.Hash][]byte{}, bytes: c.held}
			err := all.collect(t.Context(), artifactRoot{doc: c.root})
			if (err == nil) != (c.says == "") || err != nil && (diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}

	// The same of a layout, before any of them is read.
	layout := t.TempDir()
	entries := []any{describe(root)}
	for range maxDocuments {
		d := describe(root)
		d["annotations"] = map[string]any{"vnd.ocipkg.accompanies": root.Digest.String()}
		entries = append(entries, d)
	}
	if err := os.WriteFile(filepath.Join(layout, "index.json"), document(t, artifact.TypeIndex, map[string]any{"manifests": entries}).Bytes, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Copy(t.Context(), testClient(), Place{Layout: layout}, Place{Layout: filepath.Join(t.TempDir(), "copy.tar")}, nil)
	if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), "names 2049 manifests") {
		t.Errorf("a layout: %v", err)
	}
}

func TestCopyDestinations(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	client := testClient()
	mustPush(t, client, server.Host+"/zlib:1", packed(t, amd64Linux, "1", artifact.Zstd))
	mustPush(t, client, server.Host+"/zlib:2", packed(t, amd64Linux, "2", artifact.Zstd))
	one, err := client.Document(t.Context(), reference(t, server.Host+"/zlib:1"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	archive := filepath.Join(dir, "zlib.tar")
	mustCopy(t, server.Host+"/zlib:1", archive)
	if err := os.WriteFile(filepath.Join(dir, "notes.tar"), []byte("not a layout"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, from, to string
		want           diagnostic.Kind
	}{
		{"another artifact", server.Host + "/zlib:2", archive, diagnostic.Usage},
		{"something else", server.Host + "/zlib:1", filepath.Join(dir, "notes.tar"), diagnostic.Usage},
		{"another digest", server.Host + "/zlib:2", server.Host + "/copy:2@" + one.Digest.String(), diagnostic.Usage},
		{"no such layout", filepath.Join(dir, "none.tar"), server.Host + "/copy:1", diagnostic.NotFound},
		{"no such image", server.Host + "/none:1", filepath.Join(dir, "new.tar"), diagnostic.NotFound},
	} {
		if _, err := Copy(t.Context(), client, place(t, c.from), place(t, c.to), nil); diagnostic.KindOf(err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// A tag that moved replaces the layout of the same name.
	mustPush(t, client, server.Host+"/zlib:1", packed(t, amd64Linux, "1.1", artifact.Zstd))
	if copied := mustCopy(t, server.Host+"/zlib:1", archive); copied.Digest == one.Digest || copied.Sent == 0 {
		t.Errorf("copied %+v", copied)
	}
	// Without a tag on either side the digest alone is copied.
	pinned := server.Host + "/zlib@" + one.Digest.String()
	if copied := mustCopy(t, pinned, server.Host+"/bare"); copied.Image != server.Host+"/bare@"+one.Digest.String() {
		t.Errorf("copied %+v", copied)
	}
	// From an archive to a folder and back.
	folder := filepath.Join(dir, "folder") + "/"
	mustCopy(t, archive, folder)
	mustCopy(t, folder, filepath.Join(dir, "again.tar"))
	before, err1 := os.ReadFile(archive)
	after, err2 := os.ReadFile(filepath.Join(dir, "again.tar"))
	if err := errors.Join(err1, err2); err != nil || string(before) != string(after) {
		t.Errorf("an archive by way of a folder is another one: %v", err)
	}
}

func TestTag(t *testing.T) {
	server := registrytest.New(t.TempDir())
	image := server.Host + "/acme/zlib:1.3.1"
	p := publish(t, image)
	mustPush(t, testClient(), server.Host+"/acme/zlib:latest", packed(t, amd64Linux, "1.3", artifact.Zstd))
	was, err := testClient().Resolve(t.Context(), reference(t, server.Host+"/acme/zlib:latest"))
	if err != nil {
		t.Fatal(err)
	}
	server.Clear()
	tagged, moved, err := Tag(t.Context(), testClient(), reference(t, image), []string{"1.3", "latest", "1.3.1"})
	if want := []Moved{{"latest", was.Digest}}; !slices.Equal(moved, want) {
		t.Errorf("moved %v, want %v", moved, want)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(tagged) != 3 || tagged[0].String() != server.Host+"/acme/zlib:1.3@"+p.root.Digest.String() {
		t.Errorf("tagged %v", tagged)
	}
	p.complete(t, server.Host+"/acme/zlib:1.3")
	p.complete(t, server.Host+"/acme/zlib:latest")
	for _, bad := range []string{"a/b", "x@sha256:0", ".x", "a:b", ""} {
		if _, _, err := Tag(t.Context(), testClient(), reference(t, image), []string{"good", bad}); diagnostic.KindOf(err) != diagnostic.Usage {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := testClient().Document(context.Background(), reference(t, server.Host+"/acme/zlib:good")); diagnostic.KindOf(err) != diagnostic.NotFound {
		t.Errorf("a tag beside a bad one was set: %v", err)
	}
	for _, request := range changing(server) {
		if !strings.HasPrefix(request, "PUT /v2/acme/zlib/manifests/") {
			t.Errorf("the request %s", request)
		}
	}
}

// TestTagTellsWhatMoved: though another tag could not be set.
func TestTagTellsWhatMoved(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	image := reference(t, server.Host+"/acme/zlib:1.3.1")
	mustPush(t, testClient(), image.String(), packed(t, amd64Linux, "1.3.1", artifact.Zstd))
	latest := reference(t, server.Host+"/acme/zlib:latest")
	mustPush(t, testClient(), latest.String(), packed(t, amd64Linux, "1.3", artifact.Zstd))
	was, err := testClient().Resolve(t.Context(), latest)
	if err != nil {
		t.Fatal(err)
	}
	server.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/stable$", Act: registrytest.Answer(http.StatusForbidden, "", "", "")})
	_, moved, err := Tag(t.Context(), testClient(), image, []string{"latest", "stable"})
	if want := []Moved{{"latest", was.Digest}}; err == nil || !slices.Equal(moved, want) {
		t.Errorf("moved %v, %v, want %v and an error", moved, err, want)
	}
}

// FuzzOutline: of any bytes the outline is refused, or names digests that can be asked for and files that can be named.
func FuzzOutline(f *testing.F) {
	f.Add(artifact.TypeManifest, []byte(`{"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`))
	f.Add(artifact.TypeIndex, []byte(`{"manifests":[{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}]}`))
	f.Add(artifact.TypeIndex, []byte(`{"manifests":[{"digest":"sha256:../../44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caa","size":2}]}`))
	f.Add(artifact.TypeIndex, []byte(`{"manifests":[{}],"layers":[]}`))
	f.Fuzz(func(t *testing.T, mediaType string, data []byte) {
		o, err := outlineOf(registry.Document{MediaType: mediaType, Bytes: data})
		if err != nil {
			return
		}
		links := slices.Concat(o.Layers, o.Manifests)
		if o.Config != nil {
			links = append(links, *o.Config)
		}
		for _, d := range links {
			if d.Size < 0 || len(d.Digest.Hex) != 64 || strings.Trim(d.Digest.Hex, "0123456789abcdef") != "" {
				t.Errorf("%q names %v", data, d)
			}
		}
	})
}
