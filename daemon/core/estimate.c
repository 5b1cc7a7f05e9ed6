/* estimate.c - when a waiting job is likely to start
 *
 * Fluid: the queue ahead of a job, in the order of the queue, is an amount of work, devices times time limit;
 * what runs frees devices as their limits pass, and the free ones serve that work. The job starts once the work
 * ahead has been served and as many devices are free as it asks for. All of it at the time limits is the
 * cautious estimate (p90); jobs that end as early as those did that have ended lately bring everything nearer
 * in the same proportion (p50). A job with a reservation has an instant of its own.
 *
 * What may only use its own quota goes by its pool, what may borrow by all devices of its flavor, loans included, and
 * where its borrowing is at its limit, by what its project gives back of that; or by its pool, if that is sooner.
 * Where nothing that ends by itself would let it start (a notice too long for a loan, nodes that are unavailable), or
 * where it would run by now and was found not to, there is no estimate.
 *
 * An estimate is not a promise, and it is held to account: when the job starts, the error of what was told first and
 * whether it came before p90 are counted. From that the next ones are stretched: who comes later in better order, and how
 * much earlier than their limits jobs end, is nowhere to be read, but how often starts came before p50 and p90 is. A step
 * down for each that did and one up for each that did not hold both where half and nine of ten come before (Gibbs and
 * Candes, Adaptive Conformal Inference Under Distribution Shift, 2021). A reserved start is told as it is. Volatile:
 * nothing is decided by any of it.
 *
 * Cost: O((jobs + changes of capacity) log) for all, each walk along the profile once; and O(allocations) for each
 * project at its borrowing limit.
 */
#include "daemon/core/state.h"

#include <stdlib.h>

__extension__ typedef __int128 wide; /* device-milliseconds of a long queue */

enum { STRETCH_STEPS = 32, STRETCH_MIN = 64, STRETCH_MAX = 64 * 1024 };

/* How far the work ahead has come along one profile. */
struct flow {
	const struct profile *profile;
	int64_t there;       /* capacity without anybody */
	int64_t at_ms, free; /* from at_ms on */
	wide served, ahead;
	bool begun;
};

/* What a leaf may borrow, over time. */
struct usable {
	struct profile back;
	struct flow flow;
};

struct flows {
	struct flow *total;   /* by flavor: all its devices */
	struct flow *own;     /* by the pool's place in the trees, of one resource */
	struct usable *loans; /* by the leaf's, of one resource; begun when a limit stops somebody */
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

/* A quantile followed by signs: it holds still when as many starts come before it as it says, `early` of 1024. */
static void follow(int32_t *stretch, int32_t early, bool came)
{
	*stretch += *stretch * (came ? early - 1024 : early) / (1024 * STRETCH_STEPS);
	*stretch = (int32_t)max64(min64(*stretch, STRETCH_MAX), STRETCH_MIN);
}

void estimate_score(struct scratch *s, struct job_s *j, int64_t started_ms)
{
	int64_t p50_ms = j->told50_s * MS_PER_S, p90_ms = j->told90_s * MS_PER_S;

	if (!p90_ms)
		return;
	if (!j->told_place) {
		follow(&s->stretch50, 512, started_ms <= p50_ms);
		follow(&s->stretch90, 922, started_ms <= p90_ms);
	}
	s->estimates++;
	s->estimates_in += started_ms <= p90_ms;
	s->estimate_error_ms += started_ms > p50_ms ? started_ms - p50_ms : p50_ms - started_ms;
	j->p50_s = j->p90_s = j->told50_s = j->told90_s = 0;
}

/* What the leaf may have as a loan, and what its own work gives back of that by ending. What lenders or others below
 * the same limit give back is not counted on. */
static struct flow *loan_flow(const struct core *c, int64_t t, const struct need *n, struct usable *loans)
{
	uint32_t at = qnode_of(c, n->project)->at;
	struct usable *u = &loans[at];

	if (u->flow.begun)
		return &u->flow;
	profile_init(&u->back, 0, (uint32_t)c->allocs.count + 1);
	EACH(c, allocs, alloc_s, a)
		if (a->r.qnode == n->project && a->r.flavor == n->flavor && a->r.shape == n->shape &&
		    a->until_ms != T_NEVER)
			ENSURE(!profile_add(&u->back, max64(a->until_ms, t + 1), alloc_units(&a->r), NULL));
	flow_begin(&u->flow, &u->back, quota_headroom(tree_of(c, n->flavor, n->shape), at), t);
	return &u->flow;
}

/* Does what stops it go by itself, at an instant that limits of what runs tell? */
static bool passes(const struct need *n)
{
	int rc = n->as_loan ? n->as_loan : n->reason;

	return rc != REASON_LOAN_NOTICE && rc != REASON_NODES_OUT && rc != REASON_DEFICIT && rc != REASON_POWER;
}

/* When it can be there, and what flow it waits in; T_NEVER: nobody can tell. */
static int64_t start_of(const struct core *c, int64_t t, const struct job *j, const struct need *n, struct flows *f)
{
	struct pool *pool = n->loan_only ? NULL : plan_pool(c, n->project, n->flavor, n->shape);
	bool borrows = n->loan_ok && (n->loan_only || quota_ask(c, n->project, n->flavor, n->shape, n->units, CLASS_GUARANTEED));
	struct flow *total = &f->total[n->flavor], *loan = NULL, *waits_in;
	struct flow *own = pool && (borrows || !n->loan_ok) ? &f->own[pool->at] : NULL;
	int64_t units = in_devices(c, n->flavor, n->shape, n->units), at = T_NEVER, own_at = T_NEVER;

	if (!total->begun)
		flow_begin(total, &c->plan[n->flavor].total, plan_ready(c, n->flavor), t);
	if (own && !own->begun)
		flow_begin(own, &pool->firm, pool->own, t);
	if (own)
		own_at = n->units > pool->own ? T_NEVER : flow_to(own, n->units);
	if ((!own || n->loan_ok) && passes(n)) {
		at = flow_to(total, units);
		if (at != T_NEVER && borrows &&
		    quota_ask(c, n->project, n->flavor, n->shape, n->units, CLASS_LOAN)) {
			loan = loan_flow(c, t, n, f->loans);
			at = max64(at, flow_to(loan, n->units));
		}
	}
	waits_in = own && own_at <= at ? own : total;
	if (!j->reserved_ms && (own_at != T_NEVER || at != T_NEVER || !own)) {
		waits_in->ahead += (wide)(waits_in == own ? n->units : units) * j->spec.time_limit_ms;
		if (loan && waits_in == total)
			loan->ahead += (wide)n->units * j->spec.time_limit_ms;
	}
	return min64(at, own_at);
}

/* n of 1024. */
static int64_t part_of(int64_t ms, int64_t n) { return ms / 1024 * n + ms % 1024 * n / 1024; }

static void one(const struct core *c, int64_t t, struct flows *f, struct job_s *j)
{
	const struct need *n = j->line->need;
	struct job r;
	int64_t at, latest;

	job_read(j, &r);
	j->p50_s = j->p90_s = 0;
	at = start_of(c, t, &r, n, f);
	at = r.reserved_ms ? r.reserved_ms : n->parked ? T_NEVER : max64(at, r.spec.begin_ms);
	if (at == T_NEVER || at > t + SPAN_MAX_MS)
		return; /* nobody can tell */
	at = max64(at, t);
	latest = r.promised_ms ? max64(r.promised_ms, at) : at;
	if (n->reason && (latest <= t + MS_PER_S || n->reason == REASON_NODES_OUT))
		return; /* by the limits it would run by now, and it was found that it does not */
	at = t + part_of(at - t, used_of(c->scratch));
	if (!r.reserved_ms) {
		at = t + part_of(at - t, c->scratch->stretch50);
		latest = max64(t + part_of(latest - t, c->scratch->stretch90), at);
	}
	if (latest / MS_PER_S >= UINT32_MAX)
		return;
	j->p50_s = (uint32_t)((at + MS_PER_S - 1) / MS_PER_S); /* none before it */
	j->p90_s = (uint32_t)((latest + MS_PER_S - 1) / MS_PER_S);
	if (!j->told90_s) {
		j->told_place = r.reserved_ms != 0;
		j->told50_s = j->p50_s;
		j->told90_s = j->p90_s;
	}
}

static uint32_t resource_of(const struct job_s *j)
{
	return resource_index(j->line->need->flavor, j->line->need->shape);
}

void estimate_all(const struct core *c, int64_t t, struct job_s *const *jobs, uint32_t n)
{
	struct flows f = {.total = xcalloc(FLAVORS_MAX + 1, sizeof *f.total)};
	bool any[RESOURCES_MAX] = {false};

	for (uint32_t i = 0; i < n; i++)
		any[resource_of(jobs[i])] = true;
	for (uint32_t r = 0; r < RESOURCES_MAX; r++) { /* pools of one resource after the other */
		if (!any[r])
			continue;
		f.own = xcalloc(c->tree_n + 1, sizeof *f.own);
		f.loans = xcalloc(c->tree_n + 1, sizeof *f.loans);
		for (uint32_t i = 0; i < n; i++)
			if (resource_of(jobs[i]) == r)
				one(c, t, &f, jobs[i]);
		for (uint32_t i = 0; i <= c->tree_n; i++)
			profile_done(&f.loans[i].back);
		free(f.own);
		free(f.loans);
	}
	free(f.total);
}
