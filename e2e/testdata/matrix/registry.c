#include <registry.h>
#include <stdio.h>

int main(void) {
    printf("registry_count() = %d\n", registry_count());
    return registry_count() == 1 ? 0 : 1;
}
