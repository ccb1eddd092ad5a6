//go:build !linux && !darwin

package store

import "errors"

func clone(*ends, string, look) error { return errors.ErrUnsupported }

func mayClone(string) bool { return false }
