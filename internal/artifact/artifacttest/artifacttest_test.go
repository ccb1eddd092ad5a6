package artifacttest

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"reflect"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/native"
)

func TestSharedIsWhatItSays(t *testing.T) {
	data := Shared{Machine: elf.EM_AARCH64, SONAME: "libz.so.1", Needed: []string{"libm.so.6", "libc.so.6"}, RunPath: "$ORIGIN"}.Bytes()
	got, err := native.ReadShared(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	want := &native.Shared{Machine: native.Machine{OS: "linux", Arch: "aarch64"}, Libc: "gnu", SONAME: "libz.so.1",
		Needed: []string{"libm.so.6", "libc.so.6"}, RunPath: []string{"$ORIGIN"},
		Exports: 1, ExportsHash: fmt.Sprintf("%x", sha256.Sum256([]byte("entry\n")))}
	if got.Floors = nil; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestArchiveIsWhatItSays(t *testing.T) {
	data := Archive(Object{Defines: []string{"a"}, Wants: []string{"b", "c"}}, Object{Defines: []string{"b"}, Absolute: true})
	got, err := native.ReadArchive(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Machine.Arch != "x86_64" || got.Members != 2 || got.PIC != native.PICNone || got.LTOOnly ||
		!reflect.DeepEqual(got.Defined, []string{"a", "b"}) || !reflect.DeepEqual(got.Undefined, []string{"c"}) {
		t.Errorf("got %+v", got)
	}
	data = Archive(Object{LTO: true})
	if got, err = native.ReadArchive(bytes.NewReader(data), int64(len(data))); err != nil || !got.LTOOnly {
		t.Errorf("LTO: got %+v, %v", got, err)
	}
	data = Archive(Object{Defines: []string{"a"}})
	if got, err = native.ReadArchive(bytes.NewReader(data), int64(len(data))); err != nil || got.PIC != native.PICFull {
		t.Errorf("PIC: got %+v, %v", got, err)
	}
}
