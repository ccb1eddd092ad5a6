#include "registry.h"

static int count;

void registry_add(void) { count++; }
int registry_count(void) { return count; }
