/* ensure.c - see ensure.h */
#include "proto/base/ensure.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void ensure_failed(const char *file, int line, const char *func, const char *cond)
{
	(void)fprintf(stderr, "<0>invariant broken at %s:%d in %s(): %s\n", file, line, func, cond);
	abort();
}

_Noreturn void memory_out(size_t bytes)
{
	(void)fprintf(stderr, "<0>out of memory: %zu bytes asked for\n", bytes);
	abort();
}
