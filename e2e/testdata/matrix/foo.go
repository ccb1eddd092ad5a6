// Program foo calls libfoo through cgo.
package main

// #include <foo.h>
import "C"

import (
	"fmt"
	"os"
)

func main() {
	value := int(C.foo_value())
	fmt.Printf("foo_value() = %d\n", value)
	if value != 41 {
		os.Exit(1)
	}
}
