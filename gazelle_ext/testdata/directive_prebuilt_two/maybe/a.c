#ifdef HAVE_TLS
#include <tls/tls.h>
#endif

int maybe(void) { return 0; }
