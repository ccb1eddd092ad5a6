package gone

// #include <math.h>
import "C"
