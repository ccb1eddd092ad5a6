#ifdef __cplusplus
extern "C" {
#endif
int bar_value(void); /* 42, with the help of libfoo */
#ifdef __cplusplus
}
#endif
