#include <stdio.h>
#include <string.h>
#include <zlib.h>

int main(void) {
    const char text[] = "one line in MODULE.bazel, a running program";
    unsigned char packed[256];
    unsigned char unpacked[256];
    uLongf packed_size = sizeof(packed);
    uLongf unpacked_size = sizeof(unpacked);
    if (compress(packed, &packed_size, (const unsigned char *)text, sizeof(text)) != Z_OK ||
        uncompress(unpacked, &unpacked_size, packed, packed_size) != Z_OK ||
        unpacked_size != sizeof(text) || memcmp(text, unpacked, sizeof(text)) != 0) {
        fprintf(stderr, "the text did not come back\n");
        return 1;
    }
    printf("zlib %s\n", zlibVersion());
    return 0;
}
