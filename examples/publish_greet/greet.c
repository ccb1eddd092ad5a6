#include "greet.h"

#include <math.h>
#include <stdio.h>

#include "lengths.h"

const char *greet_version(void) { return "1.2.0"; }

const char *greet_machine(void) {
#if defined(__x86_64__)
    return "x86_64";
#elif defined(__aarch64__)
    return "aarch64";
#else
    return "another machine";
#endif
}

size_t greet(char *buffer, size_t size, const char *name) {
    /* The library of the platform that linkopts names is needed for this. */
    const size_t longest = (size_t)fmin((double)size, GREET_LONGEST);
    const int length = snprintf(buffer, longest, "Hello, %s!", name);
    return length < 0 || (size_t)length >= longest ? 0 : (size_t)length;
}
