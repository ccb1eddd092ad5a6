package p

// #include "bridge.h"
import "C"
