#ifdef __cplusplus
extern "C" {
#endif
int foo_value(void); /* 41 */
#ifdef __cplusplus
}
#endif
