int tls(void);
