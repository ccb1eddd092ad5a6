#include <bar.h>

int middle(void) { return bar_value() == 42; }
