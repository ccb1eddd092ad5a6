#include <openssl/ssl.h>

int b(void) { return 1; }
