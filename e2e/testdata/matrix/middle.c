int middle(void);

int main(void) { return middle() ? 0 : 1; }
