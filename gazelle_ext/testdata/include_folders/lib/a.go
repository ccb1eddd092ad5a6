package lib

/*
#cgo CFLAGS: -I${SRCDIR}/include -iquote quoted
#include "sqlite3.h"
#include <zlib.h>
*/
import "C"

const N = C.OWN_SQLITE
