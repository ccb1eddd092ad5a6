package old

// #cgo LDFLAGS: -lcrypto
// #include <tls/tls.h>
import "C"
