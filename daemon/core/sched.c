/* sched.c - what starts next
 *
 * One call decides at most one action, so that every decision sees the state that the one before it
 * left. Order of the waiting jobs:
 *   class, in-quota before borrowing, sector's usage per weight, project's usage per weight, then within
 *   a project: jobs older than the age guard by submission, the others smallest area first.
 * EASY backfill (Lifka 1995) with one reservation per flavor: the first job that lacks only devices is
 * promised the instant at which running work frees enough; others may pass it if they end before that
 * or use devices it will not need.
 *
 * Nobody is looked at in vain. Alike jobs stand in one line (line.c), of which the first is tried. Each
 * applied fact notes what it may have made possible (WORK_*): what frees something orders a pass over the
 * lines in order, a new job only a look at its own line. A start frees nothing, so a pass goes on behind
 * it; but it may take quota or devices that a reservation counted on, so one more pass follows.
 * What did not fit is not tried again before something was freed.
 *
 * Invariant (tests/unit/test_core_sched.c): when a tick has found nothing to do, a whole pass at the same
 * instant finds nothing either.
 */
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reasons: volatile, for people ----------------------------------------------------------------- */

static void reason_set(struct job_s *j, int64_t t, int code, uint64_t other)
{
	if (j->reason != code) {
		if (j->reason && !j->span)
			j->span = xcalloc(REASONS_KEPT, sizeof *j->span);
		for (int i = 0; i < REASONS_KEPT && j->reason; i++)
			if (j->span[i].code == j->reason || !j->span[i].code) {
				j->span[i].code = j->reason;
				j->span[i].elapsed_ms += t - j->reason_since_ms;
				break;
			}
		j->reason_since_ms = t;
	}
	j->reason = (uint16_t)code;
	j->reason_job = other;
}

const struct job_s *sched_speaker(const struct core *c, const struct job_s *j)
{
	const struct job_s *head = j->line ? line_head(c, j->line) : NULL;

	return head ? head : j;
}

void sched_reason_text(const struct core *c, const struct job_s *j, char out[TEXT_BYTES])
{
	if (j->reason == REASON_WINDOW || j->reason == REASON_RESERVED || j->reason == REASON_MAINTENANCE)
		reservation_reason_text(c, &j->r, j->reason, j->reason_job, out);
	else if (j->reason == REASON_WOULD_DELAY && j->reason_job)
		(void)snprintf(out, TEXT_BYTES, "it would delay job %" PRIu64, j->reason_job);
	else if (j->reason == REASON_BEHIND && j->reason_job)
		(void)snprintf(out, TEXT_BYTES, "behind job %" PRIu64, j->reason_job);
	else
		text_set(out, TEXT_BYTES, reason_text(j->reason));
}

/* ---- order -------------------------------------------------------------------------------------------- */

static int ratio_cmp(int64_t ua, uint32_t wa, int64_t ub, uint32_t wb)
{
	__extension__ typedef __int128 wide; /* usage times weight needs 96 bits */
	wide l = (wide)ua * (wb ? wb : 1), r = (wide)ub * (wa ? wa : 1);

	return l < r ? -1 : l > r;
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

struct standing { uint32_t at, sector, project; int64_t sector_usage, project_usage; uint32_t sector_weight, project_weight; };

static int standing_cmp(const void *pa, const void *pb)
{
	const struct standing *a = pa, *b = pb;
	int c;

	if (a->sector != b->sector) {
		c = ratio_cmp(a->sector_usage, a->sector_weight, b->sector_usage, b->sector_weight);
		return c ? c : a->sector < b->sector ? -1 : 1;
	}
	c = ratio_cmp(a->project_usage, a->project_weight, b->project_usage, b->project_weight);
	return c ? c : a->project < b->project ? -1 : a->project > b->project;
}

/* Number the projects by fair share: their sector's usage per weight, then their own. `ret` has a place
 * for each tree node. */
static void rank(const struct core *c, int64_t t, uint32_t *ret)
{
	struct standing *st = xcalloc(c->tree_n + 1, sizeof *st);
	int64_t *sector_usage = xcalloc(c->tree_n + 1, sizeof *sector_usage);
	uint32_t n = 0;

	EACH(c, qnodes, qnode_s, q) {
		const struct qnode_s *sector = qnode_of(c, sector_of(c, q->r.id));

		if (q->r.kind != QNODE_PROJECT)
			continue;
		st[n].at = q->at;
		st[n].project = q->r.id;
		st[n].project_usage = usage_now(c, t, q->r.id);
		st[n].project_weight = q->r.weight;
		st[n].sector = sector ? sector->r.id : 0;
		st[n].sector_weight = sector ? sector->r.weight : 1;
		if (sector)
			sector_usage[sector->at] += st[n].project_usage;
		n++;
	}
	for (uint32_t i = 0; i < n; i++)
		st[i].sector_usage = st[i].sector ? sector_usage[qnode_of(c, st[i].sector)->at] : 0;
	if (n)
		qsort(st, n, sizeof *st, standing_cmp);
	for (uint32_t i = 0; i < n; i++)
		ret[st[i].at] = i;
	free(st);
	free(sector_usage);
}

static struct key key_of(const struct core *c, int64_t t, const struct line *l, const uint32_t *ranks)
{
	bool old = t - l->submit_ms > c->cluster.age_guard_ms;
	bool in_quota = !l->loan_only &&
			!quota_ask(c, l->project, l->flavor, l->shape, l->units, CLASS_GUARANTEED);

	return (struct key){
		.rank = (uint64_t)(JOB_SYSTEM - l->klass) << 48 | (uint64_t)!in_quota << 40 |
			(uint64_t)ranks[qnode_of(c, l->project)->at] << 1 | !old,
		.area = old ? 0 : (uint64_t)rums_of(c, l->flavor, l->shape, l->units, l->time_limit_ms),
		.submit = l->submit_seq,
		.id = l->head,
	};
}

static int key_cmp(const struct key *a, const struct key *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (a->area != b->area)
		return a->area < b->area ? -1 : 1;
	if (a->submit != b->submit)
		return a->submit < b->submit ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id; /* children of an array share their submission */
}

static int pass_cmp(const void *pa, const void *pb)
{
	return key_cmp(&((const struct pass_line *)pa)->key, &((const struct pass_line *)pb)->key);
}

struct numbered { struct key key; struct job_s *job; };
static int numbered_cmp(const void *pa, const void *pb)
{
	return key_cmp(&((const struct numbered *)pa)->key, &((const struct numbered *)pb)->key);
}

void sched_order(const struct core *c, int64_t t)
{
	struct numbered *all;
	uint32_t *ranks, n = 0;

	if (!c->pending_n || t - c->scratch->ordered_ms < c->pending_n / 10)
		return;
	c->scratch->ordered_ms = t;
	(void)tree_of(c, 1, SHAPE_GPU);
	ranks = xcalloc(c->tree_n + 1, sizeof *ranks); /* not the scheduler's: a question changes no decision */
	rank(c, t, ranks);
	all = xmalloc(c->pending_n * sizeof *all);
	for (uint32_t i = 0; i < c->pending_n; i++) {
		struct job_s *j = job_of(c, c->pending[i]);

		j->order = 0;
		if (j->line) {
			struct line as = *j->line; /* alike, but for its submission */

			as.head = j->r.id;
			as.submit_seq = j->r.submit_seq;
			as.submit_ms = j->r.submit_ms;
			all[n++] = (struct numbered){key_of(c, t, &as, ranks), j};
		}
	}
	if (n)
		qsort(all, n, sizeof *all, numbered_cmp);
	for (uint32_t i = 0; i < n; i++)
		all[i].job->order = i + 1;
	free(ranks);
	free(all);
}

/* ---- one reservation per flavor ------------------------------------------------------------------------- */

/* By walltimes: the first instant from which its devices stay free as long as it may run. */
static void reserve(const struct core *c, int64_t t, const struct job_s *j, struct shadow *s)
{
	const struct job_spec *spec = &j->r.spec;
	int64_t need = in_devices(c, spec->flavor, spec->shape, spec->units), free;

	s->set = true;
	s->job = j->r.id;
	s->key = key_of(c, t, j->line, c->scratch->rank);
	s->at_ms = plan_fit(c, t, spec->flavor, need, spec->time_limit_ms);
	free = s->at_ms == T_NEVER ? 0 : plan_free(c, s->at_ms, spec->flavor);
	s->extra = free > need ? free - need : 0;
}

static bool may_pass(const struct core *c, int64_t t, const struct job_spec *spec, const struct shadow *s)
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
	if (reservation_gate(c, t, j))
		return REASON_WINDOW;
	return dependency_gate(c, j);
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
		h = hash_u64(hash_u64(hash_u64(h, a->reservation), a->project), reservation_horizon(c, a->until_ms));
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
	uint64_t owner = j->id, claim, key;
	int64_t hold = job_hold(c, &j->spec, CLASS_GUARANTEED), left;
	uint32_t stage;
	struct job *e;

	if (j->spec.array_step)
		return false; /* its children claim nothing: they start as devices come free */
	ask.owner = owner;
	job_place_ask(c, t, j, CLASS_GUARANTEED, &ask.place);
	key = ask_hash(c, &ask.place, PLACE_OVER_LOANS);
	if (failed_before(c, key, j->spec.units))
		return false;
	claim = claim_raise(c, d, t, &ask, j->spec.units, false);
	if (!claim) {
		failed_note(c, key, j->spec.units, REASON_NO_SHAPE, 0);
		return false;
	}
	e = EDIT(c, d, RECORD_JOB, job, owner);
	e->claim = claim;
	e->state = JOB_EARMARKED;
	if (job_stage(c, t, j->spec.project, hold, &stage, &left) == 0 && stage != UINT32_MAX) {
		EDIT(c, d, RECORD_QNODE, qnode, j->spec.project)->stages[stage].held_rums += hold;
		e->held_rums = hold;
		e->held_stage = stage;
	}
	reason_set(js, t, REASON_CLAIM, 0);
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
	uint32_t n;

	if (gate == REASON_DEPENDENCY_NEVER) {
		job_end(c, d, t, EDIT(c, d, RECORD_JOB, job, j->id), JOB_CANCELLED,
			"its dependency can never be met (106)");
		return ENDED;
	}
	if (gate) {
		reason_set(js, t, gate, 0);
		return WAITS;
	}
	if (!waits_for_loan_only(s)) {
		quota = quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_GUARANTEED);
		if (!quota) {
			int rc = budget_gate(c, t, j, CLASS_GUARANTEED);

			if (rc) {
				reason_set(js, t, rc, 0);
				return WAITS;
			}
			job_place_ask(c, t, j, CLASS_GUARANTEED, &ask);
			rc = place_once(c, &ask, &d->arena, &parts, &n);
			if (!rc && !may_pass(c, t, s, head)) {
				reason_set(js, t, REASON_WOULD_DELAY, head->job);
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
			if (reservation_reason(rc)) { /* it waits for an instant, and in nobody's way */
				const struct reservation *r = reservation_in_way(c, &ask);

				reason_set(js, t, rc, r ? r->id : 0);
				return WAITS;
			}
			reason_set(js, t, rc, 0);
			if (!head->set) {
				reserve(c, t, js, head);
				js->estimate_ms = head->at_ms == T_NEVER ? 0 : head->at_ms;
			} else {
				reason_set(js, t, REASON_BEHIND, head->job);
			}
			return WAITS;
		}
	}
	if (s->loan != LOAN_NEVER || s->klass <= JOB_STANDBY) {
		int64_t need = job_back_ms(c, j);

		loan = quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_LOAN);
		if (!loan && !loan_in_time(c, s->project, s->flavor, s->shape, s->units, need))
			loan = REASON_LOAN_NOTICE;
		if (!loan && j->end_cause == END_RECALL && j->eligible_ms > t)
			loan = REASON_COOLDOWN;
		if (!loan)
			loan = budget_gate(c, t, j, CLASS_LOAN);
		if (!loan) {
			job_place_ask(c, t, j, CLASS_LOAN, &ask);
			loan = place_once(c, &ask, &d->arena, &parts, &n);
		}
		if (!loan && !certify_loan(c, s->flavor, need, parts, n))
			loan = REASON_LOAN_NOTICE;
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
		   0);
	return WAITS;
}

/* ---- passes ---------------------------------------------------------------------------------------------------- */

static void fresh_forget(struct scratch *s)
{
	for (uint32_t i = s->fresh_at; i < s->fresh_n; i++)
		s->fresh[i]->fresh = false;
	s->fresh_n = s->fresh_at = 0;
}

/* Keep the first SCHED_BUDGET lines of the order, in a heap with the last of them on top. */
static void pass_offer(struct scratch *s, struct pass_line l)
{
	uint32_t i;

	if (s->pass_n < SCHED_BUDGET) {
		for (i = s->pass_n++; i && key_cmp(&s->pass[(i - 1) / 2].key, &l.key) < 0; i = (i - 1) / 2)
			s->pass[i] = s->pass[(i - 1) / 2];
		s->pass[i] = l;
		return;
	}
	if (key_cmp(&l.key, &s->pass[0].key) > 0)
		return;
	for (i = 0;;) {
		uint32_t k = 2 * i + 1;

		if (k >= s->pass_n)
			break;
		if (k + 1 < s->pass_n && key_cmp(&s->pass[k].key, &s->pass[k + 1].key) < 0)
			k++;
		if (key_cmp(&s->pass[k].key, &l.key) < 0)
			break;
		s->pass[i] = s->pass[k];
		i = k;
	}
	s->pass[i] = l;
}

/* Put the lines in order; the walk itself is pass_step, one start per call. */
static void pass_begin(const struct core *c, int64_t t)
{
	struct scratch *s = c->scratch;
	struct core *mut;

	memcpy(&mut, &c, sizeof mut); /* empty lines are no state */
	fresh_forget(s);
	s->pass_n = s->pass_at = 0;
	lines_sweep(mut);
	memset(s->shadow, 0, sizeof s->shadow);
	memset(s->failed, 0, sizeof s->failed);
	if (!c->lines_n)
		return;
	(void)tree_of(c, 1, SHAPE_GPU); /* ranks go by tree positions */
	if (s->rank_n < c->tree_n) {
		s->rank = xrealloc(s->rank, c->tree_n * sizeof *s->rank);
		s->rank_n = c->tree_n;
	}
	rank(c, t, s->rank);
	if (!s->pass)
		s->pass = xcalloc(SCHED_BUDGET, sizeof *s->pass);
	for (uint32_t i = 0; i < c->lines_n; i++)
		pass_offer(s, (struct pass_line){key_of(c, t, c->lines[i], s->rank), c->lines[i]});
	qsort(s->pass, s->pass_n, sizeof *s->pass, pass_cmp);
}

static bool line_try(const struct core *c, int64_t t, struct decision *d, const struct line *l)
{
	return l->head && try_job(c, t, d, line_head(c, l), c->scratch->shadow) != WAITS;
}

static bool pass_step(const struct core *c, int64_t t, struct decision *d)
{
	struct scratch *s = c->scratch;

	for (; s->pass_at < s->pass_n; s->pass_at++)
		if (line_try(c, t, d, s->pass[s->pass_at].line))
			return true; /* the next of this line may start, too */
	return false;
}

/* Lines with a new head: nothing was freed, so nobody else can start. Whoever stands before a reservation
 * changes what the others may pass: then the whole order is walked again. */
static bool fresh_step(const struct core *c, int64_t t, struct decision *d)
{
	struct scratch *s = c->scratch;

	for (; s->fresh_at < s->fresh_n; s->fresh_at++) {
		struct line *l = s->fresh[s->fresh_at];
		const struct shadow *shadow = &s->shadow[l->flavor];
		struct key key;

		if (l->head) {
			if (qnode_of(c, l->project)->at >= s->rank_n) {
				s->work |= WORK_JOBS; /* no pass yet */
				return false;
			}
			key = key_of(c, t, l, s->rank);
			if (shadow->set && key_cmp(&key, &shadow->key) < 0) {
				s->work |= WORK_JOBS;
				return false;
			}
		}
		if (line_try(c, t, d, l))
			return true;
		l->fresh = false;
	}
	s->fresh_n = s->fresh_at = 0;
	return false;
}

bool sched_jobs(const struct core *c, int64_t t, struct decision *d)
{
	struct scratch *s = c->scratch;

	do {
		if (s->work & WORK_JOBS) {
			s->work &= ~(uint32_t)(WORK_JOBS | WORK_AGAIN);
			pass_begin(c, t);
			s->work |= WORK_PASS;
		}
		if ((s->work & WORK_PASS) && pass_step(c, t, d))
			return true;
		s->work &= ~(uint32_t)WORK_PASS;
		if ((s->work & WORK_FRESH) && fresh_step(c, t, d))
			return true;
		s->work &= ~(uint32_t)WORK_FRESH;
		if (s->work & WORK_AGAIN)
			s->work |= WORK_JOBS;
	} while (s->work & WORK_JOBS);
	return false;
}

bool sched_claims(const struct core *c, int64_t t, struct decision *d)
{
	if (c->cluster.safe_mode)
		return false;
	EACH(c, claims, claim_s, m) {
		const struct claim *r = &m->r;

		if (!r->parts_n && !r->offered && claim_replan(c, d, t, r))
			return true;
		if (!claim_ready(c, r))
			continue;
		if (r->breached)
			c->scratch->claims_breached++;
		c->scratch->claims_done++;
		if (r->owner_kind == OWNER_LEASE) {
			lease_claim_filled(c, d, t, r);
		} else if (!core_job(c, r->owner)->held_rums &&
			   budget_gate(c, t, core_job(c, r->owner), CLASS_GUARANTEED)) {
			claim_drop(c, d, t, r->id); /* a grant came to the project meanwhile and does not cover it */
		} else {
			claim_served(c, d, t, r);
			job_bind(c, d, t, r->owner, CLASS_GUARANTEED,
				 arena_copy(&d->arena, r->parts, r->parts_n * sizeof *r->parts), r->parts_n);
		}
		return true;
	}
	return false;
}

/* Devices of an offer that was not accepted yet: whoever they are held by may still have to go. */
static bool on_offer(const struct core *c, const struct alloc *a)
{
	for (uint32_t i = 0; i < a->parts_n; i++) {
		const struct node_s *n = node_of(c, a->parts[i].node);

		if (n->claimed & a->parts[i].devices)
			return true;
		for (int w = 0; w < CORE_WORDS; w++)
			if (n->cores_claimed[w] & a->parts[i].cores[w])
				return true;
	}
	EACH(c, claims, claim_s, m) /* it may be the memory alone that is wanted */
		for (uint32_t i = 0; m->r.offered && i < m->r.victims_n; i++)
			if (m->r.victims[i].alloc == a->id)
				return true;
	return false;
}

/* Does the stage that holds for `j` carry the full rate as well? ret_more: what is missing to it. */
static bool stage_carries(const struct core *c, const struct job *j, int64_t *ret_more)
{
	const struct qnode *q = core_qnode(c, j->spec.project);
	const struct stage *s;

	*ret_more = 0;
	if (!j->held_rums || j->held_stage >= q->stages_n)
		return true;
	s = &q->stages[j->held_stage];
	*ret_more = job_hold(c, &j->spec, CLASS_GUARANTEED) - j->held_rums;
	return *ret_more <= s->amount_rums - s->held_rums - s->spent_rums;
}

bool sched_promote(const struct core *c, int64_t t, struct decision *d)
{
	EACH(c, loans, alloc_s, a) {
		const struct job *j = a->r.owner_kind == OWNER_JOB ? core_job(c, a->r.owner) : NULL;
		struct alloc *e;
		int64_t more;

		if (a->r.state != ALLOC_ACTIVE || !j || waits_for_loan_only(&j->spec))
			continue;
		if (quota_ask(c, a->r.qnode, a->r.flavor, a->r.shape, a->r.units, CLASS_GUARANTEED) ||
		    !place_may_guarantee(c, &a->r) || reservation_blocks(c, &a->r, a->r.limit_ms) || on_offer(c, &a->r) || !stage_carries(c, j, &more))
			continue;
		alloc_charge(c, d, t, a->r.id); /* so far as a loan */
		if (more) {
			EDIT(c, d, RECORD_QNODE, qnode, j->spec.project)->stages[j->held_stage].held_rums += more;
			EDIT(c, d, RECORD_JOB, job, j->id)->held_rums += more;
		}
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
	case RECORD_IDEM:
	case RECORD_APPROVAL: drop(d, (uint8_t)due->kind, due->id); return true;
	case RECORD_RESERVATION: return tick_reservation_timer(c, t, d, due->id);
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
	struct scratch *s = c->scratch;

	(void)cmd;
	if (tick_timers(c, t, d) || tick_live(c, t, d))
		return;
	if (s->wake_ms && s->wake_ms <= t) {
		s->wake_ms = 0;
		s->work |= WORK_JOBS;
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
	if (note_again(c, d))
		return;
	if ((s->work & WORK_PROMOTE) && sched_promote(c, t, d))
		return;
	s->work &= ~(uint32_t)WORK_PROMOTE;
	if (s->work & (WORK_JOBS | WORK_PASS | WORK_FRESH | WORK_AGAIN))
		(void)sched_jobs(c, t, d); /* an empty decision says that nothing is left */
}

bool sched_would_start(const struct core *c, int64_t t, const struct job *j, struct arena *arena)
{
	const struct job_spec *s = &j->spec;
	const struct shadow *shadow = &c->scratch->shadow[s->flavor];
	int64_t need = job_back_ms(c, j);
	struct place_ask ask;
	struct part *parts;
	uint32_t n;

	/* what the last pass promised stands in the way of all but the one it was promised to */
	if (gates(c, t, j) || (shadow->job != j->id && !may_pass(c, t, s, shadow)))
		return false;
	if (!waits_for_loan_only(s) &&
	    !quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_GUARANTEED) &&
	    !budget_gate(c, t, j, CLASS_GUARANTEED)) {
		job_place_ask(c, t, j, CLASS_GUARANTEED, &ask);
		if (!place(c, &ask, arena, &parts, &n))
			return true;
	}
	if (s->loan == LOAN_NEVER && s->klass > JOB_STANDBY)
		return false;
	if (quota_ask(c, s->project, s->flavor, s->shape, s->units, CLASS_LOAN) ||
	    (j->end_cause == END_RECALL && j->eligible_ms > t) ||
	    !loan_in_time(c, s->project, s->flavor, s->shape, s->units, need) || budget_gate(c, t, j, CLASS_LOAN))
		return false;
	job_place_ask(c, t, j, CLASS_LOAN, &ask);
	return !place(c, &ask, arena, &parts, &n) && certify_loan(c, s->flavor, need, parts, n);
}
