// Command cgo asks the zlib whose files lie in the workspace for its version.
package main

// #cgo pkg-config: zlib
// #include <zlib.h>
import "C"

import "fmt"

func main() { fmt.Println(C.GoString(C.zlibVersion())) }
