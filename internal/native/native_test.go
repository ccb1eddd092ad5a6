package native

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestSniff(t *testing.T) {
	amd64Object := object{arch: amd64}.assemble()
	executable := bytes.Clone(amd64Object)
	executable[16] = byte(elf.ET_EXEC)
	brokenShared := library{arch: amd64}.assemble()[:100]
	for _, c := range []struct {
		name string
		data string
		want Type
	}{
		{"shared library", string(library{arch: amd64, soname: "libx.so.1"}.assemble()), TypeShared},
		{"shared library without SONAME", string(library{arch: i386}.assemble()), TypeShared},
		{"library that can be run, as libc", string(library{arch: amd64, soname: "libc.so.6", interp: true}.assemble()), TypeShared},
		{"PIE by its flag", string(library{arch: amd64, flags1: uint64(elf.DF_1_PIE)}.assemble()), TypeExecutable},
		{"PIE by its interpreter", string(library{arch: amd64, interp: true}.assemble()), TypeExecutable},
		{"executable", string(executable), TypeExecutable},
		{"object", string(amd64Object), TypeObject},
		{"bitcode", magicBitcode + "\x01\x02", TypeObject},
		{"archive", magicArchive, TypeArchive},
		{"thin archive", magicThinArchive, TypeArchive},
		{"library cut short", string(brokenShared), TypeShared},
		{"ELF magic alone", magicELF, TypeUnknown},
		{"ld script", "/* GNU ld script */\nGROUP ( /lib/libc.so.6 )\n", TypeText},
		{"long text that is cut in a character", strings.Repeat("x", sniffed-1) + "é", TypeText},
		{"text that ends in a character", "caf\xc3", TypeUnknown},
		{"bytes", "\x00\x01\x02", TypeUnknown},
		{"empty", "", TypeUnknown},
	} {
		got, err := Sniff(strings.NewReader(c.data), int64(len(c.data)))
		if err != nil || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.name, got, err, c.want)
		}
	}
}

type failingDisk struct{}

func (failingDisk) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

var errDisk = errors.New("input/output error")

func TestErrorsOfReadingAreNotLost(t *testing.T) {
	if _, err := Sniff(failingDisk{}, 100); !errors.Is(err, errDisk) {
		t.Errorf("Sniff: %v", err)
	}
	if _, err := ReadShared(failingDisk{}, 100); !errors.Is(err, errDisk) {
		t.Errorf("ReadShared: %v", err)
	}
	if _, err := ReadArchive(failingDisk{}, 100); !errors.Is(err, errDisk) {
		t.Errorf("ReadArchive: %v", err)
	}
	archive := arGNU(arFile{"a.o", object{arch: amd64}.assemble()})
	if _, err := ReadArchive(bytes.NewReader(archive[:len(archive)-70]), int64(len(archive))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that shrank while it was read: %v", err)
	}
}

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"2.34", "2.4", 1},
		{"2.4", "2.34", -1},
		{"GLIBC_2.34", "GLIBC_2.4", 1},
		{"2.34", "2.34", 0},
		{"2.2.5", "2.2", 1},
		{"2.2", "2.2.0", 0},
		{"3.4.029", "3.4.29", 0},
		{"18446744073709551617", "18446744073709551616", 1},
		{"1.0", "1.beta", 1},
		{"1.alpha", "1.beta", -1},
		{"", "0", 0},
		{"", "1", -1},
	} {
		if got := CompareVersions(c.a, c.b); got != c.want {
			t.Errorf("CompareVersions(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := CompareVersions(c.b, c.a); got != -c.want {
			t.Errorf("CompareVersions(%q, %q) = %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}
