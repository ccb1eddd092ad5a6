// Command external_app compresses with zstd, and asks SQLite for its version, by modules that go_deps fetches.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/DataDog/zstd"
	"github.com/mattn/go-sqlite3"
)

func main() {
	text := bytes.Repeat([]byte("prebuilt "), 100)
	compressed, err := zstd.Compress(nil, text)
	if err == nil && len(compressed) >= len(text) {
		err = fmt.Errorf("%d bytes became %d", len(text), len(compressed))
	}
	if err == nil {
		var again []byte
		if again, err = zstd.Decompress(nil, compressed); err == nil && !bytes.Equal(again, text) {
			err = fmt.Errorf("another text came out")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	version, _, _ := sqlite3.Version()
	fmt.Println("zstd works; sqlite", version)
}
