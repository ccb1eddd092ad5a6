package p

/*
#cgo LDFLAGS: -lnothing
*/
import "C"
