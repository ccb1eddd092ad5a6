package external

// #include <zlib.h>
import "C"

const OK = C.Z_OK
