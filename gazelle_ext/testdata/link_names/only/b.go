package p

/*
#cgo LDFLAGS: -L/opt
#cgo LDFLAGS: -lz
#include <zlib.h>
*/
import "C"
