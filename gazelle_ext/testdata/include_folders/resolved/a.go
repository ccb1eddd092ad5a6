package resolved

/*
#cgo CFLAGS: -I${SRCDIR}/own
#include <zlib.h>
*/
import "C"

const N = C.Z_OK
