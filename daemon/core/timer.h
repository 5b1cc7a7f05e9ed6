/* timer.h - an indexed 4-ary heap of deadlines: set O(log n), earliest O(1); ties by (kind, id) so the
 * order never depends on history */
#ifndef SLUIS_DAEMON_CORE_TIMER_H
#define SLUIS_DAEMON_CORE_TIMER_H

#include <stdint.h>

struct timer {
	int64_t at_ms;
	uint64_t id;
	uint32_t place; /* index + 1 in the heap; 0: not set */
	uint8_t kind;   /* enum record_kind of the owner */
};
struct timers {
	struct timer **heap;
	uint32_t n, cap;
};

/* at_ms T_NEVER unsets. The timer must stay at its address while set. */
void timer_set(struct timers *ts, struct timer *t, uint8_t kind, uint64_t id, int64_t at_ms);
const struct timer *timer_first(const struct timers *ts); /* NULL if none */
/* A walk over those up to an instant, in no order that means anything: from 0, place by place, until 0. O(those). */
uint32_t timers_within(const struct timers *ts, uint32_t place, int64_t at_ms);
void timers_done(struct timers *ts);

#endif
