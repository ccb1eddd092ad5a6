package hand

// #cgo LDFLAGS: -lvend
// #include <vend.h>
import "C"
