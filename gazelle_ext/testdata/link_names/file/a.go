package p

/*
#cgo LDFLAGS: -L/opt -lz -l:libfoo.a
*/
import "C"
