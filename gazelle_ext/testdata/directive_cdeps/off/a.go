package p

/*
#cgo LDFLAGS: -lz
#include <zlib.h>
*/
import "C"
