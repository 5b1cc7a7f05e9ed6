/* backfill.h - who may start now without delaying a promise
 *
 * A pass goes over waiting jobs in two stretches: first in the order of the queue, then in the order
 * of backfilling. Each job is offered; the answer is
 *
 *   BACKFILL_START     it fits now and delays no reservation: its units are taken from the profile
 *   BACKFILL_RESERVE   it does not fit now; it got one of the pass's reservations
 *   BACKFILL_WAIT      neither
 *
 * With one reservation that is EASY (Lifka 1995), with the second stretch in order of length
 * EASY-SJBF (Tsafrir, Etsion & Feitelson 2007), with as many as there are jobs conservative
 * backfilling. The queue belongs to the caller: this file holds no job.
 *
 * Reservations are temporary holds in the profile, undone by backfill_end(); a start stays.
 */
#ifndef SLUIS_DAEMON_CORE_BACKFILL_H
#define SLUIS_DAEMON_CORE_BACKFILL_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/profile.h"
#include "proto/base/err.h"

enum { BACKFILL_RESERVATIONS_MAX = 1024 };

#define BACKFILL_UNITS_MAX (INT64_C(1) << 40) /* of one job */

enum backfill_verdict { BACKFILL_WAIT = 0, BACKFILL_START, BACKFILL_RESERVE };

struct backfill_hold {
	int64_t from_ms;
	int64_t to_ms;
	int64_t units;
};

struct backfill {
	struct profile *profile; /* borrowed during a pass */
	int64_t now_ms;
	int64_t free_now; /* profile_at(now_ms): the test that turns most jobs away */
	uint32_t reservations_max;
	uint32_t reservations;
	struct backfill_hold *holds; /* [BACKFILL_RESERVATIONS_MAX] */
};

void backfill_init(struct backfill *b);
void backfill_done(struct backfill *b);

/* Begin a pass at now_ms over `profile`, with up to `reservations_max` reservations
 * (0: none, a plain fit; at most BACKFILL_RESERVATIONS_MAX). */
void backfill_begin(struct backfill *b, struct profile *profile, int64_t now_ms, uint32_t reservations_max);

/* Offer a job of `units` for `length_ms` (> 0; T_NEVER for no known end). Returns an enum
 * backfill_verdict; for BACKFILL_RESERVE *ret_start_ms is the reserved start (T_NEVER when it never
 * fits: then nothing is held and it still uses up a reservation, so that a job larger than what is
 * there holds up the queue rather than lose its turn). Or ERR_NOROOM when the profile is full, ERR_RANGE
 * for more than BACKFILL_UNITS_MAX units.
 * Cost: O(1) for a job larger than what is free now, else O(log n). */
int backfill_offer(struct backfill *b, int64_t units, int64_t length_ms, int64_t *ret_start_ms,
		   struct err *err) NODISCARD;

/* All reservations taken? Then BACKFILL_RESERVE will not be answered any more. */
bool backfill_full(const struct backfill *b);

/* End the pass: the reservations leave the profile. */
void backfill_end(struct backfill *b);

/* ---- run time prediction --------------------------------------------------------------------------
 * The mean of the last two run times of the same kind of job, never above what was requested
 * (Tsafrir, Etsion & Feitelson 2007). The caller keeps one struct per kind (user, or user and shape).
 */
struct predictor {
	int64_t last_ms[2];
	uint8_t known; /* 0, 1, 2 */
};

/* A job of this kind ran for run_ms >= 0. */
void predictor_saw(struct predictor *p, int64_t run_ms);

/* What a job that requests `requested_ms` will take: the request itself until two were seen. `grain_ms`
 * is what the mean is rounded down to a multiple of. At least 1 ms. */
int64_t predictor_guess(const struct predictor *p, int64_t requested_ms, int64_t grain_ms);

/* ---- order of the queue -----------------------------------------------------------------------------*/

/* units x length, or INT64_MAX where that does not fit: the key of "smallest area first". */
int64_t backfill_area(int64_t units, int64_t length_ms);

#endif
