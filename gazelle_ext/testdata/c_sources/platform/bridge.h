#ifndef BRIDGE_H
#define BRIDGE_H
int f(void);
#endif
