package artifact

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/tree"
)

// unpackBelow is Unpack into a folder, of a layer that is small.
func unpackBelow(root *os.Root, r io.Reader, mediaType string, foreign bool, limits Limits) error {
	w := tree.In(root)
	defer w.Close()
	return Unpack(r, Descriptor{MediaType: mediaType}, w, foreign, limits)
}

// large is the layer of that type as one that is read ahead.
func large(mediaType string) Descriptor {
	return Descriptor{MediaType: mediaType, Size: worthAhead}
}

// unpackInto unpacks into a folder of its own and reports what is in it, and what is beside it, afterwards.
func unpackInto(t testing.TB, r io.Reader, mediaType string, foreign bool, limits Limits) (inside, outside []string, err error) {
	t.Helper()
	parent := t.TempDir()
	if err := os.WriteFile(filepath.Join(parent, "bystander"), []byte("unharmed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(parent, "dst"), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Join(parent, "dst"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	again, repeats := r.(*bytes.Reader)
	err = unpackBelow(root, r, mediaType, foreign, limits)
	if repeats {
		if _, err := again.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		other := Unpack(again, large(mediaType), new(nowhere), foreign, limits)
		said, _, _ := strings.Cut(fmt.Sprint(err), "attribute") // of several, any one is named
		if !strings.HasPrefix(fmt.Sprint(other), said) {
			t.Errorf("read ahead: %v; else: %v", other, err)
		}
	}
	walkErr := filepath.WalkDir(parent, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(parent, p)
		if name, ok := strings.CutPrefix(filepath.ToSlash(rel), "dst/"); ok {
			inside = append(inside, name)
		} else if rel != "." && rel != "dst" {
			outside = append(outside, rel)
		}
		return nil
	})
	if walkErr != nil {
		t.Fatal(walkErr)
	}
	data, readErr := os.ReadFile(filepath.Join(parent, "bystander"))
	if info, statErr := os.Stat(filepath.Join(parent, "bystander")); statErr != nil || readErr != nil || string(data) != "unharmed" || info.Mode() != 0o600 {
		t.Errorf("the file beside the folder was touched: %q, %v, %v", data, readErr, statErr)
	}
	if !slices.Equal(outside, []string{"bystander"}) {
		t.Errorf("written outside the folder: %q", outside)
	}
	return inside, outside, err
}

var (
	dir  = func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755} }
	file = func(name string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: 3}
	}
	link = func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}
	}
	kind = func(flag byte, name string) tar.Header {
		return tar.Header{Typeflag: flag, Name: name, Mode: 0o644}
	}
)

// patched changes the header block of the entry with a name, and its checksum: archive/tar writes no such headers.
func patched(t testing.TB, data []byte, name string, change func(block []byte)) []byte {
	t.Helper()
	data = bytes.Clone(data)
	for at := 0; at+512 <= len(data); at += 512 {
		block := data[at : at+512]
		if string(block[257:262]) != "ustar" || string(bytes.TrimRight(block[:100], "\x00")) != name {
			continue
		}
		change(block)
		copy(block[148:156], "        ")
		sum := 0
		for _, b := range block {
			sum += int(b)
		}
		copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
		return data
	}
	t.Fatalf("no header of %q", name)
	return nil
}

// sparse is an entry in the old GNU format: a file of logical bytes of which the last 512 are there.
func sparse(t testing.TB, name string, logical int64) []byte {
	data := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: 512, Format: tar.FormatGNU})
	return patched(t, data, name, func(b []byte) {
		b[156] = tar.TypeGNUSparse
		big := func(field []byte, n int64) {
			clear(field)
			field[0] = 0x80
			binary.BigEndian.PutUint64(field[len(field)-8:], uint64(n))
		}
		big(b[386:398], logical-512)
		big(b[398:410], 512)
		big(b[483:495], logical)
	})
}

func TestUnpackRefuses(t *testing.T) {
	long := strings.Repeat("n", 256)
	deep := strings.TrimSuffix(strings.Repeat("d/", 65), "/")
	var farDown []tar.Header
	for i := 1; i <= 64; i++ {
		farDown = append(farDown, dir(strings.TrimSuffix(strings.Repeat("d/", i), "/")))
	}
	pax := func(key, value string) tar.Header {
		h := file("f")
		h.PAXRecords, h.Format = map[string]string{key: value}, tar.FormatPAX
		return h
	}
	var chain, cycle []tar.Header
	chain = append(chain, dir("d"), link("l0", "d"))
	for i := 1; i <= 60; i++ {
		chain = append(chain, link(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d/../l%d/.", i-1, i-1)))
	}
	cycle = append(cycle, link("a", "b"), link("b", "a"))

	cases := []struct {
		what    string
		entries []tar.Header
		names   string // the entry that the message must name
		says    string
		foreign bool // refused in others' archives too
	}{
		{"parent in name", []tar.Header{file("../evil")}, "../evil", `".."`, true},
		{"parent inside name", []tar.Header{dir("a"), file("a/../../evil")}, "a/../../evil", `".."`, true},
		{"name is parent", []tar.Header{dir("..")}, "..", `".."`, true},
		{"absolute name", []tar.Header{file("/tmp/evil")}, "/tmp/evil", "absolute", true},
		{"empty part", []tar.Header{dir("a"), file("a//f")}, "a//f", `""`, true},
		{"dot part", []tar.Header{file("./f")}, "./f", `"."`, false},
		{"absolute link", []tar.Header{link("l", "/etc/passwd")}, "l", "/etc/passwd", true},
		{"link out", []tar.Header{link("l", "../bystander")}, "l", "outside", true},
		{"link out from a folder", []tar.Header{dir("a"), link("a/l", "../../bystander")}, "a/l", "outside", true},
		{"chained links out", []tar.Header{dir("a"), dir("a/b"), link("l", "a/b"), link("m", "l/../../../bystander")}, "m", "outside", true},
		{"link out by a link to a folder", []tar.Header{dir("a"), link("up", "a/.."), link("m", "up/../bystander")}, "m", "outside", true},
		{"link through what is not there", []tar.Header{link("m", "nowhere/../../bystander")}, "m", "outside", true},
		{"link up through what is not there", []tar.Header{dir("a"), link("a/m", "nowhere/../../f"), file("f")}, "a/m", "outside", true},
		{"link up through a file", []tar.Header{file("f"), dir("a"), link("a/m", "../f/../f")}, "a/m", "outside", true},
		{"link to nothing", []tar.Header{link("l", "f")}, "l", "not there", false},
		{"link below a file", []tar.Header{file("f"), link("l", "f/x")}, "l", "not there", false},
		{"link without target", []tar.Header{file("f"), {Typeflag: tar.TypeSymlink, Name: "l", Linkname: ""}}, "l", "not a path", true},
		{"link with a backslash", []tar.Header{link("l", `..\bystander`)}, "l", "not a path", true},
		{"links in a circle", cycle, "a", "circle", true},
		{"link to itself", []tar.Header{link("a", "a")}, "a", "circle", true},
		{"doubling links", chain, "l", "too many", true},
		{"write through a link", []tar.Header{link("l", "."), file("l/f")}, "l/f", "no folder", true},
		{"write through a link out", []tar.Header{link("l", ".."), file("l/evil")}, "l/evil", "no folder", true},
		{"hard link", []tar.Header{file("f"), {Typeflag: tar.TypeLink, Name: "h", Linkname: "f"}}, "h", "hard link", true},
		{"hard link out", []tar.Header{{Typeflag: tar.TypeLink, Name: "h", Linkname: "../bystander"}}, "h", "hard link", true},
		{"character device", []tar.Header{kind(tar.TypeChar, "dev")}, "dev", "device", true},
		{"block device", []tar.Header{kind(tar.TypeBlock, "dev")}, "dev", "device", true},
		{"FIFO", []tar.Header{kind(tar.TypeFifo, "pipe")}, "pipe", "pipe", true},
		{"global header", []tar.Header{{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"path": "evil"}}, file("f")}, "g", "all entries", true},
		{"case clash", []tar.Header{file("Zlib.h"), file("zlib.H")}, "zlib.H", "Zlib.h", true},
		{"case clash of folders", []tar.Header{dir("A"), file("A/f"), dir("a")}, "a/", `"A"`, true},
		{"case clash of sigmas", []tar.Header{file("ς"), file("σ")}, "σ", `"ς"`, true},
		{"NFC and NFD twins", []tar.Header{file("\u00e9.h"), file("e\u0301.h")}, "e\u0301.h", "NFC", true},
		{"twice", []tar.Header{file("f"), file("f")}, "f", "twice", false},
		{"file, then folder", []tar.Header{file("f"), dir("f")}, "f/", "twice", true},
		{"folder, then link", []tar.Header{dir("f"), link("f", "g"), file("g")}, "f", "twice", true},
		{"child before parent", []tar.Header{file("a/f"), dir("a")}, "a/f", "before", false},
		{"below a file", []tar.Header{file("a"), file("a/f")}, "a/f", "no folder", true},
		{"long part", []tar.Header{file(long)}, long[:200], "256 bytes", true},
		{"long name", []tar.Header{file(strings.Repeat("abcdefg/", 129) + "f")}, "abcdefg/", "1033 bytes", true},
		{"name of 10,000 bytes, PAX", []tar.Header{{Typeflag: tar.TypeReg, Name: strings.Repeat("abcdefg/", 1249) + "abcdefgh", Format: tar.FormatPAX}}, "abcdefg/", "10000 bytes", true},
		{"name of 10,000 bytes, GNU", []tar.Header{{Typeflag: tar.TypeReg, Name: strings.Repeat("abcdefg/", 1249) + "abcdefgh", Format: tar.FormatGNU}}, "abcdefg/", "10000 bytes", true},
		{"part of 10,000 bytes, PAX", []tar.Header{{Typeflag: tar.TypeReg, Name: strings.Repeat("n", 10_000), Format: tar.FormatPAX}}, "nnn", "10000 bytes", true},
		{"part of 10,000 bytes, GNU", []tar.Header{{Typeflag: tar.TypeReg, Name: strings.Repeat("n", 10_000), Format: tar.FormatGNU}}, "nnn", "10000 bytes", true},
		{"target of 10,000 bytes, PAX", []tar.Header{{Typeflag: tar.TypeSymlink, Name: "l", Linkname: strings.Repeat("./", 5000), Format: tar.FormatPAX}}, `"l"`, "not a path", true},
		{"target of 10,000 bytes, GNU", []tar.Header{{Typeflag: tar.TypeSymlink, Name: "l", Linkname: strings.Repeat("./", 5000), Format: tar.FormatGNU}}, `"l"`, "not a path", true},
		{"deep name", append(slices.Clone(farDown), file(deep)), deep, "deeper", true},
		{"device of Windows", []tar.Header{file("NUL.h")}, "NUL.h", "Windows", true},
		{"device of Windows, spaced", []tar.Header{file("aux .txt")}, "aux .txt", "Windows", true},
		{"console of Windows", []tar.Header{file("CONOUT$")}, "CONOUT$", "Windows", true},
		{"superscript port of Windows", []tar.Header{file("com¹")}, "com¹", "Windows", true},
		{"stream of Windows", []tar.Header{file("f:ads")}, "f:ads", "colon", true},
		{"backslash", []tar.Header{file(`..\evil`)}, `..\\evil`, "backslash", true},
		{"newline", []tar.Header{file("a\nb")}, `a\nb`, "control", true},
		{"escape", []tar.Header{file("\x1b[2J")}, `\x1b`, "control", true},
		{"dot at the end", []tar.Header{file("f.")}, "f.", "ends in", true},
		{"space at the end", []tar.Header{file("f ")}, "f ", "ends in", true},
		{"no UTF-8", []tar.Header{{Typeflag: tar.TypeReg, Name: "\xff\xfe", Format: tar.FormatGNU, Size: 3}}, `\xff`, "UTF-8", true},
		{"setuid", []tar.Header{{Typeflag: tar.TypeReg, Name: "tool", Mode: 0o4755, Size: 3}}, "tool", "0o4755", false},
		{"setgid folder", []tar.Header{{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o2755}}, "d/", "0o2755", false},
		{"extended attribute", []tar.Header{pax("SCHILY.xattr.security.capability", "x")}, "f", "security.capability", false},
		{"ACL", []tar.Header{pax("SCHILY.acl.access", "x")}, "f", "acl.access", false},
	}
	for _, c := range cases {
		for _, foreign := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/foreign=%v", c.what, foreign), func(t *testing.T) {
				_, _, err := unpackInto(t, bytes.NewReader(gzipped(t, tarOf(t, c.entries...))), TypeLayerGzip, foreign, Limits{})
				if foreign && !c.foreign {
					if err != nil {
						t.Fatalf("others' archives may hold it: %v", err)
					}
					return
				}
				if diagnostic.KindOf(err) != diagnostic.Refused {
					t.Fatalf("got %v", err)
				}
				if !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%q does not say %q and %q", err, c.names, c.says)
				}
			})
		}
	}
}

// What no writer of Go's makes: headers changed by hand, records that contradict them, streams that go on.
func TestUnpackRefusesBytes(t *testing.T) {
	plain := tarOf(t, dir("d"), file("d/f"))
	head := func(data []byte) []byte { return data[:len(data)-1024] } // without the two zero blocks at the end

	// before puts an entry of a kind that describes the next one in front of it.
	before := func(flag byte, body string, next []byte) []byte {
		b := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "pax", Size: int64(len(body))})
		b = patched(t, b, "pax", func(b []byte) { b[156] = flag })
		copy(b[512:], body)
		return append(head(b), next...)
	}
	paxEntry := func(records string, next []byte) []byte { return before(tar.TypeXHeader, records, next) }
	short := tarOf(t, file("f"))
	holes := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "f", Size: 515})
	copy(holes[512:], "1\n0\n3\n")
	record := func(key, value string) string {
		s := " " + key + "=" + value + "\n"
		n := len(s) + 1
		for len(fmt.Sprint(n))+len(s) != n {
			n++
		}
		return fmt.Sprint(n) + s
	}
	size := func(field []byte, bytes ...byte) { clear(field); copy(field, bytes) }

	skippable := append(binary.LittleEndian.AppendUint32([]byte{0x50, 0x2a, 0x4d, 0x18}, 3), "abc"...)
	badSum := zstandard(t, plain)
	badSum[len(badSum)-1] ^= 1

	cases := []struct {
		what, mediaType string
		data            []byte
		foreign         bool
		limits          Limits
		says            string // "" where it is allowed
	}{
		{"plain gzip", TypeLayerGzip, gzipped(t, plain), false, Limits{}, ""},
		{"plain zstd", TypeLayerZstd, zstandard(t, plain), false, Limits{}, ""},
		{"padding to 10 KiB", TypeLayerGzip, gzipped(t, append(bytes.Clone(plain), make([]byte, 10*1024-len(plain))...)), false, Limits{}, ""},
		{"more zeros than that", TypeLayerGzip, gzipped(t, append(bytes.Clone(plain), make([]byte, 10<<10+1)...)), false, Limits{}, "more than 10240 zeros"},
		{"a record of 1 MiB", TypeLayerGzip, gzipped(t, append(bytes.Clone(plain), make([]byte, 1<<20-len(plain))...)), true, Limits{}, ""},
		{"zeros without end", TypeLayerGzip, gzipped(t, append(bytes.Clone(plain), make([]byte, 5<<20)...)), true, Limits{}, "more than 1048576 zeros"},
		{"uncompressed V0", TypeV0Layer, plain, true, Limits{}, ""},

		{"not gzip", TypeLayerGzip, []byte("<html>not found</html>"), false, Limits{}, "not gzip"},
		{"empty gzip layer", TypeLayerGzip, nil, false, Limits{}, "not gzip"},
		{"not zstd", TypeLayerZstd, []byte("<html>not found</html>"), false, Limits{}, "magic"},
		{"gzip called zstd", TypeLayerZstd, gzipped(t, plain), false, Limits{}, "magic"},
		{"gzip of no tar", TypeLayerGzip, gzipped(t, []byte(strings.Repeat("<html>", 200))), false, Limits{}, "header"},
		{"uncompressed garbage", TypeV0Layer, bytes.Repeat([]byte("x"), 2048), true, Limits{}, "header"},
		{"gzip cut", TypeLayerGzip, gzipped(t, plain)[:60], false, Limits{}, "unexpected EOF"},
		{"gzip cut in its sum", TypeLayerGzip, gzipped(t, plain)[:len(gzipped(t, plain))-4], false, Limits{}, "unexpected EOF"},
		{"zstd cut", TypeLayerZstd, zstandard(t, plain)[:40], false, Limits{}, "unexpected EOF"},
		{"tar cut in a file", TypeLayerGzip, gzipped(t, plain[:512+512+1]), false, Limits{}, "unexpected EOF"},
		{"tar cut in a header", TypeLayerGzip, gzipped(t, plain[:512+100]), false, Limits{}, "unexpected EOF"},
		{"tar cut between files", TypeLayerGzip, gzipped(t, plain[:1024+512]), true, Limits{}, "no end"},
		{"tar cut in its end", TypeLayerGzip, gzipped(t, plain[:len(plain)-512]), false, Limits{}, "no end"},
		{"empty tar", TypeLayerGzip, gzipped(t, nil), false, Limits{}, "no end"},
		{"bytes behind the tar", TypeLayerGzip, gzipped(t, append(bytes.Clone(plain), "evil"...)), false, Limits{}, "follow the end of its tar"},
		{"a second tar", TypeLayerGzip, gzipped(t, append(bytes.Clone(plain), plain...)), false, Limits{}, "follow the end of its tar"},
		{"second gzip member", TypeLayerGzip, append(gzipped(t, plain), gzipped(t, plain)...), false, Limits{}, "second gzip member"},
		{"tar over two gzip members", TypeLayerGzip, append(gzipped(t, plain[:1024]), gzipped(t, plain[1024:])...), false, Limits{}, "unexpected EOF"},
		{"bytes behind gzip", TypeLayerGzip, append(gzipped(t, plain), "evil"...), false, Limits{}, "second gzip member"},
		{"zeros behind gzip", TypeLayerGzip, append(gzipped(t, plain), make([]byte, 512)...), false, Limits{}, "second gzip member"},
		{"bytes behind zstd", TypeLayerZstd, append(zstandard(t, plain), "evil"...), false, Limits{}, "magic"},
		{"zstd with a wrong sum", TypeLayerZstd, badSum, false, Limits{}, "CRC"},
		{"skippable zstd frame", TypeLayerZstd, slices.Concat(skippable, zstandard(t, plain), skippable), false, Limits{}, ""},
		{"zstd in two frames", TypeLayerZstd, append(zstandard(t, plain[:1024]), zstandard(t, plain[1024:])...), false, Limits{}, ""},
		{"zstd window of 256 MiB", TypeLayerZstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 18 << 3, 0x01, 0, 0}, false, Limits{}, "window"},
		{"zstd window of 2 TiB", TypeLayerZstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3, 0x01, 0, 0}, false, Limits{}, "window"},
		{"zstd single segment of 1 GiB", TypeLayerZstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x40, 0x01, 0, 0}, false, Limits{}, "exceeds"},
		{"zstd dictionary", TypeLayerZstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x50, 0x77, 0x01, 0, 0}, false, Limits{}, "dictionary"},

		{"more than declared", TypeLayerGzip, gzipped(t, plain), false, Limits{Unpacked: int64(len(plain)) - 512}, "declares"},
		{"less than declared", TypeLayerGzip, gzipped(t, plain), false, Limits{Unpacked: int64(len(plain)) + 512}, "declares"},
		{"as declared", TypeLayerGzip, gzipped(t, plain), false, Limits{Unpacked: int64(len(plain))}, ""},
		{"declared below nothing", TypeLayerGzip, gzipped(t, plain), false, Limits{Unpacked: -1}, "declares"},
		{"too many entries", TypeLayerGzip, gzipped(t, plain), false, Limits{Entries: 1}, "after the first 1"},
		{"file too large", TypeLayerGzip, gzipped(t, plain), false, Limits{File: 2}, "3 bytes; 2 are possible"},
		{"all files too large", TypeLayerGzip, gzipped(t, tarOf(t, file("a"), file("b"))), false, Limits{Total: 5}, "exceed 5 bytes"},
		{"bomb by declared size", TypeLayerGzip, gzipped(t, patched(t, tarOf(t, file("f")), "f", func(b []byte) { size(b[124:136], 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) })), false, Limits{}, "are possible"},

		{"sparse", TypeLayerGzip, gzipped(t, sparse(t, "f", 4096)), false, Limits{}, "sparse"},
		{"sparse of others", TypeLayerGzip, gzipped(t, sparse(t, "f", 4096)), true, Limits{}, ""},
		{"sparse of a terabyte", TypeLayerGzip, gzipped(t, sparse(t, "f", 1<<40)), true, Limits{}, "are possible"},
		{"sparse bomb", TypeLayerGzip, gzipped(t, sparse(t, "f", 1<<30)), true, Limits{Floor: 1 << 20}, "times the size"},
		{"sparse by PAX 1.0", TypeLayerGzip, gzipped(t, paxEntry(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", "g")+record("GNU.sparse.realsize", "3"), holes)), false, Limits{}, "sparse"},
		{"sparse by PAX 0.1", TypeLayerGzip, gzipped(t, paxEntry(record("GNU.sparse.map", "0,3")+record("GNU.sparse.numblocks", "1")+record("GNU.sparse.size", "9"), short)), false, Limits{}, "sparse"},
		{"sparse by PAX of a terabyte", TypeLayerGzip, gzipped(t, paxEntry(record("GNU.sparse.map", "0,3")+record("GNU.sparse.numblocks", "1")+record("GNU.sparse.size", "1099511627776"), short)), true, Limits{}, "are possible"},

		{"PAX name", TypeLayerGzip, gzipped(t, paxEntry(record("path", "g"), short)), false, Limits{}, ""},
		{"PAX name out", TypeLayerGzip, gzipped(t, paxEntry(record("path", "../evil"), short)), true, Limits{}, "../evil"},
		{"PAX name with a NUL", TypeLayerGzip, gzipped(t, paxEntry(record("path", "a\x00b"), short)), true, Limits{}, "header"},
		{"PAX size that swallows the next header", TypeLayerGzip, gzipped(t, paxEntry(record("size", "1024"), short)), false, Limits{}, "no end"},
		{"PAX size below nothing", TypeLayerGzip, gzipped(t, paxEntry(record("size", "-1"), short)), true, Limits{}, "header"},
		{"PAX size beyond all", TypeLayerGzip, gzipped(t, paxEntry(record("size", "9223372036854775807"), short)), true, Limits{}, "are possible"},
		{"PAX record with a wrong length", TypeLayerGzip, gzipped(t, paxEntry("99 path=x\n", short)), true, Limits{}, "header"},
		{"size below nothing", TypeLayerGzip, gzipped(t, patched(t, plain, "d/f", func(b []byte) {
			size(b[124:136], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
		})), true, Limits{}, "header"},
		{"size in base 256", TypeLayerGzip, gzipped(t, patched(t, plain, "d/f", func(b []byte) { size(b[124:136], 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3) })), false, Limits{}, ""},
		{"GNU name and PAX name", TypeLayerGzip, gzipped(t, before(tar.TypeGNULongName, "g\x00", paxEntry(record("path", "h"), short))), true, Limits{}, "second name"},
		{"PAX name and GNU name", TypeLayerGzip, gzipped(t, paxEntry(record("path", "h"), before(tar.TypeGNULongName, "g\x00", short))), true, Limits{}, "second name"},
		{"GNU target and PAX target", TypeLayerGzip, gzipped(t, paxEntry(record("linkpath", "f"), before(tar.TypeGNULongLink, "../evil\x00", tarOf(t, link("l", "f"), file("f"))))), true, Limits{}, "second target"},
		{"GNU name out", TypeLayerGzip, gzipped(t, before(tar.TypeGNULongName, "../evil\x00", short)), true, Limits{}, "../evil"},
		{"slash behind a file", TypeLayerGzip, gzipped(t, before(tar.TypeGNULongName, "f/\x00", short)), true, Limits{}, `""`},
		{"folder with a size", TypeLayerGzip, gzipped(t, patched(t, plain, "d/", func(b []byte) { copy(b[124:136], "00000001000\x00") })), true, Limits{}, "it is no file and has 512 bytes"},
		{"link with a size", TypeLayerGzip, gzipped(t, patched(t, tarOf(t, file("f"), link("l", "f")), "l", func(b []byte) { copy(b[124:136], "00000001000\x00") })), true, Limits{}, "it is no file and has 512 bytes"},
		{"contiguous file", TypeLayerGzip, gzipped(t, patched(t, plain, "d/f", func(b []byte) { b[156] = tar.TypeCont })), true, Limits{}, "kind"},
		{"unknown kind", TypeLayerGzip, gzipped(t, patched(t, plain, "d/f", func(b []byte) { b[156] = 'Z' })), true, Limits{}, "kind"},
		{"GNU volume", TypeLayerGzip, gzipped(t, patched(t, plain, "d/f", func(b []byte) { b[156] = 'V' })), true, Limits{}, "kind"},
		{"wrong checksum", TypeLayerGzip, gzipped(t, append([]byte{'x'}, plain[1:]...)), true, Limits{}, "header"},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := unpackInto(t, bytes.NewReader(c.data), c.mediaType, c.foreign, c.limits)
			runtime.ReadMemStats(&after)
			if c.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
				t.Errorf("it took %d MiB", n>>20)
			}
		})
	}
}

// memoryLimit is what a hostile layer may cost: as the whole program, whatever it unpacks.
const memoryLimit = 128 << 20

// peak runs something and tells how much the heap has grown meanwhile, in bytes, garbage that is not collected included.
func peak(do func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // little of it is garbage
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	size := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	before := size()
	most := before
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			most = max(most, size())
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	do()
	close(stop)
	<-done
	return most - before
}

// nowhere is a tree.Writer that keeps nothing, and counts.
type nowhere struct {
	files int
	bytes int64
}

func (n *nowhere) Mkdir(string) error           { return nil }
func (n *nowhere) Symlink(string, string) error { return nil }
func (n *nowhere) Remove(string) error          { return nil }
func (n *nowhere) Close() error                 { return nil }
func (n *nowhere) Create(string, bool) (io.WriteCloser, error) {
	n.files++
	return n, nil
}

func (n *nowhere) Write(p []byte) (int, error) {
	n.bytes += int64(len(p))
	return len(p), nil
}

// A layer that becomes far more than it is is stopped at the floor, whatever the file limit allows: by 100 times and by
// 10,000 times its size. What it became until then was not held.
func TestUnpackStopsABomb(t *testing.T) {
	const floor = 2 * memoryLimit
	noise := make([]byte, 1<<20/100)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for _, c := range []struct {
		what  string
		block []byte
		layer Descriptor
	}{
		{"10,000:1", make([]byte, 1<<20), large(TypeLayerZstd)},
		{"100:1", append(noise, make([]byte, 1<<20-len(noise))...), large(TypeLayerZstd)},
		{"100:1, small", append(noise, make([]byte, 1<<20-len(noise))...), Descriptor{MediaType: TypeLayerZstd, Size: 1 << 10}},
	} {
		t.Run(c.what, func(t *testing.T) {
			pr, pw := io.Pipe()
			go func() {
				z, _ := zstd.NewWriter(pw, zstd.WithEncoderConcurrency(1))
				w := tar.NewWriter(z)
				err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "bomb", Size: 4 << 30})
				for err == nil {
					_, err = w.Write(c.block)
				}
				pw.CloseWithError(errors.Join(z.Close(), err))
			}()
			var to nowhere
			var err error
			if n := peak(func() { err = Unpack(pr, c.layer, &to, false, Limits{Floor: floor}) }); n > memoryLimit {
				t.Errorf("it took %d MiB", n>>20)
			}
			pr.Close()
			if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), "20 times its size") {
				t.Errorf("got %v", err)
			}
			if to.files != 1 || to.bytes > floor || to.bytes < floor/2 {
				t.Errorf("%d files of %d bytes", to.files, to.bytes)
			}
		})
	}
}

// Ten million entries are refused after the first that are too many, and nothing is kept of those before that grows with
// their number beyond what the limit allows.
func TestUnpackStopsManyEntries(t *testing.T) {
	written := 0
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		z, _ := zstd.NewWriter(pw, zstd.WithEncoderConcurrency(1))
		w := tar.NewWriter(z)
		var err error
		for ; err == nil && written < 10_000_000; written++ {
			err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: fmt.Sprintf("l%d", written), Linkname: "l"})
		}
		pw.CloseWithError(errors.Join(z.Close(), err))
	}()
	var inside []string
	var err error
	if n := peak(func() { inside, _, err = unpackInto(t, pr, TypeLayerZstd, false, Limits{}) }); n > memoryLimit {
		t.Errorf("it took %d MiB", n>>20)
	}
	pr.Close()
	<-done
	if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), `"l200000"`) || !strings.Contains(err.Error(), "first 200000") {
		t.Errorf("got %v", err)
	}
	if len(inside) > 0 || written > 1_000_000 {
		t.Errorf("%d files, and %d entries were asked for", len(inside), written)
	}
}

// Fewer entries than are possible, with names so long that they would take as much memory as a bomb.
func TestUnpackStopsLongNames(t *testing.T) {
	pr, pw := io.Pipe()
	go func() {
		z, _ := zstd.NewWriter(pw, zstd.WithEncoderConcurrency(1))
		w := tar.NewWriter(z)
		part := strings.Repeat("n", 240) + "/"
		var err error
		for i := 0; err == nil && i < 150_000; i++ {
			name := fmt.Sprintf("%d", i)
			err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: strings.Repeat(part, 4) + name, Format: tar.FormatGNU})
		}
		pw.CloseWithError(errors.Join(err, w.Close(), z.Close()))
	}()
	var to nowhere
	var err error
	if n := peak(func() { err = Unpack(pr, large(TypeLayerZstd), &to, true, Limits{}) }); n > memoryLimit {
		t.Errorf("it took %d MiB", n>>20)
	}
	pr.Close()
	if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), "the names have more than") {
		t.Errorf("got %v", err)
	}
}

// The archives by which Go's own reader is tested: each is unpacked into a tree, or refused, and harms nothing.
func TestUnpackGoTestdata(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("SKIPPED, there is no go command to say where its sources are:", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src", "archive", "tar", "testdata", "*.tar*"))
	if err != nil || len(files) < 20 {
		t.Skipf("SKIPPED, %d archives come with this Go (%v)", len(files), err)
	}
	refused := 0
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var archive io.Reader = f
		switch filepath.Ext(name) {
		case ".base64": // what virus scanners take for one
			archive = base64.NewDecoder(base64.StdEncoding, f)
		case ".bz2":
			archive = bzip2.NewReader(f)
		}
		data, err := io.ReadAll(archive)
		f.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, foreign := range []bool{false, true} {
			var outside []string
			var err error
			if n := peak(func() {
				_, outside, err = unpackInto(t, bytes.NewReader(data), TypeV0Layer, foreign, Limits{Total: 64 << 20})
			}); n > memoryLimit {
				t.Errorf("%s: it took %d MiB", filepath.Base(name), n>>20)
			}
			if !slices.Equal(outside, []string{"bystander"}) {
				t.Errorf("%s: outside %q", filepath.Base(name), outside)
			}
			if err != nil && diagnostic.KindOf(err) != diagnostic.Refused {
				t.Errorf("%s: %v", filepath.Base(name), err)
			}
			if err != nil {
				refused++
			}
		}
	}
	if refused == 0 || refused == 2*len(files) {
		t.Errorf("%d of %d were refused", refused, 2*len(files))
	}
}

// What is not refused, GNU tar and bsdtar take for the same tree: no reader of a layer sees another library.
func TestUnpackSeesWhatOthersSee(t *testing.T) {
	long := strings.Repeat("n", 200)
	archive := tarOf(t, dir("d"), file("d/f"), link("d/l", "f"), dir(long), file(long+"/"+long), link(long+"/l", long),
		tar.Header{Typeflag: tar.TypeReg, Name: "ü", Mode: 0o644, Size: 3})
	ours := t.TempDir()
	root, err := os.OpenRoot(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := unpackBelow(root, bytes.NewReader(gzipped(t, archive)), TypeLayerGzip, false, Limits{}); err != nil {
		t.Fatal(err)
	}
	names := func(dir string) (all []string) {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			all = append(all, strings.TrimPrefix(p, dir)+" "+d.Type().String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	others := 0
	for _, program := range []string{"tar", "bsdtar"} {
		theirs := t.TempDir()
		cmd := exec.Command(program, "-xf", "-", "-C", theirs)
		cmd.Stdin = bytes.NewReader(archive)
		if out, err := cmd.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
			continue
		} else if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		others++
		if want, got := names(theirs), names(ours); !slices.Equal(got, want) {
			t.Errorf("%s sees %q, we see %q", program, want, got)
		}
	}
	if others == 0 {
		t.Skip("SKIPPED, there is neither tar nor bsdtar")
	}
}

func TestUnpackKeeps(t *testing.T) {
	defer umask(0o022)()
	tool := tar.Header{Typeflag: tar.TypeReg, Name: "bin/tool", Mode: 0o777, Size: 3, Uid: 1000, Gid: 0, ModTime: time.Unix(1<<31, 0)}
	open := file("d/writable")
	open.Mode = 0o666
	data := gzipped(t, tarOf(t, dir("bin"), tool, dir("d"), open, link("d/l", "../bin/tool"), link("m", "d/l"), dir("empty")))
	parent := t.TempDir()
	root, err := os.OpenRoot(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := unpackBelow(root, bytes.NewReader(data), TypeLayerGzip, false, Limits{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"bin/tool -r-xr-xr-x 3", "d/l -> ../bin/tool", "d/writable -r--r--r-- 3", "m -> d/l"}
	got := listing(t, parent)
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
	if info, err := os.Stat(filepath.Join(parent, "empty")); err != nil || info.Mode() != fs.ModeDir|0o755 {
		t.Errorf("empty folder: %v, %v", info, err)
	}
}

func TestUnpackForeign(t *testing.T) {
	second := file("f")
	second.Size = 5
	for _, c := range []struct {
		what    string
		entries []tar.Header
		want    []string
	}{
		{"the last of two files counts", []tar.Header{file("f"), second}, []string{"f -r--r--r-- 5"}},
		{"a file in place of a link", []tar.Header{file("g"), link("f", "g"), second}, []string{"f -r--r--r-- 5", "g -r--r--r-- 3"}},
		{"a link in place of a file", []tar.Header{file("g"), file("f"), link("f", "g")}, []string{"f -> g", "g -r--r--r-- 3"}},
		{"folders left out", []tar.Header{file("a/b/f"), file("a/c/f")}, []string{"a/b/f -r--r--r-- 3", "a/c/f -r--r--r-- 3"}},
		{"folder named after its file", []tar.Header{file("a/f"), dir("a"), dir("a")}, []string{"a/f -r--r--r-- 3"}},
		{"dot before names", []tar.Header{dir("."), dir("./a"), file("./a/f")}, []string{"a/f -r--r--r-- 3"}},
		{"setuid, setgid and sticky", []tar.Header{{Typeflag: tar.TypeReg, Name: "tool", Mode: 0o6755, Size: 3}, {Typeflag: tar.TypeDir, Name: "d/", Mode: 0o3777}, {Typeflag: tar.TypeReg, Name: "d/f", Mode: 0o7666, Size: 3}},
			[]string{"d/f -r--r--r-- 3", "tool -r-xr-xr-x 3"}},
		{"link to another layer's file", []tar.Header{link("libz.so", "libz.so.1")}, []string{"libz.so -> libz.so.1"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			parent := t.TempDir()
			root, err := os.OpenRoot(parent)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if err := unpackBelow(root, bytes.NewReader(gzipped(t, tarOf(t, c.entries...))), TypeV0Gzip, true, Limits{}); err != nil {
				t.Fatal(err)
			}
			got := listing(t, parent)
			for i := range got {
				fields := strings.Fields(got[i])
				got[i] = strings.Join(fields[:3], " ")
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if err := filepath.WalkDir(parent, func(p string, d fs.DirEntry, err error) error {
				if info, err := os.Lstat(p); err != nil || info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 || info.IsDir() && p != parent && info.Mode().Perm()&0o022 != 0 {
					t.Errorf("%s has the mode %v (%v)", p, info.Mode(), err)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("case clash of folders left out", func(t *testing.T) {
		_, _, err := unpackInto(t, bytes.NewReader(gzipped(t, tarOf(t, file("a/f"), file("A/g")))), TypeV0Gzip, true, Limits{})
		if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), "A/g") {
			t.Errorf("got %v", err)
		}
	})
}

// Whoever verifies the bytes says so with the last of them: this has to be seen, and to be told as it is.
func TestUnpackReadsToTheEndAndPassesOnErrors(t *testing.T) {
	corrupt := &diagnostic.Error{Kind: diagnostic.Corrupt, What: "blob", Why: "its digest is another"}
	noise := file("f")
	noise.Size = 40 << 10
	plain := tarOf(t, noise)
	rand.NewChaCha8([32]byte{}).Read(plain[512 : 512+noise.Size]) // to stay larger than the buffer that it is read through
	for mediaType, data := range map[string][]byte{TypeLayerGzip: gzipped(t, plain), TypeLayerZstd: zstandard(t, plain, zstd.WithEncoderCRC(false)), TypeV0Layer: plain} {
		for _, n := range []int{0, 3, len(data) / 2, len(data) - 1, len(data)} {
			for _, layer := range []Descriptor{{MediaType: mediaType, Size: int64(len(data))}, large(mediaType)} {
				for how, r := range map[string]io.Reader{
					"after": io.MultiReader(bytes.NewReader(data[:n]), &failing{err: corrupt}),
					"with":  &failing{data[:n], corrupt},
				} {
					if err := Unpack(r, layer, new(nowhere), true, Limits{}); !errors.Is(err, corrupt) {
						t.Errorf("%s of %d bytes, %s %d of %d: got %v", mediaType, layer.Size, how, n, len(data), err)
					}
				}
			}
		}
	}
	if _, _, err := unpackInto(t, bytes.NewReader(nil), "text/html", true, Limits{}); diagnostic.KindOf(err) != diagnostic.Unsupported {
		t.Errorf("got %v", err)
	}
}

// What a descriptor says of a layer's size is no reason to take it for another: who verifies the bytes judges that.
func TestUnpackBelievesNoSize(t *testing.T) {
	data := zstandard(t, tarOf(t, dir("d"), file("d/f"), link("l", "d/f")))
	for _, size := range []int64{-1, 0, 1, int64(len(data)), int64(len(data)) + 1, worthAhead, math.MaxInt64} {
		var to nowhere
		if err := Unpack(bytes.NewReader(data), Descriptor{MediaType: TypeLayerZstd, Size: size}, &to, false, Limits{}); err != nil || to.files != 1 || to.bytes != 3 {
			t.Errorf("%d: %d files of %d bytes, %v", size, to.files, to.bytes, err)
		}
	}
}

// failing says what is wrong with the last bytes that it has, and once.
type failing struct {
	data []byte
	err  error
}

func (f *failing) Read(p []byte) (n int, err error) {
	n = copy(p, f.data)
	if f.data = f.data[n:]; len(f.data) == 0 {
		err, f.err = f.err, io.EOF
	}
	return n, err
}

// A tree with more folders than a process has handles, and links whose targets cost work.
func TestUnpackManyFoldersAndLinks(t *testing.T) {
	entries := []tar.Header{dir("x")}
	for i := range 1500 {
		d := fmt.Sprintf("d%d", i)
		entries = append(entries, dir(d), file(d+"/f"), link(fmt.Sprintf("l%d", i), strings.Repeat("x/../", 30)+d+"/f"))
	}
	defer fewHandles(t)()
	inside, _, err := unpackInto(t, bytes.NewReader(gzipped(t, tarOf(t, entries...))), TypeLayerGzip, false, Limits{})
	if err != nil || len(inside) != 4501 {
		t.Fatalf("%d entries, %v", len(inside), err)
	}
}
