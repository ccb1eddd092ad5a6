// Program bar calls libbar through cgo.
package main

// #include <bar.h>
import "C"

import (
	"fmt"
	"os"
)

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check() error {
	value := int(C.bar_value())
	fmt.Printf("bar_value() = %d\n", value)
	if value != 42 {
		return fmt.Errorf("want 42")
	}
	return nil
}
