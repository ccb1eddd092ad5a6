//go:build !linux && !darwin

package store

import (
	"errors"
	"io/fs"
)

func clone(*ends, string, fs.FileInfo) error { return errors.ErrUnsupported }

func mayClone(string) bool { return false }
