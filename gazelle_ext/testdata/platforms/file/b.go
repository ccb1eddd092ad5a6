//go:build darwin || windows

package p

/*
#include <sqlite3.h>
*/
import "C"
