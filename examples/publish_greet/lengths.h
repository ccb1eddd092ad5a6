/* Not for those who use the library: it is in srcs, and is not published. */
#ifndef LENGTHS_H_
#define LENGTHS_H_

#define GREET_LONGEST 4096

#endif
