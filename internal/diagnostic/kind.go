package diagnostic

import (
	"fmt"
	"maps"
	"slices"
)

// phrases is what each exit code is called, in `ocipkg --help` and in docs/errors.md.
var phrases = map[Kind]string{
	Failure:     "failed",
	Usage:       "wrong usage",
	NotFound:    "not found",
	Denied:      "access denied",
	Unreachable: "registry unreachable",
	Corrupt:     "corrupt bytes",
	Unsupported: "not an ocipkg artifact",
	Mismatch:    "wrong platform",
	Refused:     "refused",
	Interrupted: "interrupted",
}

// Kinds lists all kinds in the order of their exit codes.
func Kinds() []Kind { return slices.Sorted(maps.Keys(phrases)) }

// String is the kind's phrase, such as "not found".
func (k Kind) String() string {
	if phrase, ok := phrases[k]; ok {
		return phrase
	}
	return fmt.Sprintf("exit code %d", int(k))
}
