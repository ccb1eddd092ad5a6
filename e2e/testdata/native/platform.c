#include "platform.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>

static void *thread(void *argument) { return argument; }

/* libm, libpthread, libdl; and libresolv, which no toolchain adds by itself. */
int platform_check(double two) {
    pthread_t id;
    void *result = NULL;
    unsigned char address[4];
    if (pow(two, 10) != 1024) return 1;
    if (pthread_create(&id, NULL, thread, &result) != 0 || pthread_join(id, &result) != 0) return 2;
    if (dlsym(dlopen(NULL, RTLD_NOW), "no such name") != NULL) return 3;
    if (inet_net_pton(AF_INET, "127/8", address, sizeof(address)) != 8) return 4;
    return 0;
}
