package flags

// #cgo CFLAGS: -I${SRCDIR}/../third_party/vend/include
// #cgo LDFLAGS: -L${SRCDIR}/../third_party/vend/lib -lvend -lm
// #include <vend.h>
import "C"
