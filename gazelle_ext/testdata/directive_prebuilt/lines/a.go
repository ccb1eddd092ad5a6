package lines

// #cgo CFLAGS: -I${SRCDIR}/include
// #cgo CFLAGS: -Wall
// #cgo LDFLAGS: -ldl -lvend
// #cgo LDFLAGS: -lm
// #include <vend.h>
import "C"
