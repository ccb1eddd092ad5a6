package kept

// #cgo pkg-config: libssl
// #include <zlib.h>
import "C"
