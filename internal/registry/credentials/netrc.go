package credentials

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// machine is an entry of a netrc file.
type machine struct{ name, login, password string }

// parseNetrc reads the machines of a netrc file as curl does: words between white space, a word in double quotes with the
// escapes \", \\, \n, \r and \t, comments in lines that begin with #, macros up to an empty line. The entry "default" is left out:
// its password would go to every registry in the world that asks for one. Errors quote nothing of the file.
func parseNetrc(data []byte) ([]machine, error) {
	s := &netrcScanner{rest: string(data), line: 1}
	var list []machine
	var current *machine
	for {
		word, ok, err := s.word()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		switch word {
		case "machine":
			name, err := s.value(word)
			if err != nil {
				return nil, err
			}
			list = append(list, machine{name: name})
			current = &list[len(list)-1]
		case "default":
			current = &machine{} // not in the list
		case "macdef":
			if _, err := s.value(word); err != nil {
				return nil, err
			}
			s.skipMacro()
		case "login", "password", "account":
			value, err := s.value(word)
			if err != nil {
				return nil, err
			}
			if current == nil {
				return nil, fmt.Errorf("line %d: %q comes before any machine", s.line, word)
			}
			switch word {
			case "login":
				current.login = value
			case "password":
				current.password = value
			}
		default:
			return nil, fmt.Errorf("line %d: something else than machine, default, login, password, account or macdef", s.line)
		}
	}
	return list, nil
}

type netrcScanner struct {
	rest  string
	line  int
	begun bool // a word has been read
}

func (s *netrcScanner) take(n int) {
	s.line += strings.Count(s.rest[:n], "\n")
	s.rest = s.rest[n:]
}

// word returns the next word, and false at the end.
func (s *netrcScanner) word() (string, bool, error) {
	// A comment begins its line; anywhere else # may begin a password.
	lineStart := !s.begun
	s.begun = true
	for {
		i := strings.IndexFunc(s.rest, func(r rune) bool { return !strings.ContainsRune(" \t\r\n", r) })
		if i < 0 {
			return "", false, nil
		}
		lineStart = lineStart || strings.Contains(s.rest[:i], "\n")
		s.take(i)
		if s.rest[0] != '#' || !lineStart {
			break
		}
		end := strings.IndexByte(s.rest, '\n')
		if end < 0 {
			return "", false, nil
		}
		s.take(end)
	}
	if s.rest[0] != '"' {
		end := strings.IndexAny(s.rest, " \t\r\n")
		if end < 0 {
			end = len(s.rest)
		}
		word := s.rest[:end]
		s.take(end)
		return word, true, nil
	}
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; c {
		case '"':
			s.take(i + 1)
			return b.String(), true, nil
		case '\\':
			if i++; i < len(s.rest) {
				switch e := s.rest[i]; e {
				case 'n':
					b.WriteByte('\n')
				case 'r':
					b.WriteByte('\r')
				case 't':
					b.WriteByte('\t')
				default:
					b.WriteByte(e)
				}
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", false, fmt.Errorf("line %d: a quotation mark is not closed", s.line)
}

func (s *netrcScanner) value(of string) (string, error) {
	value, ok, err := s.word()
	if err == nil && !ok {
		err = fmt.Errorf("line %d: nothing follows %q", s.line, of)
	}
	return value, err
}

// skipMacro leaves out the rest of this line and what follows up to an empty one.
func (s *netrcScanner) skipMacro() {
	for first := true; s.rest != ""; first = false {
		line, _, _ := strings.Cut(s.rest, "\n")
		s.take(min(len(line)+1, len(s.rest)))
		if !first && strings.TrimSpace(line) == "" {
			return
		}
	}
}

// netrcFile is the one file that is read: NETRC's, else the first that exists of ~/.netrc and ~/_netrc (Windows).
func netrcFile() string {
	if path := os.Getenv("NETRC"); path != "" {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	path := filepath.Join(home, ".netrc")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if other := filepath.Join(home, "_netrc"); fileExists(other) {
			return other
		}
	}
	return path
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (c *Chain) fromNetrc(t target) *Credential {
	path := netrcFile()
	if path == "" {
		return nil
	}
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		c.tracef(t, "%s: does not exist", path)
		return nil
	}
	var machines []machine
	if err == nil {
		machines, err = parseNetrc(data)
	}
	if err != nil {
		c.tracef(t, "%s: cannot be used", path)
		c.warnf(t, "%s: %v; going on without it", path, err)
		return nil
	}
	// A machine with a port is this registry; one without is the host, as everywhere else in netrc's world.
	withoutPort, _, _ := strings.Cut(t.host, ":")
	if strings.HasPrefix(t.host, "[") {
		withoutPort, _, _ = strings.Cut(t.host[1:], "]")
	}
	for _, host := range []string{t.host, withoutPort} {
		for _, m := range machines {
			if canonicalHost(m.name) == host && m.login != "" && m.password != "" {
				c.tracef(t, "%s: the machine %s: used", path, m.name)
				return newCredential(m.login, m.password, path)
			}
		}
	}
	c.tracef(t, "%s: has none", path)
	return nil
}
