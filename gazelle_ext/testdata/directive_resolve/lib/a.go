package p

/*
#cgo LDFLAGS: -lmine
#cgo pkg-config: nobody
#include <zlib.h>
*/
import "C"
