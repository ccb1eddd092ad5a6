#include <stdio.h>
#include <zlib.h>
#include <openssl/ssl.h>
