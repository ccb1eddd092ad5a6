// Package headerindex reads a header index: which label answers an #include, a name for pkg-config, or a -l.
//
// An index is one JSON object from include path, as people write it between the brackets, to a list of labels. Keys of
// two other forms, PkgConfig and Library, stand among the include paths:
//
//	{"zlib.h": ["@zlib//:zlib"], "pkg-config:zlib": ["@zlib//:zlib"], "-lz": ["@zlib//:zlib"]}
//
// This is the form of header_index.json in a fetched library's repository (internal/buildfile renders it) and the one
// that gazelle_cc reads since 0.6.0. Its older form, a plain string in place of the list, is read too.
//
// Invariant: an index is read whole or not at all, and what is read is what encoding/json would make of the same bytes,
// in the order of the file. Labels are handed on as they are written; what they mean is for the Gazelle language above
// this package to say.
package headerindex

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// PkgConfig is the key of a name that pkg-config knows a library by.
func PkgConfig(name string) string { return pkgConfig + name }

// Library is the key of what follows -l.
func Library(name string) string { return library + name }

const (
	pkgConfig = "pkg-config:"
	library   = "-l"
)

// IsHeader reports whether a key is an include path. A header whose path begins like one of the other keys cannot be
// looked up, and is in no index.
func IsHeader(key string) bool {
	return !strings.HasPrefix(key, pkgConfig) && !strings.HasPrefix(key, library)
}

// Claim says that Label has the header Header.
type Claim struct {
	Header string // the include path, without brackets and quotes, or another key
	Label  string
}

// Parse returns the claims of an index in the order of the file; a header with several labels makes several. An error
// names the line, counted from 1, and there are no claims then.
//
// It is not written with encoding/json because Gazelle's start-up counts in milliseconds, and an index of many
// libraries in ten thousands of headers.
func Parse(text string) ([]Claim, error) {
	if !utf8.ValidString(text) {
		// encoding/json would replace what is wrong; a header of that name exists nowhere.
		return nil, fmt.Errorf("the header index is not UTF-8")
	}
	p := parser{text: text, claims: make([]Claim, 0, strings.Count(text, "["))}
	if err := p.object(); err != nil {
		return nil, err
	}
	return p.claims, nil
}

type parser struct {
	text   string // of which all headers and labels are parts
	pos    int    // of the next byte in text
	claims []Claim
}

func (p *parser) object() error {
	if err := p.expect('{', "at the start of a header index"); err != nil {
		return err
	}
	if p.next() == '}' {
		p.pos++
		return p.end()
	}
	for {
		header, ok := p.line()
		if !ok {
			var err error
			if header, err = p.entry(); err != nil {
				return err
			}
		}
		switch p.next() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			return p.end()
		default:
			return p.errorf("expected ',' or '}' after the labels of %q, found %s", header, p.found())
		}
	}
}

// line reads an entry as internal/buildfile writes it: on a line of its own, with one label and nothing to unescape. Where
// it is something else, line reads nothing, and it is for entry. Most are of this kind, and an index of them takes three fifths of the time.
func (p *parser) line() (header string, ok bool) {
	rest, ok := strings.CutPrefix(p.text[p.pos:], "\n  \"")
	if !ok {
		return "", false
	}
	end := strings.IndexByte(rest, '"')
	if end <= 0 || !plain(rest[:end]) {
		return "", false
	}
	header = rest[:end]
	if rest, ok = strings.CutPrefix(rest[end:], `": ["`); !ok {
		return "", false
	}
	end = strings.IndexByte(rest, '"')
	if end <= 0 || !plain(rest[:end]) || !strings.HasPrefix(rest[end:], `"]`) {
		return "", false
	}
	p.claims = append(p.claims, Claim{Header: header, Label: rest[:end]})
	p.pos = len(p.text) - len(rest) + end + len(`"]`)
	return header, true
}

// plain reports whether a string is the same in JSON: it has no backslash and no control character. Eight bytes at a time
// are looked at: of x-n·ones &^ x the highest bit of some byte is set just where a byte of x is less than n.
func plain(s string) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; len(s) >= 8; s = s[8:] {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		backslash := x ^ '\\'*ones
		if ((x-' '*ones)&^x|(backslash-ones)&^backslash)&high != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == '\\' {
			return false
		}
	}
	return true
}

// entry reads an include path, which it returns, and its labels.
func (p *parser) entry() (header string, err error) {
	if header, err = p.name("an include path"); err != nil {
		return "", err
	}
	if err := p.expect(':', "after the include path"); err != nil {
		return "", err
	}
	return header, p.labels(header)
}

// labels reads what stands behind an include path: a label, or a list of them.
func (p *parser) labels(header string) error {
	if p.next() == '"' {
		return p.label(header)
	}
	if p.next() != '[' {
		return p.errorf("expected a label or a list of labels for %q, found %s", header, p.found())
	}
	p.pos++
	if p.next() == ']' {
		p.pos++
		return nil
	}
	for {
		if err := p.label(header); err != nil {
			return err
		}
		switch p.next() {
		case ',':
			p.pos++
		case ']':
			p.pos++
			return nil
		default:
			return p.errorf("expected ',' or ']' after a label of %q, found %s", header, p.found())
		}
	}
}

func (p *parser) label(header string) error {
	label, err := p.name("a label")
	if err == nil {
		p.claims = append(p.claims, Claim{Header: header, Label: label})
	}
	return err
}

// name reads a string that must not be empty; what says what it is, for the error.
func (p *parser) name(what string) (string, error) {
	if p.next() != '"' {
		return "", p.errorf("expected %s in double quotes, found %s", what, p.found())
	}
	start, escaped := p.pos, false
	for i := start + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '\\':
			escaped = true
			i++ // the escaped byte ends nothing
		case c < ' ':
			return "", p.errorf("%s is not closed on its line", what)
		case c == '"':
			s := p.text[start+1 : i]
			if escaped {
				var err error
				if s, err = unescape(p.text[start : i+1]); err != nil {
					return "", p.errorf("%s: %v", what, err)
				}
			}
			if s == "" {
				return "", p.errorf("%s is empty", what)
			}
			p.pos = i + 1
			return s, nil
		}
	}
	return "", p.errorf("%s is not closed", what)
}

func unescape(quoted string) (s string, err error) {
	err = json.Unmarshal([]byte(quoted), &s)
	return s, err
}

// next skips white space and returns the byte that follows it, 0 at the end of the text.
func (p *parser) next() byte {
	for ; p.pos < len(p.text); p.pos++ {
		switch c := p.text[p.pos]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

func (p *parser) expect(c byte, where string) error {
	if p.next() != c || p.pos == len(p.text) {
		return p.errorf("expected '%c' %s, found %s", c, where, p.found())
	}
	p.pos++
	return nil
}

func (p *parser) end() error {
	p.next()
	if p.pos < len(p.text) {
		return p.errorf("expected nothing after the closing '}', found %s", p.found())
	}
	return nil
}

func (p *parser) found() string {
	if p.pos == len(p.text) {
		return "the end of the file"
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.pos:])
	return fmt.Sprintf("%q", r)
}

func (p *parser) errorf(format string, args ...any) error {
	line := 1
	for _, c := range []byte(p.text[:p.pos]) {
		if c == '\n' {
			line++
		}
	}
	return fmt.Errorf("line %d: %s", line, fmt.Sprintf(format, args...))
}
