package lib

// #cgo pkg-config: libssl
// #include <zlib.h>
import "C"
