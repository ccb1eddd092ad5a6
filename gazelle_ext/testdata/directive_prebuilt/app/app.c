#include <sysexits.h>
#include <vend.h>
