#include <curl/curl.h>
#include <stdio.h>

int main(void) {
    if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK) return 1;
    printf("%s\n", curl_version());
    curl_global_cleanup();
    return 0;
}
