/* The header in a file that uses none of it: no warning either, as C99 and as C++11. */
#include "memprobe.h"

int nothing_else;
