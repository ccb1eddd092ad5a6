//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package store

import "os"

// dirLocks says whether a directory can be locked on this system. On Windows it cannot; there a Removal leaves alone
// whatever was used lately, as on file systems without locks.
const dirLocks = false

func flockDir(*os.File, bool) error { return errNoLocks }
