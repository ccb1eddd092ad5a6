//go:build linux

#include <sqlite3.h>
