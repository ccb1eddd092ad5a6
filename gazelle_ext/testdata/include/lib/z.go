package p

/*
#include <stdio.h>
#include "zlib.h"
#include "own.h"
#include <unknown.h>
*/
import "C"
