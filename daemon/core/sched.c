/* sched.c - what starts next
 *
 * One call decides at most one action, so that every decision sees the state that the one before it
 * left. Order of the waiting jobs:
 *   class, in-quota before borrowing, sector's usage per weight, project's usage per weight, then in a project
 *   jobs older than the age guard by submission, the others by their user's usage in it (usage.c) and of one user
 *   smallest area first.
 *
 * Backfill with up to K reservations, as many of one project as the admin says (EASY-K; one of one project is what
 * Lifka 1995 has, and is best for small jobs: make golden): a job in line that lacks quota or devices
 * gets the earliest place in the plan (plan.c) at which it may run, and nothing is started that would delay it.
 * A reservation for want of quota, by a job that asks for nothing but devices, carries a promise: it is as
 * certain as the nominal it is made from. The promise is the instant reserved plus recall_slo, because the
 * devices may be on loan until then. Reservations are records: whoever has one keeps it until he starts, and
 * who comes later in better order goes around it. It also holds his budget. One that passed its instant is made
 * anew, and a promise broken so is recorded with its cause.
 *
 * Nobody is looked at in vain. What waits is grouped by what it asks for (line.c). Each applied fact notes
 * what it may have made possible (WORK_*): devices, quota or time that come free order a walk over the groups
 * of their flavor, in order; a new job only a look at its own need. A start frees nothing, so a walk goes on
 * behind it. What lacks budget, room under a limit or a dependency is looked at when that changes. One look
 * tries at most SCHED_BUDGET needs and goes on a millisecond later. Should a note be missing all the same, nobody pays
 * for it with more than LOOK_AGAIN_MS: as often as that everything is looked at while anybody waits (kube-scheduler's
 * podMaxInUnschedulablePodsDuration is there for the same).
 *
 * Invariant (tests/unit/test_core_sched.c): when a tick has found nothing to do, a whole walk over everything
 * at the same instant starts nobody, and gives nobody a place either unless devices are reserved in advance.
 */
#include "daemon/core/elastic.h"
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reasons: volatile, for people ----------------------------------------------------------------- */

static void reason_set(struct need *n, int64_t t, int code, uint64_t other)
{
	if (n->reason != code) {
		for (int i = 0; i < REASONS_KEPT && n->reason; i++)
			if (n->span[i].code == n->reason || !n->span[i].code) {
				n->span[i].code = n->reason;
				n->span[i].elapsed_ms += t - n->reason_since_ms;
				break;
			}
		n->reason_since_ms = t;
	}
	n->reason = (uint16_t)code;
	n->as_loan = 0;
	n->reason_job = other;
}

/* What stands in the way of every job of the project. */
static int project_gates(const struct core *c, uint32_t project)
{
	const struct qnode_s *q = qnode_of(c, project);

	if (c->cluster.safe_mode)
		return REASON_SAFE_MODE;
	if (q->r.frozen || q->r.retired)
		return REASON_FROZEN;
	return q->r.running_jobs_max && q->running >= q->r.running_jobs_max ? REASON_JOB_LIMIT : 0;
}

/* Its own limit of children that run, not the project's? */
static bool array_full(const struct job *j)
{
	return j->spec.array_step && j->spec.array_running_max && j->array_live >= j->spec.array_running_max;
}

void sched_reason_text(const struct core *c, const struct need *n, const struct job *j, char out[TEXT_BYTES])
{
	if (n->reason == REASON_WINDOW || reservation_reason(n->reason))
		reservation_reason_text(c, j, n->reason, n->reason_job, out);
	else if (n->reason == REASON_HEADROOM)
		headroom_text(c, n->flavor, headroom_length_ms(&j->spec), out);
	else if (n->reason == REASON_WOULD_DELAY && n->reason_job)
		(void)snprintf(out, TEXT_BYTES, "it would delay job %" PRIu64, n->reason_job);
	else if (n->as_loan)
		(void)snprintf(out, TEXT_BYTES, "%s; as a loan: %u %s", reason_text(n->reason), n->as_loan,
			       reason_text(n->as_loan));
	else if (n->reason == REASON_JOB_LIMIT && array_full(j) && !project_gates(c, j->spec.project))
		(void)snprintf(out, TEXT_BYTES, "%u of its children run, its own limit (%%%u)", j->array_live,
			       j->spec.array_running_max);
	else
		text_set(out, TEXT_BYTES, reason_text(n->reason));
}

/* ---- order -------------------------------------------------------------------------------------------- */

/* Of its own, or inside its nominal of whole nodes. */
static bool in_quota(const struct core *c, const struct need *n)
{
	return !n->loan_only && (!quota_ask(c, n->project, n->flavor, n->shape, n->units, CLASS_GUARANTEED) ||
				 (n->carriable && !carrier_ask(c, n->project, n->flavor, n->units)));
}

static bool too_old(const struct core *c, int64_t t, const struct line *l)
{
	return t - l->submit_ms > c->cluster.age_guard_ms;
}

static uint64_t area_of(const struct core *c, const struct need *n, int64_t limit_ms)
{
	return (uint64_t)rums_of(c, n->flavor, n->shape, n->units, limit_ms);
}

static int u64_cmp(uint64_t a, uint64_t b) { return a < b ? -1 : a > b; }

static int pick_cmp(const void *pa, const void *pb)
{
	const struct pick *a = pa, *b = pb;
	int c;

	if (a->young != b->young)
		return a->young ? 1 : -1;
	if (a->young && a->usage != b->usage)
		return a->usage < b->usage ? -1 : 1;
	if (a->young && a->user != b->user)
		return a->user < b->user ? -1 : 1;
	c = u64_cmp(a->area, b->area);
	if (!c)
		c = u64_cmp(a->submit, b->submit);
	return c ? c : u64_cmp(a->id, b->id); /* children of an array share their submission */
}

/* The whole order, for people: compared as numbers, smaller first. */
struct numbered { uint64_t rank; struct pick pick; struct job_s *job; };
static int numbered_cmp(const void *pa, const void *pb)
{
	const struct numbered *a = pa, *b = pb;

	return a->rank != b->rank ? u64_cmp(a->rank, b->rank) : pick_cmp(&a->pick, &b->pick);
}

void sched_order(const struct core *c, int64_t t)
{
	struct numbered *all;
	struct job_s **jobs;
	uint32_t n = 0;

	if (!c->pending_n || t - c->scratch->ordered_ms < c->pending_n / 10)
		return;
	c->scratch->ordered_ms = t;
	usage_order_seen(c, t);
	all = xmalloc(c->pending_n * sizeof *all);
	for (uint32_t i = 0; i < c->pending_n; i++) {
		struct job_s *j = job_of(c, c->pending[i]);
		const struct line *l = j->line;
		bool old = t - JOB_GET(j, submit_ms) > c->cluster.age_guard_ms;

		j->order = 0;
		if (!l)
			continue;
		all[n].rank = (uint64_t)(JOB_SYSTEM - l->need->klass) << 48 | (uint64_t)!in_quota(c, l->need) << 40 |
			      qnode_of(c, l->need->project)->rank;
		all[n].pick = (struct pick){.usage = usage_of_user(c, t, l->need->project, l->need->user),
					    .user = l->need->user,
					    .young = !old,
					    .area = old ? 0 : area_of(c, l->need, l->limit_ms),
					    .submit = JOB_GET(j, submit_seq),
					    .id = c->pending[i]};
		all[n++].job = j;
	}
	if (n)
		qsort(all, n, sizeof *all, numbered_cmp);
	jobs = xmalloc((n + 1) * sizeof(struct job_s *));
	for (uint32_t i = 0; i < n; i++) {
		all[i].job->order = (i + 1) & INT32_MAX;
		jobs[i] = all[i].job;
	}
	estimate_all(c, t, jobs, n);
	free(jobs);
	free(all);
}

/* ---- gates ------------------------------------------------------------------------------------------------ */

/* On REASON_DEPENDENCY *ret_job is the job that has to start or end first. */
static int dependency_gate(const struct core *c, const struct job *j, uint64_t *ret_job)
{
	for (uint32_t i = 0; i < j->spec.deps_n; i++) {
		const struct dependency *dep = &j->spec.deps[i];
		const struct job *o = core_job(c, dep->job);

		*ret_job = dep->job;
		switch ((enum dep_type)dep->type) {
		case DEP_AFTER:
			if (o && !o->first_start_ms && !job_terminal(o->state))
				return REASON_DEPENDENCY;
			break;
		case DEP_AFTERANY:
			if (o && !job_terminal(o->state))
				return REASON_DEPENDENCY;
			break;
		case DEP_AFTEROK:
			if (o && !job_terminal(o->state))
				return REASON_DEPENDENCY;
			if (!o || o->state != JOB_COMPLETED)
				return REASON_DEPENDENCY_NEVER;
			break;
		case DEP_AFTERNOTOK:
			if (o && !job_terminal(o->state))
				return REASON_DEPENDENCY;
			if (!o || o->state == JOB_COMPLETED)
				return REASON_DEPENDENCY_NEVER;
			break;
		case DEP_SINGLETON:
			EACH(c, jobs, job_s, other)
				if (other_it.id < j->id && JOB_GET(other, owner) == j->owner &&
				    !job_terminal(JOB_GET(other, state)) &&
				    !strcmp(job_rec(c, other)->spec.name, j->spec.name)) {
					*ret_job = other_it.id;
					return REASON_DEPENDENCY;
				}
			break;
		}
	}
	return 0;
}

static int gates(const struct core *c, int64_t t, const struct job *j, uint64_t *ret_job)
{
	int of_project = project_gates(c, j->spec.project);

	*ret_job = 0;
	if (of_project && of_project != REASON_JOB_LIMIT)
		return of_project;
	if (j->eligible_ms > t && j->end_cause != END_RECALL)
		return j->spec.begin_ms == j->eligible_ms ? REASON_BEGIN : REASON_BACKOFF;
	if (of_project)
		return of_project;
	if (array_full(j))
		return REASON_JOB_LIMIT;
	if (reservation_gate(c, t, j))
		return REASON_WINDOW;
	return dependency_gate(c, j, ret_job);
}

/* ---- what failed already ------------------------------------------------------------------------------------- */

static uint64_t ask_hash(const struct core *c, const struct place_ask *a, uint8_t over)
{
	uint64_t h = hash_u64(over + 1, (uint64_t)a->flavor << 32 | (uint64_t)a->shape << 16 | (uint64_t)a->klass << 8 |
						a->distinct);

	h = hash_u64(h, (uint64_t)a->topology_required << 60 | (uint64_t)a->topology << 56 | (uint64_t)a->chunk << 16 |
				a->cpus);
	h = hash_u64(h, a->memory_mib);
	for (uint32_t i = 0; i < a->requires_n; i++) {
		h = hash_bytes(h, a->requires[i].key, strlen(a->requires[i].key) + 1);
		h = hash_bytes(h, a->requires[i].value, strlen(a->requires[i].value) + 1);
	}
	for (uint32_t i = 0; i < a->excluded_n; i++)
		h = hash_u64(h, a->excluded[i].node);
	if (c->reservations.count)
		h = hash_u64(hash_u64(hash_u64(h, a->reservation), a->magnet), reservation_horizon(c, a->until_ms));
	return h ? h : 1;
}

static const struct failed *failed_before(const struct core *c, uint64_t hash, uint32_t units)
{
	const struct failed *f = &c->scratch->failed[hash % FAILED_KEPT];

	return f->hash == hash && units >= f->units ? f : NULL;
}

static void failed_note(const struct core *c, uint64_t hash, uint32_t units, int reason, uint64_t total)
{
	c->scratch->failed[hash % FAILED_KEPT] = (struct failed){hash, units, total, (uint16_t)reason};
}

/* place(), unless so many or fewer units did not fit since anything was freed. */
static int place_once(const struct core *c, struct place_ask *ask, struct arena *arena, struct part **ret_parts,
		      uint32_t *ret_n)
{
	uint64_t hash = ask_hash(c, ask, PLACE_FREE), total = 0;
	const struct failed *f = failed_before(c, hash, ask->units);
	int rc;

	if (f && (f->reason == REASON_NODES_OUT || reservation_reason(f->reason)))
		return f->reason;
	if (f)
		return f->total >= ask->units ? REASON_FRAGMENTED : REASON_NO_SHAPE;
	ask->ret_total = &total;
	rc = place(c, ask, arena, ret_parts, ret_n);
	if (rc)
		failed_note(c, hash, ask->units, rc, total);
	return rc;
}

/* ---- trying one job ------------------------------------------------------------------------------------------ */

enum verdict { WAITS, ACTED }; /* ACTED: facts were made */

/* A need as it is looked at, through the line that speaks for it. Of plain jobs `spec` has what the need knows, and
 * what else they ask for does not come into question before one is placed: most that wait are turned away without
 * their record being opened. */
struct look {
	const struct core *c;
	int64_t t;
	struct decision *d;
	struct need *need;
	const struct line *line;
	struct job_spec spec;
	const struct job *j; /* NULL: not opened yet */
};

/* The first of the line. */
static const struct job *look_job(struct look *k)
{
	if (!k->j)
		k->j = core_job(k->c, k->line->head);
	return k->j;
}

static void look_at(struct look *k, const struct line *l)
{
	const struct need *n = k->need;

	k->line = l;
	k->j = NULL;
	if (!n->plain)
		k->spec = look_job(k)->spec;
	else
		k->spec = (struct job_spec){
			.project = n->project,
			.flavor = n->flavor,
			.shape = n->shape,
			.klass = n->klass,
			.units = n->units,
			.time_limit_ms = l->limit_ms,
			.notice_ms = n->notice_ms,
			.exempt_ms = n->exempt_ms,
		};
}

static void started(const struct core *c, struct decision *d, int64_t t, const struct job *j, uint8_t klass, bool carried,
		    struct part *parts, uint32_t n)
{
	uint64_t id = j->spec.array_step ? job_child(c, d, t, j->id) : j->id;

	job_bind(c, d, t, id, klass, carried, parts, n);
}

static int budget_gate(const struct core *c, int64_t t, const struct job_spec *s, int64_t held_rums, uint8_t klass)
{
	uint32_t stage;
	int64_t left;

	if (held_rums)
		return 0; /* it has its budget since it was reserved for */
	return job_stage(c, t, s->project, job_hold(c, s, klass), &stage, &left);
}

/* Hold the budget of a job that waits on: a claim fetches its devices, or a place in the plan is its own. */
static void budget_hold(const struct core *c, struct decision *d, int64_t t, struct job *e)
{
	int64_t hold = job_hold(c, &e->spec, CLASS_GUARANTEED), left;
	uint32_t stage;

	if (e->held_rums || job_stage(c, t, e->spec.project, hold, &stage, &left) || stage == UINT32_MAX)
		return;
	EDIT(c, d, RECORD_QNODE, qnode, e->spec.project)->stages[stage].held_rums += hold;
	e->held_rums = hold;
	e->held_stage = stage;
}

/* `carried`: of a node to break. */
static bool raise_claim(const struct core *c, struct decision *d, int64_t t, const struct job *j, bool carried)
{
	struct grant_ask ask = {.owner_kind = OWNER_JOB, .qnode = j->spec.project, .klass = CLASS_GUARANTEED};
	uint64_t owner = j->id, claim, key;
	struct job *e;

	if (j->spec.array_step || !c->loans.count)
		return false; /* an array's children claim nothing: they start as devices come free */
	ask.owner = owner;
	job_place_ask(c, t, j, CLASS_GUARANTEED, &ask.place);
	if (carried)
		ask.place = carrier_whole(&ask.place);
	key = ask_hash(c, &ask.place, PLACE_OVER_LOANS);
	if (failed_before(c, key, ask.place.units))
		return false;
	claim = claim_raise(c, d, t, &ask, ask.place.units, false);
	if (!claim) {
		failed_note(c, key, ask.place.units, REASON_NO_SHAPE, 0);
		return false;
	}
	e = EDIT(c, d, RECORD_JOB, job, owner);
	e->claim = claim;
	e->state = JOB_EARMARKED;
	budget_hold(c, d, t, e);
	return true;
}

/* What a job asks of the plan, to be there for span_ms; id 0: one that has no place in it. */
static struct plan_ask plan_ask_of(const struct core *c, const struct job_spec *s, uint64_t id, int64_t span_ms)
{
	const struct reservation *r = core_record(c, RECORD_RESERVATION, s->reservation);

	return (struct plan_ask){
		.qnode = s->project,
		.flavor = s->flavor,
		.shape = s->shape,
		.units = s->units,
		.span_ms = span_ms,
		.job = id,
		.inside = r && !r->spec.flex,
	};
}

/* A place in the plan for a job that cannot start now. `devices`: it lacks them though it has quota; `barred`:
 * because a reservation of the calendar keeps them, which the plan knows. */
static enum verdict reserve(struct look *k, bool devices, bool barred)
{
	const struct core *c = k->c;
	const struct job_spec *s = &k->spec;
	const struct pool *pool = plan_pool(c, s->project, s->flavor, s->shape);
	const struct job *j;
	int64_t at;
	struct job *e;

	if (s->array_step || (devices && s->reservation) || c->plan[s->flavor].holds >= plan_reservations_max(c) ||
	    qnode_of(c, s->project)->holds >= plan_reservations_each(c) || (!devices && (!pool || s->units > pool->own)))
		return WAITS;
	j = look_job(k);
	if (j->reserved_ms || budget_gate(c, k->t, s, j->held_rums, CLASS_GUARANTEED))
		return WAITS;
	at = plan_reserve(c, k->t, j);
	if (at == T_NEVER || (barred && at == k->t))
		return WAITS;
	e = EDIT(c, k->d, RECORD_JOB, job, j->id);
	e->reserved_ms = at;
	e->reserved_devices = devices;
	if (!devices && job_promisable(j))
		e->promised_ms = at + qnode_recall_slo(c, s->project);
	budget_hold(c, k->d, k->t, e);
	return ACTED;
}

/* Look again when time has changed the plan. */
static void would_delay(const struct look *k, uint8_t shape)
{
	const struct job_spec *s = &k->spec;

	wake_at(&k->c->scratch->wake_ms, plan_changes(k->c, k->t, s->project, s->flavor, shape));
}

/* As guaranteed work, or for a place in the plan. */
static enum verdict try_guaranteed(struct look *k)
{
	const struct core *c = k->c;
	const struct job_spec *s = &k->spec;
	bool plain = k->need->plain, early = c->reservations.count;
	uint64_t id = plain ? 0 : look_job(k)->id, other = 0;
	struct plan_ask start = plan_ask_of(c, s, id, plan_span(c, s, false)), claimed;
	struct place_ask ask;
	struct part *parts;
	uint32_t n;
	int rc = budget_gate(c, k->t, s, plain ? 0 : look_job(k)->held_rums, CLASS_GUARANTEED);

	if (!rc && deficit_stops_public(c, s->project, s->flavor, s->shape, s->units))
		rc = REASON_DEFICIT;
	if (rc) {
		reason_set(k->need, k->t, rc, 0);
		return WAITS;
	}
	k->need->lacks = true;
	if (early || !plain)
		job_place_ask(c, k->t, look_job(k), CLASS_GUARANTEED, &ask);
	rc = early ? place_once(c, &ask, &k->d->arena, &parts, &n) : 0;
	if (early && !rc) {
		start.parts = parts;
		start.parts_n = n;
	}
	if (!reservation_reason(rc) && !plan_may(c, k->t, &start, &other)) {
		reason_set(k->need, k->t, REASON_WOULD_DELAY, other);
		would_delay(k, s->shape);
		return reserve(k, false, false);
	}
	if (!early) {
		if (plain)
			job_place_ask(c, k->t, look_job(k), CLASS_GUARANTEED, &ask);
		rc = place_once(c, &ask, &k->d->arena, &parts, &n);
	}
	if (!rc) {
		started(c, k->d, k->t, look_job(k), CLASS_GUARANTEED, false, parts, n);
		return ACTED;
	}
	claimed = plan_ask_of(c, s, id, plan_span(c, s, true));
	if (!plan_may(c, k->t, &claimed, &other))
		would_delay(k, s->shape);
	else if (raise_claim(c, k->d, k->t, look_job(k), false))
		return ACTED;
	k->need->lacks = !reservation_reason(rc);
	if (reservation_reason(rc)) { /* it waits for an instant; the plan goes around the calendar */
		const struct reservation *r = reservation_in_way(c, &ask);

		c->scratch->barred |= UINT64_C(1) << s->flavor;
		reason_set(k->need, k->t, rc, r ? r->id : 0);
		return reserve(k, false, true);
	}
	reason_set(k->need, k->t, rc, 0);
	return reserve(k, true, false);
}

/* Does who waits so want for devices, and nothing else? */
static bool lacks_devices(int loan)
{
	return (reason_tier(loan) >= 6 || loan == REASON_LENDERS_BUSY) && !reservation_reason(loan);
}

/* A node for it to break, as the plan sees it. */
static struct plan_ask plan_ask_whole(const struct core *c, const struct job_spec *s, uint64_t id, bool claimed)
{
	struct plan_ask ask = plan_ask_of(c, s, id, plan_span(c, s, claimed));

	ask.shape = SHAPE_NODE;
	ask.units = 1;
	return ask;
}

/* A place inside the project's nominal of whole nodes: on a node that it has broken, else on one more. Its part, or the
 * reason. `once`: as place_once(). */
static int place_carried(const struct core *c, int64_t t, const struct job *j, bool once, struct arena *arena,
			 struct part **ret_part, uint64_t *ret_other)
{
	const struct job_spec *s = &j->spec;
	struct plan_ask start = plan_ask_whole(c, s, j->id, false);
	struct place_ask ask, whole;
	struct part *parts;
	uint32_t n;
	int rc;

	job_place_ask(c, t, j, CLASS_GUARANTEED, &ask);
	rc = carrier_place(c, s->project, &ask, t + start.span_ms, arena, ret_part, ret_other);
	if (!rc || rc == REASON_WOULD_DELAY)
		return rc;
	rc = quota_ask(c, s->project, s->flavor, SHAPE_NODE, 1, CLASS_GUARANTEED);
	if (rc)
		return rc;
	whole = carrier_whole(&ask);
	rc = once ? place_once(c, &whole, arena, &parts, &n) : place(c, &whole, arena, &parts, &n);
	if (rc)
		return rc;
	start.parts = parts;
	start.parts_n = n;
	if (!plan_may(c, t, &start, ret_other))
		return REASON_WOULD_DELAY;
	ask.magnet = 0;
	return place_inside(c, &ask, node_of(c, parts->node), parts, arena, ret_part) ? 0 : REASON_FRAGMENTED;
}

/* Inside the project's nominal of whole nodes. 0: it has started, or claims a node; else the reason. */
static int try_carried(struct look *k)
{
	const struct core *c = k->c;
	const struct job_spec *s = &k->spec;
	const struct job *j = look_job(k);
	struct plan_ask claimed = plan_ask_whole(c, s, j->id, true);
	struct part *part;
	uint64_t other = 0;
	int rc = budget_gate(c, k->t, s, j->held_rums, CLASS_GUARANTEED);

	if (!rc && deficit_stops_public(c, s->project, s->flavor, SHAPE_NODE, 1))
		rc = REASON_DEFICIT;
	if (rc)
		return rc;
	rc = place_carried(c, k->t, j, true, &k->d->arena, &part, &other);
	if (!rc) {
		started(c, k->d, k->t, j, CLASS_GUARANTEED, true, part, 1);
		return 0;
	}
	k->need->lacks = lacks_devices(rc);
	if (rc == REASON_WOULD_DELAY || quota_ask(c, s->project, s->flavor, SHAPE_NODE, 1, CLASS_GUARANTEED)) {
		if (rc == REASON_WOULD_DELAY)
			would_delay(k, SHAPE_NODE);
		return rc;
	}
	if (!plan_may(c, k->t, &claimed, &other)) {
		would_delay(k, SHAPE_NODE);
		return rc;
	}
	return raise_claim(c, k->d, k->t, j, true) ? 0 : rc;
}

/* What is free was counted for somebody who would have taken any of it. */
static void free_note(const struct core *c, const struct place_ask *a)
{
	const struct failed *f = failed_before(c, ask_hash(c, a, PLACE_FREE), a->units);

	if (f && a->shape == SHAPE_GPU && !a->chunk && !a->cpus && !a->memory_mib && !a->requires_n && !a->excluded_n &&
	    !a->topology && !c->reservations.count && f->total < c->scratch->walk_free)
		c->scratch->walk_free = f->total;
}

/* Why it may not borrow, before devices are asked for; 0. `j`: NULL for one without a past. *ret_other: on
 * REASON_WOULD_DELAY, whom (0: nobody knows). */
static int may_borrow(const struct core *c, int64_t t, const struct job_spec *s, const struct job *j, int64_t back_ms,
		      uint64_t *ret_other)
{
	int64_t devices = in_devices(c, s->flavor, s->shape, s->units);
	bool inside = plan_ask_of(c, s, 0, 0).inside;
	int rc = quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_LOAN);

	*ret_other = 0;
	if (rc)
		return rc;
	if (!loan_in_time(c, s->project, s->flavor, s->shape, s->units, back_ms))
		return REASON_LOAN_NOTICE;
	if (j && j->end_cause == END_RECALL && j->eligible_ms > t)
		return REASON_COOLDOWN;
	if (deficit_stops_loan(c, s->flavor))
		return REASON_DEFICIT;
	rc = budget_gate(c, t, s, j ? j->held_rums : 0, CLASS_LOAN);
	if (rc)
		return rc;
	if (!inside && !plan_may_loan(c, t, s->flavor, devices, s->time_limit_ms, j ? j->id : 0, ret_other))
		return REASON_WOULD_DELAY;
	return !inside && !headroom_may(c, s->flavor, devices, headroom_length_ms(s)) ? REASON_HEADROOM : 0;
}

static int loan_gate(const struct look *k, uint64_t *ret_other)
{
	return may_borrow(k->c, k->t, &k->spec, k->need->plain ? NULL : k->j, spec_back_ms(k->c, &k->spec, k->need->back_ms),
			  ret_other);
}

/* Could it borrow, if somebody gave devices back? Not if its notice is too long for whoever lends, nor what is kept for
 * leases. */
static bool lacks_loan(const struct look *k, int loan)
{
	const struct core *c = k->c;
	const struct job_spec *s = &k->spec;

	return lacks_devices(loan) &&
	       loan_in_time(c, s->project, s->flavor, s->shape, s->units, spec_back_ms(c, s, k->need->back_ms)) &&
	       (plan_ask_of(c, s, 0, 0).inside ||
		headroom_may(c, s->flavor, in_devices(c, s->flavor, s->shape, s->units), headroom_length_ms(s)));
}

/* As a loan. `quota`: why not as guaranteed work, which is what people can do something about. */
static enum verdict try_loan(struct look *k, int quota)
{
	const struct core *c = k->c;
	const struct job_spec *s = &k->spec;
	struct place_ask ask;
	struct part *parts;
	uint64_t other;
	uint32_t n;
	int loan = loan_gate(k, &other);

	if (loan == REASON_WOULD_DELAY)
		would_delay(k, s->shape);
	if (!loan) {
		job_place_ask(c, k->t, look_job(k), CLASS_LOAN, &ask);
		loan = place_once(c, &ask, &k->d->arena, &parts, &n);
		if (loan)
			free_note(c, &ask);
	}
	if (!loan && !certify_loan(c, s->flavor, spec_back_ms(c, s, k->need->back_ms), parts, n))
		loan = REASON_LOAN_NOTICE;
	if (!loan) {
		started(c, k->d, k->t, look_job(k), CLASS_LOAN, false, parts, n);
		return ACTED;
	}
	k->need->lacks = lacks_devices(loan); /* sched_lacks() looks closer, where somebody has surplus */
	if (k->need->loan_only || loan == REASON_COOLDOWN || loan == REASON_LOAN_NOTICE ||
	    loan == REASON_DEFICIT || loan == REASON_HEADROOM)
		reason_set(k->need, k->t, loan, other);
	else
		reason_set(k->need, k->t, quota, 0);
	k->need->as_loan = k->need->reason == loan ? 0 : (uint16_t)loan;
	return WAITS;
}

static enum verdict try_job(struct look *k)
{
	const struct core *c = k->c;
	const struct job_spec *s = &k->spec;
	uint64_t waits_for = 0;
	int gate = k->need->plain ? project_gates(c, s->project) : gates(c, k->t, look_job(k), &waits_for);
	int quota = REASON_LEAF_FULL;
	struct core *mut;

	k->need->lacks = false;
	if (gate == REASON_DEPENDENCY_NEVER) {
		job_end(c, k->d, k->t, EDIT(c, k->d, RECORD_JOB, job, k->line->head), JOB_CANCELLED,
			"its dependency can never be met (106)");
		return ACTED;
	}
	if (gate) {
		reason_set(k->need, k->t, gate, 0);
		memcpy(&mut, &c, sizeof mut); /* who is parked is no state: it is found again */
		if (gate != REASON_JOB_LIMIT)
			need_park(mut, k->need, waits_for);
		return WAITS;
	}
	if (!k->need->loan_only) {
		quota = quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_GUARANTEED);
		if (!quota)
			return try_guaranteed(k);
		if (k->need->carriable && !carrier_ask(c, s->project, s->flavor, s->units)) {
			quota = try_carried(k);
			if (!quota)
				return ACTED;
		}
	}
	if (k->need->loan_ok && try_loan(k, quota) == ACTED)
		return ACTED;
	if (!k->need->loan_ok)
		reason_set(k->need, k->t, quota, 0);
	return k->need->loan_only ? WAITS : reserve(k, false, false);
}

/* The line whose place among the lines of its need this is. */
static const struct line *line_by_age(const struct timer *t)
{
	return (const struct line *)(const void *)((const char *)t - offsetof(struct line, by_age));
}
static const struct line *line_by_limit(const struct timer *t)
{
	return (const struct line *)(const void *)((const char *)t - offsetof(struct line, by_limit));
}

/* The longest waiting job of a need, if that is too long, and the shortest. */
static enum verdict try_need(const struct core *c, int64_t t, struct decision *d, struct need *n)
{
	const struct timer *aged = timer_first(&n->aged), *first = timer_first(&n->lines);
	struct look k = {.c = c, .t = t, .d = d, .need = n};

	if (!first)
		return WAITS;
	if (aged->id != first->id && too_old(c, t, line_by_age(aged))) {
		look_at(&k, line_by_age(aged));
		if (try_job(&k) == ACTED)
			return ACTED;
		if (n->parked)
			return WAITS;
	}
	look_at(&k, line_by_limit(first));
	return try_job(&k);
}

bool sched_lacks(const struct core *c, int64_t t, struct need *n)
{
	struct look k = {.c = c, .t = t, .need = n};
	uint64_t other;
	int loan;

	if (!n->lacks || project_gates(c, n->project))
		return false;
	look_at(&k, line_by_limit(timer_first(&n->lines)));
	if (!n->plain && gates(c, t, look_job(&k), &other))
		return false; /* what it depends on was requeued since */
	if (in_quota(c, n))
		return true;
	loan = n->loan_ok ? loan_gate(&k, &other) : REASON_LEAF_FULL;
	return !loan || lacks_loan(&k, loan);
}

/* ---- walks ---------------------------------------------------------------------------------------------- */

static struct group *group_of(const struct qnode_s *q, uint16_t flavor)
{
	for (uint32_t i = 0; i < q->groups_n; i++)
		if (q->group[i]->flavor == flavor)
			return q->group[i];
	return NULL;
}

static void walk_begin(const struct core *c, int64_t t, uint16_t flavor)
{
	struct scratch *s = c->scratch;

	s->freed &= ~(UINT64_C(1) << flavor);
	s->barred &= ~(UINT64_C(1) << flavor);
	s->walk++;
	s->walk_flavor = flavor;
	s->walk_klass = JOB_SYSTEM;
	s->walk_loans = false;
	s->walk_free = UINT64_MAX;
	s->walk_project = s->walk_pick = s->pick_n = 0;
	memset(s->failed, 0, sizeof s->failed);
	if (s->order_stale)
		usage_order(c, t);
	s->work |= WORK_WALK;
}

/* It can be told beforehand that there are too few devices for it as a loan, and no place in the plan either. Not of one
 * that waited for something else until now: whether it still does is seen by looking. */
static bool hopeless(const struct core *c, const struct need *n)
{
	const struct scratch *s = c->scratch;

	return s->walk_loans && n->shape == SHAPE_GPU && n->units > s->walk_free &&
	       (n->loan_only || c->plan[n->flavor].holds >= plan_reservations_max(c)) && reason_tier(n->reason) >= 4;
}

/* The needs of a group that this part of the walk is about, in order. */
static void picks_make(const struct core *c, int64_t t, const struct group *g)
{
	struct scratch *s = c->scratch;

	s->pick_n = s->walk_pick = 0;
	if (!g->klass_n[s->walk_klass])
		return;
	if (s->pick_cap < g->n) {
		s->pick_cap = g->cap;
		s->pick = xrealloc(s->pick, s->pick_cap * sizeof *s->pick);
	}
	for (uint32_t i = 0; i < g->n; i++) {
		struct need *n = g->need[i];
		const struct line *l;
		bool old;

		if (n->klass != s->walk_klass || n->tried == s->walk || hopeless(c, n) || (!s->walk_loans && !in_quota(c, n)))
			continue;
		l = line_by_age(timer_first(&n->aged));
		old = too_old(c, t, l);
		if (!old)
			l = line_by_limit(timer_first(&n->lines));
		s->pick[s->pick_n++] = (struct pick){
			.usage = usage_of_user(c, t, n->project, n->user),
			.user = n->user,
			.young = !old,
			.area = old ? 0 : area_of(c, n, l->limit_ms),
			.submit = l->submit_seq,
			.id = l->head,
			.need = n,
		};
	}
	if (s->pick_n)
		qsort(s->pick, s->pick_n, sizeof *s->pick, pick_cmp);
}

/* To the next group; false at the end of the walk. */
static bool walk_next(const struct core *c, int64_t t)
{
	struct scratch *s = c->scratch;

	for (;;) {
		const struct group *g;

		if (s->walk_project == s->order_n) {
			s->walk_project = 0;
			if (s->walk_loans && s->walk_klass == JOB_SCAVENGER)
				return false;
			s->walk_klass -= s->walk_loans;
			s->walk_loans = !s->walk_loans;
			continue;
		}
		g = group_of(s->order[s->walk_project++], s->walk_flavor);
		if (!g || !g->klass_n[s->walk_klass])
			continue;
		picks_make(c, t, g);
		if (s->pick_n)
			return true;
	}
}

/* One more need is looked at? Not when this look has had its share. */
static bool look_goes_on(struct scratch *s)
{
	if (s->looked == s->look_max)
		return false;
	s->looked++;
	return true;
}

static bool walk_step(const struct core *c, int64_t t, struct decision *d)
{
	struct scratch *s = c->scratch;

	do {
		for (; s->walk_pick < s->pick_n; s->walk_pick++) {
			struct need *n = s->pick[s->walk_pick].need;

			if (!look_goes_on(s))
				return false;
			if (!n->at || n->tried == s->walk || hopeless(c, n))
				continue;
			if (try_need(c, t, d, n) == ACTED)
				return true; /* the next of this need may start, too */
			n->tried = s->walk;
		}
	} while (walk_next(c, t));
	s->work &= ~(uint32_t)WORK_WALK;
	return false;
}

/* Needs with a new first job: nothing was freed, so nobody else can start. */
static bool fresh_step(const struct core *c, int64_t t, struct decision *d)
{
	struct scratch *s = c->scratch;

	for (; s->fresh_at < s->fresh_n; s->fresh_at++) {
		struct need *n = s->fresh[s->fresh_at];

		if (!look_goes_on(s))
			return false;
		if (!n->parked && try_need(c, t, d, n) == ACTED)
			return true;
		n->fresh = false;
	}
	s->fresh_n = s->fresh_at = 0;
	s->work &= ~(uint32_t)WORK_FRESH;
	return false;
}

bool sched_paused(const struct core *c) { return c->scratch->work & (WORK_WALK | WORK_FREED | WORK_FRESH); }

bool sched_jobs(const struct core *c, int64_t t, struct decision *d)
{
	struct scratch *s = c->scratch;
	struct core *mut;

	s->looked = 0;
	memcpy(&mut, &c, sizeof mut); /* what ran empty and who is parked is no state */
	if (s->work & WORK_JOBS) {
		s->work &= ~(uint32_t)(WORK_JOBS | WORK_WALK);
		needs_unpark(mut);
		s->order_stale = true;
		for (uint16_t f = 1; f <= FLAVORS_MAX; f++)
			if (flavor_of(c, f))
				s->freed |= UINT64_C(1) << f;
		s->work |= WORK_FREED;
	}
	if ((s->work & WORK_WALK) && (s->freed >> s->walk_flavor & 1))
		walk_begin(c, t, s->walk_flavor); /* more came free meanwhile */
	for (;;) {
		if ((s->work & WORK_WALK) && walk_step(c, t, d))
			return true;
		if (s->looked < s->look_max && !(s->work & WORK_WALK) && s->freed) {
			walk_begin(c, t, (uint16_t)__builtin_ctzll(s->freed));
			continue;
		}
		s->work &= s->freed ? ~UINT32_C(0) : ~(uint32_t)WORK_FREED;
		if (s->looked < s->look_max && (s->work & WORK_FRESH) && fresh_step(c, t, d))
			return true;
		break;
	}
	if (sched_paused(c))
		s->pause_ms = t + 1;
	else
		lines_sweep(mut);
	return false;
}

/* A claim that came late, or whose job asks for longer by now. */
static bool claim_too_late(const struct core *c, int64_t t, const struct claim *m)
{
	struct place_ask ask;

	job_place_ask(c, t, core_job(c, m->owner), CLASS_GUARANTEED, &ask);
	return reservation_bars_parts(c, &ask, m->parts, m->parts_n);
}

/* Of the node that was claimed to be broken, unless there is room on another by now. */
static struct part *carried_part(const struct core *c, int64_t t, struct decision *d, const struct claim *m, const struct job *j)
{
	struct place_ask ask;
	struct part *part;
	uint64_t other;

	job_place_ask(c, t, j, CLASS_GUARANTEED, &ask);
	ask.magnet = 0;
	if (carrier_place(c, j->spec.project, &ask, t + plan_span(c, &j->spec, false), &d->arena, &part, &other))
		ENSURE(place_inside(c, &ask, node_of(c, m->parts->node), m->parts, &d->arena, &part));
	return part;
}

bool sched_claims(const struct core *c, int64_t t, struct decision *d)
{
	if (c->cluster.safe_mode)
		return false;
	EACH(c, claims, claim_s, m) {
		const struct claim *r = &m->r;

		if (!r->parts_n && !r->offered && claim_unpark(c, d, t, r))
			return true;
		if (!claim_ready(c, r))
			continue;
		if (r->breached)
			c->scratch->claims_breached++;
		c->scratch->claims_done++;
		if (r->owner_kind == OWNER_LEASE) {
			lease_claim_filled(c, d, t, r);
		} else if (c->reservations.count && claim_too_late(c, t, r)) {
			claim_drop(c, d, t, r->id); /* it would now end in a reservation: planned anew */
		} else if (!core_job(c, r->owner)->held_rums &&
			   budget_gate(c, t, &core_job(c, r->owner)->spec, 0, CLASS_GUARANTEED)) {
			claim_drop(c, d, t, r->id); /* a grant came to the project meanwhile and does not cover it */
		} else {
			const struct job *j = core_job(c, r->owner);
			bool carried = r->shape != j->spec.shape;
			struct part *parts = carried ? carried_part(c, t, d, r, j) :
						       arena_copy(&d->arena, r->parts, r->parts_n * sizeof *r->parts);

			claim_served(c, d, t, r);
			job_bind(c, d, t, r->owner, CLASS_GUARANTEED, carried, parts, r->parts_n);
		}
		return true;
	}
	return false;
}

int sched_broken_cause(const struct core *c, int64_t t, const struct job *j)
{
	uint64_t other;
	int rc = gates(c, t, j, &other);

	if (c->cluster.safe_mode || t < c->cluster.no_expiry_until_ms)
		return REASON_SAFE_MODE; /* sluisd itself was away */
	if (rc)
		return rc;
	EACH(c, nodes, node_s, n)
		if ((n->r.state != NODE_READY || n->r.admin != NODE_ENABLED) && node_flavor_mask(n, j->spec.flavor))
			return REASON_NODES_OUT;
	EACH(c, allocs, alloc_s, a) /* a node that does not give back what has ended */
		if (a->r.flavor == j->spec.flavor && a->until_ms < t - plan_margin(c, j->spec.flavor))
			return REASON_NODES_OUT;
	rc = quota_ask(c, j->spec.project, j->spec.flavor, j->spec.shape, j->spec.units, CLASS_GUARANTEED);
	return rc ? rc : REASON_FRAGMENTED;
}

/* ---- the tick --------------------------------------------------------------------------------------------------- */

static bool tick_timers(const struct core *c, int64_t t, struct decision *d)
{
	const struct timer *due = timer_first(&c->timers);

	if (!due || due->at_ms > t)
		return false;
	switch (due->kind) {
	case RECORD_NODE: return tick_node_timer(c, t, d, due->id);
	case RECORD_QNODE: return tick_qnode_timer(c, t, d, due->id);
	case RECORD_JOB: return tick_job_timer(c, t, d, due->id);
	case RECORD_ALLOC: return tick_alloc_timer(c, t, d, due->id);
	case RECORD_LEASE: return tick_lease_timer(c, t, d, due->id);
	case RECORD_CLAIM: return tick_claim_timer(c, t, d, due->id);
	case RECORD_IDEM:
	case RECORD_APPROVAL: drop(d, (uint8_t)due->kind, due->id); return true;
	case RECORD_RESERVATION: return tick_reservation_timer(c, t, d, due->id);
	default: UNREACHABLE();
	}
}

/* Nobody expires for a renewal that waits to be decided: what counts is how far has been heard. */
static bool tick_live(const struct core *c, int64_t t, int64_t heard_ms, struct decision *d)
{
	const struct timer *due = timer_first(&c->live_timers);

	if (!due || due->at_ms > live_ms(c, heard_ms && heard_ms < t ? heard_ms : t) || c->cluster.safe_mode || t < c->cluster.no_expiry_until_ms)
		return false;
	return tick_lease_live(c, t, d, due->id);
}

void decide_tick(const struct core *c, int64_t t, const struct command *cmd, struct decision *d)
{
	struct scratch *s = c->scratch;

	if (tick_timers(c, t, d) || tick_live(c, t, cmd->tick.heard_ms, d) || headroom_tick(c, t, d))
		return;
	if (s->wake_ms && s->wake_ms <= t) {
		s->wake_ms = 0;
		s->work |= WORK_JOBS;
	}
	if (s->again_ms && s->again_ms <= t) {
		s->again_ms = 0;
		s->work |= WORK_ALL;
	}
	if (s->lease_ms && s->lease_ms <= t) {
		s->lease_ms = 0;
		s->work |= WORK_LEASES;
	}
	if (s->grow_ms && s->grow_ms <= t) {
		s->grow_ms = 0;
		s->work |= WORK_GROW;
	}
	if ((s->work & WORK_RESERVE) && sched_reservations(c, t, d))
		return;
	s->work &= ~(uint32_t)WORK_RESERVE;
	if ((s->work & WORK_CLAIMS) && sched_claims(c, t, d))
		return;
	s->work &= ~(uint32_t)WORK_CLAIMS;
	if ((s->work & WORK_LEASES) && !c->cluster.safe_mode && sched_leases(c, t, d))
		return;
	s->work &= ~(uint32_t)WORK_LEASES;
	if (deficit_tick(c, t, d) || note_again(c, d))
		return;
	if ((s->work & WORK_PROMOTE) && sched_promote(c, t, d))
		return;
	s->work &= ~(uint32_t)WORK_PROMOTE;
	if (s->work & (WORK_JOBS | WORK_FREED | WORK_WALK | WORK_FRESH)) {
		s->work |= WORK_GROW; /* who waits for what is known anew */
		if (sched_jobs(c, t, d) || sched_paused(c))
			return; /* surplus is given and taken when all have been looked at */
	}
	if ((s->work & WORK_GROW) && sched_elastic(c, t, d))
		return;
	s->work &= ~(uint32_t)WORK_GROW; /* an empty decision says that nothing is left */
	if (!s->again_ms && (c->lines.n > c->lines_empty || c->hungry.count))
		s->again_ms = t + LOOK_AGAIN_MS;
}

bool sched_would_start(const struct core *c, int64_t t, const struct job *j, struct arena *arena)
{
	const struct job_spec *s = &j->spec;
	struct plan_ask plan = plan_ask_of(c, s, j->id, plan_span(c, s, false));
	int64_t need = job_back_ms(c, j);
	struct place_ask ask;
	struct part *parts;
	uint64_t other;
	uint32_t n;

	if (gates(c, t, j, &other))
		return false;
	if (!waits_for_loan_only(s) &&
	    !quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_GUARANTEED) &&
	    !budget_gate(c, t, s, j->held_rums, CLASS_GUARANTEED)) {
		job_place_ask(c, t, j, CLASS_GUARANTEED, &ask);
		if (!place(c, &ask, arena, &parts, &n)) {
			plan.parts = parts;
			plan.parts_n = n;
			if (plan_may(c, t, &plan, NULL))
				return true;
		}
	}
	if (!waits_for_loan_only(s) && carrier_suits(c, s) &&
	    quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_GUARANTEED) &&
	    !budget_gate(c, t, s, j->held_rums, CLASS_GUARANTEED) && !place_carried(c, t, j, false, arena, &parts, &other))
		return true;
	if (s->loan == LOAN_NEVER && s->klass > JOB_STANDBY)
		return false;
	if (may_borrow(c, t, s, j, need, &other))
		return false;
	job_place_ask(c, t, j, CLASS_LOAN, &ask);
	return !place(c, &ask, arena, &parts, &n) && certify_loan(c, s->flavor, need, parts, n);
}
