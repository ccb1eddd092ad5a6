// Program registry calls libregistry through cgo.
package main

// #include <registry.h>
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
	value := int(C.registry_count())
	fmt.Printf("registry_count() = %d\n", value)
	if value != 1 {
		return fmt.Errorf("want 1")
	}
	return nil
}
