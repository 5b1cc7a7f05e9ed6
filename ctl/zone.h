/* zone.h - the clocks of time zones, by the database of the machine
 *
 * sluisd knows instants only; what repeats by a clock is counted out here. Until zone_leave() the zone holds for the whole
 * process (TZ): for programs with one thread.
 */
#ifndef SLUIS_CTL_ZONE_H
#define SLUIS_CTL_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/limits.h"

/* Does the machine have the rules of "Europe/Amsterdam"? UTC it always has. */
bool zone_known(const char *zone);
/* "Europe/Amsterdam tzdata 2024a", as far as the machine says. */
void zone_name(const char *zone, char out[NAME_BYTES]);

struct zone_was { char *tz; }; /* NULL: there was none */
void zone_enter(const char *zone, struct zone_was *ret_was);
void zone_leave(struct zone_was *was);

/* For the zone in force: what its clock is ahead of UTC at an instant, in seconds. */
int64_t zone_offset_s(int64_t at_s);
/* The instant at which its clock shows clock_s, seconds since 1970-01-01T00:00 as the clock counts them. A time that it
 * skips is the instant of the jump; of one that it shows twice the first, with `last` the second. */
enum zone_fit { ZONE_ONCE, ZONE_NEVER, ZONE_TWICE };
enum zone_fit zone_instant(int64_t clock_s, bool last, int64_t *ret_s);

#endif
