#include <answer.h>
#include <stdio.h>

int main(void) {
    printf("answer() = %d\n", answer());
    return answer() == 42 ? 0 : 1;
}
