//go:build !linux

package store

import "errors"

func exchange(string, string) error { return errors.ErrUnsupported }

func renameNew(from, to string) error { return rename(from, to) }
