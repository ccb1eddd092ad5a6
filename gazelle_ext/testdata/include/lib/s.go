package p

/*
#include "sqlite3.h"
*/
import "C"
