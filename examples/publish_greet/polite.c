#include "polite.h"

#include <stdio.h>

size_t greet_politely(char *buffer, size_t size, const char *name) {
    char dear[64];
    const int length = snprintf(dear, sizeof(dear), "dear %s", name);
    return length < 0 || (size_t)length >= sizeof(dear) ? 0 : greet(buffer, size, dear);
}
