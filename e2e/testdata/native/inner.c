#include "inner.h"

#include <features.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>

/* By a function that glibc alone has. */
const char *inner_libc(void) { return gnu_get_libc_version()[0] ? "glibc" : ""; }
#else
const char *inner_libc(void) { return "musl"; }
#endif
