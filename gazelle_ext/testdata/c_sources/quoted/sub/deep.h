#include "zlib.h"
#include <sqlite3.h>
