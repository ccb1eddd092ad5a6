#ifdef __cplusplus
#include <string>
#endif
#include <net/if.h>
#include <stdio.h>
#include <sysexits.h>
#include <zlib.h>
#include <openssl/ssl.h>
