#include <sysexits.h>
