package native

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// export is one name that a shared library offers to those that link with it.
type export struct {
	name string
	// version is what stands behind the name, "" for none: "@@Z_1.3" for the default version of an ELF symbol, "@Z_1.2"
	// for one that only old programs ask for.
	version string
}

// hashExports gives the number of different exports and the SHA-256, in hex, of their names: each with its version and
// a newline, sorted by bytes, each once. Two builds that offer the same names have the same hash; "" stands for none.
func hashExports(list []export) (int, string) {
	slices.SortFunc(list, func(a, b export) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.version, b.version))
	})
	list = slices.Compact(list)
	if len(list) == 0 {
		return 0, ""
	}
	h := sha256.New()
	w := bufio.NewWriter(h)
	for _, e := range list {
		w.WriteString(e.name)
		w.WriteString(e.version)
		w.WriteByte('\n')
	}
	w.Flush() // a hash does not fail
	return len(list), hex.EncodeToString(h.Sum(nil))
}
