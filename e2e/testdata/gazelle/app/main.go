// Command app compresses with zstd and with Brotli, and asks SQLite and libseccomp for their versions.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/DataDog/zstd"
	"github.com/google/brotli/go/cbrotli"
	"github.com/mattn/go-sqlite3"
	"github.com/seccomp/libseccomp-golang"
)

func main() {
	try("zstd", func(text []byte) ([]byte, error) { return zstd.Compress(nil, text) },
		func(compressed []byte) ([]byte, error) { return zstd.Decompress(nil, compressed) })
	try("brotli", func(text []byte) ([]byte, error) { return cbrotli.Encode(text, cbrotli.WriterOptions{Quality: 5}) }, cbrotli.Decode)
	version, _, _ := sqlite3.Version()
	major, minor, micro := seccomp.GetLibraryVersion()
	fmt.Printf("sqlite %s; seccomp %d.%d.%d\n", version, major, minor, micro)
}

func try(name string, compress, decompress func([]byte) ([]byte, error)) {
	text := bytes.Repeat([]byte("prebuilt "), 100)
	compressed, err := compress(text)
	if err == nil && len(compressed) >= len(text) {
		err = fmt.Errorf("%d bytes became %d", len(text), len(compressed))
	}
	if err == nil {
		var again []byte
		if again, err = decompress(compressed); err == nil && !bytes.Equal(again, text) {
			err = fmt.Errorf("another text came out")
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
