package cgo

import (
	"maps"
	"strconv"
	"strings"
)

// directive is a line of a preamble, or of a C file, that the C preprocessor acts on, without its comments: "include" and "<zlib.h>".
type directive struct{ name, rest string }

// tells reports whether it is a condition, or a macro, that may depend on the platform.
func (d directive) tells() bool {
	switch d.name {
	case "if", "ifdef", "ifndef", "elif", "define":
	default:
		return false
	}
	for rest := d.rest; rest != ""; {
		name := identifier(rest)
		if _, ok := systemMacros[name]; ok {
			return true
		}
		if _, ok := archMacros[name]; ok {
			return true
		}
		rest = rest[max(1, len(name)):]
	}
	return false
}

// directives finds the lines that matter here.
func directives(text string) []directive {
	var found []directive
	text = strings.NewReplacer("\\\r\n", "", "\\\n", "").Replace(text)
	for line := range strings.SplitSeq(uncomment(text), "\n") {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "#")
		if !ok {
			continue
		}
		line = strings.TrimSpace(line)
		end := 0
		for end < len(line) && (line[end] >= 'a' && line[end] <= 'z' || line[end] == '_') {
			end++
		}
		switch name := line[:end]; name {
		case "include", "include_next", "import", "define", "undef", "if", "ifdef", "ifndef", "elif", "else", "endif":
			found = append(found, directive{name, strings.TrimSpace(line[end:])})
		}
	}
	return found
}

// uncomment replaces the comments of C by blanks. What stands between quotes is none.
func uncomment(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case strings.HasPrefix(text[i:], "//"):
			end := strings.IndexByte(text[i:], '\n')
			if end < 0 {
				return out.String()
			}
			i += end
		case strings.HasPrefix(text[i:], "/*"):
			end := strings.Index(text[i+2:], "*/")
			if end < 0 {
				return out.String()
			}
			out.WriteByte(' ')
			i += end + 4
		case c == '"' || c == '\'':
			end := i + 1
			for end < len(text) && text[end] != c && text[end] != '\n' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			if text[end-1] == '\n' && end-1 > i {
				end-- // a quote that its line does not close ends with it
			}
			out.WriteString(text[i:end])
			i = end
		default:
			out.WriteByte(c)
			i++
		}
	}
	return out.String()
}

// definitions says which macros are defined, and which are known not to be. Of a macro that is in no definitions only a
// header could tell, and here it counts as undefined.
type definitions map[string]definition

type definition struct {
	defined bool
	value   string // "" where it has parameters, or none
}

// options reads -D and -U.
func (d definitions) options(args []string) {
	for i, arg := range args {
		flag := arg[:min(2, len(arg))]
		if flag != "-D" && flag != "-U" {
			continue
		}
		macro := arg[2:]
		if macro == "" && i+1 < len(args) {
			macro = args[i+1]
		}
		name, value, given := strings.Cut(macro, "=")
		if !given {
			value = "1"
		}
		d[name] = definition{defined: flag == "-D", value: value}
	}
}

// truth is what is known of a condition.
type truth int

const (
	unknown truth = iota
	yes
	no
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) not() truth {
	switch t {
	case yes:
		return no
	case no:
		return yes
	}
	return unknown
}

// included finds what the preamble of one file includes, given the macros of options and platform, which may be nil where
// it has no conditions. Where a condition cannot be decided, both of its branches count: a library too many is linked in vain, one too few breaks the build.
func included(preamble []directive, from definitions) []Need {
	defined := maps.Clone(from)
	// For each open #if: whether the present branch counts, whether an earlier one did for certain, and whether what is
	// around it counts.
	type open struct{ now, before, around truth }
	var stack []open
	state := yes
	and := func(a, b truth) truth {
		switch {
		case a == no || b == no:
			return no
		case a == yes && b == yes:
			return yes
		}
		return unknown
	}
	branch := func(o *open, condition truth) {
		o.now = and(condition, o.before.not())
		if condition == yes || o.before == yes {
			o.before = yes
		} else if condition == unknown {
			o.before = unknown
		}
		state = and(o.around, o.now)
	}
	var needs []Need
	for _, d := range preamble {
		switch d.name {
		case "if", "ifdef", "ifndef":
			var condition truth
			switch name := identifier(d.rest); d.name {
			case "if":
				condition = defined.evaluate(d.rest)
			case "ifdef":
				condition = defined.isDefined(name)
			case "ifndef":
				condition = defined.isDefined(name).not()
			}
			stack = append(stack, open{before: no, around: state})
			branch(&stack[len(stack)-1], condition)
		case "elif", "else":
			if len(stack) == 0 {
				continue
			}
			condition := yes
			if d.name == "elif" {
				condition = defined.evaluate(d.rest)
			}
			branch(&stack[len(stack)-1], condition)
		case "endif":
			if len(stack) > 0 {
				state = stack[len(stack)-1].around
				stack = stack[:len(stack)-1]
			}
		case "define", "undef":
			if state == no || defined == nil {
				continue
			}
			name := identifier(d.rest)
			value := strings.TrimSpace(d.rest[len(name):])
			defined[name] = definition{defined: d.name == "define", value: value}
		default:
			if state == no || len(d.rest) < 3 {
				continue
			}
			switch {
			case d.rest[0] == '<':
				if end := strings.IndexByte(d.rest, '>'); end > 1 {
					needs = append(needs, Need{Header, d.rest[1:end]})
				}
			case d.rest[0] == '"':
				if end := strings.IndexByte(d.rest[1:], '"'); end > 0 {
					needs = append(needs, Need{Quoted, d.rest[1 : end+1]})
				}
			}
		}
	}
	return needs
}

// identifier is the name at the start of a text.
func identifier(s string) string {
	end := 0
	for end < len(s) && (s[end] == '_' || s[end] >= 'a' && s[end] <= 'z' || s[end] >= 'A' && s[end] <= 'Z' || end > 0 && s[end] >= '0' && s[end] <= '9') {
		end++
	}
	return s[:end]
}

func (d definitions) isDefined(name string) truth {
	if def, ok := d[name]; ok {
		return truthOf(def.defined)
	}
	if strings.HasPrefix(name, "__") {
		return unknown // the compiler's own: __GNUC__
	}
	return no
}

// evaluate decides the condition of an #if as far as it is made of defined, !, &&, ||, parentheses, numbers and macros
// that stand for numbers.
func (d definitions) evaluate(condition string) truth {
	e := evaluation{text: condition, defined: d}
	t := e.or(0)
	e.space()
	if e.failed || e.text != "" {
		return unknown
	}
	return t
}

type evaluation struct {
	text    string // what is left
	defined definitions
	failed  bool // something else was found; everything is unknown
}

func (e *evaluation) space() { e.text = strings.TrimLeft(e.text, " \t\r\v\f") }

func (e *evaluation) take(token string) bool {
	e.space()
	if !strings.HasPrefix(e.text, token) {
		return false
	}
	e.text = e.text[len(token):]
	return true
}

// deepest is how many parentheses and negations may be open. Nobody writes as many, and the stack has an end.
const deepest = 100

func (e *evaluation) or(depth int) truth {
	t := e.and(depth)
	for e.take("||") {
		u := e.and(depth)
		switch {
		case t == yes || u == yes:
			t = yes
		case t == unknown || u == unknown:
			t = unknown
		}
	}
	return t
}

func (e *evaluation) and(depth int) truth {
	t := e.compare(depth)
	for e.take("&&") {
		u := e.compare(depth)
		switch {
		case t == no || u == no:
			t = no
		case t == unknown || u == unknown:
			t = unknown
		}
	}
	return t
}

// compare reads what binds more closely than &&. Versions are compared, and no version is known here.
func (e *evaluation) compare(depth int) truth {
	t := e.not(depth)
	for e.operator() {
		e.not(depth)
		t = unknown
	}
	return t
}

func (e *evaluation) operator() bool {
	for _, o := range []string{"==", "!=", "<=", ">=", "<<", ">>", "<", ">", "+", "-", "*", "/", "%"} {
		if e.take(o) {
			return true
		}
	}
	return false
}

func (e *evaluation) not(depth int) truth {
	if depth > deepest {
		e.failed = true
	}
	if e.failed {
		return unknown
	}
	switch {
	case e.take("!"):
		return e.not(depth + 1).not()
	case e.take("("):
		t := e.or(depth + 1)
		if !e.take(")") {
			e.failed = true
		}
		return t
	}
	e.space()
	if name := identifier(e.text); name != "" {
		e.text = e.text[len(name):]
		if name == "defined" {
			closed := e.take("(")
			e.space()
			macro := identifier(e.text)
			e.text = e.text[len(macro):]
			if macro == "" || closed && !e.take(")") {
				e.failed = true
			}
			return e.defined.isDefined(macro)
		}
		switch e.defined.isDefined(name) {
		case no:
			return no // what is no macro is 0
		case yes:
			return number(e.defined[name].value)
		}
		return unknown
	}
	digits := 0
	for digits < len(e.text) && (e.text[digits] >= '0' && e.text[digits] <= '9' || e.text[digits]|0x20 >= 'a' && e.text[digits]|0x20 <= 'z') {
		digits++
	}
	if digits == 0 {
		e.failed = true
		return unknown
	}
	t := number(e.text[:digits])
	e.text = e.text[digits:]
	return t
}

func number(text string) truth {
	n, err := strconv.ParseInt(strings.TrimRight(text, "uUlL"), 0, 64)
	if err != nil {
		return unknown
	}
	return truthOf(n != 0)
}
