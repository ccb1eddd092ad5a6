package p

// #cgo LDFLAGS: -L/opt -lssl
import "C"
