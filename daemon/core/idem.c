/* idem.c - answers remembered under their idempotency keys, by id
 *
 * A hash table with open addressing: ids are hashes already. It has as many entries as commands came within
 * IDEM_KEEP_MS, millions, and every command adds one. So it grows a little with each: beside the table there is, while
 * it grows, the one from before, of which each addition moves a few slots over. What was moved stays in the old table
 * as well until that goes as a whole; what is deleted meanwhile leaves a mark there, as others are found past it.
 */
#include "daemon/core/state.h"

#include <stdlib.h>
#include <string.h>

enum { CAP_MIN = 256, MOVED_AT_ONCE = 8 }; /* the old one is done long before the next growth */

static struct idem_s gone; /* what was deleted from the old table */

/* Where it is, or the free slot at which that ends. */
static struct idem_s **slot_of(struct idem_s **slot, uint32_t cap, uint64_t id)
{
	uint64_t i = id & (cap - 1);

	while (slot[i] && slot[i]->r.id != id)
		i = (i + 1) & (cap - 1);
	return &slot[i];
}

struct idem_s *idem_find(const struct core *c, uint64_t id)
{
	const struct idems *t = &c->idems;
	struct idem_s *e = t->cap ? *slot_of(t->slot, t->cap, id) : NULL;

	return e || !t->old ? e : *slot_of(t->old, t->old_cap, id);
}

static void some_move(struct idems *t, uint32_t slots)
{
	for (; t->old && slots && t->moved < t->old_cap; t->moved++, slots--) {
		struct idem_s *e = t->old[t->moved];

		if (e && e != &gone)
			*slot_of(t->slot, t->cap, e->r.id) = e;
	}
	if (!t->old || t->moved < t->old_cap)
		return;
	free(t->old);
	t->old = NULL;
}

static void grow(struct idems *t)
{
	some_move(t, t->old_cap);
	t->old = t->slot;
	t->old_cap = t->cap;
	t->moved = 0;
	t->cap = t->cap ? t->cap * 2 : CAP_MIN;
	t->slot = xcalloc(t->cap, sizeof(struct idem_s *));
}

void idem_put(struct core *c, const struct idem *r)
{
	struct idems *t = &c->idems;
	struct idem_s *e = idem_find(c, r->id);

	if (!e) {
		if (t->n * 2 >= t->cap)
			grow(t);
		e = xcalloc(1, sizeof *e);
		e->r.id = r->id;
		*slot_of(t->slot, t->cap, r->id) = e;
		t->n++;
		some_move(t, MOVED_AT_ONCE);
	}
	e->r = *r;
	timer_set(&c->timers, &e->timer, RECORD_IDEM, r->id, r->at_ms + IDEM_KEEP_MS);
}

void idem_del(struct core *c, uint64_t id)
{
	struct idems *t = &c->idems;
	struct idem_s *e = idem_find(c, id), **at;

	if (!e)
		return;
	timer_set(&c->timers, &e->timer, RECORD_IDEM, id, T_NEVER);
	at = t->old ? slot_of(t->old, t->old_cap, id) : NULL;
	if (at && *at)
		*at = &gone;
	at = slot_of(t->slot, t->cap, id);
	if (*at) { /* close the gap: what comes behind it up to the next is put in anew */
		uint64_t i = (uint64_t)(at - t->slot);

		*at = NULL;
		for (i = (i + 1) & (t->cap - 1); t->slot[i]; i = (i + 1) & (t->cap - 1)) {
			struct idem_s *move = t->slot[i];

			t->slot[i] = NULL;
			*slot_of(t->slot, t->cap, move->r.id) = move;
		}
	}
	t->n--;
	free(e);
}

uint64_t idem_next(const struct core *c, uint64_t after)
{
	const struct idems *t = &c->idems;
	uint64_t best = 0;

	for (uint32_t i = 0; i < t->cap + (t->old ? t->old_cap : 0); i++) {
		const struct idem_s *e = i < t->cap ? t->slot[i] : t->old[i - t->cap];

		if (e && e->r.id > after && (!best || e->r.id < best)) /* the mark has id 0 */
			best = e->r.id;
	}
	return best;
}

void idems_done(struct core *c)
{
	struct idems *t = &c->idems;

	some_move(t, t->old_cap);
	for (uint32_t i = 0; i < t->cap; i++)
		free(t->slot[i]);
	free(t->slot);
	*t = (struct idems){0};
}
