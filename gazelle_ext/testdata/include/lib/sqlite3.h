#define OURS 1
