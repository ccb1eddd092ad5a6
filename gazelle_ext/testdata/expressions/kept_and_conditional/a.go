package p

/*
#cgo linux LDFLAGS: -lz -lssl
*/
import "C"
