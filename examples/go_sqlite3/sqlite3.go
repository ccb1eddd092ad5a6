// Package sqlite3 calls the SQLite library of @sqlite3 through cgo.
package sqlite3

// #include <sqlite3.h>
// #include <stdlib.h>
import "C"

import (
	"fmt"
	"unsafe"
)

// Version is the version of the library that is linked.
func Version() string { return C.GoString(C.sqlite3_libversion()) }

// Sum has the library add two numbers, in a database in memory.
func Sum(a, b int) (int, error) {
	name := C.CString(":memory:")
	defer C.free(unsafe.Pointer(name))
	var db *C.sqlite3
	if code := C.sqlite3_open(name, &db); code != C.SQLITE_OK {
		return 0, fmt.Errorf("open: %s", C.GoString(C.sqlite3_errstr(code)))
	}
	defer C.sqlite3_close(db)
	query := C.CString("SELECT ? + ?")
	defer C.free(unsafe.Pointer(query))
	var stmt *C.sqlite3_stmt
	if code := C.sqlite3_prepare_v2(db, query, -1, &stmt, nil); code != C.SQLITE_OK {
		return 0, fmt.Errorf("prepare: %s", C.GoString(C.sqlite3_errstr(code)))
	}
	defer C.sqlite3_finalize(stmt)
	C.sqlite3_bind_int64(stmt, 1, C.sqlite3_int64(a))
	C.sqlite3_bind_int64(stmt, 2, C.sqlite3_int64(b))
	if code := C.sqlite3_step(stmt); code != C.SQLITE_ROW {
		return 0, fmt.Errorf("step: %s", C.GoString(C.sqlite3_errstr(code)))
	}
	return int(C.sqlite3_column_int64(stmt, 0)), nil
}
