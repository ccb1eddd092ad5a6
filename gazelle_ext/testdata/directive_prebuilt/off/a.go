package off

// int off(void);
import "C"
