// Command external_app asks SQLite for its version, by a module that go_deps fetches.
package main

import (
	"fmt"

	"github.com/mattn/go-sqlite3"
)

func main() {
	version, _, _ := sqlite3.Version()
	fmt.Println("sqlite", version)
}
