#include <platform.h>

int middle(void) { return platform_check(2) == 0; }
