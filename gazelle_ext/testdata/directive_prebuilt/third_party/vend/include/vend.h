int vend(void);
