package p

/*
#cgo windows LDFLAGS: -lz
*/
import "C"
