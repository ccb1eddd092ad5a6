#pragma once

/* The C library that this was compiled for. */
const char *inner_libc(void);
