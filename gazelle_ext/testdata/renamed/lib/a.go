package lib

// #cgo LDFLAGS: -lssl
// #include <openssl/ssl.h>
// #include <zlib.h>
import "C"
