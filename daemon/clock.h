/* clock.h - logical time: what the core takes for now
 *
 * Logical time is UTC milliseconds that never go back, across restarts neither: it follows the
 * monotonic clock and is drawn towards the wall clock by at most 500 ppm. A step of the wall clock
 * therefore changes the pace a little and no instant at all; it is reported, once per step. While
 * the machine is suspended logical time stands still, so it never expires anybody early.
 *
 * The readings are passed in: the unit has no clock of its own and replays in a test.
 */
#ifndef SLUIS_DAEMON_CLOCK_H
#define SLUIS_DAEMON_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/instant.h"

enum {
	CLOCK_SLEW_PPM = 500,
	CLOCK_STEP_MS = 2000, /* a difference to the wall clock worth a warning */
};

struct clock {
	int64_t t_ns;
	struct mono mono;  /* at the last reading */
	bool stepped;      /* a difference was reported and has not gone away */
	int64_t told_ns;   /* the difference that was reported */
};

/* Start at `disk_ms`, the newest logical instant that the disk knows (0: none), or at the wall clock
 * if that is later. */
void clock_start(struct clock *c, int64_t disk_ms, struct mono mono, struct wall wall);

/* Take the next readings and return the logical instant, ms. `*ret_step_ms` (may be NULL) is how far
 * the wall clock is ahead of logical time when that is news (more than CLOCK_STEP_MS, and not
 * reported yet), 0 otherwise. */
int64_t clock_read(struct clock *c, struct mono mono, struct wall wall, int64_t *ret_step_ms);

#endif
