package p

/*
#cgo linux pkg-config: zlib
#cgo windows,amd64 LDFLAGS: -lcrypto -lws2_32
#cgo !windows LDFLAGS: -lsqlite3
#include <stdlib.h>
*/
import "C"
