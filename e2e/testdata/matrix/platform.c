#include <platform.h>
#include <stdio.h>

int main(void) {
    printf("platform_check(2) = %d\n", platform_check(2));
    return platform_check(2) == 0 ? 0 : 1;
}
