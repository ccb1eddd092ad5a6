package artifact

import (
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
)

// licenseID is an identifier of a licence or an exception, with or without the document that defines it (SPDX 2.3,
// annex D). Which identifiers there are changes with every edition of SPDX's list and is not looked at.
var licenseID = lazyregexp.New(`^(DocumentRef-[A-Za-z0-9.-]+:)?[A-Za-z0-9.-]+\+?$`)

// validLicense reports whether a licence is written as an SPDX expression: identifiers joined by AND, OR and WITH, in
// parentheses where that is needed.
func validLicense(text string) bool {
	words := strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(text))
	operand, open := true, 0 // whether one is wanted now, and how many parentheses are open
	for i, word := range words {
		switch {
		case word == "(":
			if !operand {
				return false
			}
			open++
		case word == ")":
			if operand || open == 0 {
				return false
			}
			open--
		case word == "AND" || word == "OR" || word == "WITH":
			if operand || word == "WITH" && words[i-1] == ")" {
				return false
			}
			operand = true
		default:
			if !operand || !licenseID().MatchString(word) {
				return false
			}
			operand = false
		}
	}
	return !operand && open == 0
}
