//go:build !linux && !darwin

package store

func bootID() string { return "" }
