package p

/*
#include <net/if.h>
#include <stdio.h>
#include <sysexits.h>
#include "zlib.h"
#include "own.h"
#include <unknown.h>
*/
import "C"
