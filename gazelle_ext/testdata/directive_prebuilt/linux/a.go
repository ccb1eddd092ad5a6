package linux

// #cgo linux LDFLAGS: -lvend
// #include <openssl/ssl.h>
import "C"
