#include <registry.h>

void first(void) { registry_add(); }
