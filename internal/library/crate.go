package library

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// The ocipkg crate keeps an image in {host}[__{port}]/{name}/__{tag} of the directory that our store is in, too, and of
// a digest in __sha256__{hex} (its image_name.rs, ImageName::as_path). Its files lie in that directory; since 0.3.0 an
// OCI layout of the image, .oci-dir, beside them.

// cratePath returns where the crate looks for ref, slash-separated and relative to the root: by the digest where there
// is one, since of a reference with both it understands neither. ok is false where it has no name for ref at all.
func cratePath(ref registry.Reference) (p string, ok bool) {
	dir, ok := crateRepository(ref)
	if ref.Pinned() {
		return dir + "/__" + ref.Digest.Algorithm + "__" + ref.Digest.Hex, ok
	}
	return dir + "/__" + ref.Tag, ok
}

func crateRepository(ref registry.Reference) (p string, ok bool) {
	ref.Tag, ref.Digest = "", v1.Hash{}
	host, repository, _ := strings.Cut(ref.String(), "/")
	if strings.Contains(host, "[") {
		return "", false // it cannot write IPv6
	}
	return strings.Replace(host, ":", "__", 1) + "/" + repository, true
}

// crateReference is the way back, as the crate goes it in its list: a tag with two underscores cannot be told.
func crateReference(p string) string {
	dir, tag := path.Split(p)
	host, repository, _ := strings.Cut(strings.TrimSuffix(dir, "/"), "/")
	tag = strings.TrimPrefix(tag, "__")
	if hex, ok := strings.CutPrefix(tag, "sha256__"); ok {
		tag = "@sha256:" + hex
	} else {
		tag = ":" + tag
	}
	return strings.Replace(host, "__", ":", 1) + "/" + repository + tag
}

// View makes the library's files a directory of the store in which the ocipkg crate finds it, and returns its absolute
// path. asked is the reference it goes by. An error for which SkippedView is true leaves the library as usable as it is.
func (l *Library) View(ctx context.Context, asked registry.Reference) (string, error) {
	rel, ok := cratePath(asked)
	if !ok {
		return "", errNoCrateName
	}
	made := l.shown
	l.shown = nil // once: later it may have been removed
	if made != nil && made.rel == rel && (made.err == nil || SkippedView(made.err)) {
		return made.dir, diagnostic.Wrap(made.err, "view of %s", asked)
	}
	var dir string
	err := l.healing(ctx, func() (err error) {
		dir, err = l.depot.Store.PutView(ctx, rel, l.Digest, l.foreign, l.Trees...)
		return err
	})
	return dir, diagnostic.Wrap(err, "view of %s", asked)
}

// shown is a view that was made, or tried to be, while the library was pulled.
type shown struct {
	rel, dir string
	err      error
}

// show makes the view of the trees as they come: a link waits for nothing, and a layer that is late leaves a processor idle.
func (l *Library) show(ctx context.Context, asked registry.Reference, trees *arrivals) {
	rel, ok := cratePath(asked)
	if !ok {
		return
	}
	dir, err := l.depot.Store.PutViewAsTheyCome(ctx, rel, l.Digest, l.foreign, len(trees.trees), trees.next)
	l.shown = &shown{rel, dir, err}
}

var errNoCrateName = errors.New("the ocipkg crate has no name for it")

// SkippedView reports whether a View was not made for a reason that lies with the crate.
func SkippedView(err error) bool {
	return errors.Is(err, errNoCrateName) || errors.Is(err, store.ErrForeign) || errors.Is(err, store.ErrBreaksList)
}

// unknownSize is the size of a blob of which the digest alone is known.
const unknownSize = -1

// crateBlob opens a blob that the crate has fetched of some tag of ref's repository, once it has read it through and
// found it to be what it should; reading it reports kind Corrupt should it change since. An fs.ErrNotExist says that
// there is none that is whole.
func (d *Depot) crateBlob(ref registry.Reference, want artifact.Descriptor) (io.ReadCloser, error) {
	dir, ok := crateRepository(ref)
	if !ok || want.Digest.Algorithm != "sha256" {
		return nil, fs.ErrNotExist
	}
	dir = filepath.Join(d.Store.Root(), filepath.FromSlash(dir))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fs.ErrNotExist // whatever it is, the registry has it as well
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), "__") {
			continue
		}
		name := filepath.Join(dir, e.Name(), ".oci-dir", "blobs", "sha256", want.Digest.Hex)
		fi, err := os.Lstat(name)
		if err != nil || !fi.Mode().IsRegular() || want.Size != unknownSize && fi.Size() != want.Size {
			continue
		}
		// Twice, because what has been unpacked from bytes that turn out to be wrong cannot be taken back; the crate
		// itself checks neither what it unpacks nor what it finds.
		first, err := openVerified(name, want.Digest)
		if err != nil {
			continue
		}
		_, err = io.Copy(io.Discard, first)
		first.Close()
		if err != nil {
			continue
		}
		if blob, err := openVerified(name, want.Digest); err == nil {
			return blob, nil
		}
	}
	return nil, fs.ErrNotExist
}

// verifiedFile is a file that reports at its end whether it was what it should be.
type verifiedFile struct {
	f    *os.File
	want v1.Hash
	hash hash.Hash
}

func openVerified(name string, want v1.Hash) (*verifiedFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &verifiedFile{f: f, want: want, hash: sha256.New()}, nil
}

func (v *verifiedFile) Read(p []byte) (int, error) {
	n, err := v.f.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(v.hash.Sum(nil)) != v.want.Hex {
		return n, &diagnostic.Error{Kind: diagnostic.Corrupt, What: v.f.Name(), Why: fmt.Sprintf("its bytes are not %s", v.want), Do: "delete it: it is fetched again"}
	}
	return n, err
}

func (v *verifiedFile) Close() error { return v.f.Close() }

// blob opens a blob of ref's repository: one that is nearby, else the registry's.
func (d *Depot) blob(ctx context.Context, ref registry.Reference, want artifact.Descriptor) (io.ReadCloser, error) {
	if blob, err := d.keptBlob(want); err == nil {
		return blob, nil
	}
	blob, err := d.nearby(ref, want)
	if errors.Is(err, fs.ErrNotExist) {
		blob, err = d.Registry.Blob(ctx, ref.Repository, descriptor(want))
	}
	if err != nil {
		return nil, err
	}
	return d.keep(blob, want.Digest)
}

// nearby opens a blob that the crate has fetched, that lies in Kept, or that a layout has which stands for the registry;
// an fs.ErrNotExist says that none has it.
func (d *Depot) nearby(ref registry.Reference, want artifact.Descriptor) (io.ReadCloser, error) {
	blob, err := d.crateBlob(ref, want)
	if errors.Is(err, fs.ErrNotExist) {
		blob, err = d.keptBlob(want)
	}
	if errors.Is(err, fs.ErrNotExist) {
		blob, err = d.layoutBlob(ref, want)
	}
	return blob, err
}
