package p

/*
#cgo linux LDFLAGS: -lz
#include <sqlite3.h>
*/
import "C"
