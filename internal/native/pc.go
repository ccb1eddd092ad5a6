package native

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
)

// PkgConfig is a .pc file with its variables expanded.
type PkgConfig struct {
	Name, Description, Version, URL, License string
	// Requires and RequiresPrivate are module names in file order; version constraints are dropped.
	Requires, RequiresPrivate []string
	// Libs, LibsPrivate and Cflags are split as a shell would.
	Libs, LibsPrivate, Cflags []string
	// Variables are the definitions, expanded, with the overrides among them.
	Variables map[string]string
}

const (
	maxPC = 1 << 20 // bytes of a .pc file; real ones have a few hundred
	// maxExpanded bounds by how many bytes all expansions of a file together may be more than the file, for variables
	// that each name the one before twice double with every line.
	maxExpanded = 64 << 10
)

// ParsePkgConfig reads a .pc file as pkg-config and pkgconf do: top to bottom, each line expanded with the variables
// defined above it, so that nothing can be recursive. Overrides win over definitions in the file (--define-variable);
// their values are taken literally, and are quoted for the shell if they are to hold spaces. What pkg-config
// itself defines (pcfiledir, pc_sysrootdir) is undefined unless it is among them. A list that is given twice is
// joined; of any other field or variable that is given twice the later value holds. Fields that PkgConfig has no place
// for, and lines that are neither field nor definition, are passed over, as both programs do.
//
// Errors name the line: a variable that is not defined, a reference or a quotation without end, an expansion beyond
// all reason. An input of more than 1 MiB is an error too.
func ParsePkgConfig(r io.Reader, overrides map[string]string) (*PkgConfig, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxPC+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPC {
		return nil, fmt.Errorf("larger than %d bytes, which no .pc file is", maxPC)
	}
	p := pcParser{pc: &PkgConfig{Variables: maps.Clone(overrides)}, overrides: overrides, room: len(text) + maxExpanded}
	if p.pc.Variables == nil {
		p.pc.Variables = map[string]string{}
	}
	rest := string(text)
	for number := 1; rest != ""; {
		line, tail, lines := logicalLine(rest)
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		rest, number = tail, number+lines
	}
	return p.pc, nil
}

// logicalLine takes one line off text: a backslash at the end of a line joins the next, "#" begins a comment, "\#" is
// a number sign. It also returns how many lines of the file that was.
func logicalLine(text string) (line, rest string, lines int) {
	var b strings.Builder
	comment := false
	lines = 1
	for i := 0; i < len(text); i++ {
		c := text[i]
		next := text[i+1:]
		switch {
		case c == '\n':
			return b.String(), next, lines
		case c == '\r' && (next == "" || next[0] == '\n'):
		case c == '\\' && !comment && strings.HasPrefix(next, "\r\n"):
			i, lines = i+2, lines+1
		case c == '\\' && !comment && strings.HasPrefix(next, "\n"):
			i, lines = i+1, lines+1
		case c == '\\' && !comment && strings.HasPrefix(next, "#"):
			b.WriteByte('#')
			i++
		case c == '\\' && !comment && strings.HasPrefix(next, `\`):
			b.WriteString(`\\`) // left for the shell's rules; what follows is not escaped
			i++
		case c == '#':
			comment = true
		case !comment:
			b.WriteByte(c)
		}
	}
	return b.String(), "", lines
}

type pcParser struct {
	pc        *PkgConfig
	overrides map[string]string
	room      int // bytes that may still be made
}

func (p *pcParser) line(line string) error {
	line = strings.TrimSpace(line)
	end := strings.IndexFunc(line, func(r rune) bool {
		return r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if end <= 0 {
		return nil
	}
	key, rest := line[:end], strings.TrimSpace(line[end:])
	if rest == "" {
		return nil
	}
	value := strings.TrimSpace(rest[1:])
	switch rest[0] {
	case '=':
		if _, overridden := p.overrides[key]; overridden {
			return nil
		}
		value, err := p.expand(value)
		if err != nil {
			return err
		}
		p.pc.Variables[key] = value
		return nil
	case ':':
		return p.field(key, value)
	}
	return nil
}

func (p *pcParser) field(key, value string) error {
	pc := p.pc
	// Lower case, for files have both "Cflags" and "CFlags".
	texts := map[string]*string{
		"name": &pc.Name, "description": &pc.Description, "version": &pc.Version, "url": &pc.URL, "license": &pc.License,
	}
	modules := map[string]*[]string{"requires": &pc.Requires, "requires.private": &pc.RequiresPrivate}
	flags := map[string]*[]string{"libs": &pc.Libs, "libs.private": &pc.LibsPrivate, "cflags": &pc.Cflags}
	key = strings.ToLower(key)
	text, list, words := texts[key], modules[key], flags[key]
	if text == nil && list == nil && words == nil {
		return nil
	}
	value, err := p.expand(value)
	if err != nil {
		return err
	}
	switch {
	case text != nil:
		*text = value
	case list != nil:
		*list = append(*list, moduleNames(value)...)
	default:
		split, err := splitShell(value)
		if err != nil {
			return err
		}
		*words = append(*words, split...)
	}
	return nil
}

// expand replaces ${name}; "$$" is a dollar sign, so that $${name} stays as ${name}.
func (p *pcParser) expand(s string) (string, error) {
	var b strings.Builder
	for s != "" {
		plain, rest, dollar := strings.Cut(s, "$")
		b.WriteString(plain)
		if !dollar {
			break
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			s = rest[1:]
		case strings.HasPrefix(rest, "{"):
			name, after, closed := strings.Cut(rest[1:], "}")
			if !closed {
				return "", errors.New("${ without }")
			}
			value, ok := p.pc.Variables[name]
			if !ok {
				return "", fmt.Errorf("variable %q is not defined", name)
			}
			if b.Len()+len(value) > p.room {
				return "", fmt.Errorf("its variables expand to more than its own size and %d bytes", maxExpanded)
			}
			b.WriteString(value)
			s = after
		default:
			b.WriteByte('$')
			s = rest
		}
	}
	p.room -= b.Len()
	return b.String(), nil
}

// moduleNames splits "a >= 1.2, b c = 3" into a, b and c.
func moduleNames(s string) []string {
	const operators = "<>=!"
	var names []string
	skip := false // the next word is a version
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || strings.ContainsRune(" \t\n\v\f\r", r) }) {
		for word != "" {
			if n := len(word) - len(strings.TrimLeft(word, operators)); n > 0 {
				skip, word = true, word[n:]
				continue
			}
			end := strings.IndexAny(word, operators)
			if end < 0 {
				end = len(word)
			}
			if !skip {
				names = append(names, word[:end])
			}
			skip, word = false, word[end:]
		}
	}
	return names
}

// splitShell splits into words as POSIX's shell does (2.2 Quoting), without expanding anything.
func splitShell(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ' ', '\t', '\n', '\v', '\f', '\r':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
			continue
		case '\\':
			if i++; i == len(s) {
				return nil, errors.New("a backslash at the end quotes nothing")
			}
			word.WriteByte(s[i])
		case '\'':
			quoted, _, closed := strings.Cut(s[i+1:], "'")
			if !closed {
				return nil, errors.New("a quotation that begins with ' has no end")
			}
			word.WriteString(quoted)
			i += len(quoted) + 1
		case '"':
			for i++; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"\\$`", s[i+1]) >= 0 {
					i++
				}
				word.WriteByte(s[i])
			}
			if i >= len(s) {
				return nil, errors.New(`a quotation that begins with " has no end`)
			}
		default:
			word.WriteByte(c)
		}
		inWord = true
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
