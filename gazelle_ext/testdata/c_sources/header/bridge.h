#ifndef BRIDGE_H
#define BRIDGE_H
#include <zlib.h>
#endif
