package p

/*
#ifdef __linux__
#include <zlib.h>
#elif defined(_WIN32)
#include <openssl/ssl.h>
#endif
*/
import "C"
