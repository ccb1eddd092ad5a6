package store

import (
	"os"
	"os/user"
	"path/filepath"
	"runtime"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// DefaultRoot returns the absolute path of the store's root: $OCIPKG_STORE, else the data directory that the ocipkg
// crate uses on this system. It makes nothing.
func DefaultRoot() (string, error) {
	return defaultRoot(runtime.GOOS, os.Getenv, func() (string, error) {
		if home, err := os.UserHomeDir(); err == nil {
			return home, nil
		}
		// Build tools start programs without HOME; the crate, too, then asks the user database.
		u, err := user.Current()
		if err != nil {
			return "", err
		}
		return u.HomeDir, nil
	})
}

// defaultRoot is DefaultRoot for a given system and environment. The directories are those of the Rust crate
// `directories` for ("", "ocipkg", "ocipkg"), which reads XDG_DATA_HOME neither on macOS nor on Windows and ignores
// it unless it is absolute.
func defaultRoot(goos string, getenv func(string) string, home func() (string, error)) (string, error) {
	if root := getenv("OCIPKG_STORE"); root != "" {
		// A relative one would name another store in every directory.
		if !filepath.IsAbs(root) {
			return "", &diagnostic.Error{Kind: diagnostic.Usage, What: "find the store",
				Why: "OCIPKG_STORE is " + root + ", which is not an absolute path", Do: "set it to an absolute path, or unset it"}
		}
		return filepath.Clean(root), nil
	}
	var parts []string
	switch goos {
	case "windows":
		if data := getenv("APPDATA"); filepath.IsAbs(data) {
			return filepath.Join(data, "ocipkg", "ocipkg", "data"), nil
		}
		parts = []string{"AppData", "Roaming", "ocipkg", "ocipkg", "data"}
	case "darwin":
		parts = []string{"Library", "Application Support", "ocipkg.ocipkg"}
	default:
		if data := getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
			return filepath.Join(data, "ocipkg"), nil
		}
		parts = []string{".local", "share", "ocipkg"}
	}
	dir, err := home()
	if err == nil && filepath.IsAbs(dir) {
		return filepath.Join(append([]string{dir}, parts...)...), nil
	}
	return "", &diagnostic.Error{Kind: diagnostic.Usage, What: "find the store", Why: "the home directory is not known",
		Do: "set HOME, or set OCIPKG_STORE to an absolute path", Err: err}
}
