#include <bar.h>
#include <foo.h>

int (*const both[2])(void) = {foo_value, bar_value};
