#define OURS
