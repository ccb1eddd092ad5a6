// Program answer calls what is in a header through cgo.
package main

// #include <answer.h>
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
	value := int(C.answer())
	fmt.Printf("answer() = %d\n", value)
	if value != 42 {
		return fmt.Errorf("want 42")
	}
	return nil
}
