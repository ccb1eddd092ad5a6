#include <curl/curl.h>
#include <stdio.h>

// Prints what curl was made of, and gets the address that it is given.
int main(int argc, char **argv) {
    if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK) return 1;
    puts(curl_version());
    if (argc < 2) return 0;
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, argv[1]);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) fprintf(stderr, "%s\n", curl_easy_strerror(code));
    curl_easy_cleanup(curl);
    return code == CURLE_OK ? 0 : 1;
}
