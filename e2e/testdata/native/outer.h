#pragma once

/* The C library that both libraries were compiled for. */
const char *outer_libc(void);
