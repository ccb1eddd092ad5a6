#include <bar.h>
#include <stdio.h>

int main(void) {
    printf("bar_value() = %d\n", bar_value());
    return bar_value() == 42 ? 0 : 1;
}
