/* backfill.c - see backfill.h */
#include "daemon/core/backfill.h"

#include <stdlib.h>

#include "proto/base/buf.h"
#include "proto/base/ckd.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

/* Two changes of at most BACKFILL_UNITS_MAX for each reservation and for the hold to come. */
#define SPARE_WEIGHT (2 * (BACKFILL_RESERVATIONS_MAX + 2) * BACKFILL_UNITS_MAX)
_Static_assert(SPARE_WEIGHT < PROFILE_UNITS_MAX / 2, "the spare weight is a small part of all");

void backfill_init(struct backfill *b)
{
	*b = (struct backfill){.holds = xcalloc(BACKFILL_RESERVATIONS_MAX, sizeof *b->holds)};
}

void backfill_done(struct backfill *b)
{
	free(b->holds);
	*b = (struct backfill){0};
}

void backfill_begin(struct backfill *b, struct profile *profile, int64_t now_ms, uint32_t reservations_max)
{
	ENSURE(!b->profile);
	ENSURE(reservations_max <= BACKFILL_RESERVATIONS_MAX);
	b->profile = profile;
	b->now_ms = now_ms;
	b->free_now = profile_at(profile, now_ms);
	b->reservations_max = reservations_max;
	b->reservations = 0;
}

bool backfill_full(const struct backfill *b) { return b->reservations == b->reservations_max; }

static int64_t end_of(int64_t start_ms, int64_t length_ms)
{
	int64_t end_ms;

	if (length_ms == T_NEVER || ckd_add(&end_ms, start_ms, length_ms))
		return T_NEVER;
	return end_ms;
}

/* Taking a hold back can need room where it had cancelled another change. So each hold leaves room
 * for the end of all reservations, and backfill_end() cannot fail. */
static int check_room(const struct backfill *b, int64_t units, struct err *err)
{
	const struct profile *p = b->profile;

	if (units > BACKFILL_UNITS_MAX)
		return err_set(err, ERR_RANGE, "a job asks for too many units");
	if (p->weight > (uint64_t)(PROFILE_UNITS_MAX - SPARE_WEIGHT))
		return err_set(err, ERR_RANGE, "the changes of capacity add up to too much");
	if (p->cap - p->count < 2 * (b->reservations + 2))
		return err_set(err, ERR_NOROOM, "the profile holds at most %u changes", p->cap);
	return 0;
}

static int reserve(struct backfill *b, int64_t units, int64_t length_ms, int64_t *ret_start_ms, struct err *err)
{
	struct backfill_hold *hold = &b->holds[b->reservations];
	int64_t start_ms = profile_fit(b->profile, b->now_ms, length_ms, units);
	int r;

	/* T_NEVER is an empty interval: held by profile_hold() as nothing. */
	*hold = (struct backfill_hold){start_ms, end_of(start_ms, length_ms), units};
	r = profile_hold(b->profile, hold->from_ms, hold->to_ms, units, err);
	if (r)
		return r;
	b->reservations++;
	*ret_start_ms = start_ms;
	return BACKFILL_RESERVE;
}

int backfill_offer(struct backfill *b, int64_t units, int64_t length_ms, int64_t *ret_start_ms, struct err *err)
{
	int64_t end_ms = end_of(b->now_ms, length_ms);
	int r;

	ENSURE(b->profile);
	ENSURE(units > 0);
	ENSURE(length_ms > 0);
	if (units > b->free_now && backfill_full(b))
		return BACKFILL_WAIT;
	r = check_room(b, units, err);
	if (r)
		return r;
	if (units <= b->free_now && profile_min(b->profile, b->now_ms, end_ms) >= units) {
		r = profile_hold(b->profile, b->now_ms, end_ms, units, err);
		if (r)
			return r;
		b->free_now -= units;
		return BACKFILL_START;
	}
	if (backfill_full(b))
		return BACKFILL_WAIT;
	return reserve(b, units, length_ms, ret_start_ms, err);
}

void backfill_end(struct backfill *b)
{
	ENSURE(b->profile);
	while (b->reservations) {
		const struct backfill_hold *hold = &b->holds[--b->reservations];
		int r = profile_hold(b->profile, hold->from_ms, hold->to_ms, -hold->units, NULL);

		ENSURE(r == 0); /* check_room() */
	}
	b->profile = NULL;
}

void predictor_saw(struct predictor *p, int64_t run_ms)
{
	ENSURE(run_ms >= 0);
	p->last_ms[1] = p->last_ms[0];
	p->last_ms[0] = run_ms;
	if (p->known < 2)
		p->known++;
}

int64_t predictor_guess(const struct predictor *p, int64_t requested_ms, int64_t grain_ms)
{
	int64_t mean_ms;

	ENSURE(grain_ms > 0);
	if (p->known < 2)
		return requested_ms;
	/* Both halves first: the sum of two run times need not fit. */
	mean_ms = p->last_ms[0] / 2 + p->last_ms[1] / 2 + (p->last_ms[0] % 2 + p->last_ms[1] % 2) / 2;
	mean_ms -= mean_ms % grain_ms;
	if (mean_ms < 1)
		mean_ms = 1;
	return mean_ms < requested_ms ? mean_ms : requested_ms;
}

int64_t backfill_area(int64_t units, int64_t length_ms)
{
	int64_t area;

	return ckd_mul(&area, units, length_ms) ? INT64_MAX : area;
}
