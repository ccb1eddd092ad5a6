package native

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/native/nativetest"
)

// machoWith assembles a 64-bit little-endian Mach-O file for arm64: a header, load commands, and what they point to.
func machoWith(typ uint32, commands [][]byte, tail []byte) []byte {
	var size int
	for _, c := range commands {
		size += len(c)
	}
	b := machoWords(machoMagic64, 0x0100000c, 0, typ, uint32(len(commands)), uint32(size), 0, 0)
	for _, c := range commands {
		b = append(b, c...)
	}
	return append(b, tail...)
}

func machoWords(v ...uint32) []byte {
	var b []byte
	for _, v := range v {
		b = le.AppendUint32(b, v)
	}
	return b
}

func machoText(cmd uint32, s string) []byte {
	s += string(make([]byte, 8-len(s)%8))
	return append(machoWords(cmd, uint32(24+len(s)), 24, 0, 0, 0), s...)
}

// withTrie is a dylib with this trie of exports.
func withTrie(trie []byte) []byte {
	id := machoText(lcIDDylib, "@rpath/libx.dylib")
	at := 32 + len(id) + 16
	return machoWith(machoDylib, [][]byte{id, machoWords(lcExportsTrie, 16, uint32(at), uint32(len(trie)))}, trie)
}

func TestExportsTrie(t *testing.T) {
	// _a, _ab (by way of _a) and _c; the second is a re-export.
	trie := []byte{
		0, 1, '_', 0, 5, // 0: no export, one child
		0, 2, 'a', 0, 13, 'c', 0, 20, // 5
		2, 0, 1, 1, 'b', 0, 24, // 13: an export of two bytes of facts, one child
		2, 0, 2, 0, // 20
		3, 8, 1, 0, 0, // 24
	}
	s, err := ReadShared(bytes.NewReader(withTrie(trie)), int64(len(withTrie(trie))))
	if err != nil {
		t.Fatal(err)
	}
	if s.Exports != 3 || s.ExportsHash != hashOf("_a", "_ab", "_c") || s.Machine != (Machine{"darwin", "aarch64"}) {
		t.Errorf("got %+v", s)
	}
	chain := []byte{0, 1, 'x', 0, 5} // each node one letter further, in the end longer than any budget
	for _, c := range []struct {
		name string
		trie []byte
		want string
	}{
		{"leads to itself", []byte{0, 1, 'a', 0, 0}, "reached before"},
		{"two ways to one node", []byte{0, 2, 'a', 0, 8, 'b', 0, 8, 0, 0}, "reached before"},
		{"leads out", append(slices.Clone(chain), 0, 1, 'y', 0, 99), "beyond its end"},
		{"edge without end", []byte{0, 1, 'a', 'b'}, "edge without end"},
		{"ends in a node", []byte{0, 1, 'a', 0, 5}, "leads beyond"},
		{"facts beyond the end", []byte{9, 0, 0}, "goes beyond"},
		{"more children than there are", []byte{0, 200, 'a', 0, 4, 0, 0}, ""},
	} {
		data := withTrie(c.trie)
		if _, err := ReadShared(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// A trie of n nodes spells names of up to n bytes, n²/2 bytes in all.
func TestExportsTrieIsBounded(t *testing.T) {
	const nodes = 20000
	var trie []byte
	for i := range nodes {
		// Fixed width: 1 of facts, 1 fact, 1 child, letter, end, three bytes of offset.
		next := uint32(8 * (i + 1))
		trie = append(trie, 1, 0, 1, 'x', 0, byte(next&0x7f|0x80), byte(next>>7&0x7f|0x80), byte(next>>14&0x7f))
	}
	trie = append(trie, 1, 0, 0, 0, 0, 0, 0, 0)
	data := withTrie(trie)
	bounded(t, len(data), func() {
		_, err := ReadShared(bytes.NewReader(data), int64(len(data)))
		if err == nil || !strings.Contains(err.Error(), "overlap") {
			t.Errorf("got %v", err)
		}
	})
}

func TestReadDylibRefuses(t *testing.T) {
	id := machoText(lcIDDylib, "@rpath/libx.dylib")
	endless := slices.Clone(id)
	le.PutUint32(endless[4:], 4)
	long := slices.Clone(id)
	le.PutUint32(long[4:], 4096)
	outside := slices.Clone(id)
	le.PutUint32(outside[8:], 500)
	more := machoWith(machoDylib, [][]byte{id}, nil)
	le.PutUint32(more[16:], 9)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"object", machoWith(machoObject, nil, nil), "an object file"},
		{"executable", machoWith(machoExecute, nil, nil), "an executable"},
		{"bundle", machoWith(machoBundle, nil, nil), "a plug-in of macOS"},
		{"stub", machoWith(machoStub, nil, nil), "a stub of a dylib"},
		{"command of 4 bytes", machoWith(machoDylib, [][]byte{endless}, nil), "its size is 4"},
		{"command beyond the others", machoWith(machoDylib, [][]byte{long}, nil), "its size is 4096"},
		{"name outside its command", machoWith(machoDylib, [][]byte{outside}, nil), "its name is at 500"},
		{"more commands than there is room for", more, "load command 1 of 9: 0 bytes are left"},
		{"UUID cut short", machoWith(machoDylib, [][]byte{machoWords(lcUUID, 12, 0)}, nil), "12 bytes, 24 are needed"},
		{"symbols beyond the end", machoWith(machoDylib, [][]byte{machoWords(lcSymtab, 24, 0, 1<<30, 0, 0)}, nil), "symbol table: 1073741824 entries"},
		{"header alone", machoWith(machoDylib, nil, nil)[:20], "Mach-O header"},
	} {
		_, err := ReadShared(bytes.NewReader(c.data), int64(len(c.data)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestUniversal(t *testing.T) {
	for name, read := range map[string]func(data []byte) error{
		"macho-universal.dylib": func(data []byte) error {
			_, err := ReadShared(bytes.NewReader(data), int64(len(data)))
			return err
		},
		"macho-universal.a": func(data []byte) error {
			_, err := ReadArchive(bytes.NewReader(data), int64(len(data)))
			return err
		},
	} {
		data := nativetest.File(name)
		if kind, err := Sniff(bytes.NewReader(data), int64(len(data))); kind != TypeUniversal || err != nil {
			t.Errorf("%s is %s, %v", name, kind, err)
		}
		var u *Universal
		if err := read(data); !errors.As(err, &u) || !slices.Equal(u.Archs, []string{"x86_64", "aarch64"}) {
			t.Errorf("%s: got %v", name, err)
		}
		broken := slices.Clone(data)
		binary.BigEndian.PutUint32(broken[8+12:], 1<<30)
		if err := read(broken); err == nil || !strings.Contains(err.Error(), "go beyond the end") {
			t.Errorf("%s with a slice that is too large: %v", name, err)
		}
	}
	// A Java class begins with the same four bytes and then with its version.
	class := []byte{0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52, 0, 16}
	if kind, _ := Sniff(bytes.NewReader(class), int64(len(class))); kind != TypeUnknown {
		t.Errorf("a Java class is %s", kind)
	}
}

func TestArchiveOfMachO(t *testing.T) {
	plain := machoWith(machoObject, nil, nil) // as from assembly: no platform
	ios := machoWith(machoObject, [][]byte{machoWords(lcBuildVersion, 24, 2, 14<<16, 0, 0)}, nil)
	mac := machoWith(machoObject, [][]byte{machoWords(lcVersionMacOS, 16, 11<<16, 0)}, nil)
	newer := machoWith(machoObject, [][]byte{machoWords(lcBuildVersion, 24, 1, 12<<16|3<<8|1, 0, 0)}, nil)
	if a := readArchive(t, arBSD(arFile{"p.o", plain})); a.Machine != (Machine{"darwin", "aarch64"}) || a.PIC != PICFull {
		t.Errorf("got %+v", a)
	}
	a := readArchive(t, arBSD(arFile{"p.o", plain}, arFile{"m.o", mac}, arFile{"n.o", newer}, arFile{"p.o", plain}))
	if a.Machine != (Machine{"darwin", "aarch64"}) || a.Members != 4 || a.Floors["macOS"] != "12.3.1" {
		t.Errorf("got %+v", a)
	}
	data := arBSD(arFile{"p.o", plain}, arFile{"m.o", mac}, arFile{"i.o", ios})
	if _, err := ReadArchive(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), "member i.o: an object for ios aarch64, where p.o is for darwin aarch64") {
		t.Errorf("got %v", err)
	}
}
