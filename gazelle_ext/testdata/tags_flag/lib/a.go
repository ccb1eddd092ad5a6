//go:build libsqlite3

package p

/*
#cgo libsqlite3 LDFLAGS: -lsqlite3
#cgo none LDFLAGS: -lz
*/
import "C"
