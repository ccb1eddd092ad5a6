#ifndef POLITE_H_
#define POLITE_H_

#include <greet.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As greet, with more respect. */
size_t greet_politely(char *buffer, size_t size, const char *name);

#ifdef __cplusplus
}
#endif

#endif
