#define _GNU_SOURCE
#include <dlfcn.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>

#define QUOTED(x) #x
#define STRING(x) QUOTED(x)

static char library[4096];

static int visit(const char *path, const struct stat *status, int type, struct FTW *at) {
    if (strcmp(path + at->base, STRING(LIBRARY)) != 0) return 0;
    return snprintf(library, sizeof(library), "%s", path) > 0;
}

/* Opens a library that it finds in its runfiles, which lie beside it, or in which it is run. */
int main(int argc, char **argv) {
    char runfiles[4096];
    snprintf(runfiles, sizeof(runfiles), "%s.runfiles", argv[0]);
    if (nftw(runfiles, visit, 8, 0) < 0) nftw(".", visit, 8, 0);
    void *opened = dlopen(library, RTLD_NOW);
    int (*value)(void) = opened ? (int (*)(void))dlsym(opened, STRING(SYMBOL)) : NULL;
    if (!value) {
        printf("%s: %s\n", STRING(LIBRARY), library[0] ? dlerror() : "is not in the runfiles");
        return 1;
    }
    printf("%s() = %d\n", STRING(SYMBOL), value());
    return value() == WANT ? 0 : 1;
}
