/* #include <zlib.h> */
int f(void) { return 1; }
