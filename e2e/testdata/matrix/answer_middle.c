#include <answer.h>

int middle(void) { return answer() == 42; }
