package native

import (
	"bytes"
	"debug/macho"
	"debug/pe"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/native/nativetest"
)

var update = flag.Bool("update", false, "write testdata/goldens.json anew")

// facts reads a file by the reader for what Sniff says it is.
func facts(data []byte) (any, error) {
	r, size := bytes.NewReader(data), int64(len(data))
	kind, err := Sniff(r, size)
	switch {
	case err != nil:
		return nil, err
	case kind == TypeShared:
		return ReadShared(r, size)
	case kind == TypeArchive || kind == TypeUniversal:
		return ReadArchive(r, size)
	}
	return nil, errors.New("a file of type " + string(kind))
}

func TestGoldens(t *testing.T) {
	got := map[string]any{}
	for _, name := range nativetest.Names() {
		found, err := facts(nativetest.File(name))
		if err != nil {
			found = "refused: " + err.Error()
		}
		got[name] = found
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(got); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "goldens.json")
	if *update {
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, text.Bytes()) {
		a, b := strings.Split(string(want), "\n"), strings.Split(text.String(), "\n")
		i := 0
		for i < min(len(a), len(b)) && a[i] == b[i] {
			i++
		}
		t.Errorf("line %d: got %q, want %q", i+1, b[min(i, len(b)-1)], a[min(i, len(a)-1)])
	}
}

// The standard library reads some of these facts too, from files that are well formed; both must agree.
func TestReadSharedAgreesWithTheStandardLibrary(t *testing.T) {
	compared := 0
	for _, name := range nativetest.Names() {
		data := nativetest.File(name)
		var want []string
		switch path.Ext(name) {
		case ".dll":
			f, err := pe.NewFile(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			symbols, err := f.ImportedSymbols()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range symbols {
				_, dll, _ := strings.Cut(s, ":")
				want = append(want, dll)
			}
		case ".dylib":
			f, err := macho.NewFile(bytes.NewReader(data))
			if err != nil {
				continue // universal
			}
			if want, err = f.ImportedLibraries(); err != nil { // those of LC_LOAD_DYLIB alone
				t.Fatal(err)
			}
		default:
			continue
		}
		got, err := ReadShared(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		compared++
		slices.Sort(want)
		if have := slices.Compact(slices.Sorted(slices.Values(got.Needed))); !slices.Equal(have, slices.Compact(want)) {
			t.Errorf("%s needs %q, and %q by the standard library", name, have, want)
		}
	}
	if compared < 8 {
		t.Errorf("only %d files were compared", compared)
	}
}
