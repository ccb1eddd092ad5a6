package main

/*
#cgo pkg-config: zlib
*/
import "C"

func main() {}
