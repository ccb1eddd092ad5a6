package p

/*
#include <zlib.h>
*/
import "C"
