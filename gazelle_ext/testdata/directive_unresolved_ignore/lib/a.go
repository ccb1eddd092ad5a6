package p

/*
#cgo LDFLAGS: -lnothing -lm
#cgo pkg-config: nobody
#include <unknown.h>
*/
import "C"
