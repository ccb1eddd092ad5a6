package p

/*
#cgo LDFLAGS: -lz -lcrypto
#include <zlib.h>
*/
import "C"
