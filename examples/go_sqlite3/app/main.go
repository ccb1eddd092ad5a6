// Command app prints the version of the SQLite library that it is linked with.
package main

import (
	"fmt"
	"os"

	sqlite3 "example.com/go_sqlite3"
)

func main() {
	sum, err := sqlite3.Sum(40, 2)
	if err != nil || sum != 42 {
		fmt.Fprintf(os.Stderr, "40 + 2 = %d, %v\n", sum, err)
		os.Exit(1)
	}
	fmt.Printf("sqlite3 %s\n", sqlite3.Version())
}
