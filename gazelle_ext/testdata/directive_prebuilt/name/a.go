package name

// #cgo pkg-config: vend
import "C"
