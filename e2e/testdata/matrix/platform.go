// Program platform calls libplatform through cgo.
package main

// #include <platform.h>
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
	value := int(C.platform_check(2))
	fmt.Printf("platform_check(2) = %d\n", value)
	if value != 0 {
		return fmt.Errorf("want 0")
	}
	return nil
}
