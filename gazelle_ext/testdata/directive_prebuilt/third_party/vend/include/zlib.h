#define ZLIB_VERSION "1.0"
