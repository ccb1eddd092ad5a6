// Program greet calls libgreet through cgo.
package main

// #include <greet.h>
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
	value := int(C.greet_level())
	fmt.Printf("greet_level() = %d\n", value)
	if value != 2 {
		return fmt.Errorf("want 2")
	}
	return nil
}
