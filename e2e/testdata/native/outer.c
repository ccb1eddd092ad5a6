#include "outer.h"

#include <features.h>
#include <string.h>

#include "inner.h"

#ifdef __GLIBC__
#define OWN "glibc"
#else
#define OWN "musl"
#endif

const char *outer_libc(void) { return strcmp(inner_libc(), OWN) ? "of both kinds" : OWN; }
