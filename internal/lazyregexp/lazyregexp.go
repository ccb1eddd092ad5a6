// Package lazyregexp has regular expressions that are compiled when they are first used: a command that finds its library
// in the store takes a few milliseconds, and compiling all that it does not need would be one of them.
package lazyregexp

import (
	"regexp"
	"sync"
)

// New returns what compiles expr once and gives it to every caller. It panics where expr is not valid.
func New(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
