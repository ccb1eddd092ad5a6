package maybe

// int maybe(void);
import "C"
