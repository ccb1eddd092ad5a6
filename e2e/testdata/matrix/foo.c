#include <foo.h>
#include <stdio.h>

int main(void) {
    printf("foo_value() = %d\n", foo_value());
    return foo_value() == 41 ? 0 : 1;
}
