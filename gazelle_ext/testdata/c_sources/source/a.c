#include "bridge.h"
#include <stdio.h>
#include <zlib.h>
int f(void) { return 1; }
