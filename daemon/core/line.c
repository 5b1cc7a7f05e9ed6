/* line.c - lines of waiting jobs that only their submission tells apart, and what lines need
 *
 * What the scheduler asks of a job (gates, quota, budget, placement, reservation) depends on fields
 * that most jobs share with others: a million queued jobs are a few hundred lines. Looking at the first
 * of each line is looking at all of them.
 *
 * Lines that differ in their time limit only ask for the same devices: they form a *need*. If the
 * shortest of a need may not start, for whatever reason, no longer one may: the longer it is, the more
 * budget it holds and the more reservations it could delay. So a need is looked at through two lines: the
 * one that waits longest, once that is too long, and the shortest. The needs of one project and flavor
 * form a *group*, which is what the scheduler walks over.
 *
 * A need that waits for something no freed device could bring (a dependency, an instant, an order of an
 * admin) is parked: out of its group until that comes.
 *
 * Invariants (line_check): a job is in a line exactly while it is PENDING; all jobs of a line are alike() or
 * it has one; a line that is not empty is in the need of its jobs; lines and needs are found by the hash of
 * the fields compared; a need is in its group exactly while it has lines and is not parked.
 */
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"

#include <stdlib.h>
#include <string.h>

uint64_t hash_u64(uint64_t h, uint64_t v)
{
	h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
	return h;
}

/* ---- what jobs have in common --------------------------------------------------------------------------- */

/* Nothing about it depends on other jobs, on an instant or on its past. */
static bool plain(const struct job *j)
{
	return !j->spec.deps_n && !j->excluded_n && !j->spec.array_step && !j->eligible_ms && !j->held_rums &&
	       !j->reserved_ms;
}

/* Do they ask for the same, but for how long? */
static bool same_need(const struct job *ja, const struct job *jb)
{
	const struct job_spec *a = &ja->spec, *b = &jb->spec;

	if (ja->id == jb->id)
		return true;
	if (!plain(ja) || !plain(jb) || ja->owner != jb->owner || a->project != b->project || a->flavor != b->flavor || a->shape != b->shape ||
	    a->klass != b->klass || a->loan != b->loan || a->units != b->units || a->per_node != b->per_node ||
	    a->tasks_per_node != b->tasks_per_node || a->tasks_per_unit != b->tasks_per_unit ||
	    a->cpus_per_task != b->cpus_per_task || a->memory_mib != b->memory_mib || a->notice_ms != b->notice_ms ||
	    a->exempt_ms != b->exempt_ms || a->requires_n != b->requires_n || a->reservation != b->reservation ||
	    ja->back_ms != jb->back_ms || a->units_max != b->units_max || a->topology != b->topology ||
	    a->topology_required != b->topology_required || a->topology_wait_ms != b->topology_wait_ms)
		return false;
	if (a->topology_wait_ms && a->time_limit_ms != b->time_limit_ms) /* who waits longest asks for least */
		return false;
	for (uint32_t i = 0; i < a->requires_n; i++)
		if (strcmp(a->requires[i].key, b->requires[i].key) != 0 ||
		    strcmp(a->requires[i].value, b->requires[i].value) != 0)
			return false;
	return true;
}

static bool alike(const struct job *a, const struct job *b)
{
	return a->spec.time_limit_ms == b->spec.time_limit_ms && same_need(a, b);
}

static uint64_t need_hash(const struct job *j)
{
	const struct job_spec *s = &j->spec;
	uint64_t h = hash_u64(s->project, (uint64_t)s->flavor << 32 | (uint64_t)s->shape << 16 |
						  (uint64_t)s->klass << 8 | s->loan);

	if (!plain(j))
		return hash_u64(h, j->id);
	h = hash_u64(h, j->owner);
	h = hash_u64(h, (uint64_t)s->units << 32 | (uint64_t)s->per_node << 16 | s->tasks_per_node);
	h = hash_u64(h, (uint64_t)s->memory_mib << 32 | (uint64_t)s->tasks_per_unit << 16 | s->cpus_per_task);
	h = hash_u64(h, (uint64_t)s->notice_ms);
	h = hash_u64(h, (uint64_t)s->exempt_ms);
	h = hash_u64(h, (uint64_t)j->back_ms);
	h = hash_u64(hash_u64(h, s->reservation), s->units_max);
	for (uint32_t i = 0; i < s->requires_n; i++) {
		h = hash_bytes(h, s->requires[i].key, strlen(s->requires[i].key) + 1);
		h = hash_bytes(h, s->requires[i].value, strlen(s->requires[i].value) + 1);
	}
	return h;
}

/* ---- tables by hash: open addressing, capacity a power of two ------------------------------------------------ */

static void slot_insert(struct hashed *t, uint64_t *obj)
{
	uint64_t i = *obj & (t->slots - 1);

	while (t->slot[i])
		i = (i + 1) & (t->slots - 1);
	t->slot[i] = obj;
}

static void hashed_remake(struct hashed *t, uint32_t slots)
{
	free(t->slot);
	t->slots = slots;
	t->slot = xcalloc(slots, sizeof(uint64_t *));
	for (uint32_t i = 0; i < t->n; i++)
		slot_insert(t, t->all[i]);
}

static void hashed_add(struct hashed *t, uint64_t *obj)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 32;
		t->all = xrealloc(t->all, t->cap * sizeof(uint64_t *));
	}
	t->all[t->n++] = obj;
	if (t->n * 2 > t->slots)
		hashed_remake(t, t->slots ? t->slots * 2 : 64);
	else
		slot_insert(t, obj);
}

#define EACH_HASHED(table, hash_value, obj)                                                        \
	for (uint64_t at_ = (hash_value); (table)->slots && (obj = (void *)(table)->slot[at_ & ((table)->slots - 1)]); at_++)

/* ---- groups ------------------------------------------------------------------------------------------------ */

static struct group *group_for(struct core *c, uint32_t project, uint16_t flavor)
{
	struct qnode_s *q = qnode_of(c, project);
	struct group *g;

	for (uint32_t i = 0; i < q->groups_n; i++)
		if (q->group[i]->flavor == flavor)
			return q->group[i];
	q->group = xrealloc(q->group, (q->groups_n + 1) * sizeof(struct group *));
	g = xcalloc(1, sizeof *g);
	g->flavor = flavor;
	q->group[q->groups_n++] = g;
	return g;
}

static void group_enter(struct need *n)
{
	struct group *g = n->group;

	if (n->at)
		return;
	if (g->n == g->cap) {
		g->cap = g->cap ? g->cap * 2 : 8;
		g->need = xrealloc(g->need, g->cap * sizeof(struct need *));
	}
	g->need[g->n++] = n;
	n->at = g->n;
	g->klass_n[n->klass]++;
}

static void group_leave(struct need *n)
{
	struct group *g = n->group;

	if (!n->at)
		return;
	g->need[n->at - 1] = g->need[--g->n];
	g->need[n->at - 1]->at = n->at;
	n->at = 0;
	g->klass_n[n->klass]--;
}

/* ---- looking again --------------------------------------------------------------------------------------------- */

void need_fresh(struct core *c, struct need *n)
{
	struct scratch *s = c->scratch;

	if (n->fresh || !n->lines.n)
		return;
	if (s->fresh_n == s->fresh_cap) {
		s->fresh_cap = s->fresh_cap ? s->fresh_cap * 2 : 64;
		s->fresh = xrealloc(s->fresh, s->fresh_cap * sizeof(struct need *));
	}
	s->fresh[s->fresh_n++] = n;
	n->fresh = true;
	s->work |= WORK_FRESH;
}

static void waiter_unlink(struct core *c, struct need *n)
{
	struct need *first;

	if (!n->waits_for)
		return;
	first = idtab_get(&c->waiters, n->waits_for);
	if (n->wait_next)
		n->wait_next->wait_prev = n->wait_prev;
	if (n->wait_prev)
		n->wait_prev->wait_next = n->wait_next;
	else if (first == n)
		(void)idtab_set(&c->waiters, n->waits_for, n->wait_next);
	n->wait_next = n->wait_prev = NULL;
	n->waits_for = 0;
}

void need_park(struct core *c, struct need *n, uint64_t waits_for)
{
	group_leave(n);
	n->parked = true;
	waiter_unlink(c, n);
	if (!waits_for)
		return;
	n->waits_for = waits_for;
	n->wait_next = idtab_set(&c->waiters, waits_for, n);
	if (n->wait_next)
		n->wait_next->wait_prev = n;
}

static void need_unpark(struct core *c, struct need *n)
{
	waiter_unlink(c, n);
	n->parked = false;
	if (n->lines.n)
		group_enter(n);
}

void needs_wake_job(struct core *c, uint64_t job)
{
	struct need *n;

	while ((n = idtab_get(&c->waiters, job)) != NULL) {
		need_unpark(c, n);
		need_fresh(c, n);
	}
}

void needs_unpark(struct core *c)
{
	for (uint32_t i = 0; i < c->needs.n; i++) {
		struct need *n = (void *)c->needs.all[i];

		if (n->parked)
			need_unpark(c, n);
	}
}

static void group_wake(struct core *c, const struct group *g, bool (*of)(int reason))
{
	for (uint32_t i = 0; i < g->n; i++)
		if (of(g->need[i]->reason))
			need_fresh(c, g->need[i]);
}

void needs_wake_project(struct core *c, struct qnode_s *q, bool (*of)(int reason))
{
	for (uint32_t i = 0; i < q->groups_n; i++)
		group_wake(c, q->group[i], of);
}

void needs_wake_barred(struct core *c, uint16_t flavor)
{
	if (!(c->scratch->barred >> flavor & 1))
		return;
	EACH(c, qnodes, qnode_s, q)
		for (uint32_t i = 0; i < q->groups_n; i++)
			if (q->group[i]->flavor == flavor)
				group_wake(c, q->group[i], reservation_reason);
}

/* ---- joining and leaving ------------------------------------------------------------------------------------------ */

static struct need *need_for(struct core *c, const struct job *j)
{
	uint64_t hash = need_hash(j);
	struct need *n = NULL;

	EACH_HASHED(&c->needs, hash, n) {
		const struct timer *first = timer_first(&n->lines);

		if (n->hash == hash && first && same_need(core_job(c, first->id), j))
			return n;
		if (n->hash == hash && !first)
			break; /* one that ran empty */
	}
	if (n) {
		waiter_unlink(c, n);
		n->parked = false;
		n->tried = 0;
		n->reason = n->as_loan = 0;
		memset(n->span, 0, sizeof n->span);
	} else {
		n = xcalloc(1, sizeof *n);
		n->hash = hash;
		hashed_add(&c->needs, &n->hash);
	}
	n->project = j->spec.project;
	n->user = j->owner;
	n->units = j->spec.units;
	n->flavor = j->spec.flavor;
	n->shape = j->spec.shape;
	n->klass = j->spec.klass;
	n->loan_only = waits_for_loan_only(&j->spec);
	n->loan_ok = j->spec.loan != LOAN_NEVER || j->spec.klass <= JOB_STANDBY;
	n->carriable = carrier_suits(c, &j->spec);
	n->plain = plain(j) && !j->spec.reservation && !j->spec.topology_wait_ms;
	n->notice_ms = j->spec.notice_ms;
	n->exempt_ms = j->spec.exempt_ms;
	n->back_ms = j->back_ms;
	n->group = group_for(c, n->project, n->flavor);
	return n;
}

static struct line *line_for(struct core *c, const struct job *j)
{
	uint64_t hash = hash_u64(need_hash(j), (uint64_t)j->spec.time_limit_ms);
	struct line *l = NULL;

	EACH_HASHED(&c->lines, hash, l) {
		if (l->hash == hash && l->head && alike(line_head(c, l), j))
			return l;
		if (l->hash == hash && !l->head)
			break; /* one that ran empty */
	}
	if (l) {
		c->lines_empty--;
	} else {
		l = xcalloc(1, sizeof *l);
		l->hash = hash;
		hashed_add(&c->lines, &l->hash);
	}
	l->need = need_for(c, j);
	l->limit_ms = j->spec.time_limit_ms;
	return l;
}

/* The need knows its lines by their first job. */
static void head_note(struct core *c, struct line *l)
{
	const struct timer *first = timer_first(&l->jobs);
	struct need *n = l->need;
	const struct job *j;

	if (first && first->id == l->head)
		return;
	if (!first) {
		l->head = 0;
		c->lines_empty++;
		timer_set(&n->lines, &l->by_limit, 0, 0, T_NEVER);
		timer_set(&n->aged, &l->by_age, 0, 0, T_NEVER);
		if (!n->lines.n)
			group_leave(n);
		return;
	}
	j = core_job(c, first->id);
	l->head = j->id;
	l->submit_seq = j->submit_seq;
	l->submit_ms = j->submit_ms;
	timer_set(&n->lines, &l->by_limit, 0, j->id, l->limit_ms);
	timer_set(&n->aged, &l->by_age, 0, j->id, (int64_t)j->submit_seq);
	if (!n->parked)
		group_enter(n);
}

void line_join(struct core *c, struct job_s *j)
{
	const struct job *r = job_rec(c, j);
	struct line *l = line_for(c, r);

	ENSURE(!j->line);
	j->line = l;
	timer_set(&l->jobs, &j->wait, RECORD_JOB, r->id, (int64_t)r->submit_seq);
	head_note(c, l);
	if (l->head != r->id)
		return; /* whoever stands before it waits already */
	if (l->need->parked && !plain(r))
		need_unpark(c, l->need); /* its own condition may have changed */
	/* behind a shorter line that waits nothing longer starts */
	if (timer_first(&l->need->lines)->id == r->id)
		need_fresh(c, l->need);
}

void line_leave(struct core *c, struct job_s *j)
{
	if (!j->line)
		return;
	timer_set(&j->line->jobs, &j->wait, RECORD_JOB, j->wait.id, T_NEVER);
	head_note(c, j->line);
	j->line = NULL;
}

void need_carry(const struct need *from, struct need *to)
{
	if (!from || from == to || to->reason)
		return;
	to->reason = from->reason;
	to->as_loan = from->as_loan;
	to->reason_job = from->reason_job;
	to->reason_since_ms = from->reason_since_ms;
	memcpy(to->span, from->span, sizeof to->span);
}

static void line_free(struct line *l)
{
	timers_done(&l->jobs);
	free(l);
}

static void need_free(struct core *c, struct need *n)
{
	waiter_unlink(c, n);
	timers_done(&n->lines);
	timers_done(&n->aged);
	free(n);
}

void lines_sweep(struct core *c)
{
	uint32_t n = 0;

	if (c->lines_empty < 64 || c->lines_empty * 2 < c->lines.n)
		return;
	for (uint32_t i = 0; i < c->lines.n; i++) {
		struct line *l = (void *)c->lines.all[i];

		if (l->jobs.n)
			c->lines.all[n++] = &l->hash;
		else
			line_free(l);
	}
	c->lines.n = n;
	c->lines_empty = 0;
	hashed_remake(&c->lines, c->lines.slots > 64 && n * 8 < c->lines.slots ? c->lines.slots / 2 : c->lines.slots);
	n = 0;
	for (uint32_t i = 0; i < c->needs.n; i++) {
		struct need *need = (void *)c->needs.all[i];

		if (need->lines.n)
			c->needs.all[n++] = &need->hash;
		else
			need_free(c, need);
	}
	c->needs.n = n;
	hashed_remake(&c->needs, c->needs.slots > 64 && n * 8 < c->needs.slots ? c->needs.slots / 2 : c->needs.slots);
}

void lines_done(struct core *c)
{
	for (uint32_t i = 0; i < c->lines.n; i++)
		line_free((void *)c->lines.all[i]);
	for (uint32_t i = 0; i < c->needs.n; i++)
		need_free(c, (void *)c->needs.all[i]);
	free(c->lines.all);
	free(c->lines.slot);
	free(c->needs.all);
	free(c->needs.slot);
	idtab_done(&c->waiters);
	EACH(c, qnodes, qnode_s, q) {
		for (uint32_t i = 0; i < q->groups_n; i++) {
			free(q->group[i]->need);
			free(q->group[i]);
		}
		free(q->group);
	}
}

int line_check(const struct core *c, struct err *err)
{
	uint64_t lines = 0, needs = 0;

	EACH(c, jobs, job_s, j) {
		const struct line *l = j->line;
		const struct job *r = job_rec(c, j);

		if ((r->state == JOB_PENDING) != (l != NULL) || (l && !j->wait.place))
			return err_set(err, ERR_CORRUPT, "a job is not in line exactly while it is pending");
		if (l && !(l->head == r->id || alike(line_head(c, l), r)))
			return err_set(err, ERR_CORRUPT, "jobs in one line are not alike");
	}
	for (uint32_t i = 0; i < c->lines.n; i++) {
		const struct line *l = (void *)c->lines.all[i];

		lines += l->jobs.n > 0;
		if ((l->jobs.n > 0) != (l->by_limit.place > 0) || (l->jobs.n > 0) != (l->head != 0))
			return err_set(err, ERR_CORRUPT, "a line is not in its need exactly while somebody waits in it");
	}
	for (uint32_t i = 0; i < c->needs.n; i++) {
		const struct need *n = (void *)c->needs.all[i];

		needs += n->lines.n;
		if ((n->at > 0) != (n->lines.n > 0 && !n->parked) || n->lines.n != n->aged.n)
			return err_set(err, ERR_CORRUPT, "a need is not in its group exactly while it may start");
	}
	return needs == lines ? 0 : err_set(err, ERR_CORRUPT, "needs do not hold the lines there are");
}
