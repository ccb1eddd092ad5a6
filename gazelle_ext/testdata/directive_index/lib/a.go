package p

/*
#include <zlib.h>
#include <sqlite3.h>
*/
import "C"
