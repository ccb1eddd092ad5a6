// Program foo calls libfoo through cgo.
package main

// #include <foo.h>
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
	value := int(C.foo_value())
	fmt.Printf("foo_value() = %d\n", value)
	if value != 41 {
		return fmt.Errorf("want 41")
	}
	return nil
}
