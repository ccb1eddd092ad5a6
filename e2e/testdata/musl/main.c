#include <outer.h>
#include <stdio.h>
#include <string.h>

#ifdef __GLIBC__
#define OWN "glibc"
#else
#define OWN "musl"
#endif

int main(void) {
    printf("program %s, libraries %s\n", OWN, outer_libc());
    return strcmp(outer_libc(), OWN) != 0;
}
