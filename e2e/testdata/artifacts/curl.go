// Program curl prints what libcurl was compiled with, through cgo.
package main

// #include <curl/curl.h>
import "C"

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check() error {
	version := C.GoString(C.curl_version())
	fmt.Println(version)
	if !strings.Contains(version, "OpenSSL/") {
		return fmt.Errorf("want OpenSSL")
	}
	return nil
}
