package p

/*
#cgo amd64 LDFLAGS: -lz
*/
import "C"
