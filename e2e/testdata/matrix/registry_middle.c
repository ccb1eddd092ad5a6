#include <registry.h>

int middle(void) { return registry_count() == 1; }
