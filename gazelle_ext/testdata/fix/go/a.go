package p

/*
#include <zlib.h>
#include <gone.h>
*/
import "C"
