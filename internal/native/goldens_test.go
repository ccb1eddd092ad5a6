package native

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
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
	path := filepath.Join("testdata", "goldens.json")
	if *update {
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
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
