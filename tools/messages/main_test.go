package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
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
	for line := range strings.Lines(string(got)) {
		if strings.HasSuffix(strings.TrimSpace(line), "| — |") {
			t.Errorf("it does not say what to do about: %s", line)
		}
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

func f(old bool) error {
	do := "take a new one"
	if old {
		do = "mend it"
	}
	return refuse2("it is worn", do)
}

func refuse2(why, do string) error { return &diagnostic.Error{Kind: diagnostic.Refused, Why: why, Do: do} }

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
		{"Refused", "it is worn", "take a new one; or mend it"},
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

func TestStarlarkMessages(t *testing.T) {
	write := func(t *testing.T, files map[string]string) string {
		t.Helper()
		dir := t.TempDir()
		for name, text := range files {
			p := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	dir := write(t, map[string]string{
		"a.bzl": `load(":diagnostic.bzl", "diagnostic", "fail_with")

_OR = "or leave it out"

def check(ctx, x, y):
    if x:
        fail_with(diagnostic("{}: it has {} legs\n  and {}{}.".format(ctx.label, x, x, y), "take one off, " + _OR))
    return diagnostic(("ocipkg: " + x + " is bent."), "bend it back: x = [\"y\"]")

def wrap(error, text):
    fail_with(diagnostic("{}: {}".format("a", error.message), error.do))
    fail_with(diagnostic("{}: {}".format("a", text), ""))
`,
		"diagnostic.bzl":    `def fail_with(error): fail(error.message)` + "\n",
		"tests/a_test.bzl":  `def f(): fail("whatever")` + "\n",
		"tests/BUILD.bazel": "",
	})
	got, err := inStarlark(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []message{
		{starlark, "it has … legs and ….", "take one off, or leave it out"},
		{starlark, "ocipkg: … is bent.", `bend it back: x = ["y"]`},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for text, wants := range map[string]string{
		`fail("it is bent")`:                                     "a.bzl:2: fail() is called in diagnostic.bzl alone",
		`diagnostic(message, "bend it")`:                         "cannot be told",
		`diagnostic("it is bent", "")`:                           "does not say what to do",
		`diagnostic("it is bent")`:                               "by position",
		`fail_with(diagnostic("{}".format(message), "bend it"))`: "cannot be told",
	} {
		dir := write(t, map[string]string{"a.bzl": "def f(message):\n    " + text + "\n"})
		if found, err := inStarlark(dir); err == nil || !strings.Contains(err.Error(), wants) {
			t.Errorf("%s: %q, %v; want an error with %q", text, found, err, wants)
		}
	}
}

func TestGazelleMessages(t *testing.T) {
	source := func(body string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte("package p\n\nfunc f(d string, err error) {\n"+body+"\n}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	got, err := inGazelle(source(`
	log.Print(err)
	log.Printf("%s: # gazelle:%s %s: %s", d, d, d, err)
	log.Printf("%s: %s %s: cdeps has v1.2 of %s, which is gone. Remove it; or mark it # keep.", d, d, d, d)
	log.Printf("//%s:%s: #cgo %s: nobody answers: %v. Declare one.", d, d, d, err)
	_ = errors.New("it is not there; put it there")
	complain := func(d, format string, args ...any) { log.Printf("%s: %s", d, fmt.Sprintf(format, args...)) }
	complain(d, "%v is no label. Write one.", err)`))
	want := []message{
		{gazelle, "cdeps has v1.2 of …, which is gone", "remove it; or mark it # keep"},
		{gazelle, "#cgo …: nobody answers: …", "declare one"},
		{gazelle, "it is not there", "put it there"},
		{gazelle, "… is no label", "write one"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	for _, body := range []string{
		`log.Printf("%s: it is bent.", d)`,
		`log.Fatal("it is bent")`,
		`_ = fmt.Errorf("it is bent: %w", err)`,
		`complain := func(format string) { log.Printf(format) }; complain("it is bent in v1.2")`,
	} {
		if found, err := inGazelle(source(body)); err == nil || !strings.Contains(err.Error(), "does not say what to do") {
			t.Errorf("%s: %q, %v", body, found, err)
		}
	}
}
