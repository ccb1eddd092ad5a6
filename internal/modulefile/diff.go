package modulefile

import (
	"fmt"
	"strings"
)

// Diff is the unified diff, without context, from the file's bytes to those of Replace; "" where images change nothing.
// patch(1) applies it.
func (f *File) Diff(images map[int]string) string {
	before, after := splitLines(string(f.data)), splitLines(string(f.Replace(images)))
	var b strings.Builder
	hunk := func(from, n, to, m int) {
		if b.Len() == 0 {
			fmt.Fprintf(&b, "--- %s\n+++ %s\n", f.path, f.path)
		}
		fmt.Fprintf(&b, "@@ -%d,%d +%d,%d @@\n", from+1, n, to+1, m)
		for _, l := range before[from : from+n] {
			b.WriteString("-" + ended(l))
		}
		for _, l := range after[to : to+m] {
			b.WriteString("+" + ended(l))
		}
	}
	if len(before) == len(after) {
		for i := range before {
			if before[i] != after[i] {
				hunk(i, 1, i, 1)
			}
		}
		return b.String()
	}
	// An image that was written over several lines became one.
	start, end := 0, 0
	for start < min(len(before), len(after)) && before[start] == after[start] {
		start++
	}
	for end < min(len(before), len(after))-start && before[len(before)-1-end] == after[len(after)-1-end] {
		end++
	}
	hunk(start, len(before)-start-end, start, len(after)-start-end)
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
