package artifact

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/unicode/norm"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Limits bound what one layer may unpack to. The zero value means DefaultLimits.
type Limits struct {
	Entries  int   // files, links and folders
	File     int64 // bytes of one file
	Total    int64 // bytes of all files
	Unpacked int64 // bytes of the tar as the config declares them, to be met exactly; 0 where nothing is declared
}

// DefaultLimits are far above any library seen in the field and far below what fills a disk.
var DefaultLimits = Limits{Entries: 200_000, File: 8 << 30, Total: 16 << 30}

const (
	maxPath      = 1024
	maxComponent = 255
	maxDepth     = 64
	maxWindow    = 128 << 20 // of zstd, in bytes; larger ones ask the reader for that much memory

	// A ratio that no library reaches; small inputs may expand further, up to the floor.
	maxRatio   = 20
	ratioFloor = 512 << 20
)

// Unpack writes a layer's tree into dst, an empty directory, and reads r to its very end, so that a reader which
// verifies its bytes has seen them all. On any error the caller throws dst away: a refused layer leaves nothing.
//
// Allowed are folders, files and relative symbolic links that stay inside; names are clean UTF-8 in NFC, unlike each
// other on every file system. Archives of the ocipkg project (foreign) may also name one file twice, the last
// counting, and hold sparse files, because its packers write such. Modes become 0444 or 0555, owners and times are
// dropped. Whatever else an archive holds is an error of kind Refused that names the entry.
func Unpack(r io.Reader, mediaType string, dst *os.Root, foreign bool, limits Limits) error {
	if limits.Entries == 0 {
		unpacked := limits.Unpacked
		limits = DefaultLimits
		limits.Unpacked = unpacked
	}
	compressed := &countingReader{r: r}
	input := bufio.NewReaderSize(compressed, 1<<16)
	var stream io.Reader
	switch mediaType {
	case TypeLayerGzip, TypeV0Gzip, TypeDockerGzip:
		z, err := gzip.NewReader(input)
		if err != nil {
			return badArchive("", "it is not gzip: "+err.Error(), err)
		}
		z.Multistream(false)
		stream = z
	case TypeLayerZstd:
		z, err := zstd.NewReader(input, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return badArchive("", "it is not zstd: "+err.Error(), err)
		}
		defer z.Close()
		stream = z
	case TypeV0Layer:
		stream = input
	default:
		return &diagnostic.Error{Kind: diagnostic.Unsupported, What: "layer", Why: "it is of type " + mediaType}
	}
	bounded := &boundedReader{r: stream, compressed: compressed, declared: limits.Unpacked, limit: limits.Total + int64(limits.Entries)*2048}
	u := &unpacker{dst: dst, foreign: foreign, limits: limits, seen: map[string]string{}, kind: map[string]byte{}, targets: map[string]string{}, roots: map[string]*os.Root{".": dst}}
	defer u.close()
	if err := u.all(tar.NewReader(bounded)); err != nil {
		return err
	}
	// Behind the tar's end there may be zeros that fill its last block, and nothing else.
	buf := make([]byte, 4096)
	for {
		n, err := bounded.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return badArchive("", "bytes follow the end of its tar", nil)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return readError(err)
		}
	}
	if limits.Unpacked != 0 && bounded.n != limits.Unpacked {
		return badArchive("", fmt.Sprintf("it unpacks to %d bytes and its config declares %d", bounded.n, limits.Unpacked), nil)
	}
	if _, err := input.ReadByte(); err != io.EOF {
		if err != nil {
			return readError(err)
		}
		return badArchive("", "bytes follow the end of its compressed stream; a second gzip member is one reader's file and nothing to another", nil)
	}
	return nil
}

func badArchive(entry, why string, err error) error {
	what := "layer"
	if entry != "" {
		what = fmt.Sprintf("layer entry %q", shorten(entry))
	}
	return &diagnostic.Error{Kind: diagnostic.Refused, What: what, Why: why,
		Do: "the artifact is damaged or made to do harm; tell its author, and pack with `ocipkg pack`", Err: err}
}

// readError passes on what the source of the bytes said (a broken connection, a wrong digest) and calls everything
// else a damaged archive.
func readError(err error) error {
	if _, ok := errors.AsType[*diagnostic.Error](err); ok {
		return err
	}
	return badArchive("", err.Error(), err)
}

func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// boundedReader counts what a decompressor gives and stops it where it gives too much.
type boundedReader struct {
	r          io.Reader
	compressed *countingReader
	declared   int64
	limit      int64
	n          int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.declared != 0 && b.n > b.declared:
		return 0, badArchive("", fmt.Sprintf("it unpacks to more than the %d bytes that its config declares", b.declared), nil)
	case b.n > b.limit:
		return 0, badArchive("", fmt.Sprintf("it unpacks to more than %d bytes", b.limit), nil)
	case b.n > max(ratioFloor, saturated(b.compressed.n, maxRatio)):
		return 0, badArchive("", fmt.Sprintf("it unpacks to more than %d times its size", maxRatio), nil)
	}
	return n, err
}

func saturated(n, times int64) int64 {
	if n > math.MaxInt64/times {
		return math.MaxInt64
	}
	return n * times
}

type unpacker struct {
	dst     *os.Root
	foreign bool
	limits  Limits
	entries int
	total   int64
	seen    map[string]string   // name folded as a case-blind file system folds it -> name
	kind    map[string]byte     // name -> 'd', 'f' or 'l'
	steps   int                 // links followed for the one at hand
	targets map[string]string   // link -> where it points, to be judged when the tree is whole
	roots   map[string]*os.Root // open directories: opening below one saves a walk from the top for each file
}

func (u *unpacker) close() {
	for name, r := range u.roots {
		if name != "." {
			r.Close()
		}
	}
}

func (u *unpacker) all(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return readError(err)
		}
		if u.entries++; u.entries > u.limits.Entries {
			return badArchive(h.Name, fmt.Sprintf("it is the entry after the first %d, more than a library has", u.limits.Entries), nil)
		}
		if err := u.entry(t, h); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(u.targets)) {
		if err := u.link(name, u.targets[name]); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) entry(t *tar.Reader, h *tar.Header) error {
	name := strings.TrimSuffix(h.Name, "/")
	if u.foreign {
		name = strings.TrimPrefix(name, "./")
		if name == "" || name == "." {
			return nil
		}
	}
	if why := badName(name); why != "" {
		return badArchive(h.Name, why, nil)
	}
	if !u.foreign {
		for key := range h.PAXRecords {
			if key != "path" && key != "linkpath" && key != "size" && key != "mtime" {
				return badArchive(h.Name, fmt.Sprintf("it carries the extended attribute %q", key), nil)
			}
		}
	}
	folded := strings.ToLower(norm.NFC.String(name))
	before, known := u.seen[folded]
	if known && before != name {
		return badArchive(h.Name, fmt.Sprintf("it and %q are one file where capital letters do not count", before), nil)
	}
	if known && (!u.foreign || u.kind[name] == 'd' != (h.Typeflag == tar.TypeDir)) {
		return badArchive(h.Name, "it is there twice", nil)
	}
	dir := path.Dir(name)
	parent, err := u.directory(dir, h.Name)
	if err != nil {
		return err
	}
	u.seen[folded] = name
	switch h.Typeflag {
	case tar.TypeDir:
		u.kind[name] = 'd'
		if known {
			return nil
		}
		return parent.Mkdir(path.Base(name), 0o755)
	case tar.TypeReg, tar.TypeGNUSparse:
		if h.Typeflag == tar.TypeGNUSparse && !u.foreign {
			return badArchive(h.Name, "it is a sparse file", nil)
		}
		if h.Size > u.limits.File {
			return badArchive(h.Name, fmt.Sprintf("it has %d bytes; %d are possible", h.Size, u.limits.File), nil)
		}
		if u.total += h.Size; u.total > u.limits.Total {
			return badArchive(h.Name, fmt.Sprintf("with it the files exceed %d bytes", u.limits.Total), nil)
		}
		if err := u.forget(parent, name, known); err != nil {
			return err
		}
		u.kind[name] = 'f'
		return u.file(parent, path.Base(name), h, t)
	case tar.TypeSymlink:
		if err := u.forget(parent, name, known); err != nil {
			return err
		}
		u.kind[name] = 'l'
		u.targets[name] = h.Linkname
		return nil
	case tar.TypeLink:
		return badArchive(h.Name, "it is a hard link", nil)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return badArchive(h.Name, "it is a device or a pipe", nil)
	default:
		return badArchive(h.Name, fmt.Sprintf("it is of a kind that no library needs (type %q)", h.Typeflag), nil)
	}
}

// forget takes away what a foreign archive named before and now names again.
func (u *unpacker) forget(parent *os.Root, name string, known bool) error {
	if !known {
		return nil
	}
	if u.kind[name] == 'l' {
		delete(u.targets, name)
		return nil
	}
	return parent.Remove(path.Base(name))
}

// directory opens a directory of the tree. In our archives a folder stands before what is in it; the ocipkg project's
// leave folders out.
func (u *unpacker) directory(dir, entry string) (*os.Root, error) {
	if r := u.roots[dir]; r != nil {
		return r, nil
	}
	if len(u.roots) > 512 {
		u.close()
		u.roots = map[string]*os.Root{".": u.dst}
	}
	if k := u.kind[dir]; k != 'd' {
		if k != 0 {
			return nil, badArchive(entry, fmt.Sprintf("it lies below %q, which is no folder", dir), nil)
		}
		if !u.foreign {
			return nil, badArchive(entry, fmt.Sprintf("its folder %q has not been named before it", dir), nil)
		}
		parent, err := u.directory(path.Dir(dir), entry)
		if err != nil {
			return nil, err
		}
		if err := parent.Mkdir(path.Base(dir), 0o755); err != nil {
			return nil, err
		}
		u.kind[dir] = 'd'
		u.seen[strings.ToLower(norm.NFC.String(dir))] = dir
	}
	parent, err := u.directory(path.Dir(dir), entry)
	if err != nil {
		return nil, err
	}
	r, err := parent.OpenRoot(path.Base(dir))
	if err != nil {
		return nil, err
	}
	u.roots[dir] = r
	return r, nil
}

func (u *unpacker) file(parent *os.Root, base string, h *tar.Header, t *tar.Reader) error {
	mode := fs.FileMode(0o444)
	if h.FileInfo().Mode()&0o111 != 0 {
		mode = 0o555
	}
	f, err := parent.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, t); err != nil {
		f.Close()
		if pe, ok := errors.AsType[*fs.PathError](err); ok && pe.Op == "write" {
			return err // a full disk is no fault of the archive
		}
		return readError(err)
	}
	return f.Close()
}

// link makes a symbolic link, after all files are there: what it points to must be in the tree, not above it.
func (u *unpacker) link(name, target string) error {
	u.steps = 0
	if _, err := u.resolve(name, path.Dir(name), target, 0); err != nil {
		return err
	}
	parent, err := u.directory(path.Dir(name), name)
	if err != nil {
		return err
	}
	return parent.Symlink(target, path.Base(name))
}

// resolve walks a link's target from the folder at as the system would, through other links, and returns where it
// ends: a chain of links each harmless by itself may lead out of the tree.
func (u *unpacker) resolve(name, at, target string, depth int) (string, error) {
	// Depth alone does not bound the work: links that each name the one before twice double it at every step.
	if u.steps++; depth > 40 || u.steps > 4096 {
		return "", badArchive(name, "its links lead in a circle, or through too many others", nil)
	}
	if target == "" || path.IsAbs(target) || len(target) > maxPath || strings.ContainsAny(target, "\\\x00") || !utf8.ValidString(target) {
		return "", badArchive(name, fmt.Sprintf("it links to %q, which is not a path inside the library", shorten(target)), nil)
	}
	for part := range strings.SplitSeq(target, "/") {
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			if at == "." {
				return "", badArchive(name, fmt.Sprintf("it links to %q, outside the library", shorten(target)), nil)
			}
			at = path.Dir(at)
			continue
		}
		at = path.Join(at, part)
		switch u.kind[at] {
		case 'l':
			onward, err := u.resolve(name, path.Dir(at), u.targets[at], depth+1)
			if err != nil {
				return "", err
			}
			at = onward
		case 0:
			if !u.foreign {
				return "", badArchive(name, fmt.Sprintf("it links to %q, which is not there", shorten(target)), nil)
			}
		}
	}
	return at, nil
}

// reserved are names that Windows gives to devices, with any extension.
var reserved = map[string]bool{"con": true, "prn": true, "aux": true, "nul": true}

func init() {
	for _, digit := range "123456789" {
		reserved["com"+string(digit)] = true
		reserved["lpt"+string(digit)] = true
	}
}

// badName says why a name cannot be one file's on every system, "" where it can.
func badName(name string) string {
	switch {
	case name == "" || name == ".":
		return "its name is empty"
	case len(name) > maxPath:
		return fmt.Sprintf("its name has %d bytes; %d are possible", len(name), maxPath)
	case path.IsAbs(name):
		return "its name is absolute"
	case !utf8.ValidString(name):
		return "its name is not UTF-8"
	case !norm.NFC.IsNormalString(name):
		return "its name is not in Unicode's NFC, so that it would be another file's elsewhere"
	case strings.Count(name, "/") >= maxDepth:
		return fmt.Sprintf("it lies deeper than %d folders", maxDepth)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return fmt.Sprintf("its name holds %q as a part", part)
		case len(part) > maxComponent:
			return fmt.Sprintf("a part of its name has %d bytes; %d are possible", len(part), maxComponent)
		case strings.ContainsFunc(part, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' || r == ':' }):
			return "its name holds a backslash, a colon or a control character"
		case strings.HasSuffix(part, ".") || strings.HasSuffix(part, " "):
			return "a part of its name ends in a dot or a space"
		}
		stem, _, _ := strings.Cut(strings.ToLower(part), ".")
		if reserved[stem] {
			return "its name is one of a device on Windows"
		}
	}
	return ""
}
