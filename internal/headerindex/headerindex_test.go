package headerindex

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", `{}`, ""},
		{"a list", `{"zlib.h": ["@zlib//:zlib"]}`, "zlib.h=@zlib//:zlib"},
		{"a plain label", `{"zlib.h": "@zlib"}`, "zlib.h=@zlib"},
		{"several labels", `{"z.h": ["@a//:z", "@b//:z"]}`, "z.h=@a//:z z.h=@b//:z"},
		{"nobody", `{"z.h": []}`, ""},
		{"both forms, compact", `{"b.h":["@b"],"a.h":"@a"}`, "b.h=@b a.h=@a"},
		{"a header twice", `{"a.h": "@a", "a.h": "@b"}`, "a.h=@a a.h=@b"},
		{"white space", "\r\n\t{ \"a.h\"\t:\n[ \"@a\" ,\"@b\"]\n}\n", "a.h=@a a.h=@b"},
		{"escapes", `{"a\/\u00fc\"\\.h": "\u0040a"}`, `a/ü"\.h=@a`},
		{"not ASCII", `{"größe.h": "@maße"}`, "größe.h=@maße"},
	} {
		t.Run(c.name, func(t *testing.T) {
			claims, err := Parse(c.in)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, claim := range claims {
				got = append(got, claim.Header+"="+claim.Label)
			}
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "line 1: expected '{' at the start of a header index, found the end of the file"},
		{"\x00", `line 1: expected '{' at the start of a header index, found '\x00'`},
		{"<html>", "line 1: expected '{' at the start of a header index, found '<'"},
		{"[]", "line 1: expected '{' at the start of a header index, found '['"},
		{"{\n", "line 2: expected an include path in double quotes, found the end of the file"},
		{"{1: 2}", "line 1: expected an include path in double quotes, found '1'"},
		{`{"a.h"}`, "line 1: expected ':' after the include path, found '}'"},
		{"{\n\"a.h\": null}", `line 2: expected a label or a list of labels for "a.h", found 'n'`},
		{`{"a.h": {"label": "@a"}}`, `line 1: expected a label or a list of labels for "a.h", found '{'`},
		{`{"a.h": "@a",}`, "line 1: expected an include path in double quotes, found '}'"},
		{`{"a.h": "@a" "b.h": "@b"}`, `line 1: expected ',' or '}' after the labels of "a.h", found '"'`},
		{`{"a.h": ["@a",]}`, "line 1: expected a label in double quotes, found ']'"},
		{`{"a.h": ["@a"}`, `line 1: expected ',' or ']' after a label of "a.h", found '}'`},
		{`{"a.h": ""}`, "line 1: a label is empty"},
		{`{"": "@a"}`, "line 1: an include path is empty"},
		{`{"a.h": "@a`, "line 1: a label is not closed"},
		{"{\"a.h\n\": \"@a\"}", "line 1: an include path is not closed on its line"},
		{`{"a.h": "\x"}`, "line 1: a label: invalid character 'x' in string escape code"},
		{"{\"a.h\": \"@a\"}\n{}", "line 2: expected nothing after the closing '}', found '{'"},
		{"{\"\xff.h\": \"@a\"}", "the header index is not UTF-8"},
	} {
		claims, err := Parse(c.in)
		if err == nil || err.Error() != c.want || claims != nil {
			t.Errorf("Parse(%q) = %v, %v; want the error %s", c.in, claims, err, c.want)
		}
	}
}

// FuzzParse holds the parser against encoding/json: one accepts what the other does, and reads the same claims.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "zlib.h" : [ "@zlib//:zlib" ] } `, `{"a.h":"@a","b.h":["@a","@b"],"c.h":[]}`, `{"a.h":"@a","a.h":"@b"}`,
		`{"\u00fc\ud83d\ude00\ud800\"\\":"\n"}`, `{"a":"b",}`, `{"a":["b",]}`, `{"a":null}`, `{"a":"b"}{}`, `{"a\":"b"}`, "{\"\xff\":\"a\"}", `{"":""}`, "",
		// as internal/buildfile writes them, and what is only nearly so
		"{\n  \"a/long/one.h\": [\"@a//:a\"],\n  \"b\\\\.h\": [\"@b\"],\n  \"c.h\": [\"@c\", \"@d\"],\n  \"e.h\": [\"@e\"]\n}\n",
		"{\n  \"a\tlonger.h\": [\"@a\"]\n}\n", "{\n  \"\": [\"@a\"]\n}\n", "{\n  \"a.h\": [\"\"]\n}\n", "{\n  \"a.h\": [\"@a\"\n}\n", "{\n  \"a.h\": [\"@a", "{\n  \"a.h",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Parse(string(data))
		want, wantErr := reference(data)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, encoding/json: %v", err, wantErr)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("claims %v, encoding/json: %v", got, want)
		}
	})
}

// reference is Parse made of encoding/json's tokens, an order of magnitude slower.
func reference(data []byte) ([]Claim, error) {
	if !json.Valid(data) || !bytes.Equal(data, bytes.ToValidUTF8(data, nil)) {
		return nil, errors.New("not JSON in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, fmt.Errorf("not an object: %v %w", token, err)
	}
	var claims []Claim
	for d.More() {
		header, err := d.Token()
		if err != nil || header == "" {
			return nil, fmt.Errorf("not a header: %v %w", header, err)
		}
		value, err := d.Token()
		for list := value == json.Delim('['); err == nil; {
			if list {
				if value, err = d.Token(); value == json.Delim(']') {
					break
				}
			}
			label, ok := value.(string)
			if !ok || label == "" {
				return nil, fmt.Errorf("not a label: %v", value)
			}
			claims = append(claims, Claim{header.(string), label})
			if !list {
				break
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows")
	}
	return claims, nil
}

func TestPlain(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				s := []byte(strings.Repeat("h", length))
				s[at] = byte(c)
				if got, want := plain(string(s)), c >= ' ' && c != '\\'; got != want {
					t.Fatalf("%q is plain: %v", s, got)
				}
			}
		}
	}
}

// BenchmarkParse reads one index of 100 libraries with 20,000 headers.
func BenchmarkParse(b *testing.B) {
	index := map[string][]string{}
	for i := range 20000 {
		index[fmt.Sprintf("library%d/part/header%d.h", i%100, i)] = []string{fmt.Sprintf("@library%d//:library%d", i%100, i%100)}
	}
	var buf strings.Builder
	buf.WriteString("{")
	for i, k := range slices.Sorted(maps.Keys(index)) {
		if i > 0 {
			buf.WriteString(",")
		}
		fmt.Fprintf(&buf, "\n  %q: [%q]", k, index[k][0])
	}
	buf.WriteString("\n}\n")
	text := buf.String()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
