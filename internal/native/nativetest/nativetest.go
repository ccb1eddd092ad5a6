// Package nativetest holds small native libraries for macOS, Windows and Linux that real compilers and linkers made, so
// that tests have them wherever they run. The script make, beside this file, made them and says with what.
package nativetest

import (
	"embed"
	"io/fs"
)

//go:embed files
var files embed.FS

// Names lists the files, sorted.
func Names() []string {
	entries, err := fs.ReadDir(files, "files")
	if err != nil {
		panic(err) // the folder is embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// File gives the bytes of one of them. It panics where there is none of that name.
func File(name string) []byte {
	data, err := files.ReadFile("files/" + name)
	if err != nil {
		panic(err)
	}
	return data
}
