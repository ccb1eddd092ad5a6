//go:build libsqlite3

package p

/*
#cgo libsqlite3 LDFLAGS: -lsqlite3
#cgo CFLAGS: -DUSE_LIBSQLITE3
#ifdef USE_LIBSQLITE3
#include <sqlite3.h>
#endif
*/
import "C"
