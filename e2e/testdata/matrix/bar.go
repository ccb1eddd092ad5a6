// Program bar calls libbar through cgo.
package main

// #include <bar.h>
import "C"

import (
	"fmt"
	"os"
)

func main() {
	value := int(C.bar_value())
	fmt.Printf("bar_value() = %d\n", value)
	if value != 42 {
		os.Exit(1)
	}
}
