#include <bar.h>
#include <foo.h>
#include <stdio.h>

/* libfoo.so.2 by itself, and libfoo.so.1 through libbar. */
int main(void) {
    printf("bar_value() = %d, foo_value() = %d\n", bar_value(), foo_value());
    return bar_value() == 42 && foo_value() == 100 ? 0 : 1;
}
