#include "bridge.h"
#ifdef HAVE_SQLITE
#include <sqlite3.h>
#endif
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif
