/* instant.c - see instant.h */
#include "proto/base/instant.h"

#include "proto/base/ensure.h"

#include <time.h>

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	ENSURE(clock_gettime(id, &ts) == 0);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

struct mono mono_now(void) { return (struct mono){clock_ns(CLOCK_MONOTONIC)}; }
struct boot boot_now(void) { return (struct boot){clock_ns(CLOCK_BOOTTIME)}; }
struct wall wall_now(void) { return (struct wall){clock_ns(CLOCK_REALTIME)}; }
