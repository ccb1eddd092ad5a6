package p

/*
#cgo LDFLAGS: -lssl
#include <openssl/ssl.h>
*/
import "C"
