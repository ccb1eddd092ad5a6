#define OWN_ZLIB 1
