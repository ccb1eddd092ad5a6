#include <registry.h>

int second(void) { return registry_count(); }
