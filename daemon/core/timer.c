/* timer.c - see timer.h */
#include "daemon/core/timer.h"

#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

#include <stdbool.h>
#include <stdlib.h>

static bool before(const struct timer *a, const struct timer *b)
{
	if (a->at_ms != b->at_ms)
		return a->at_ms < b->at_ms;
	if (a->kind != b->kind)
		return a->kind < b->kind;
	return a->id < b->id;
}

static void put(struct timers *ts, uint32_t i, struct timer *t)
{
	ts->heap[i] = t;
	t->place = i + 1;
}

static void sift_up(struct timers *ts, uint32_t i)
{
	struct timer *t = ts->heap[i];

	while (i && before(t, ts->heap[(i - 1) / 4])) {
		put(ts, i, ts->heap[(i - 1) / 4]);
		i = (i - 1) / 4;
	}
	put(ts, i, t);
}

static void sift_down(struct timers *ts, uint32_t i)
{
	struct timer *t = ts->heap[i];

	for (;;) {
		uint32_t best = 0, first = i * 4 + 1;

		for (uint32_t k = first; k < first + 4 && k < ts->n; k++)
			if (!best || before(ts->heap[k], ts->heap[best]))
				best = k;
		if (!best || !before(ts->heap[best], t))
			break;
		put(ts, i, ts->heap[best]);
		i = best;
	}
	put(ts, i, t);
}

void timer_set(struct timers *ts, struct timer *t, uint8_t kind, uint64_t id, int64_t at_ms)
{
	if (at_ms == T_NEVER) {
		if (t->place) {
			uint32_t i = t->place - 1;
			struct timer *last = ts->heap[--ts->n];

			t->place = 0;
			if (last != t) {
				put(ts, i, last);
				sift_up(ts, i);
				sift_down(ts, last->place - 1);
			}
		}
		t->at_ms = T_NEVER;
		return;
	}
	t->at_ms = at_ms;
	t->kind = kind;
	t->id = id;
	if (!t->place) {
		if (ts->n == ts->cap) {
			ts->cap = ts->cap ? ts->cap * 2 : 64;
			ts->heap = xrealloc(ts->heap, ts->cap * sizeof(struct timer *));
		}
		put(ts, ts->n++, t);
	}
	sift_up(ts, t->place - 1);
	sift_down(ts, t->place - 1);
}

const struct timer *timer_first(const struct timers *ts) { return ts->n ? ts->heap[0] : NULL; }

uint32_t timers_within(const struct timers *ts, uint32_t place, int64_t at_ms)
{
	uint32_t i = place ? (place - 1) * 4 + 1 : 0; /* below one that is within there may be others */

	for (;;) {
		if (i < ts->n && ts->heap[i]->at_ms <= at_ms)
			return i + 1;
		if (i && i >= ts->n)
			i = (i - 1) / 4; /* there are no such children: as if after the last of them */
		while (i && i % 4 == 0)
			i = (i - 1) / 4;
		if (!i)
			return 0;
		i++;
	}
}

void timers_done(struct timers *ts)
{
	free(ts->heap);
	*ts = (struct timers){0};
}
