package artifact

import (
	"archive/tar"
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/unicode/norm"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/tree"
)

// Limits bound what one layer may unpack to. A field that is zero means that of DefaultLimits.
type Limits struct {
	Entries  int   // files, links and folders
	File     int64 // bytes of one file
	Total    int64 // bytes of all files
	Floor    int64 // bytes that a layer may unpack to however small it is; more must not be over 20 times its size
	Unpacked int64 // bytes of the tar as the config declares them, to be met exactly; 0 where nothing is declared
}

// DefaultLimits are far above any library seen in the field and far below what fills a disk. No flag changes them: see
// docs/decisions/0060-limits-are-no-flags.md.
var DefaultLimits = Limits{Entries: 200_000, File: 8 << 30, Total: 16 << 30, Floor: 512 << 20}

const (
	maxPath      = 1024
	maxComponent = 255
	maxDepth     = 64
	maxWindow    = 128 << 20 // of zstd, in bytes; larger ones ask the reader for that much memory

	// A ratio that no library reaches; small inputs may expand further, up to Limits.Floor.
	maxRatio = 20

	// The zeros behind a tar's end fill its last record. Of ours there are none, and GNU tar's records are of 10 KiB, should
	// it have written such an archive; others may have asked it for larger ones (--blocking-factor).
	maxPadding        = 10 << 10
	maxForeignPadding = 1 << 20

	// maxNames is the sum in bytes of names and of what links point to, which are kept in memory: of as many entries as are
	// possible, 80 bytes each.
	maxNames = 16 << 20
)

// Unpack writes a layer's tree to dst, which is empty, and reads r to its very end, so that a reader which verifies its
// bytes has seen them all. On any error the caller throws dst away: a refused layer leaves nothing. What the layer's
// descriptor says of its size decides how r is read, and nothing else.
//
// Allowed are folders, files and relative symbolic links that stay inside; names are clean UTF-8 in NFC, unlike each
// other on every file system. Archives of the ocipkg project (foreign) may also name one file twice, the last
// counting, hold sparse files, and set bits such as setuid, because its packers write such. Of modes only the executable
// bits count; owners and times are dropped. Whatever else an archive holds is an error of kind Refused that names
// the entry.
//
// A gzip stream has one member, because readers in the field stop at its end and would see another tree. A zstd stream
// may have several frames, skippable ones too: RFC 8878 (3.1) leaves no reader a choice about them.
func Unpack(r io.Reader, layer Descriptor, dst tree.Writer, foreign bool, limits Limits) error {
	limits.Entries = cmp.Or(limits.Entries, DefaultLimits.Entries)
	limits.File = cmp.Or(limits.File, DefaultLimits.File)
	limits.Total = cmp.Or(limits.Total, DefaultLimits.Total)
	limits.Floor = cmp.Or(limits.Floor, DefaultLimits.Floor)
	buffer := 1 << 14
	ahead := layer.Size < 0 || layer.Size >= worthAhead
	if ahead {
		arriving := newAheadReader(r)
		defer arriving.Close()
		r, buffer = arriving, 1<<16
	}
	compressed := &countingReader{r: r}
	input := bufio.NewReaderSize(compressed, buffer)
	var stream io.Reader
	switch layer.MediaType {
	case TypeLayerGzip, TypeV0Gzip, TypeDockerGzip:
		z, err := gzip.NewReader(input)
		if err != nil {
			return notCompressed("gzip", err)
		}
		z.Multistream(false)
		stream = z
	case TypeLayerZstd:
		z, err := zstd.NewReader(input, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return notCompressed("zstd", err)
		}
		defer z.Close()
		stream = z
	case TypeV0Layer:
		stream = input
	default:
		return &diagnostic.Error{Kind: diagnostic.Unsupported, What: "layer", Why: "it is of type " + layer.MediaType, Do: "have its author pack it again with `ocipkg pack`, or take a newer ocipkg"}
	}
	bounded := &boundedReader{r: stream, compressed: compressed, declared: limits.Unpacked, limit: limits.Total + int64(limits.Entries)*2048, floor: limits.Floor}
	var plain *pieces
	if ahead {
		unpacked := newAheadReader(bounded)
		defer unpacked.Close()
		plain = &unpacked.pieces
	} else {
		plain = newPieces(bounded)
	}
	u := &unpacker{dst: dst, stream: bounded, plain: plain, foreign: foreign, limits: limits, seen: map[string]string{}, kind: map[string]byte{}, targets: map[string]string{}}
	if err := u.all(); err != nil {
		return err
	}
	// Behind the tar's end there may be zeros that fill its last block, and nothing else.
	buf := make([]byte, 4096)
	padding, most := 0, maxPadding
	if foreign {
		most = maxForeignPadding
	}
	for {
		n, err := plain.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return badArchive("", "bytes follow the end of its tar", nil)
			}
		}
		if padding += n; padding > most {
			return badArchive("", fmt.Sprintf("more than %d zeros follow the end of its tar", most), nil)
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

func notCompressed(how string, err error) error {
	if _, ok := errors.AsType[*diagnostic.Error](err); ok {
		return err
	}
	return badArchive("", "it is not "+how+": "+err.Error(), err)
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

// shorten keeps a message readable; what is cut in the middle of a character is quoted by its reader anyway.
func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// countingReader counts, and answers an error again: io.ReadFull, by which decompressors read, forgets one that came with
// the last bytes that it wants.
type countingReader struct {
	r   io.Reader
	n   atomic.Int64 // bytes read
	err error
}

func (c *countingReader) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	c.err = err
	return n, err
}

// boundedReader counts what a decompressor gives and stops it where it gives too much.
type boundedReader struct {
	r          io.Reader
	compressed *countingReader
	declared   int64
	limit      int64
	floor      int64
	n          int64
}

// tooMuch reports whether n bytes are out of proportion to what has been read of the layer.
func (b *boundedReader) tooMuch(n int64) bool {
	return n > max(b.floor, saturated(b.compressed.n.Load(), maxRatio))
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.declared != 0 && b.n > b.declared:
		return 0, badArchive("", fmt.Sprintf("it unpacks to more than the %d bytes that its config declares", b.declared), nil)
	case b.n > b.limit:
		return 0, badArchive("", fmt.Sprintf("it unpacks to more than %d bytes", b.limit), nil)
	case b.tooMuch(b.n):
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
	dst     tree.Writer
	stream  *boundedReader
	plain   *pieces // of it
	foreign bool
	limits  Limits
	entries int
	names   int               // bytes of names and targets
	total   int64             // bytes of files as their headers say
	written int64             // bytes of files so far; more than came out of the stream where files are sparse
	seen    map[string]string // name folded as a case-blind file system folds it -> name
	kind    map[string]byte   // name -> 'd', 'f' or 'l'
	steps   int               // parts of link targets walked so far
	targets map[string]string // link -> where it points, to be judged when the tree is whole
	copying []byte            // see buffer
}

func (u *unpacker) all() error {
	t := tar.NewReader(u.plain)
	for {
		before := u.plain.n
		h, err := t.Next()
		if err == io.EOF {
			// archive/tar takes the end of the bytes for the end of the archive, and so a part of one for the whole.
			if u.plain.n-before < 2*512 {
				return badArchive("", "its tar has no end", nil)
			}
			break
		}
		if err != nil {
			return readError(err)
		}
		if u.entries++; u.entries > u.limits.Entries {
			return badArchive(h.Name, fmt.Sprintf("it is the entry after the first %d, more than a library has", u.limits.Entries), nil)
		}
		if u.names += len(h.Name) + len(h.Linkname); u.names > maxNames {
			return badArchive(h.Name, fmt.Sprintf("with it the names have more than %d bytes", maxNames), nil)
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
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink:
	case tar.TypeGNUSparse:
		if !u.foreign {
			return badArchive(h.Name, "it is a sparse file", nil)
		}
	case tar.TypeLink:
		return badArchive(h.Name, "it is a hard link", nil)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return badArchive(h.Name, "it is a device or a pipe", nil)
	case tar.TypeXGlobalHeader:
		return badArchive(h.Name, "it is a header for all entries behind it", nil)
	default:
		return badArchive(h.Name, fmt.Sprintf("it is of a kind that no library needs (type %q)", h.Typeflag), nil)
	}
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		// A file's name that ends so is a folder to some readers.
		name = strings.TrimSuffix(name, "/")
	}
	if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse && h.Size != 0 {
		// Some readers skip that many bytes and go on behind them, others do not: they would see different entries.
		return badArchive(h.Name, fmt.Sprintf("it is no file and has %d bytes", h.Size), nil)
	}
	if u.foreign {
		name = strings.TrimPrefix(name, "./")
		if name == "" || name == "." {
			return nil
		}
	}
	if why := badName(name); why != "" {
		return badArchive(h.Name, why, nil)
	}
	if other, ok := h.PAXRecords["path"]; ok && other != h.Name {
		return badArchive(h.Name, fmt.Sprintf("it has a second name, %q, and readers differ in which counts", shorten(other)), nil)
	}
	if other, ok := h.PAXRecords["linkpath"]; ok && other != h.Linkname {
		return badArchive(h.Name, fmt.Sprintf("it has a second target, %q, and readers differ in which counts", shorten(other)), nil)
	}
	if !u.foreign {
		if h.Mode&0o7000 != 0 {
			return badArchive(h.Name, fmt.Sprintf("its mode %O asks for more than reading and running (setuid, setgid or sticky)", h.Mode), nil)
		}
		for key := range h.PAXRecords {
			if key != "path" && key != "linkpath" && key != "size" && key != "mtime" {
				return badArchive(h.Name, fmt.Sprintf("it carries the extended attribute %q", key), nil)
			}
		}
	}
	folded := fold(name)
	before, known := u.seen[folded]
	if known && before != name {
		return badArchive(h.Name, fmt.Sprintf("it and %q are one file where capital letters do not count", before), nil)
	}
	if known && (!u.foreign || u.kind[name] == 'd' != (h.Typeflag == tar.TypeDir)) {
		return badArchive(h.Name, "it is there twice", nil)
	}
	dir := path.Dir(name)
	if err := u.folder(dir, h.Name); err != nil {
		return err
	}
	u.seen[folded] = name
	switch h.Typeflag {
	case tar.TypeDir:
		u.kind[name] = 'd'
		if known {
			return nil
		}
		return u.dst.Mkdir(name)
	case tar.TypeSymlink:
		if err := u.forget(name, known); err != nil {
			return err
		}
		u.kind[name] = 'l'
		u.targets[name] = h.Linkname
		return nil
	default:
		if h.Size > u.limits.File {
			return badArchive(h.Name, fmt.Sprintf("it has %d bytes; %d are possible", h.Size, u.limits.File), nil)
		}
		if u.total += h.Size; u.total > u.limits.Total {
			return badArchive(h.Name, fmt.Sprintf("with it the files exceed %d bytes", u.limits.Total), nil)
		}
		if err := u.forget(name, known); err != nil {
			return err
		}
		u.kind[name] = 'f'
		return u.file(name, h, t)
	}
}

// forget takes away what a foreign archive named before and now names again.
func (u *unpacker) forget(name string, known bool) error {
	if !known {
		return nil
	}
	if u.kind[name] == 'l' {
		delete(u.targets, name)
		return nil
	}
	return u.dst.Remove(name)
}

// folder sees to it that a folder of the tree is there. In our archives it stands before what is in it; the ocipkg
// project's leave folders out.
func (u *unpacker) folder(dir, entry string) error {
	switch k := u.kind[dir]; {
	case k == 'd' || dir == ".":
		return nil
	case k != 0:
		return badArchive(entry, fmt.Sprintf("it lies below %q, which is no folder", dir), nil)
	case !u.foreign:
		return badArchive(entry, fmt.Sprintf("its folder %q has not been named before it", dir), nil)
	}
	if before, known := u.seen[fold(dir)]; known {
		return badArchive(entry, fmt.Sprintf("its folder and %q are one where capital letters do not count", before), nil)
	}
	if err := u.folder(path.Dir(dir), entry); err != nil {
		return err
	}
	if err := u.dst.Mkdir(dir); err != nil {
		return err
	}
	u.kind[dir] = 'd'
	u.seen[fold(dir)] = dir
	return nil
}

func (u *unpacker) file(name string, h *tar.Header, t *tar.Reader) error {
	f, err := u.dst.Create(name, h.FileInfo().Mode()&0o111 != 0)
	if err != nil {
		return err
	}
	if err := u.copy(f, t, h); err != nil {
		f.Close()
		if pe, ok := errors.AsType[*fs.PathError](err); ok && pe.Op == "write" {
			return err // a full disk is no fault of the archive
		}
		return readError(err)
	}
	return f.Close()
}

// copy writes the bytes of an entry to f. Those of our archives are written from where they came to lie, since copying them
// takes as long as a part of decompressing them; only a sparse file has bytes that are not in the archive.
func (u *unpacker) copy(f io.Writer, t *tar.Reader, h *tar.Header) error {
	from := &expanding{u: u, t: t, name: h.Name}
	if u.foreign {
		_, err := io.CopyBuffer(struct{ io.Writer }{f}, from, u.buffer())
		return err
	}
	for left := h.Size; left > 0; {
		there, err := u.plain.next()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		n, err := from.Read(there)
		left -= int64(n)
		if _, err := f.Write(there[:n]); err != nil {
			return err
		}
		if err != nil && (err != io.EOF || left > 0) {
			return err
		}
	}
	return nil
}

// buffer is what files are copied through: large, because each write is a system call that may cost a switch of threads,
// and one for all of them, because memory that is new for each file costs more than the copying.
func (u *unpacker) buffer() []byte {
	if u.copying == nil {
		u.copying = make([]byte, 256<<10)
	}
	return u.copying
}

// expanding bounds what a sparse file's holes become: a header of a few bytes makes gigabytes of zeros.
type expanding struct {
	u    *unpacker
	t    *tar.Reader
	name string
}

func (e *expanding) Read(p []byte) (int, error) {
	n, err := e.t.Read(p)
	if e.u.written += int64(n); e.u.stream.tooMuch(e.u.written) {
		return 0, badArchive(e.name, fmt.Sprintf("with it the files are more than %d times the size of the layer", maxRatio), nil)
	}
	return n, err
}

// link makes a symbolic link, after all files are there: what it points to must be in the tree, not above it.
func (u *unpacker) link(name, target string) error {
	if _, err := u.resolve(name, path.Dir(name), target, 0); err != nil {
		return err
	}
	return u.dst.Symlink(target, name)
}

// resolve walks a link's target from the folder at as the system would, through other links, and returns where it
// ends: a chain of links each harmless by itself may lead out of the tree.
func (u *unpacker) resolve(name, at, target string, depth int) (string, error) {
	if target == "" || path.IsAbs(target) || len(target) > maxPath || strings.ContainsAny(target, "\\\x00") || !utf8.ValidString(target) {
		return "", badArchive(name, fmt.Sprintf("it links to %q, which is not a path inside the library", shorten(target)), nil)
	}
	missing := false // what has been walked so far is not there, or is no folder to walk on from
	for part := range strings.SplitSeq(target, "/") {
		// Depth alone does not bound the work: links that each name the one before twice double it at every step.
		if u.steps++; depth > 40 || u.steps > 4096+64*len(u.targets) {
			return "", badArchive(name, "its links lead in a circle, or through too many others", nil)
		}
		if part == "" || part == "." {
			continue
		}
		if u.kind[at] == 'f' {
			missing = true
		}
		if part == ".." {
			// Where nothing is now, another layer may put a link, and then the way up starts elsewhere.
			if at == "." || missing {
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
			missing = at != "." && u.kind[at] == 0
		case 0:
			missing = true
		}
	}
	if missing && !u.foreign {
		return "", badArchive(name, fmt.Sprintf("it links to %q, which is not there", shorten(target)), nil)
	}
	return at, nil
}

// reserved are names that Windows gives to devices, with any extension.
var reserved = map[string]bool{"con": true, "prn": true, "aux": true, "nul": true, "conin$": true, "conout$": true}

func init() {
	for _, digit := range "0123456789¹²³" {
		reserved["com"+string(digit)] = true
		reserved["lpt"+string(digit)] = true
	}
}

// fold gives two names the same text where a file system that is blind to case takes them for one.
func fold(name string) string {
	// To upper case first: several small letters share one capital, as the two sigmas do.
	return strings.ToLower(strings.ToUpper(norm.NFC.String(name)))
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
		if reserved[strings.TrimRight(stem, " ")] {
			return "its name is one of a device on Windows"
		}
	}
	return ""
}
