package p

/*
#cgo linux LDFLAGS: -lz
#include <unknown.h>
*/
import "C"
