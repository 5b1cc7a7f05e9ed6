/* job.c - life of a job
 *
 *   HELD ⇄ PENDING ──place──▶ BINDING ──barrier──▶ RUNNING ──stop──▶ STOPPING ──devices free──▶ terminal
 *             │  └──claim──▶ EARMARKED ──all free──▲                                │
 *             ▲                                                                     │
 *             └── recall, drain, infrastructure, requeue: same id, attempt + 1 ◀────┘
 *
 * What ended an attempt decides what follows:
 *   the program itself    COMPLETED, FAILED or OOM; retried while retries.user lasts
 *   time limit            TIMEOUT
 *   recall, drain         PENDING again (a recalled loan cools down before the next loan), whatever the
 *                         exit code said: a trainer that saves and exits 0 on notice is not finished
 *   infrastructure        PENDING again without the blamed node, else NODE_FAIL
 *   requeue               PENDING again; outranks the exit code
 *   cancel                CANCELLED
 *
 * Budget: at start the whole time limit is held from a released stage; at the end what was used is
 * captured and the rest released. Work lost to a recall is refunded from the last checkpoint on.
 */
#include "daemon/core/elastic.h"
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"
#include "proto/model/names.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t REFUND_CAP_MS = 4 * MS_PER_HOUR;
static const int64_t STOP_GRACE_MS = 5 * MS_PER_S;    /* the rest of a gang, once one task has failed */
static const int64_t BIND_BACKOFF_MS = 2 * MS_PER_S;  /* doubled with each failure */


/* ---- budget ------------------------------------------------------------------------------------ */

static int64_t rated(const struct core *c, const struct job_spec *s, int64_t guaranteed, int64_t loan)
{
	int64_t cost = guaranteed + ppm_of(loan, c->cluster.loan_rate_ppm);

	return s->klass == JOB_URGENT ? ppm_of(cost, c->cluster.urgent_rate_ppm) : cost;
}

int64_t job_hold(const struct core *c, const struct job_spec *s, uint8_t klass)
{
	int64_t full = rums_of(c, s->flavor, s->shape, s->units, s->time_limit_ms);

	return klass == CLASS_LOAN ? rated(c, s, 0, full) : rated(c, s, full, 0);
}

int job_stage(const struct core *c, int64_t t, uint32_t project, int64_t hold, uint32_t *ret_stage, int64_t *ret_left)
{
	const struct qnode *q = core_qnode(c, project);
	bool open = false;

	*ret_left = 0;
	*ret_stage = UINT32_MAX;
	if (!q->stages_n)
		return 0; /* no grant: no budget limit */
	for (uint32_t i = 0; i < q->stages_n; i++) {
		const struct stage *s = &q->stages[i];
		int64_t left = stage_left(s);

		if (s->state == STAGE_RELEASED && s->from_ms > t)
			wake_at(&c->scratch->wake_ms, s->from_ms); /* time alone opens it */
		if (!stage_open(s, t))
			continue;
		open = true;
		if (left > *ret_left)
			*ret_left = left;
		if (left >= hold) {
			*ret_stage = i;
			*ret_left = left;
			return 0;
		}
	}
	if (!open)
		return REASON_STAGE;
	return *ret_left > 0 ? REASON_HOLD_TOO_LARGE : REASON_STAGE_EXHAUSTED;
}

void job_settle(const struct core *c, struct decision *d, struct job *j, int64_t refund)
{
	if (j->held_rums) {
		struct qnode *q = EDIT(c, d, RECORD_QNODE, qnode, j->spec.project);
		int64_t cost = rated(c, &j->spec, j->attempt_guaranteed_rums,
				     j->attempt_loan_rums + j->attempt_extra_rums) - refund;

		if (j->held_stage < q->stages_n) {
			q->stages[j->held_stage].held_rums -= j->held_rums + j->held_extra_rums;
			q->stages[j->held_stage].spent_rums += cost > 0 ? cost : 0;
		}
	}
	j->held_rums = j->held_extra_rums = 0;
	j->attempt_guaranteed_rums = j->attempt_loan_rums = j->attempt_extra_rums = 0;
}

void stage_spend(const struct core *c, struct decision *d, int64_t t, uint32_t project, int64_t rums)
{
	const struct qnode *q = core_qnode(c, project);

	for (uint32_t i = 0; i < q->stages_n && rums > 0; i++) {
		struct stage *s;
		int64_t part;

		if (!stage_open(&q->stages[i], t))
			continue;
		s = &EDIT(c, d, RECORD_QNODE, qnode, project)->stages[i];
		part = max64(0, min64(rums, stage_left(s)));
		s->spent_rums += part;
		rums -= part;
	}
}

/* Why it ended; what does not fit is cut, and marked so. */
__attribute__((format(printf, 2, 3))) static void end_text(struct job *j, const char *fmt, ...)
{
	static const char more[] = "...";
	char all[4 * sizeof j->end_text];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(all, sizeof all, fmt, ap);
	va_end(ap);
	TEXT_SET(j->end_text, all);
	if (strlen(all) >= sizeof j->end_text) {
		text_set(j->end_text, sizeof j->end_text - (sizeof more - 1), all);
		memcpy(j->end_text + strlen(j->end_text), more, sizeof more);
	}
}

/* ---- starting ------------------------------------------------------------------------------------ */

/* Could the nodes that were not blamed hold it, were they idle? If not, a blamed one is better than none. */
static bool others_hold(const struct core *c, const struct place_ask *want)
{
	struct place_ask ask = *want;
	struct arena arena = {0};
	struct part *parts;
	uint32_t n;
	bool ok;

	ask.over = PLACE_EMPTY;
	ask.klass = CLASS_LOAN;
	ok = place(c, &ask, &arena, &parts, &n) == 0;
	arena_done(&arena);
	return ok;
}

/* It has its devices until then at most, or can be made to give them back. */
static int64_t holds_until(const struct core *c, int64_t t, const struct job_spec *s, uint8_t klass)
{
	int64_t until = t + c->cluster.bind_timeout_ms + s->time_limit_ms;

	if (klass == CLASS_LOAN)
		until = min64(until, t + s->exempt_ms + s->notice_ms + c->cluster.kill_margin_ms +
					     flavor_of(c, s->flavor)->scrub_ms_max + 1);
	return until;
}

bool job_promisable(const struct job *j)
{
	const struct job_spec *s = &j->spec;

	return !s->per_node && !s->requires_n && !s->cpus_per_task && !s->memory_mib && !s->topology &&
	       !s->reservation && !j->excluded_n;
}

void job_place_ask(const struct core *c, int64_t t, const struct job *j, uint8_t klass, struct place_ask *ask)
{
	const struct job_spec *s = &j->spec;

	*ask = (struct place_ask){
		.flavor = s->flavor,
		.shape = s->shape,
		.klass = klass,
		.units = s->units,
		.chunk = s->shape == SHAPE_GPU ? s->per_node : 0,
		.distinct = s->shape == SHAPE_GPU && s->per_node,
		.memory_mib = s->memory_mib,
		.requires = s->requires,
		.requires_n = s->requires_n,
		.excluded = j->excluded,
		.excluded_n = j->excluded_n,
		.until_ms = holds_until(c, t, s, klass),
		.reservation = s->reservation,
		.topology = s->topology,
		.topology_required = s->topology_required || t < s->topology_wait_ms + j->submit_ms,
	};
	if (c->reservations.count && !s->reservation)
		ask->magnet = reservation_magnet(c, s->project, ask->until_ms);
	if (ask->topology_required && !s->topology_required && job_waits(j))
		wake_at(&c->scratch->wake_ms, s->topology_wait_ms + j->submit_ms); /* time alone relaxes it */
	if (j->excluded_n && !others_hold(c, ask))
		ask->excluded_n = 0;
	if (s->cpus_per_task) {
		uint32_t tasks = s->tasks_per_node ? s->tasks_per_node :
				 s->tasks_per_unit ? s->tasks_per_unit * (s->per_node ? s->per_node : 1U) : 1;
		uint32_t cpus = tasks * s->cpus_per_task;

		ask->cpus = (uint16_t)(cpus < CORES_PER_NODE_MAX ? cpus : CORES_PER_NODE_MAX);
	}
}

uint16_t job_tasks(const struct job_spec *s, uint32_t units)
{
	uint32_t tasks = s->tasks_per_node ? s->tasks_per_node : s->tasks_per_unit ? s->tasks_per_unit * units : 1;

	return (uint16_t)(tasks < TASKS_PER_PART_MAX ? tasks : TASKS_PER_PART_MAX);
}

void job_tasks_fill(const struct job_spec *s, struct part *parts, uint32_t n, uint32_t rank)
{
	for (uint32_t i = 0; i < n; i++) {
		/* of a script the batch shell alone; the rest of the nodes are held for it */
		parts[i].tasks = s->mode == JOB_SCRIPT ? i == 0 : job_tasks(s, parts[i].units);
		parts[i].rank0 = rank;
		rank += parts[i].tasks;
	}
}

void job_bind(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint8_t klass, bool carried,
	      struct part *parts, uint32_t parts_n)
{
	struct job *j = EDIT(c, d, RECORD_JOB, job, id);
	struct grant_ask ask = {.owner_kind = OWNER_JOB,
				.owner = id,
				.qnode = j->spec.project,
				.klass = klass,
				.carried = carried,
				.notice_ms = j->spec.notice_ms,
				.exempt_ms = j->spec.exempt_ms,
				.limit_ms = T_NEVER};
	int64_t left;

	if (!j->held_rums) { /* a claim has held it already */
		uint32_t stage;
		int64_t hold = job_hold(c, &j->spec, klass);

		ENSURE(job_stage(c, t, j->spec.project, hold, &stage, &left) == 0);
		if (stage != UINT32_MAX) {
			EDIT(c, d, RECORD_QNODE, qnode, j->spec.project)->stages[stage].held_rums += hold;
			j->held_rums = hold;
			j->held_stage = stage;
		}
	}
	j->reserved_ms = 0;
	j->attempt++;
	j->state = JOB_BINDING;
	j->claim = 0;
	j->exit_code = 0;
	j->exit_signal = 0;
	j->end_cause = END_NONE;
	j->requeue_wanted = false;
	j->resized_ms = 0;
	ask.attempt = j->attempt;
	job_place_ask(c, t, j, klass, &ask.place);
	if (carried)
		ask.place.magnet = 0; /* it is inside of its owner's node, and of nothing else */
	job_tasks_fill(&j->spec, parts, parts_n, 0);
	j->alloc = alloc_make(c, d, t, &ask, parts, parts_n);
}

/* An array's next child: a job of its own with an id of its own. */
uint64_t job_child(const struct core *c, struct decision *d, int64_t t, uint64_t array)
{
	struct cluster *cl = edit_cluster(c, d);
	uint64_t id = cl->next_job++;
	struct job *parent = EDIT(c, d, RECORD_JOB, job, array);
	struct job *child = create(d, RECORD_JOB, id);

	*child = *parent;
	child->id = id;
	child->array = array;
	child->array_index = parent->spec.array_first + parent->array_started * parent->spec.array_step;
	child->spec.array_step = 0;
	child->spec.deps_n = 0;
	child->spec.deps = NULL;
	/* lists of its own: the parent's are freed when the parent's fact is applied */
	child->spec.requires = arena_copy(&d->arena, parent->spec.requires,
					  parent->spec.requires_n * sizeof *parent->spec.requires);
	child->excluded = arena_copy(&d->arena, parent->excluded, parent->excluded_n * sizeof *parent->excluded);
	child->array_started = child->array_live = 0;
	child->state = JOB_PENDING;
	child->end_text[0] = '\0'; /* how its siblings ended is the array's */
	parent->array_started++;
	parent->array_live++;
	if (parent->array_started > (parent->spec.array_last - parent->spec.array_first) / parent->spec.array_step)
		parent->state = JOB_RUNNING; /* nothing of it waits any more */
	(void)t;
	return id;
}

/* ---- hooks of alloc.c --------------------------------------------------------------------------- */

static struct job *job_of_attempt(const struct core *c, struct decision *d, const struct alloc *a)
{
	const struct job *j = peek(c, d, RECORD_JOB, a->owner);

	return j && j->alloc == a->id ? EDIT(c, d, RECORD_JOB, job, a->owner) : NULL;
}

/* The nodes of `a` are among those that the attempt ran on. Those of a job's own devices are different ones. */
static void ran_on(struct decision *d, struct job *j, const struct alloc *a)
{
	struct node_ref *all = arena_alloc(&d->arena, (j->ran_n + a->parts_n) * sizeof *all);
	uint32_t before = j->ran_n;

	if (before)
		memcpy(all, j->ran, before * sizeof *all);
	j->ran = all;
	for (uint32_t i = 0; i < a->parts_n && j->ran_n < PARTS_PER_ALLOC_MAX; i++) {
		bool known = false;

		for (uint32_t k = 0; k < before && !known; k++)
			known = all[k].node == a->parts[i].node;
		if (!known)
			all[j->ran_n++].node = a->parts[i].node;
	}
}

void job_started(const struct core *c, struct decision *d, int64_t t, struct alloc *a)
{
	const struct job *now = peek(c, d, RECORD_JOB, a->owner);
	struct job *j = job_of_attempt(c, d, a);

	if (a->extra && now && now->alloc && now->attempt == a->attempt)
		ran_on(d, EDIT(c, d, RECORD_JOB, job, a->owner), a);
	if (!j)
		return;
	j->ran_n = 0;
	ran_on(d, j, a);
	j->state = JOB_RUNNING;
	j->start_ms = t;
	if (!j->first_start_ms)
		j->first_start_ms = t;
	a->limit_ms = t + j->spec.time_limit_ms;
}

void job_part_exited(const struct core *c, struct decision *d, int64_t t, struct alloc *a, const struct part *p,
		     const char *text)
{
	struct job *j = job_of_attempt(c, d, a);
	bool failed = p->exit_code || p->exit_signal, all = true;

	if (a->extra)
		elastic_exited(c, d, t, a);
	if (!j)
		return;
	for (uint32_t i = 0; i < a->parts_n; i++)
		all &= a->parts[i].state == PART_EXITED || !a->parts[i].tasks;
	if (all) {
		alloc_charge(c, d, t, a->id);
		a->charged_until_ms = T_NEVER; /* cleaning up is not charged */
	}
	if (failed && !j->exit_code && !j->exit_signal) {
		const struct node *n = core_node(c, p->node);

		j->exit_code = p->exit_code;
		j->exit_signal = p->exit_signal;
		if (a->state != ALLOC_STOPPING || a->stop_cause != END_CANCEL) /* that says by whom */
			end_text(j, "%s on %.40s%s%s", p->oom ? "out of memory" : "ended", n ? n->name : "?",
				 text[0] ? ": " : p->exit_signal ? " by a signal" : "", text);
	}
	if (a->state == ALLOC_STOPPING)
		return;
	if (failed || all)
		alloc_stop(c, d, t, a->id, p->oom ? END_OOM : END_EXIT, all ? 0 : STOP_GRACE_MS, 0);
}

static void exclude(struct decision *d, struct job *j, uint32_t node)
{
	struct node_ref *more;

	for (uint32_t i = 0; i < j->excluded_n; i++)
		if (j->excluded[i].node == node)
			return;
	if (!node || j->excluded_n == EXCLUDED_NODES_MAX)
		return;
	more = arena_alloc(&d->arena, (j->excluded_n + 1) * sizeof *more);
	if (j->excluded_n)
		memcpy(more, j->excluded, j->excluded_n * sizeof *more);
	more[j->excluded_n++].node = node;
	j->excluded = more;
}

void job_bind_failed(const struct core *c, struct decision *d, int64_t t, const struct alloc *a, uint32_t node,
		     const char *text)
{
	const struct node *n = core_node(c, node);
	bool nothing_ran = a->state == ALLOC_BINDING;
	uint64_t id = a->id;

	if (a->owner_kind == OWNER_JOB) {
		struct job *j = job_of_attempt(c, d, a);

		if (j) {
			exclude(d, j, node);
			end_text(j, "%s%s%s", n ? n->name : "", n ? ": " : "", text);
		}
	} else {
		lease_bind_failed(c, d, t, a->owner, node, text);
	}
	alloc_stop(c, d, t, id, END_BIND, 0, 0);
	/* behind the barrier nothing has run, so the job need not wait for a node that may be dead: it goes
	 * back in line at once, the devices follow on evidence */
	if (nothing_ran && a->owner_kind == OWNER_JOB && !a->extra)
		job_alloc_gone(c, d, t, peek(c, d, RECORD_ALLOC, id));
}

/* It waits no longer as it did, or not at all: its place in the plan goes back, and its budget. */
static void reservation_drop(const struct core *c, struct decision *d, struct job *j)
{
	if (!j->reserved_ms)
		return;
	j->reserved_ms = 0;
	j->promised_ms = 0;
	job_settle(c, d, j, 0);
}

void job_place_lost(const struct core *c, struct decision *d, uint64_t id, int broken)
{
	struct job *j = EDIT(c, d, RECORD_JOB, job, id);

	if (j->promised_ms)
		j->promise_broken = (uint16_t)broken;
	reservation_drop(c, d, j);
}

static void trim_finished(const struct core *c, struct decision *d)
{
	uint64_t oldest = c->ended.count >= FINISHED_JOBS_MAX ? idtab_next(&c->ended, 0, NULL) : 0;

	if (oldest)
		drop(d, RECORD_JOB, oldest);
}

/* An array ends as the first of its children that did not end well, and keeps that as its end cause until the last
 * has ended: END_NONE while all went well, END_CANCEL also once the array itself was cancelled. */
static const uint8_t array_ends[] = {
	[END_NONE] = JOB_COMPLETED, [END_EXIT] = JOB_FAILED, [END_OOM] = JOB_OOM, [END_TIME] = JOB_TIMEOUT,
	[END_CANCEL] = JOB_CANCELLED, [END_DEADLINE] = JOB_DEADLINE, [END_INFRA] = JOB_NODE_FAIL,
	[END_RECALL] = JOB_PREEMPTED,
};

static void array_child_ended(struct job *parent, const struct job *child)
{
	if (child->state == JOB_COMPLETED || parent->end_cause != END_NONE)
		return;
	for (uint8_t i = 0; i < sizeof array_ends; i++)
		if (i != END_NONE && array_ends[i] && array_ends[i] == child->state)
			parent->end_cause = i;
	parent->exit_code = child->exit_code;
	parent->exit_signal = child->exit_signal;
	end_text(parent, "%" PRIu64 "_%u: %s", parent->id, child->array_index,
		 child->end_text[0] ? child->end_text : job_state_name(child->state));
}

/* One of its children that had ended is to run again: what the others ended as is what counts, as far as they are
 * known still. Costs a pass over the jobs. */
static void array_child_again(const struct core *c, struct job *parent, uint64_t again)
{
	bool all = parent->array_started > (parent->spec.array_last - parent->spec.array_first) / parent->spec.array_step;

	parent->array_live++;
	if (!all && !job_waits(parent))
		return; /* it was cancelled, with children that never started */
	parent->end_cause = END_NONE;
	parent->exit_code = parent->exit_signal = 0;
	parent->end_text[0] = '\0';
	EACH(c, jobs, job_s, child)
		if (child_it.id != again && JOB_GET(child, array) == parent->id && job_terminal(JOB_GET(child, state)))
			array_child_ended(parent, job_rec(c, child));
}

void job_end(const struct core *c, struct decision *d, int64_t t, struct job *j, uint8_t state, const char *text)
{
	reservation_drop(c, d, j);
	j->state = state;
	j->end_ms = t;
	j->alloc = 0;
	if (text)
		TEXT_SET(j->end_text, text);
	if (j->claim)
		claim_drop(c, d, t, j->claim);
	j->claim = 0;
	job_settle(c, d, j, 0);
	if (j->array) {
		const struct job *p = peek(c, d, RECORD_JOB, j->array);

		if (p) {
			struct job *parent = EDIT(c, d, RECORD_JOB, job, j->array);

			parent->array_live--;
			array_child_ended(parent, j);
			if (!parent->array_live && parent->state == JOB_RUNNING) {
				parent->state = array_ends[parent->end_cause];
				parent->end_ms = t;
			}
		}
	}
	trim_finished(c, d);
}

static void job_again(const struct core *c, struct decision *d, struct job *j, int64_t eligible_ms)
{
	job_settle(c, d, j, 0);
	j->alloc = 0;
	j->promised_ms = 0;
	j->state = JOB_PENDING;
	j->eligible_ms = eligible_ms;
	j->requeue_wanted = false;
}

/* Work thrown away with an attempt: all that was charged since its last checkpoint. Refunded up to
 * REFUND_CAP_MS when policy stopped it, in full when the infrastructure failed. Returns the refund in
 * the attempt's own price. */
static int64_t lost_work(const struct core *c, struct decision *d, int64_t t, struct job *j, const struct alloc *a,
			 bool capped)
{
	int64_t since = j->checkpoint_ms > a->start_ms ? j->checkpoint_ms : a->start_ms;
	int64_t charged = j->attempt_guaranteed_rums + j->attempt_loan_rums, lost, refund, guaranteed;
	int64_t cap = rums_of(c, a->flavor, a->shape, a->units, REFUND_CAP_MS);

	if (!a->start_ms)
		return 0;
	lost = charged - rums_of(c, a->flavor, a->shape, a->units, since - a->start_ms);
	if (lost < 0)
		lost = 0;
	refund = capped ? min64(lost, cap) : lost;
	if (capped && since == a->start_ms && charged > cap)
		refund = 0; /* it could have saved and never said so */
	j->lost_rums += lost;
	j->refunded_rums += refund;
	usage_add(c, d, t, a->qnode, j->owner, &(struct usage_row){.flavor = a->flavor, .refunded_rums = refund});
	guaranteed = min64(refund, j->attempt_guaranteed_rums); /* what was promoted came last */
	return rated(c, &j->spec, guaranteed, refund - guaranteed);
}

void job_alloc_gone(const struct core *c, struct decision *d, int64_t t, const struct alloc *a)
{
	struct job *j = job_of_attempt(c, d, a);
	uint8_t cause = a->stop_cause;
	bool failed;

	if (a->extra)
		elastic_gone(c, d, t, a);
	if (!j)
		return; /* a newer attempt has taken over */
	failed = j->exit_code || j->exit_signal;
	j->end_cause = cause;
	if (j->requeue_wanted)
		cause = END_REQUEUE;
	if (cause == END_RECALL || cause == END_DRAIN || cause == END_INFRA)
		job_settle(c, d, j, lost_work(c, d, t, j, a, cause != END_INFRA));
	if (j->spec.no_requeue && (cause == END_RECALL || cause == END_DRAIN)) {
		job_end(c, d, t, j, JOB_PREEMPTED, "recalled, and --no-requeue was asked for");
		return;
	}
	switch ((enum end_cause)cause) {
	case END_CANCEL: job_end(c, d, t, j, JOB_CANCELLED, NULL); return;
	case END_DEADLINE: job_end(c, d, t, j, JOB_DEADLINE, NULL); return;
	case END_TIME:
		if (failed || a->limit_ms <= t) {
			job_end(c, d, t, j, JOB_TIMEOUT, a->reservation && a->limit_ms > t ?
							       "its reservation ended" : "the time limit was reached");
			return;
		}
		job_end(c, d, t, j, JOB_COMPLETED, ""); /* it finished within the notice */
		return;
	case END_RECALL:
	case END_DRAIN: {
		int64_t wait = 0;

		if (cause == END_RECALL) {
			recalled_note(c, d, t, a);
			wait = cooldown_ms(c, peek(c, d, RECORD_USAGE, a->qnode), t, a, j->recalls);
			j->recalls++;
			if (a->claim)
				(void)snprintf(j->end_text, sizeof j->end_text, "recalled by claim %" PRIu64, a->claim);
			else
				TEXT_SET(j->end_text, "recalled for a reservation");
		} else {
			TEXT_SET(j->end_text, "its node was drained");
		}
		job_again(c, d, j, wait ? t + wait : 0);
		return;
	}
	case END_BIND: {
		int64_t wait = BIND_BACKOFF_MS << (j->infra_retries < 8 ? j->infra_retries : 8);

		j->infra_retries++;
		job_again(c, d, j, t + wait);
		return;
	}
	case END_INFRA:
		j->infra_retries++;
		if (j->infra_retries > j->spec.retries_infra || j->spec.no_requeue)
			job_end(c, d, t, j, JOB_NODE_FAIL, NULL);
		else
			job_again(c, d, j, 0);
		return;
	case END_REQUEUE: job_again(c, d, j, 0); return;
	case END_NONE:
	case END_EXIT:
	case END_OOM: break;
	}
	if (failed && j->user_retries < j->spec.retries_user) {
		j->user_retries++;
		job_again(c, d, j, 0);
		return;
	}
	job_end(c, d, t, j, cause == END_OOM ? JOB_OOM : failed ? JOB_FAILED : JOB_COMPLETED, failed ? NULL : "");
}

void job_lost(const struct core *c, struct decision *d, int64_t t, uint64_t id, const char *node)
{
	struct job *j = EDIT(c, d, RECORD_JOB, job, id);
	uint64_t alloc = j->alloc;

	/* the old attempt keeps its devices until there is evidence; a new one may start elsewhere, unless
	 * it was being stopped for good already */
	alloc_stop(c, d, t, alloc, END_INFRA, 0, 0);
	(void)snprintf(j->end_text, sizeof j->end_text, "node %.60s was lost", node);
	job_alloc_gone(c, d, t, peek(c, d, RECORD_ALLOC, alloc));
}

/* The instant has passed: a new one is found by the scheduler. A promise that is broken says why. */
static void reservation_late(const struct core *c, int64_t t, struct decision *d, struct job *j)
{
	if (j->promised_ms)
		j->promise_broken = (uint16_t)sched_broken_cause(c, t, j);
	reservation_drop(c, d, j);
}

bool tick_job_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id)
{
	const struct job *j = core_job(c, id);

	if (j->spec.deadline_ms && j->spec.deadline_ms - j->spec.time_limit_ms < t)
		job_end(c, d, t, EDIT(c, d, RECORD_JOB, job, id), JOB_DEADLINE,
			"it could no longer end before its deadline");
	else if (j->state == JOB_PENDING && j->reserved_ms && (!j->eligible_ms || j->eligible_ms > t))
		reservation_late(c, t, d, EDIT(c, d, RECORD_JOB, job, id));
	else
		EDIT(c, d, RECORD_JOB, job, id)->eligible_ms = 0;
	return true;
}

/* ---- commands ------------------------------------------------------------------------------------- */

bool member_of(const struct core *c, uint32_t principal, uint32_t qnode)
{
	const struct principal *p = core_principal(c, principal);
	const struct qnode *q = core_qnode(c, qnode);

	if (!p || !q)
		return false;
	if (!strcmp(q->pi, p->name) && q->pi[0])
		return true;
	for (uint32_t i = 0; i < q->members_n; i++)
		if (!strcmp(q->members[i].name, p->name))
			return true;
	return false;
}

static void flavors_listed(const struct core *c, char *out, size_t n)
{
	size_t used = 0;

	out[0] = '\0';
	for (int i = 1; i <= FLAVORS_MAX; i++)
		if (c->flavor[i] && !c->flavor[i]->r.retired) {
			text_set(out + used, n - used, used ? ", " : "");
			used += strlen(out + used);
			text_set(out + used, n - used, c->flavor[i]->r.name);
			used += strlen(out + used);
		}
}

int flavor_find(const struct core *c, const char *name, uint16_t *ret, struct err *err)
{
	char known[ERR_HINT_BYTES - 32];

	for (uint16_t i = 1; i <= FLAVORS_MAX; i++)
		if (c->flavor[i] && !c->flavor[i]->r.retired && !strcmp(c->flavor[i]->r.name, name)) {
			*ret = i;
			return 0;
		}
	flavors_listed(c, known, sizeof known);
	err_set(err, ERR_NOTFOUND, "there is no flavor '%s'", name);
	err_hint(err, "flavors here: %s", known[0] ? known : "none; apply a division first");
	return err_reason(err, REASON_UNKNOWN);
}

/* The most that could ever be guaranteed at `leaf` (nothing else in use), and used at all. */
void quota_most(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t *ret_cover,
		int64_t *ret_all)
{
	const struct quota_tree *t = tree_of(c, flavor, shape);
	int64_t cover = 0, limit = QTY_UNLIMITED;

	*ret_cover = *ret_all = 0;
	if (!t)
		return;
	for (uint32_t i = qnode_of(c, leaf)->at;; i = t->parent[i]) {
		int64_t own = t->cell[i].own;

		/* what is taken here must have come up within the borrowing limits below */
		cover += own < limit ? own : limit;
		if (limit != QTY_UNLIMITED)
			limit -= own < limit ? own : limit;
		if (!i)
			break;
		if (t->cell[i].borrowing_firm < limit)
			limit = t->cell[i].borrowing_firm;
	}
	*ret_cover = cover;
	{
		struct quota_tree empty = *t;
		struct quota_cell *cell = xmalloc(t->nodes_n * sizeof *cell);

		memcpy(cell, t->cell, t->nodes_n * sizeof *cell);
		for (uint32_t i = 0; i < t->nodes_n; i++) {
			cell[i].usage_at = cell[i].guaranteed_at = 0;
			cell[i].borrowing = cell[i].borrowing_most; /* a window may open */
		}
		empty.cell = cell;
		quota_rebuild(&empty);
		*ret_all = quota_headroom(&empty, qnode_of(c, leaf)->at);
		free(cell);
	}
}

/* A group of the required level could be too small, however many nodes there are: 0, or ERR_NEVER. */
static int group_installed(const struct core *c, struct decision *d, const struct place_ask *want, struct err *err)
{
	struct place_ask ask = *want;
	const char *group = topology_name(ask.topology), *what = ask.shape == SHAPE_NODE ? "whole nodes" : "devices";
	uint64_t most = 0;
	struct part *parts;
	uint32_t n;

	ask.over = PLACE_EMPTY;
	ask.klass = CLASS_LOAN;
	ask.excluded_n = 0;
	ask.topology_required = true;
	ask.ret_largest = &most;
	if (place(c, &ask, &d->arena, &parts, &n) == 0)
		return 0;
	ask.topology_required = false;
	ask.ret_largest = NULL;
	if (place(c, &ask, &d->arena, &parts, &n) != 0)
		return 0; /* not all that is promised has joined: shape_installed() judges */
	err_set(err, ERR_NEVER, "no %s has %u %s of %s: the largest has %" PRIu64, group, ask.units, what,
		flavor_of(c, ask.flavor)->name, most);
	err_hint(err, most ? "--topology preferred=%s" :
			     "--topology preferred=%s; nodes say where they are by the label '%s'", group, group);
	return err_reason(err, REASON_SHAPE);
}

/* A node has joined that has the cores and memory asked for of each; as long as none of the flavor has, all is
 * possible. ERR_NEVER else. O(nodes). */
static int node_installed(const struct core *c, const struct place_ask *ask, struct err *err)
{
	const struct flavor *f = flavor_of(c, ask->flavor);
	uint32_t cpus = f->unit == UNIT_DEVICE ? ask->cpus : 0, cpus_most = 0, memory_most = 0;
	bool known = false, suits = false;

	if (!cpus && !ask->memory_mib)
		return 0;
	EACH(c, nodes, node_s, n) {
		if ((!node_seat(n, ask->flavor) && !(f->unit == UNIT_CORE && node_is_cpu(n))) || !n->r.cores_n)
			continue;
		known = true;
		suits |= n->cores_usable_n >= cpus && node_memory_mib(&n->r) >= ask->memory_mib;
		cpus_most = n->cores_usable_n > cpus_most ? n->cores_usable_n : cpus_most;
		memory_most = node_memory_mib(&n->r) > memory_most ? node_memory_mib(&n->r) : memory_most;
	}
	if (!known || suits)
		return 0;
	if (cpus > cpus_most)
		err_set(err, ERR_NEVER, "no node of %s has the cores asked for of each: the most is %u", f->name, cpus_most);
	else
		err_set(err, ERR_NEVER, "no node of %s has %u MiB of memory%s: the most is %u", f->name, ask->memory_mib,
			cpus ? " beside the cores" : "", memory_most);
	err_hint(err, "up to %u cores and %u MiB of a node", cpus_most, memory_most);
	return err_reason(err, REASON_SHAPE);
}

int shape_installed(const struct core *c, struct decision *d, const struct place_ask *want, struct err *err)
{
	struct place_ask ask = *want;
	const struct flavor *f = flavor_of(c, ask.flavor);
	struct part *parts;
	uint32_t n;
	int64_t committed = ask.shape == SHAPE_NODE ? (int64_t)f->committed_nodes :
						      (int64_t)f->committed_nodes * f->devices_per_node +
							      f->committed_units;
	int rc = node_installed(c, want, err);

	if (rc)
		return rc;
	/* nodes that are promised but have not joined yet may still bring it */
	if (ask.units <= committed && (f->unit == UNIT_CORE || ask.shape == SHAPE_NODE ||
				       (ask.chunk <= f->devices_per_node && !ask.requires_n)))
		return 0;
	ask.over = PLACE_EMPTY;
	ask.klass = CLASS_LOAN;
	ask.excluded_n = 0;
	ask.topology_required = false;
	if (place(c, &ask, &d->arena, &parts, &n) == 0)
		return 0;
	if (ask.requires_n) {
		err_set(err, ERR_NEVER, "no node of %s carries all that is required", f->name);
		err_hint(err, "sluisctl node show NODE shows the labels");
		return err_reason(err, REASON_NO_ATTESTED);
	}
	if (ask.shape == SHAPE_GPU && ask.chunk > f->devices_per_node && ask.units <= committed) {
		err_set(err, ERR_NEVER, "%u devices of %s on one node: a node has %u", ask.chunk, f->name,
			f->devices_per_node);
		err_hint(err, "at most %u of a node, or more nodes: --nodes N --gpus-per-node M", f->devices_per_node);
		return err_reason(err, REASON_SHAPE);
	}
	err_set(err, ERR_NEVER, "%u %s of %s is more than is installed", ask.units,
		ask.shape == SHAPE_NODE ? "whole nodes" : "devices", f->name);
	err_hint(err, "installed: sluisctl node list");
	return err_reason(err, REASON_SHAPE);
}

static int submit_check(const struct core *c, int64_t t, struct decision *d, const struct job *j, struct err *err)
{
	const struct job_spec *s = &j->spec;
	const struct qnode_s *q = qnode_of(c, s->project);
	struct place_ask ask;
	int64_t cover, all, nodes, left, hold;
	uint32_t stage;
	int rc;

	if (q->r.kind != QNODE_PROJECT) {
		err_set(err, ERR_INVAL, "'%s' is not a project", q->r.name);
		return err_hint(err, "jobs belong to projects: sluisctl project list");
	}
	if (!s->units)
		return err_set(err, ERR_RANGE, "a job needs at least one device or node");
	if (s->units > (uint32_t)PARTS_PER_ALLOC_MAX * DEVICES_PER_NODE_MAX) {
		err_set(err, ERR_NEVER, "%u are never in one job", s->units);
		err_hint(err, "1 to %d", PARTS_PER_ALLOC_MAX * DEVICES_PER_NODE_MAX);
		return err_reason(err, REASON_SHAPE);
	}
	if (s->shape >= SHAPE_COUNT || s->klass > JOB_URGENT || s->loan > LOAN_ONLY || s->mode > JOB_COMMAND)
		return err_set(err, ERR_INVAL, "unknown shape, class, loan or mode");
	if (s->time_limit_ms <= 0 || s->time_limit_ms > SPAN_MAX_MS)
		return err_set(err, ERR_RANGE, "the time limit must be positive");
	if (q->r.time_ms_max && s->time_limit_ms > q->r.time_ms_max) {
		err_set(err, ERR_NEVER, "the time limit is over the project's %" PRId64 " h",
			q->r.time_ms_max / MS_PER_HOUR);
		err_hint(err, "--time %" PRId64 "h", q->r.time_ms_max / MS_PER_HOUR);
		return err_reason(err, REASON_TIME_LIMIT);
	}
	if (s->topology_wait_ms < 0 || s->topology_wait_ms > SPAN_MAX_MS || s->notice_ms < 0 || s->exempt_ms < 0 || s->begin_ms < 0 || s->signal_ms < 0 || s->deadline_ms < 0 ||
	    s->notice_ms > SPAN_MAX_MS || s->exempt_ms > SPAN_MAX_MS || s->signal_ms > SPAN_MAX_MS ||
	    s->begin_ms > INSTANT_MAX_MS || s->deadline_ms > INSTANT_MAX_MS)
		return err_set(err, ERR_RANGE, "times must not be negative, nor beyond all bounds");
	if (s->topology > TOPOLOGY_POD || (s->topology == TOPOLOGY_ANY && (s->topology_required || s->topology_wait_ms)) ||
	    (s->topology_required && s->topology_wait_ms)) {
		err_set(err, ERR_INVAL, "required, or preferred for a time, of a leaf or a pod: not both");
		return err_hint(err, "--topology required=leaf, or --topology preferred=leaf@10m");
	}
	if (s->per_node && s->units % s->per_node)
		return err_set(err, ERR_INVAL, "%u devices do not divide into %u per node", s->units, s->per_node);
	if (s->array_step && (s->array_last < s->array_first || s->array_last - s->array_first >= ARRAY_MAX))
		return err_set(err, ERR_RANGE, "an array has 1 to %d children", ARRAY_MAX);
	if (s->deadline_ms && t + s->time_limit_ms > s->deadline_ms) {
		err_set(err, ERR_NEVER, "it could not end before its deadline even if it started now");
		if (s->deadline_ms - t < MS_PER_MIN)
			err_hint(err, "a later --deadline");
		else
			err_hint(err, "--time %" PRId64 "m at most, or a later --deadline", (s->deadline_ms - t) / MS_PER_MIN);
		return err_reason(err, REASON_DEADLINE);
	}
	for (uint32_t i = 0; i < s->deps_n; i++) {
		const struct job *o = s->deps[i].type == DEP_SINGLETON ? NULL : core_job(c, s->deps[i].job);
		bool done = o && o->state == JOB_COMPLETED;

		if (s->deps[i].type == DEP_SINGLETON)
			continue;
		if (!o) {
			err_set(err, ERR_NEVER, "it depends on job %" PRIu64 ", which is not known", s->deps[i].job);
			err_hint(err, "sluisctl queue --all");
			return err_reason(err, REASON_DEPENDENCY_NEVER);
		}
		if (!j->id && job_terminal(o->state) && ((s->deps[i].type == DEP_AFTEROK && !done) ||
							 (s->deps[i].type == DEP_AFTERNOTOK && done))) {
			err_set(err, ERR_NEVER, "job %" PRIu64 " %s: %s:%" PRIu64 " can never be met", o->id,
				done ? "ended well" : job_state_name(o->state), dep_type_name(s->deps[i].type), o->id);
			err_hint(err, "sluisctl explain %" PRIu64 "; or --dependency afterany:%" PRIu64, o->id, o->id);
			return err_reason(err, REASON_DEPENDENCY_NEVER);
		}
	}
	if (!j->id && q->r.pending_jobs_max && q->pending >= q->r.pending_jobs_max) {
		err_set(err, ERR_NOROOM, "%s has %u jobs waiting, its limit", q->r.name, q->pending);
		return err_reason(err, REASON_JOB_LIMIT);
	}
	job_place_ask(c, t, j, CLASS_LOAN, &ask);
	rc = shape_installed(c, d, &ask, err);
	if (!rc && s->topology_required)
		rc = group_installed(c, d, &ask, err);
	if (rc)
		return rc;
	quota_most(c, s->project, s->flavor, SHAPE_NODE, &nodes, &all);
	quota_most(c, s->project, s->flavor, s->shape, &cover, &all);
	if (nodes > 0 && carrier_suits(c, s))
		cover = max64(cover, flavor_of(c, s->flavor)->devices_per_node);
	if ((s->loan == LOAN_NEVER ? cover : all > cover ? all : cover) < s->units) {
		if (s->loan == LOAN_NEVER)
			err_set(err, ERR_NEVER, "%u is more than %s can ever have without a loan: %" PRId64, s->units, q->r.name,
				cover);
		else
			err_set(err, ERR_NEVER, "%u is more than %s can ever have: %" PRId64 ", on loan included", s->units,
				q->r.name, max64(cover, all));
		err_hint(err, s->loan == LOAN_NEVER && all >= s->units ? "--loan ok: %" PRId64 " with loans" :
									 "ask for at most %" PRId64,
			 s->loan == LOAN_NEVER && all >= s->units ? all : cover > all ? cover : all);
		if (s->shape == SHAPE_GPU && nodes > 0) /* each shape has a quota of its own */
			err_hint(err, "its quota is of whole nodes, up to %" PRId64 ": --nodes N, or devices of one node", nodes);
		quota_most(c, s->project, s->flavor, SHAPE_GPU, &cover, &all);
		if (s->shape == SHAPE_NODE && cover > 0)
			err_hint(err, "its quota is of single devices, up to %" PRId64 ": --gpus N, or --nodes N --gpus-per-node M", cover);
		return err_reason(err, REASON_OVER_LIMIT);
	}
	hold = job_hold(c, s, s->loan == LOAN_ONLY ? CLASS_LOAN : CLASS_GUARANTEED);
	if (q->r.stages_n && job_stage(c, t, s->project, hold, &stage, &left)) {
		bool ever = false;

		for (uint32_t i = 0; i < q->r.stages_n; i++)
			ever |= q->r.stages[i].amount_rums >= hold;
		if (!ever || job_stage(c, t, s->project, hold, &stage, &left) == REASON_HOLD_TOO_LARGE) {
			err_set(err, ERR_BUDGET,
				"the budget does not cover it: it needs %" PRId64 ".%" PRId64
				" GPU-hours, %" PRId64 ".%" PRId64 " are left",
				hold / MS_PER_HOUR, hold % MS_PER_HOUR * 10 / MS_PER_HOUR, left / MS_PER_HOUR,
				left % MS_PER_HOUR * 10 / MS_PER_HOUR);
			err_hint(err, "a shorter --time, or the next stage: sluisctl project show %s", q->r.name);
			return err_reason(err, REASON_HOLD_TOO_LARGE);
		}
	}
	if (s->loan == LOAN_ONLY) {
		struct job draft = {.spec = *s};

		rc = loan_ever_in_time(c, s->project, s->flavor, s->shape, s->units, job_back_ms(c, &draft), err);
		if (rc)
			return rc;
	}
	return 0;
}

static int decide_submit(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			 struct err *err)
{
	const struct cmd_job_submit *s = &cmd->job_submit;
	const struct principal *p = core_principal(c, cmd->principal);
	struct cluster *cl;
	struct job draft = {.spec = s->spec}, *j;
	uint32_t stage;
	int rc = core_qnode_find(c, s->project, &draft.spec.project, err);

	if (rc)
		return rc;
	rc = flavor_find(c, s->flavor, &draft.spec.flavor, err);
	if (rc)
		return rc;
	if (p->role != ROLE_ADMIN && !member_of(c, cmd->principal, draft.spec.project)) {
		err_set(err, ERR_DENIED, "%s is not a member of %s", p->name, s->project);
		return err_hint(err, "ask its PI (%s)", core_qnode(c, draft.spec.project)->pi);
	}
	if (core_qnode(c, draft.spec.project)->frozen) {
		err_set(err, ERR_POLICY, "%s is frozen", s->project);
		return err_reason(err, REASON_FROZEN);
	}
	if (!draft.spec.time_limit_ms)
		draft.spec.time_limit_ms = or_else(c->cluster.defaults.job_time_ms, c->cluster.job_time_ms);
	if (!draft.spec.notice_ms)
		draft.spec.notice_ms = min64(or_else(c->cluster.defaults.job_notice_ms, c->cluster.notice_ms),
					     draft.spec.time_limit_ms / 2);
	if (draft.spec.units_max < draft.spec.units)
		draft.spec.units_max = draft.spec.units;
	if (c->cluster.slurm_env != SLURM_ENV_COMPAT)
		draft.spec.slurm_env = c->cluster.slurm_env == SLURM_ENV_ALWAYS;
	draft.owner = cmd->principal;
	draft.spec.reservation = 0;
	if (s->reservation[0]) {
		rc = reservation_for_job(c, s->reservation, &draft, &draft.spec.reservation, err);
		if (rc == ERR_DENIED) /* the person may well be a member, with another project */
			err_set(err, ERR_DENIED, "reservation %s is for neither %s nor project %s", s->reservation, p->name,
				core_qnode(c, draft.spec.project)->name);
		if (rc)
			return rc;
	}
	rc = submit_check(c, t, d, &draft, err);
	if (rc)
		return rc;
	cl = edit_cluster(c, d);
	j = create(d, RECORD_JOB, cl->next_job);
	*j = draft;
	j->id = cl->next_job++;
	j->submit_seq = cl->next_submit++;
	j->submit_ms = t;
	j->owner = cmd->principal;
	TEXT_SET(j->user, p->role == ROLE_ADMIN && s->user[0] ? s->user : p->name);
	j->state = s->spec.hold ? JOB_HELD : JOB_PENDING;
	if (s->spec.begin_ms > t)
		j->eligible_ms = s->spec.begin_ms;
	d->result.id = j->id;
	d->result.hold_rums = job_hold(c, &j->spec, CLASS_GUARANTEED);
	(void)job_stage(c, t, j->spec.project, d->result.hold_rums, &stage, &d->result.left_rums);
	if (!core_qnode(c, j->spec.project)->stages_n)
		d->result.left_rums = -1;
	d->result.state = j->state;
	core_qnode_path(c, j->spec.project, d->result.text);
	return 0;
}

/* `by` wants it so: said also of a job that waits, and of one that an earlier attempt left with a text. */
static void cancelled_by(const struct core *c, struct job *e, uint32_t by)
{
	const struct principal *p = core_principal(c, by);

	end_text(e, "cancelled by %s", p ? p->name : "?");
}

static void cancel_one(const struct core *c, struct decision *d, int64_t t, uint64_t id, bool now, uint32_t by)
{
	const struct job *j = peek(c, d, RECORD_JOB, id);
	struct job *e;

	if (!j || job_terminal(j->state))
		return;
	e = EDIT(c, d, RECORD_JOB, job, id);
	cancelled_by(c, e, by);
	if (e->alloc && peek(c, d, RECORD_ALLOC, e->alloc)) {
		e->requeue_wanted = false;
		alloc_stop(c, d, t, e->alloc, END_CANCEL, now ? 0 : min64(e->spec.notice_ms, 30 * MS_PER_S), 0);
		return;
	}
	e->end_cause = END_CANCEL;
	job_end(c, d, t, e, JOB_CANCELLED, NULL);
}

static int decide_cancel(const struct core *c, int64_t t, const struct command *cmd, struct decision *d)
{
	const struct job *j = core_job(c, cmd->job_control.job);

	if (j->spec.array_step) {
		struct job *array = EDIT(c, d, RECORD_JOB, job, j->id);

		array->end_cause = END_CANCEL; /* whichever child ends it */
		cancelled_by(c, array, cmd->principal);
		EACH(c, jobs, job_s, child)
			if (JOB_GET(child, array) == j->id)
				cancel_one(c, d, t, JOB_GET(child, id), cmd->job_control.now, cmd->principal);
		if (!job_terminal(((const struct job *)peek(c, d, RECORD_JOB, j->id))->state)) {
			struct job *parent = EDIT(c, d, RECORD_JOB, job, j->id);

			if (parent->array_live) { /* children still stopping: it ends with the last */
				parent->state = JOB_RUNNING;
			} else {
				job_end(c, d, t, parent, JOB_CANCELLED, NULL);
			}
		}
	} else {
		cancel_one(c, d, t, j->id, cmd->job_control.now, cmd->principal);
	}
	if (cmd->job_control.reason[0])
		TEXT_SET(EDIT(c, d, RECORD_JOB, job, j->id)->end_text, cmd->job_control.reason);
	return 0;
}

static int decide_update(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			 struct err *err)
{
	const struct cmd_job_update *u = &cmd->job_update;
	const struct job *old = core_job(c, u->job);
	const struct qnode *q = core_qnode(c, old->spec.project);
	uint64_t other = 0;
	struct job *j;

	if (job_terminal(old->state))
		return err_set(err, ERR_STATE, "job %" PRIu64 " has ended", u->job);
	if (!job_waits(old) && (u->klass_plus1 || u->loan_plus1)) {
		err_set(err, ERR_STATE, "job %" PRIu64 " is running: class and loan are settled", u->job);
		return err_hint(err, "sluisctl job requeue %" PRIu64 " first", u->job);
	}
	j = EDIT(c, d, RECORD_JOB, job, u->job);
	if (job_waits(old))
		reservation_drop(c, d, j); /* what was promised was promised to another job */
	if (u->klass_plus1)
		j->spec.klass = (uint8_t)(u->klass_plus1 - 1);
	if (u->loan_plus1)
		j->spec.loan = (uint8_t)(u->loan_plus1 - 1);
	if (u->deadline_ms)
		j->spec.deadline_ms = u->deadline_ms;
	if (u->name[0])
		TEXT_SET(j->spec.name, u->name);
	if (u->reservation[0]) {
		int rc;

		if (!job_waits(old)) {
			err_set(err, ERR_STATE, "job %" PRIu64 " is running: where is settled", u->job);
			return err_hint(err, "sluisctl job requeue %" PRIu64 " first", u->job);
		}
		rc = reservation_for_job(c, u->reservation, j, &j->spec.reservation, err);
		if (rc)
			return rc;
	}
	if (u->time_limit_ms) {
		const struct alloc *a = core_alloc(c, old->alloc);

		if (u->time_limit_ms < 0 || u->time_limit_ms > SPAN_MAX_MS)
			return err_set(err, ERR_RANGE, "the time limit must be positive");
		if (q->time_ms_max && u->time_limit_ms > q->time_ms_max) {
			err_set(err, ERR_NEVER, "the time limit is over the project's %" PRId64 " h",
				q->time_ms_max / MS_PER_HOUR);
			return err_reason(err, REASON_TIME_LIMIT);
		}
		if (a && a->start_ms && a->start_ms + u->time_limit_ms <= t)
			return err_set(err, ERR_RANGE, "it has run longer than that already");
		if (a && a->klass == CLASS_GUARANTEED && a->state != ALLOC_STOPPING &&
		    u->time_limit_ms > j->spec.time_limit_ms) {
			const struct reservation *r =
				reservation_blocks(c, a, (a->start_ms ? a->start_ms : a->bind_by_ms) + u->time_limit_ms);

			if (r) {
				err_set(err, ERR_CONFLICT, "reservation %" PRIu64 " (%.32s) has its devices then", r->id,
					r->spec.name);
				err_hint(err, "sluisctl reservation show %" PRIu64, r->id);
				return err_reason(err, r->spec.maint ? REASON_MAINTENANCE : REASON_RESERVED);
			}
		}
		if (a && a->klass == CLASS_GUARANTEED && u->time_limit_ms > old->spec.time_limit_ms &&
		    !plan_may_last(c, t, a, u->time_limit_ms - old->spec.time_limit_ms, &other)) {
			err_set(err, ERR_POLICY, "job %" PRIu64 " was promised its start before then", other);
			err_hint(err, "sluisctl explain %" PRIu64, other);
			return err_reason(err, REASON_WOULD_DELAY);
		}
		j->spec.time_limit_ms = u->time_limit_ms;
		if (j->held_rums) { /* the hold follows the limit; a claim has one already */
			struct qnode *e = EDIT(c, d, RECORD_QNODE, qnode, j->spec.project);
			int64_t hold = job_hold(c, &j->spec, a ? a->klass : CLASS_GUARANTEED), more = hold - j->held_rums;
			struct stage *s = &e->stages[j->held_stage];

			if (more > stage_left(s)) {
				err_set(err, ERR_BUDGET, "the stage does not cover the longer time");
				return err_reason(err, REASON_HOLD_TOO_LARGE);
			}
			s->held_rums += more;
			j->held_rums = hold;
		}
		if (a && a->state == ALLOC_ACTIVE) {
			EDIT(c, d, RECORD_ALLOC, alloc, a->id)->limit_ms = a->start_ms + u->time_limit_ms;
			if (elastic_limit(c, d, j, a->start_ms + u->time_limit_ms, err))
				return err->code;
		}
	}
	if (job_waits(old))
		return submit_check(c, t, d, j, err);
	return 0;
}

int decide_job(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	uint64_t id = cmd->type == CMD_JOB_UPDATE	? cmd->job_update.job :
		      cmd->type == CMD_JOB_CHECKPOINTED ? cmd->job_checkpointed.job :
							  cmd->job_control.job;
	const struct job *j;
	struct job *e;

	if (cmd->type == CMD_JOB_SUBMIT)
		return decide_submit(c, t, cmd, d, err);
	j = core_job(c, id);
	ENSURE(j); /* the authority check has found it */
	d->result.id = id;
	switch ((enum command_type)cmd->type) {
	case CMD_JOB_CANCEL:
		if (job_terminal(j->state)) { /* cancelling what has ended is no error, as in Slurm; the answer says it */
			d->result.state = j->state;
			return 0;
		}
		return decide_cancel(c, t, cmd, d);
	case CMD_JOB_HOLD:
		if (j->state != JOB_PENDING)
			return err_set(err, ERR_STATE, "job %" PRIu64 " is not waiting", id);
		e = EDIT(c, d, RECORD_JOB, job, id);
		reservation_drop(c, d, e);
		e->state = JOB_HELD;
		e->admin_hold = core_principal(c, cmd->principal)->role == ROLE_ADMIN &&
				j->owner != cmd->principal;
		return 0;
	case CMD_JOB_RELEASE:
		if (j->state != JOB_HELD)
			return err_set(err, ERR_STATE, "job %" PRIu64 " is not held", id);
		if (j->admin_hold && core_principal(c, cmd->principal)->role != ROLE_ADMIN)
			return err_set(err, ERR_DENIED, "an admin holds job %" PRIu64, id);
		e = EDIT(c, d, RECORD_JOB, job, id);
		e->state = JOB_PENDING;
		e->admin_hold = false;
		return 0;
	case CMD_JOB_REQUEUE:
		if (job_waits(j))
			return 0;
		if (j->spec.array_step) {
			err_set(err, ERR_STATE, "job %" PRIu64 " is an array", id);
			return err_hint(err, "requeue the children that should run again");
		}
		if (job_terminal(j->state)) {
			e = EDIT(c, d, RECORD_JOB, job, id);
			e->state = JOB_PENDING;
			e->end_ms = 0;
			e->promised_ms = 0; /* that was another start */
			if (j->array && core_job(c, j->array)) { /* its array ends once more */
				struct job *parent = EDIT(c, d, RECORD_JOB, job, j->array);

				array_child_again(c, parent, id);
				if (job_terminal(parent->state))
					parent->state = JOB_RUNNING;
			}
			return 0;
		}
		if (!j->alloc)
			return err_set(err, ERR_STATE, "job %" PRIu64 " has nothing running", id);
		EDIT(c, d, RECORD_JOB, job, id)->requeue_wanted = true;
		alloc_stop(c, d, t, j->alloc, END_REQUEUE, min64(j->spec.notice_ms, 30 * MS_PER_S), 0);
		return 0;
	case CMD_JOB_UPDATE: return decide_update(c, t, cmd, d, err);
	case CMD_JOB_CHECKPOINTED:
		if (job_terminal(j->state) || !j->alloc)
			return err_set(err, ERR_STATE, "job %" PRIu64 " is not running", id);
		e = EDIT(c, d, RECORD_JOB, job, id);
		e->checkpoint_ms = t;
		e->checkpoint_step = cmd->job_checkpointed.step;
		return 0;
	default: UNREACHABLE();
	}
}
