#include "registry.h"

/* Nobody asks for this object by name: it does its work by being there. */
__attribute__((constructor)) static void add(void) { registry_add(); }
