#define OWN_SQLITE 3
