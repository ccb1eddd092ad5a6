//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package store

import "os"

// objectLocks says whether directories and files can be locked on this system without being in the way of readers. On
// Windows they cannot; there a Removal leaves alone whatever was used lately, as on file systems without locks.
const objectLocks = false

func lockObject(*os.File, bool) error { return errNoLocks }
