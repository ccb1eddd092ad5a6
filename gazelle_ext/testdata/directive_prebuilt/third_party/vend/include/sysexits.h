#define EX_OK 0
