#include <curl/curl.h>
#include <string.h>

int middle(void) { return strstr(curl_version(), "OpenSSL/") != NULL; }
