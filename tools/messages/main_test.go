package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPageIsCurrent(t *testing.T) {
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Skip("SKIPPED: Bazel shows a test its own package alone; go test runs this one")
	}
	want, err := render(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "docs", "messages.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/messages.md is not what the source says: run `make fix`")
	}
}

func TestMessages(t *testing.T) {
	dir := t.TempDir()
	source := `package p

func a(x string) error {
	return &diagnostic.Error{Kind: diagnostic.Usage, Why: fmt.Sprintf("it is %q, %d%% of it", x, 3), Do: "write " + "another"}
}

func refuse(what, why string, args ...any) error {
	return &diagnostic.Error{Kind: diagnostic.Refused, What: what, Why: fmt.Sprintf(why, args...), Do: "pack it without"}
}

func b() error { return refuse("x", "it has %d legs", 3) }

func c() error {
	bad := func(why string) error { return &diagnostic.Error{Kind: diagnostic.Corrupt, Why: why} }
	return bad("it is bent")
}

func d(bad func(string) error) error { return bad("not one of ours") }

func e(err error) error { return &diagnostic.Error{Kind: diagnostic.Failure, Err: err} }
`
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := inPackage(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []message{
		{"Usage", "it is …, …% of it", "write another"},
		{"Refused", "it has … legs", "pack it without"},
		{"Corrupt", "it is bent", ""},
	}
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
	if s := cell("a|b_c <d>"); strings.ContainsAny(strings.ReplaceAll(s, `\|`, ""), "|") {
		t.Errorf("a cell ends early: %s", s)
	}
}
