package p

/*
#cgo pkg-config: zlib libssl
#cgo CFLAGS: -DNAME="a b" -Iinclude
#cgo LDFLAGS: -L${SRCDIR}/lib -lz -lm
#include <zlib.h>
*/
import "C"
