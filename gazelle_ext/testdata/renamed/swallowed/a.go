package swallowed

// #cgo LDFLAGS: -lssl -lcrypto
// #cgo pkg-config: openssl
import "C"
