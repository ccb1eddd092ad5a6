package p

/*
#include <zlib.h>
#cgo LDFLAGS: -lz
*/
import "C"
