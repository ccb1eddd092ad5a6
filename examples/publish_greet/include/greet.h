#ifndef GREET_H_
#define GREET_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version, such as "1.2.0". */
const char *greet_version(void);

/* Writes a greeting for name into buffer, which has size bytes, and returns its length without the 0 at its end; 0 where
   it does not fit. */
size_t greet(char *buffer, size_t size, const char *name);

/* The machine that the library was compiled for, such as "x86_64". */
const char *greet_machine(void);

#ifdef __cplusplus
}
#endif

#endif
