package p

// #include <openssl/ssl.h>
import "C"
