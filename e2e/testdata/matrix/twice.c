#include <stdio.h>

void first(void);
int second(void);
#ifdef ITSELF
#include <registry.h>
#else
#define registry_count second
#endif

/* What one of its libraries adds, the other one counts: they have one registry. */
int main(void) {
    int before = second();
    first();
    printf("registry_count() = %d, then %d\n", before, second());
    return before == BEFORE && second() == BEFORE + 1 && registry_count() == BEFORE + 1 ? 0 : 1;
}
