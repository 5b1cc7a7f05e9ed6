/* estimate.c - when a waiting job is likely to start
 *
 * Fluid: the queue ahead of a job, in the order of the queue, is an amount of work, devices times time limit;
 * what runs frees devices as their limits pass, and the free ones serve that work. The job starts once the work
 * ahead has been served and as many devices are free as it asks for. All of it at the time limits is the
 * cautious estimate (p90); jobs that end as early as those did that have ended lately bring everything nearer
 * in the same proportion (p50). A job with a reservation has an instant of its own.
 *
 * What may only use its own quota goes by its pool, the rest by all devices of its flavor, loans included.
 *
 * An estimate is not a promise, and it is held to account: when the job starts, the error and whether it came
 * before p90 are counted. Volatile: nothing is decided by it.
 *
 * Cost: O((jobs + changes of capacity) log) for all, each walk along the profile once.
 */
#include "daemon/core/state.h"

#include <stdlib.h>

__extension__ typedef __int128 wide; /* device-milliseconds of a long queue */

/* How far the work ahead has come along one profile. */
struct flow {
	const struct profile *profile;
	int64_t there;       /* capacity without anybody */
	int64_t at_ms, free; /* from at_ms on */
	wide served, ahead;
	bool begun;
};

static void flow_begin(struct flow *f, const struct profile *p, int64_t there, int64_t t)
{
	*f = (struct flow){.profile = p, .there = there, .at_ms = t, .begun = true};
	f->free = max64(there + profile_at(p, t), 0);
}

/* The instant at which the work ahead has been served and `units` are free; T_NEVER. */
static int64_t flow_to(struct flow *f, int64_t units)
{
	int64_t at, least;

	for (;;) {
		int64_t next = profile_next(f->profile, f->at_ms);
		wide until = next == T_NEVER ? 0 : (wide)f->free * (next - f->at_ms);

		if (next == T_NEVER || f->served + until >= f->ahead)
			break;
		f->served += until;
		f->at_ms = next;
		f->free = max64(f->there + profile_at(f->profile, next), 0);
	}
	if (f->ahead > f->served && !f->free)
		return T_NEVER;
	if (f->ahead > f->served) {
		wide more = (f->ahead - f->served) / f->free;

		if (more > SPAN_MAX_MS)
			return T_NEVER;
		at = f->at_ms + (int64_t)more;
	} else {
		at = f->at_ms;
	}
	least = profile_first_least(f->profile, at, units - f->there);
	return least;
}

/* Of a time limit, what a job has needed lately, in 1/1024. Half before any has ended. */
static int64_t used_of(const struct scratch *s)
{
	return s->limit_sum_s ? max64(min64(s->run_sum_s * 1024 / s->limit_sum_s, 1024), 1) : 512;
}

void estimate_ended(struct scratch *s, const struct job *j)
{
	if (!j->start_ms || j->end_ms <= j->start_ms || j->spec.time_limit_ms < MS_PER_S)
		return;
	if (s->limit_sum_s > INT64_C(1) << 40) { /* the last ones count more */
		s->limit_sum_s /= 2;
		s->run_sum_s /= 2;
	}
	s->run_sum_s += min64(j->end_ms - j->start_ms, j->spec.time_limit_ms) / MS_PER_S;
	s->limit_sum_s += j->spec.time_limit_ms / MS_PER_S;
}

void estimate_score(struct scratch *s, struct job_s *j, int64_t started_ms)
{
	if (!j->p90_ms)
		return;
	s->estimates++;
	s->estimates_in += started_ms <= j->p90_ms;
	s->estimate_error_ms += started_ms > j->p50_ms ? started_ms - j->p50_ms : j->p50_ms - started_ms;
	j->p50_ms = j->p90_ms = 0;
}

static void one(const struct core *c, int64_t t, struct flow *flow, struct flow *own, struct job_s *j)
{
	const struct need *n = j->line->need;
	struct job r;
	const struct job_spec *s = &r.spec;
	struct pool *pool = n->loan_ok ? NULL : plan_pool(c, n->project, n->flavor, n->shape);
	struct flow *f = pool ? &own[pool->at] : &flow[n->flavor];
	int64_t units = pool ? n->units : in_devices(c, n->flavor, n->shape, n->units), at;

	job_read(j, &r);
	if (!f->begun)
		flow_begin(f, pool ? &pool->firm : &c->plan[s->flavor].total,
			   pool ? pool->own : plan_ready(c, s->flavor), t);
	j->p50_ms = j->p90_ms = 0;
	at = r.reserved_ms ? r.reserved_ms : n->parked ? T_NEVER : max64(flow_to(f, units), s->begin_ms);
	if (!r.reserved_ms)
		f->ahead += (wide)units * s->time_limit_ms;
	if (at == T_NEVER || at > t + SPAN_MAX_MS)
		return; /* nobody can tell */
	at = max64(at, t);
	j->p50_ms = t + (at - t) / 1024 * used_of(c->scratch) + (at - t) % 1024 * used_of(c->scratch) / 1024;
	j->p90_ms = r.promised_ms ? max64(r.promised_ms, at) : at;
}

static uint32_t resource_of(const struct job_s *j)
{
	return resource_index(j->line->need->flavor, j->line->need->shape);
}

void estimate_all(const struct core *c, int64_t t, struct job_s *const *jobs, uint32_t n)
{
	struct flow *flow = xcalloc(FLAVORS_MAX + 1, sizeof *flow);
	bool any[RESOURCES_MAX] = {false};

	for (uint32_t i = 0; i < n; i++)
		any[resource_of(jobs[i])] = true;
	for (uint32_t r = 0; r < RESOURCES_MAX; r++) { /* pools of one resource after the other */
		struct flow *own;

		if (!any[r])
			continue;
		own = xcalloc(c->tree_n + 1, sizeof *own); /* by the pool's place in the trees */
		for (uint32_t i = 0; i < n; i++)
			if (resource_of(jobs[i]) == r)
				one(c, t, flow, own, jobs[i]);
		free(own);
	}
	free(flow);
}
