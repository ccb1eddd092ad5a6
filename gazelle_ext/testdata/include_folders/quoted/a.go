package quoted

/*
#cgo CFLAGS: -iquote ${SRCDIR}/own
#include "zlib.h"
*/
import "C"

const N = C.OWN_ZLIB
