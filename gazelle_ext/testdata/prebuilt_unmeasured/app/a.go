package app

// #include <math.h>
import "C"
