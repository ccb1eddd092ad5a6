package angle

/*
#cgo CFLAGS: -I${SRCDIR}/own
#if __has_include(<sqlite3.h>)
#include <sqlite3.h>
#endif
*/
import "C"
