package folder

// #cgo CFLAGS: -I${SRCDIR}/../third_party/vend/include
// #include <vend.h>
import "C"
