/* sched.c - what starts next
 *
 * One call decides at most one action, so that every decision sees the state that the one before it
 * left. Order of the waiting jobs:
 *   class, in-quota before borrowing, sector's usage per weight, project's usage per weight, then within
 *   a project: jobs older than the age guard by submission, the others smallest area first.
 * EASY backfill (Lifka 1995) with one reservation per flavor: the first job that lacks only devices is
 * promised the instant at which running work frees enough; others may pass it if they end before that
 * or use devices it will not need.
 */
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reasons: volatile, for people ----------------------------------------------------------------- */

static void reason_set(struct job_s *j, int64_t t, int code, const char *text)
{
	if (j->reason != code) {
		for (int i = 0; i < REASONS_KEPT && j->reason; i++)
			if (j->span[i].code == j->reason || !j->span[i].code) {
				j->span[i].code = j->reason;
				j->span[i].elapsed_ms += t - j->reason_since_ms;
				break;
			}
		j->reason_since_ms = t;
	}
	j->reason = (uint16_t)code;
	TEXT_SET(j->reason_text, text ? text : reason_text(code));
}

/* ---- order -------------------------------------------------------------------------------------------- */

struct key {
	uint64_t id;
	uint8_t klass;
	bool in_quota, old;
	int64_t sector_usage, project_usage;
	uint32_t sector, project, sector_weight, project_weight;
	int64_t area;
	uint64_t submit;
};

static int ratio_cmp(int64_t ua, uint32_t wa, int64_t ub, uint32_t wb)
{
	__extension__ typedef __int128 wide; /* usage times weight needs 96 bits */
	wide l = (wide)ua * (wb ? wb : 1), r = (wide)ub * (wa ? wa : 1);

	return l < r ? -1 : l > r;
}

static int key_cmp(const void *pa, const void *pb)
{
	const struct key *a = pa, *b = pb;
	int c;

	if (a->klass != b->klass)
		return a->klass > b->klass ? -1 : 1;
	if (a->in_quota != b->in_quota)
		return a->in_quota ? -1 : 1;
	if (a->sector != b->sector) {
		c = ratio_cmp(a->sector_usage, a->sector_weight, b->sector_usage, b->sector_weight);
		return c ? c : a->sector < b->sector ? -1 : 1;
	}
	if (a->project != b->project) {
		c = ratio_cmp(a->project_usage, a->project_weight, b->project_usage, b->project_weight);
		return c ? c : a->project < b->project ? -1 : 1;
	}
	if (a->old != b->old)
		return a->old ? -1 : 1;
	if (!a->old && a->area != b->area)
		return a->area < b->area ? -1 : 1;
	return a->submit < b->submit ? -1 : a->submit > b->submit ? 1 : a->id < b->id ? -1 : a->id > b->id;
}

static uint32_t sector_of(const struct core *c, uint32_t project)
{
	const struct qnode_s *q = qnode_of(c, project);

	while (q && q->r.kind != QNODE_SECTOR && q->r.kind != QNODE_ROOT)
		q = qnode_of(c, q->r.parent);
	return q ? q->r.id : 0;
}

static int64_t usage_now(const struct core *c, int64_t t, uint32_t qnode)
{
	const struct usage *u = core_record(c, RECORD_USAGE, qnode);

	return u ? fair_decay(u->decayed_rums, t - u->decayed_at_ms) : 0;
}

static bool waits_for_loan_only(const struct job_spec *s) { return s->loan == LOAN_ONLY || s->klass <= JOB_STANDBY; }

static uint32_t order(const struct core *c, int64_t t, struct arena *arena, struct key **ret)
{
	struct key *keys = arena_alloc(arena, (c->pending_n + 1) * sizeof *keys);
	int64_t *sector_usage = arena_alloc(arena, (c->tree_n + 1) * sizeof *sector_usage);
	uint32_t n = 0;

	EACH(c, qnodes, qnode_s, q) {
		const struct qnode_s *s = qnode_of(c, sector_of(c, q->r.id));

		if (q->r.kind == QNODE_PROJECT && s && s->at < c->tree_n)
			sector_usage[s->at] += usage_now(c, t, q->r.id);
	}
	for (uint32_t i = 0; i < c->pending_n; i++) {
		const struct job_s *j = job_of(c, c->pending[i]);
		const struct qnode_s *q = qnode_of(c, j->r.spec.project);
		const struct qnode_s *s = qnode_of(c, sector_of(c, j->r.spec.project));
		struct key *k = &keys[n];
		const struct job_spec *spec = &j->r.spec;

		if (j->r.state != JOB_PENDING)
			continue;
		k->id = j->r.id;
		k->klass = spec->klass;
		k->in_quota = !waits_for_loan_only(spec) &&
			      !quota_ask(c, spec->project, spec->flavor, spec->shape, spec->units, CLASS_GUARANTEED);
		k->sector = s ? s->r.id : 0;
		k->sector_usage = s && s->at < c->tree_n ? sector_usage[s->at] : 0;
		k->sector_weight = s ? s->r.weight : 1;
		k->project = q->r.id;
		k->project_usage = usage_now(c, t, q->r.id);
		k->project_weight = q->r.weight;
		k->old = t - j->r.submit_ms > c->cluster.age_guard_ms;
		k->area = rums_of(c, spec->flavor, spec->shape, spec->units, spec->time_limit_ms);
		k->submit = j->r.submit_seq;
		n++;
	}
	if (n)
		qsort(keys, n, sizeof *keys, key_cmp);
	*ret = keys;
	return n;
}

/* ---- one reservation per flavor ------------------------------------------------------------------------- */

struct shadow { bool set; int64_t at_ms; int64_t extra; uint64_t job; };

static int64_t in_devices(const struct core *c, uint16_t flavor, uint8_t shape, int64_t units)
{
	return shape == SHAPE_NODE ? units * flavor_of(c, flavor)->devices_per_node : units;
}

struct ending { int64_t at_ms; int64_t devices; };
static int ending_cmp(const void *pa, const void *pb)
{
	const struct ending *a = pa, *b = pb;

	return a->at_ms < b->at_ms ? -1 : a->at_ms > b->at_ms;
}

static void reserve(const struct core *c, int64_t t, const struct job_s *j, struct shadow *s, struct arena *arena)
{
	const struct job_spec *spec = &j->r.spec;
	struct ending *end = arena_alloc(arena, (c->allocs.count + 1) * sizeof *end);
	int64_t need = in_devices(c, spec->flavor, spec->shape, spec->units), free = 0;
	uint32_t n = 0;

	EACH(c, nodes, node_s, node)
		if (node->r.state == NODE_READY && node->r.admin == NODE_ENABLED)
			free += popcount64(node_flavor_mask(&node->r, spec->flavor) & ~node->held & ~node->claimed);
	EACH(c, allocs, alloc_s, a) {
		int64_t at = a->r.state == ALLOC_STOPPING ? a->r.stop_at_ms : a->r.limit_ms;

		if (a->r.flavor != spec->flavor || at == T_NEVER)
			continue;
		if (a->r.state == ALLOC_BINDING)
			at = t + job_of(c, a->r.owner)->r.spec.time_limit_ms;
		end[n].at_ms = at > t ? at : t;
		end[n].devices = in_devices(c, a->r.flavor, a->r.shape, a->r.units);
		n++;
	}
	if (n)
		qsort(end, n, sizeof *end, ending_cmp);
	s->set = true;
	s->job = j->r.id;
	s->at_ms = t;
	for (uint32_t i = 0; i < n && free < need; i++) {
		free += end[i].devices;
		s->at_ms = end[i].at_ms;
	}
	if (free < need)
		s->at_ms = T_NEVER;
	s->extra = free > need ? free - need : 0;
}

static bool may_pass(const struct core *c, int64_t t, const struct job_spec *spec, struct shadow *s)
{
	int64_t need = in_devices(c, spec->flavor, spec->shape, spec->units);

	if (!s->set || s->at_ms == T_NEVER || t + spec->time_limit_ms <= s->at_ms)
		return true;
	return need <= s->extra;
}

/* ---- gates ------------------------------------------------------------------------------------------------ */

static int dependency_gate(const struct core *c, const struct job *j)
{
	for (uint32_t i = 0; i < j->spec.deps_n; i++) {
		const struct dependency *dep = &j->spec.deps[i];
		const struct job *o = core_job(c, dep->job);

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
				if (other->r.id < j->id && other->r.owner == j->owner &&
				    !strcmp(other->r.spec.name, j->spec.name) && !job_terminal(other->r.state))
					return REASON_DEPENDENCY;
			break;
		}
	}
	return 0;
}

static int gates(const struct core *c, int64_t t, const struct job *j)
{
	const struct qnode_s *q = qnode_of(c, j->spec.project);

	if (c->cluster.safe_mode)
		return REASON_SAFE_MODE;
	if (q->r.frozen || q->r.retired)
		return REASON_FROZEN;
	if (j->eligible_ms > t && j->end_cause != END_RECALL)
		return j->spec.begin_ms == j->eligible_ms ? REASON_BEGIN : REASON_BACKOFF;
	if (q->r.running_jobs_max && q->running >= q->r.running_jobs_max)
		return REASON_JOB_LIMIT;
	if (j->spec.array_step && j->spec.array_running_max && j->array_live >= j->spec.array_running_max)
		return REASON_JOB_LIMIT;
	return dependency_gate(c, j);
}

/* ---- trying one job ------------------------------------------------------------------------------------------ */

enum verdict { WAITS, STARTED, ENDED };

static void started(const struct core *c, struct decision *d, int64_t t, const struct job *j, uint8_t klass,
		    struct part *parts, uint32_t n)
{
	uint64_t id = j->spec.array_step ? job_child(c, d, t, j->id) : j->id;

	job_bind(c, d, t, id, klass, parts, n);
}

static int budget_gate(const struct core *c, int64_t t, const struct job *j, uint8_t klass)
{
	uint32_t stage;
	int64_t left;

	return job_stage(c, t, j->spec.project, job_hold(c, &j->spec, klass), &stage, &left);
}

static bool raise_claim(const struct core *c, struct decision *d, int64_t t, const struct job *j)
{
	struct grant_ask ask = {.owner_kind = OWNER_JOB, .qnode = j->spec.project, .klass = CLASS_GUARANTEED};
	struct job_s *js = job_of(c, j->id);
	uint64_t owner = j->id, claim;
	int64_t hold = job_hold(c, &j->spec, CLASS_GUARANTEED), left;
	uint32_t stage;
	struct job *e;

	if (j->spec.array_step)
		return false; /* its children claim nothing: they start as devices come free */
	ask.owner = owner;
	job_place_ask(c, j, CLASS_GUARANTEED, &ask.place);
	claim = claim_raise(c, d, t, &ask, j->spec.units, false);
	if (!claim)
		return false;
	e = EDIT(c, d, RECORD_JOB, job, owner);
	e->claim = claim;
	e->state = JOB_EARMARKED;
	if (job_stage(c, t, j->spec.project, hold, &stage, &left) == 0 && stage != UINT32_MAX) {
		EDIT(c, d, RECORD_QNODE, qnode, j->spec.project)->stages[stage].held_rums += hold;
		e->held_rums = hold;
		e->held_stage = stage;
	}
	reason_set(js, t, REASON_CLAIM, NULL);
	return true;
}

static enum verdict try_job(const struct core *c, int64_t t, struct decision *d, struct job_s *js,
			    struct shadow *shadow)
{
	const struct job *j = &js->r;
	const struct job_spec *s = &j->spec;
	struct shadow *head = &shadow[s->flavor];
	int gate = gates(c, t, j), quota = REASON_LEAF_FULL, loan = REASON_LEAF_FULL;
	struct place_ask ask;
	struct part *parts;
	char text[TEXT_BYTES];
	uint32_t n;

	if (gate == REASON_DEPENDENCY_NEVER) {
		job_end(c, d, t, EDIT(c, d, RECORD_JOB, job, j->id), JOB_CANCELLED,
			"its dependency can never be met (106)");
		return ENDED;
	}
	if (gate) {
		reason_set(js, t, gate, NULL);
		return WAITS;
	}
	if (!waits_for_loan_only(s)) {
		quota = quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_GUARANTEED);
		if (!quota) {
			int rc = budget_gate(c, t, j, CLASS_GUARANTEED);

			if (rc) {
				reason_set(js, t, rc, NULL);
				return WAITS;
			}
			job_place_ask(c, j, CLASS_GUARANTEED, &ask);
			rc = place(c, &ask, &d->arena, &parts, &n);
			if (!rc && !may_pass(c, t, s, head)) {
				(void)snprintf(text, sizeof text, "it would delay job %" PRIu64, head->job);
				reason_set(js, t, REASON_WOULD_DELAY, text);
				return WAITS;
			}
			if (!rc) {
				if (head->set)
					head->extra -= in_devices(c, s->flavor, s->shape, s->units);
				started(c, d, t, j, CLASS_GUARANTEED, parts, n);
				return STARTED;
			}
			if (raise_claim(c, d, t, j))
				return STARTED;
			reason_set(js, t, rc, NULL);
			if (!head->set) {
				reserve(c, t, js, head, &d->arena);
				js->estimate_ms = head->at_ms == T_NEVER ? 0 : head->at_ms;
			} else {
				(void)snprintf(text, sizeof text, "behind job %" PRIu64, head->job);
				reason_set(js, t, REASON_BEHIND, text);
			}
			return WAITS;
		}
	}
	if (s->loan != LOAN_NEVER || s->klass <= JOB_STANDBY) {
		int64_t need = s->exempt_ms + s->notice_ms + c->cluster.kill_margin_ms +
			       flavor_of(c, s->flavor)->scrub_ms_max;

		loan = quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_LOAN);
		if (!loan && need > lender_slo_min(c, s->project, s->flavor, s->shape))
			loan = REASON_LOAN_NOTICE;
		if (!loan && j->end_cause == END_RECALL && j->eligible_ms > t)
			loan = REASON_COOLDOWN;
		if (!loan)
			loan = budget_gate(c, t, j, CLASS_LOAN);
		if (!loan) {
			job_place_ask(c, j, CLASS_LOAN, &ask);
			loan = place(c, &ask, &d->arena, &parts, &n);
		}
		if (!loan && !may_pass(c, t, s, head))
			loan = REASON_WOULD_DELAY;
		if (!loan) {
			started(c, d, t, j, CLASS_LOAN, parts, n);
			return STARTED;
		}
	}
	/* the reason people can do something about: why its own quota does not serve, unless a loan is all
	 * it may have */
	reason_set(js, t, waits_for_loan_only(s) || loan == REASON_COOLDOWN || loan == REASON_LOAN_NOTICE ? loan : quota,
		   NULL);
	return WAITS;
}

bool sched_jobs(const struct core *c, int64_t t, struct decision *d)
{
	struct shadow shadow[FLAVORS_MAX + 1] = {0};
	struct key *keys;
	uint32_t n;

	if (!c->pending_n)
		return false;
	(void)tree_of(c, 1, SHAPE_GPU); /* the order reads tree positions */
	n = order(c, t, &d->arena, &keys);
	for (uint32_t i = 0; i < n; i++)
		job_of(c, keys[i].id)->order = i + 1;
	for (uint32_t i = 0; i < n && i < SCHED_BUDGET; i++)
		if (try_job(c, t, d, job_of(c, keys[i].id), shadow) != WAITS)
			return true;
	return false;
}

bool sched_claims(const struct core *c, int64_t t, struct decision *d)
{
	if (c->cluster.safe_mode)
		return false;
	EACH(c, claims, claim_s, m) {
		const struct claim *r = &m->r;

		if (!claim_ready(c, r))
			continue;
		if (r->breached)
			c->scratch->claims_breached++;
		c->scratch->claims_done++;
		if (r->owner_kind == OWNER_LEASE) {
			lease_claim_filled(c, d, t, r);
		} else {
			drop(d, RECORD_CLAIM, r->id);
			job_bind(c, d, t, r->owner, CLASS_GUARANTEED,
				 arena_copy(&d->arena, r->parts, r->parts_n * sizeof *r->parts), r->parts_n);
		}
		return true;
	}
	return false;
}

bool sched_promote(const struct core *c, int64_t t, struct decision *d)
{
	EACH(c, allocs, alloc_s, a) {
		const struct job *j = a->r.owner_kind == OWNER_JOB ? core_job(c, a->r.owner) : NULL;
		struct alloc *e;

		if (a->r.klass != CLASS_LOAN || a->r.state != ALLOC_ACTIVE || !j || waits_for_loan_only(&j->spec))
			continue;
		if (quota_ask(c, a->r.qnode, a->r.flavor, a->r.shape, a->r.units, CLASS_GUARANTEED) ||
		    !place_may_guarantee(c, &a->r))
			continue;
		alloc_charge(c, d, t, a->r.id); /* so far as a loan */
		e = EDIT(c, d, RECORD_ALLOC, alloc, a->r.id);
		e->klass = CLASS_GUARANTEED;
		e->lenders_n = 0;
		return true;
	}
	return false;
}

/* ---- the tick --------------------------------------------------------------------------------------------------- */

static bool tick_timers(const struct core *c, int64_t t, struct decision *d)
{
	const struct timer *due = timer_first(&c->timers);

	if (!due || due->at_ms > t)
		return false;
	switch (due->kind) {
	case RECORD_NODE: return tick_node_timer(c, t, d, due->id);
	case RECORD_JOB: return tick_job_timer(c, t, d, due->id);
	case RECORD_ALLOC: return tick_alloc_timer(c, t, d, due->id);
	case RECORD_LEASE: return tick_lease_timer(c, t, d, due->id);
	case RECORD_CLAIM: return tick_claim_timer(c, t, d, due->id);
	case RECORD_IDEM: drop(d, RECORD_IDEM, due->id); return true;
	default: UNREACHABLE();
	}
}

static bool tick_live(const struct core *c, int64_t t, struct decision *d)
{
	const struct timer *due = timer_first(&c->live_timers);

	if (!due || due->at_ms > live_ms(c, t) || c->cluster.safe_mode || t < c->cluster.no_expiry_until_ms)
		return false;
	return tick_lease_live(c, t, d, due->id);
}

void decide_tick(const struct core *c, int64_t t, const struct command *cmd, struct decision *d)
{
	(void)cmd;
	if (tick_timers(c, t, d) || tick_live(c, t, d))
		return;
	if (!c->scratch->work)
		return;
	if (sched_claims(c, t, d) || (!c->cluster.safe_mode && sched_leases(c, t, d)) ||
	    sched_promote(c, t, d) || sched_jobs(c, t, d))
		return;
	c->scratch->work = false; /* until the next fact */
}

bool sched_would_start(const struct core *c, int64_t t, const struct job *j, struct arena *arena)
{
	const struct job_spec *s = &j->spec;
	struct place_ask ask;
	struct part *parts;
	uint32_t n;

	if (gates(c, t, j))
		return false;
	if (!waits_for_loan_only(s) &&
	    !quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_GUARANTEED) &&
	    !budget_gate(c, t, j, CLASS_GUARANTEED)) {
		job_place_ask(c, j, CLASS_GUARANTEED, &ask);
		if (!place(c, &ask, arena, &parts, &n))
			return true;
	}
	if (s->loan == LOAN_NEVER && s->klass > JOB_STANDBY)
		return false;
	if (quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_LOAN) ||
	    s->exempt_ms + s->notice_ms + c->cluster.kill_margin_ms + flavor_of(c, s->flavor)->scrub_ms_max >
		    lender_slo_min(c, s->project, s->flavor, s->shape) ||
	    budget_gate(c, t, j, CLASS_LOAN))
		return false;
	job_place_ask(c, j, CLASS_LOAN, &ask);
	return !place(c, &ask, arena, &parts, &n);
}
