package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ocipkg/rules_ocipkg/internal/library"
)

// talk prints what goes on to standard error: a bar on a terminal, a line elsewhere, nothing with --quiet. Results are
// not talk: they go to standard output, by output.
//
// Invariant: a bar is on the terminal only while nothing else is printed. Whoever prints through talk or output clears
// it first, so that no line has the rest of a bar in it, and no bar is drawn over the last line.
type talk struct {
	mu       sync.Mutex // warnings come from several goroutines
	quiet    bool
	terminal bool
	columns  int
	bar      *progressbar.ProgressBar // nil where there is none
}

type talkKey struct{}

// withTalk gives a run of the command its talk, so that run itself can clear what a failed command left.
func withTalk(ctx context.Context) (context.Context, *talk) {
	t := &talk{}
	fd := int(os.Stderr.Fd())
	if t.terminal = term.IsTerminal(fd) && os.Getenv("TERM") != "dumb"; t.terminal {
		t.columns = 80
		if columns, _, err := term.GetSize(fd); err == nil && columns > 0 {
			t.columns = columns
		}
	}
	return context.WithValue(ctx, talkKey{}, t), t
}

// newTalk is the talk of the command's run, with the command's --quiet.
func newTalk(cmd *cobra.Command) *talk {
	t, ok := cmd.Context().Value(talkKey{}).(*talk)
	if !ok {
		t = &talk{}
	}
	t.quiet, _ = cmd.Flags().GetBool("quiet")
	return t
}

// warnf is for what people have to know whatever they asked for.
func (t *talk) warnf(format string, args ...any) {
	t.line("ocipkg: warning: "+format, args...)
}

func (t *talk) printf(format string, args ...any) {
	if !t.quiet {
		t.line(format, args...)
	}
}

func (t *talk) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// clear takes the bar off the terminal; the next progress draws it again. The caller holds mu.
func (t *talk) clear() {
	if t.bar != nil {
		_ = t.bar.Clear() // a terminal that cannot be drawn on is no reason to fail
	}
}

// done takes the bar off the terminal for good.
func (t *talk) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	t.bar = nil
}

// The parts of a bar beside its description: percentage, the bar itself, bytes and speed.
const (
	barWidth  = 20
	barOthers = 42
)

// progress tells of bytes that are being moved, of one or more blobs in one account; it is nil where nobody wants to
// know. Nothing is said before there is something to move.
func (t *talk) progress(what string) func(done, total int64) {
	if t.quiet {
		return nil
	}
	begun := false
	var bar *progressbar.ProgressBar
	return func(done, total int64) {
		if total <= 0 {
			return
		}
		if !begun && !t.terminal {
			begun = true
			t.printf("%s: %s", what, library.Size(total))
		}
		if !t.terminal {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if !begun {
			begun = true
			bar = progressbar.NewOptions64(total,
				progressbar.OptionSetWriter(os.Stderr),
				progressbar.OptionSetDescription(shortened(what, t.columns-barWidth-barOthers)),
				progressbar.OptionSetWidth(barWidth),
				progressbar.OptionShowBytes(true),
				progressbar.OptionShowCount(),
				progressbar.OptionShowTotalBytes(true),
				progressbar.OptionUseIECUnits(true),
				progressbar.OptionSetPredictTime(false),
				progressbar.OptionSetElapsedTime(false),
				progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionClearOnFinish(),
			)
			t.bar = bar
		}
		if t.bar != bar {
			return // it was taken away: the transfer is over
		}
		// What is sent twice is counted once.
		_ = bar.Set64(min(done, total))
	}
}

// shortened keeps a bar on one line: one that wraps cannot be cleared. Of a reference the end is what differs.
func shortened(what string, columns int) string {
	n := utf8.RuneCountInString(what)
	columns = max(columns, 12)
	if n <= columns {
		return what
	}
	runes := []rune(what)
	return string(runes[:5]) + "…" + string(runes[n-(columns-6):])
}
