//go:build !linux && !darwin

package store

func remote(string) bool { return true }
