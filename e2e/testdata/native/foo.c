/* Where these lie is asked in one way in a shared object, in another in an executable, and in a third in one that is not
   position independent: see no_pic in build. */
int foo_parts[2] = {40, 1};

int foo_value(void) {
    int value = 0;
    for (int i = 0; i < 2; i++) value += foo_parts[i];
    return value;
}
