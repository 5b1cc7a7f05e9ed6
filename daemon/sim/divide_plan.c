/* divide_plan.c - policies without recalls: static split, and the clairvoyant
 *
 * Both go over daemon/core/backfill. The static split plans by requested times on the public part alone,
 * in order of arrival with one reservation (EASY). The clairvoyant plans by real run times over all that
 * leases will ever leave free, smallest area first with four reservations: what it starts is never wanted
 * back, so nothing is lost and growth is met at once.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/core/backfill.h"
#include "daemon/sim/divide.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

struct plan {
	struct divide_book *book;
	const struct divide_setup *in;
	struct divide_run *out;
	bool clairvoyant;
	struct profile profile;
	struct backfill backfill;
	uint32_t *queue; /* jobs in order */
	size_t queue_n;
	struct divide_heap ends;
	struct divide_use use;
	uint32_t running; /* devices */
	int64_t now_ms;
	size_t ended;
};

static int64_t length(const struct plan *p, uint32_t job)
{
	return p->clairvoyant ? p->in->trace->jobs[job].run_ms : p->in->trace->jobs[job].limit_ms;
}

static int64_t area(const struct plan *p, uint32_t job)
{
	return p->clairvoyant ? backfill_area(p->in->trace->jobs[job].units, p->in->trace->jobs[job].run_ms) : 0;
}

/* Equal areas, and all of the static split, in order of arrival. */
static void enqueue(struct plan *p, uint32_t job)
{
	size_t low = 0, high = p->queue_n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int64_t a = area(p, p->queue[mid]), b = area(p, job);

		if (a < b || (a == b && p->queue[mid] < job))
			low = mid + 1;
		else
			high = mid;
	}
	memmove(p->queue + low + 1, p->queue + low, (p->queue_n - low) * sizeof *p->queue);
	p->queue[low] = job;
	p->queue_n++;
}

/* What the public side does not hold itself is on loan. */
static void count(struct plan *p)
{
	p->use.guaranteed = p->running < p->in->public_units ? p->running : p->in->public_units;
	p->use.loaned = p->running - p->use.guaranteed;
	p->use.waiting = (uint32_t)p->queue_n;
}

static int pass(struct plan *p, struct err *err)
{
	size_t kept = 0;
	int r = 0;

	backfill_begin(&p->backfill, &p->profile, p->now_ms, p->clairvoyant ? 4 : 1);
	for (size_t i = 0; i < p->queue_n; i++) {
		uint32_t job = p->queue[i];
		const struct divide_job *j = &p->in->trace->jobs[job];
		int64_t reserved_ms;

		if (r >= 0 && (p->backfill.free_now > 0 || !backfill_full(&p->backfill)))
			r = backfill_offer(&p->backfill, j->units, length(p, job), &reserved_ms, err);
		else
			r = r < 0 ? r : BACKFILL_WAIT;
		if (r != BACKFILL_START) {
			p->queue[kept++] = job;
			continue;
		}
		divide_job_started(p->out, &p->out->done[job], p->now_ms);
		divide_heap_add(&p->ends, p->now_ms + j->run_ms, 0, job, p->now_ms);
		p->running += j->units;
	}
	p->queue_n = kept;
	backfill_end(&p->backfill);
	return r < 0 ? r : 0;
}

static int end(struct plan *p, struct err *err)
{
	struct divide_event e = divide_heap_pop(&p->ends);
	uint32_t job = (uint32_t)e.id;
	const struct divide_job *j = &p->in->trace->jobs[job];

	divide_job_ended(p->in, p->out, job, p->now_ms);
	p->running -= j->units;
	p->ended++;
	/* give back what was thought still to come */
	return profile_hold(&p->profile, p->now_ms, e.value + length(p, job), -(int64_t)j->units, err);
}

/* All that leases will hold, as far as any job can reach; beyond that as at the last step. */
static int foresee(struct plan *p, struct err *err)
{
	const struct demand *d = p->in->demand;
	int64_t reach_ms = 4 * p->in->window_ms + 30 * MS_PER_DAY;
	uint32_t *want = xcalloc(d->providers_n + 1, sizeof *want);
	int r = 0;

	for (uint64_t k = 0; d->steps_n && r == 0; k++) {
		struct demand_step s = divide_step(d, k);

		if (s.at_ms > reach_ms)
			break;
		r = profile_add(&p->profile, s.at_ms, (int64_t)want[s.provider] - s.units, err);
		want[s.provider] = s.units;
	}
	free(want);
	return r;
}

static int play(struct plan *p, divide_progress_fn *progress, void *arg, struct err *err)
{
	const struct divide_trace *tr = p->in->trace;
	const struct demand *d = p->in->demand;
	uint64_t step = 0;
	size_t next = 0;
	int r = 0;

	while (p->ended < tr->jobs_n && r == 0) {
		int64_t t_ms = divide_heap_next(&p->ends);

		if (next < tr->jobs_n && tr->jobs[next].submit_ms < t_ms)
			t_ms = tr->jobs[next].submit_ms;
		if (d->steps_n && divide_step(d, step).at_ms < t_ms)
			t_ms = divide_step(d, step).at_ms;
		ENSURE(t_ms != INT64_MAX);
		divide_pass(p->book, &p->now_ms, t_ms, &p->use);
		profile_forget(&p->profile, t_ms);
		while (r == 0 && divide_heap_next(&p->ends) == t_ms)
			r = end(p, err);
		while (d->steps_n && divide_step(d, step).at_ms == t_ms) {
			struct demand_step s = divide_step(d, step++);

			divide_book_want(p->book, t_ms, s.provider, s.units);
			divide_book_have(p->book, t_ms, s.provider, s.units);
		}
		for (; next < tr->jobs_n && tr->jobs[next].submit_ms == t_ms; next++)
			enqueue(p, (uint32_t)next);
		if (r == 0)
			r = pass(p, err);
		count(p);
		if (progress)
			progress(arg, p->ended, tr->jobs_n);
	}
	return r;
}

int divide_run_plan(struct divide_book *b, bool clairvoyant, divide_progress_fn *progress, void *arg, struct err *err)
{
	struct plan p = {.book = b, .in = b->in, .out = b->out, .clairvoyant = clairvoyant};
	int64_t units = clairvoyant ? (int64_t)b->in->nodes * b->in->per_node : b->in->public_units;
	int r;

	p.queue = xcalloc(b->in->trace->jobs_n + 1, sizeof *p.queue);
	profile_init(&p.profile, units, (uint32_t)1 << 30);
	backfill_init(&p.backfill);
	r = clairvoyant ? foresee(&p, err) : 0;
	if (r == 0)
		r = play(&p, progress, arg, err);
	divide_book_close(b, p.now_ms);
	backfill_done(&p.backfill);
	profile_done(&p.profile);
	free(p.ends.at);
	free(p.queue);
	return r;
}
