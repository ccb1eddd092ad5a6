package modulefile

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Change is what is to be done to a file.
type Change struct {
	file  *File
	edits []edit // sorted, and none overlaps another
}

// edit puts text in the place of the bytes from start to end.
type edit struct {
	start, end int
	text       string
}

func (f *File) change(edits []edit) *Change {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	return &Change{file: f, edits: edits}
}

// Empty reports whether there is nothing to do.
func (c *Change) Empty() bool { return len(c.edits) == 0 }

// Bytes is the file as it is to become.
func (c *Change) Bytes() []byte { return apply(c.file.data, 0, c.edits) }

// apply edits a part of a file; the edits count from the file's start, and data begins at byte start of it.
func apply(data []byte, start int, edits []edit) []byte {
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		out.Write(data[at : e.start-start])
		out.WriteString(e.text)
		at = e.end - start
	}
	out.Write(data[at:])
	return out.Bytes()
}

// Diff is the unified diff, without context, of the change; "" for none. patch(1) applies it.
func (c *Change) Diff() string {
	lines := splitLines(string(c.file.data))
	starts := []int{0} // of each line, and the end of the file
	for _, l := range lines {
		starts = append(starts, starts[len(starts)-1]+len(l))
	}
	lineAt := func(at int) int { return bytes.Count(c.file.data[:at], []byte("\n")) }
	var b strings.Builder
	moved := 0
	for rest := c.edits; len(rest) > 0; {
		// A hunk is what changes in whole lines, from the line from up to the line to.
		from, to, n := 0, 0, 0
		for _, e := range rest {
			first := lineAt(e.start)
			last := min(lineAt(max(e.start, e.end-1))+1, len(lines))
			if e.start == e.end && starts[first] == e.start && strings.HasSuffix(e.text, "\n") {
				last = first // whole lines before this one
			}
			if n == 0 {
				from, to = first, last
			} else if first > to || first == to && to > from {
				break
			}
			to = max(to, last)
			n++
		}
		before := lines[from:to]
		after := splitLines(string(apply(c.file.data[starts[from]:starts[to]], starts[from], rest[:n])))
		if b.Len() == 0 {
			fmt.Fprintf(&b, "--- %s\n+++ %s\n", c.file.path, c.file.path)
		}
		line := func(n, count int) int { return n + min(count, 1) } // of no lines, the line before is named
		fmt.Fprintf(&b, "@@ -%d,%d +%d,%d @@\n", line(from, len(before)), len(before), line(from+moved, len(after)), len(after))
		for _, l := range before {
			b.WriteString("-" + ended(l))
		}
		for _, l := range after {
			b.WriteString("+" + ended(l))
		}
		moved += len(after) - len(before)
		rest = rest[n:]
	}
	return b.String()
}

func splitLines(s string) []string {
	lines := strings.SplitAfter(s, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func ended(line string) string {
	if strings.HasSuffix(line, "\n") {
		return line
	}
	return line + "\n\\ No newline at end of file\n"
}
