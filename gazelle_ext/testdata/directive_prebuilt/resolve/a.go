package resolve

// #include <vend.h>
import "C"
