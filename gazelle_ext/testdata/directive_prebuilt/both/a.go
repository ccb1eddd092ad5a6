package both

// #include <zlib.h>
import "C"
