#include <foo.h>

int middle(void) { return foo_value() == 41; }
