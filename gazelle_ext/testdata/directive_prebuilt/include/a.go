package include

// #include <vend.h>
import "C"
