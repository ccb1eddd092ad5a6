package p

/*
#cgo LDFLAGS: -L/usr/local/opt/zlib/lib -lz
#cgo LDFLAGS: -L/opt/lib -lz -lpthread -Wl,-z,now
#cgo LDFLAGS: -lunknown -l crypto
#include <openssl/ssl.h>
*/
import "C"
