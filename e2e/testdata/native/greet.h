#ifdef __cplusplus
extern "C" {
#endif
int greet_level(void); /* 2; a program that was linked with the first release gets 1 */
#ifdef __cplusplus
}
#endif
