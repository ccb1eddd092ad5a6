#include <greet.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    char text[64];
    if (greet(text, sizeof(text), "world") != strlen("Hello, world!") || strcmp(text, "Hello, world!") != 0) {
        fprintf(stderr, "no greeting\n");
        return 1;
    }
    printf("%s greet %s on %s\n", text, greet_version(), greet_machine());
    return 0;
}
