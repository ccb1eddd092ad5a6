//go:build !windows && !linux

package store

func syncTree(path string) error { return syncEach(path) }
