/* test_core_plan.c - a promised start is kept
 *
 * Whoever is told "by noon" plans his day on it. So: whatever jobs, leases, recalls, cancellations, extensions
 * and reservations do around it, a job starts no later than it was promised, as long as no hardware is lost and
 * nobody forces a maintenance; and then the promise says so. Beside the profiles stands a naive sum over the records.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/state.h"
#include "proto/base/prng.h"
#include "tests/lib/core_world.h"

#define HOUR MS_PER_HOUR
#define MIN MS_PER_MIN
enum { RUNS = 1000 /* or as RUNS in the environment says */, EVENTS = 40, JOBS_SEEN = 256 };

/* ---- what the plan must never exceed, summed from the records alone ---------------------------------------- */

static int64_t until(const struct core *c, const struct alloc *a)
{
	if (a->state == ALLOC_STOPPING)
		return a->stop_at_ms;
	if (a->state == ALLOC_BINDING)
		return a->bind_by_ms + core_job(c, a->owner)->spec.time_limit_ms;
	return a->limit_ms;
}

/* Is it counted with an older one on the same node, which is taken as a whole? */
static bool beside(const struct core *c, const struct alloc *a, int64_t at)
{
	for (uint64_t id = 0; a->carried && (id = core_next_id(c, RECORD_ALLOC, id)) != 0 && id < a->id;) {
		const struct alloc *o = core_alloc(c, id);

		if (o->carried && o->parts->node == a->parts->node && until(c, o) > at)
			return true;
	}
	return false;
}

/* Units that guaranteed work of the project holds, and reservations of its jobs keep, at `at`. */
static int64_t taken(const struct core *c, uint32_t project, int64_t at)
{
	int64_t units = 0, margin = plan_margin(c, 1);

	for (uint64_t id = 0; (id = core_next_id(c, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(c, id);

		if (a->qnode == project && a->klass == CLASS_GUARANTEED && until(c, a) + margin > at)
			units += !a->carried ? alloc_units(a) : !beside(c, a, at - margin);
	}
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_CLAIM, id)) != 0;) {
		const struct claim *m = core_claim(c, id);

		if (m->qnode == project && m->klass == CLASS_GUARANTEED && m->owner_kind == OWNER_JOB)
			units += m->deadline_ms + c->cluster.bind_timeout_ms +
						 core_job(c, m->owner)->spec.time_limit_ms + margin > at ?
					 m->units :
					 0;
	}
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_JOB, id)) != 0;) {
		const struct job *j = core_job(c, id);

		if (j->spec.project == project && j->state == JOB_PENDING && j->reserved_ms && j->reserved_ms <= at &&
		    at < j->reserved_ms + plan_span(c, &j->spec, true) + margin)
			units += j->spec.units;
	}
	return units;
}

/* Instants at which it may rise are the starts of reservations. */
static void nothing_is_promised_twice(const struct core_world *w, uint32_t project, int64_t own)
{
	assert_true(taken(w->core, project, w->t) <= own);
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_JOB, id)) != 0;) {
		const struct job *j = core_job(w->core, id);

		if (j->state == JOB_PENDING && j->reserved_ms >= w->t)
			assert_true(taken(w->core, project, j->reserved_ms) <= own);
	}
}

/* ---- promises are watched ------------------------------------------------------------------------------------- */

struct watch {
	int64_t promised[JOBS_SEEN]; /* by job id */
	uint32_t attempt[JOBS_SEEN];
	uint32_t given, kept, early, broken; /* broken: by a forced maintenance, which says so */
	uint32_t calendar;                   /* windows that came into the calendar, and went around promises */
	uint32_t extended, kept_from;        /* leases that got a later end, or not, for a promise */
	bool forced;                         /* maintenance may be forced in this run */
	bool whole;                          /* lung has whole nodes */
};

static void watch(struct core_world *w, struct watch *seen)
{
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_JOB, id)) != 0;) {
		const struct job *j = core_job(w->core, id);
		int64_t *promised;

		assert_true(id < JOBS_SEEN);
		promised = &seen->promised[id];
		if (*promised && j->promise_broken && j->state == JOB_PENDING &&
		    (!j->promised_ms || j->promised_ms > *promised)) { /* at once a later one, if there is any */
			assert_true(seen->forced && j->promise_broken == REASON_MAINTENANCE);
			seen->broken++;
			*promised = 0;
		}
		assert_true(seen->forced || !j->promise_broken);
		if (j->attempt != seen->attempt[id] && j->state == JOB_PENDING)
			*promised = 0; /* it started, and was recalled */
		seen->attempt[id] = j->attempt;
		if (j->state == JOB_BINDING || j->state == JOB_RUNNING) {
			const struct alloc *a = core_alloc(w->core, j->alloc);

			if (*promised) {
				assert_true(a->created_ms <= *promised);
				seen->kept++;
				seen->early += a->created_ms < *promised;
			}
			*promised = 0;
		} else if (j->state != JOB_PENDING && j->state != JOB_EARMARKED) {
			*promised = 0; /* cancelled, held */
		} else if (!j->promised_ms) {
			*promised = 0; /* withdrawn with what its owner changed */
		} else {
			/* never later than it was told */
			assert_true(!*promised || j->promised_ms <= *promised);
			assert_true(j->promised_ms >= w->t);
			seen->given += !*promised;
			*promised = j->promised_ms;
		}
	}
}

static uint64_t any_job(struct core_world *w, struct prng *prng)
{
	uint64_t next = core_cluster(w->core)->next_job;

	return next > 1 ? 1 + prng_below(prng, next - 1) : 0;
}

static void submit(struct core_world *w, struct prng *prng, bool whole)
{
	bool lung = prng_below(prng, 2);
	bool nodes = lung && whole && prng_below(prng, 2); /* else, whole or not, devices */
	uint32_t units = nodes ? 1 + (uint32_t)prng_below(prng, 2) : 1 + (uint32_t)prng_below(prng, 8);
	struct command cmd = cw_submit_cmd(w, lung ? w->alice : w->bob, lung ? "lung" : "heart", units,
					   (1 + (int64_t)prng_below(prng, 12)) * HOUR / 4);
	struct job_spec *s = &cmd.job_submit.spec;

	s->shape = nodes ? SHAPE_NODE : SHAPE_GPU;
	if (nodes) {
		s->loan = (uint8_t)(prng_below(prng, 4) ? LOAN_OK : LOAN_NEVER);
		(void)cw_do(w, &cmd);
		return;
	}

	s->klass = (uint8_t)(prng_below(prng, 8) ? JOB_NORMAL : 1 + prng_below(prng, 3));
	s->loan = (uint8_t)(prng_below(prng, 4) ? LOAN_OK : LOAN_NEVER);
	s->per_node = !prng_below(prng, 8) && s->units % 2 == 0 ? 2 : 0;
	if (!prng_below(prng, 10))
		s->begin_ms = w->t + (int64_t)prng_below(prng, 3) * HOUR;
	(void)cw_do(w, &cmd);
}

/* Maintenance of a node or a course on some devices; once, or again and again. */
static void reserve(struct core_world *w, struct prng *prng, struct watch *seen)
{
	struct command cmd = cw_cmd(w, w->operator, CMD_RESERVATION_CREATE);
	struct cmd_reservation_create *r = &cmd.reservation_create;
	int64_t from = w->t + (int64_t)prng_below(prng, 32) * HOUR / 4;
	struct window window[3];
	struct text_ref node, member;

	(void)snprintf(r->spec.name, NAME_BYTES, "r%u", (unsigned)seen->calendar);
	r->spec.windows = window;
	r->spec.windows_n = 1 + (uint32_t)prng_below(prng, 3);
	r->spec.repeat_ms = r->spec.windows_n > 1 ? 4 * HOUR : 0;
	for (uint32_t i = 0; i < r->spec.windows_n; i++) {
		window[i].from_ms = from + i * r->spec.repeat_ms;
		window[i].to_ms = window[i].from_ms + HOUR;
	}
	if (prng_below(prng, 2)) {
		r->spec.maint = true;
		r->spec.ignore_jobs = seen->forced;
		(void)snprintf(node.s, TEXT_BYTES, "n%u", 1 + (unsigned)prng_below(prng, 4));
		r->nodes = &node;
		r->nodes_n = 1;
	} else {
		r->spec.units = 1 + (uint32_t)prng_below(prng, 8);
		r->spec.magnetic = prng_below(prng, 2);
		r->spec.flex = !prng_below(prng, 4);
		(void)snprintf(r->flavor, FLAVOR_NAME_BYTES, "h100");
		(void)snprintf(member.s, TEXT_BYTES, "%s",
			       prng_below(prng, 2) ? seen->whole ? "user:alice" : "project:lung" : "project:heart");
		r->members = &member;
		r->members_n = 1;
	}
	if (cw_do(w, &cmd) == 0)
		seen->calendar++;
}

static void calendar(struct core_world *w, struct prng *prng, struct watch *seen)
{
	struct command cmd = cw_cmd(w, w->operator, CMD_RESERVATION_DELETE);
	const struct reservation *r;

	if (!w->core->cluster.next_reservation || prng_below(prng, 4)) {
		reserve(w, prng, seen);
		return;
	}
	cmd.object.id = 1 + prng_below(prng, w->core->cluster.next_reservation - 1);
	r = core_record(w->core, RECORD_RESERVATION, cmd.object.id);
	if (r && r->spec.windows_n && prng_below(prng, 2)) {
		cmd = cw_cmd(w, w->operator, CMD_RESERVATION_UPDATE);
		cmd.reservation_update.reservation = r->id;
		cmd.reservation_update.to_ms = r->spec.windows[0].from_ms + (1 + (int64_t)prng_below(prng, 3)) * HOUR;
	}
	(void)cw_do(w, &cmd);
}

/* A new one, for good or for some hours; or another end, or size, for one that is there. */
static void lease(struct core_world *w, struct prng *prng, struct watch *seen)
{
	uint64_t next = w->core->cluster.next_lease, id = next > 1 ? 1 + prng_below(prng, next - 1) : 0;
	const struct lease *l = id ? core_lease(w->core, id) : NULL;
	struct command cmd;

	if (!l || lease_terminal(l->state) || prng_below(prng, 2)) {
		cmd = cw_lease_cmd(w, w->acme, "acme", 1 + (uint32_t)prng_below(prng, 8), (uint8_t)prng_below(prng, 2));
		if (prng_below(prng, 4)) {
			cmd.lease_request.spec.term_ms = (1 + (int64_t)prng_below(prng, 16)) * HOUR / 4;
			cmd.lease_request.spec.auto_extend = !prng_below(prng, 4);
		}
		assert_int_equal(cw_do(w, &cmd), 0);
		return;
	}
	if (prng_below(prng, 3) == 0) {
		(void)cw_resize(w, w->acme, id, 1 + (uint32_t)prng_below(prng, 8));
		return;
	}
	cmd = cw_cmd(w, w->acme, CMD_LEASE_EXTEND);
	cmd.lease_extend.lease = id;
	cmd.lease_extend.term_ms = (1 + (int64_t)prng_below(prng, 24)) * HOUR / 4;
	if (cw_do(w, &cmd) == 0)
		seen->extended++;
	else if (w->err.code == ERR_CONFLICT && w->err.reason == REASON_WOULD_DELAY)
		seen->kept_from++;
}

static void something(struct core_world *w, struct prng *prng, struct watch *seen)
{
	uint64_t job = any_job(w, prng);
	const struct job *j = job ? core_job(w->core, job) : NULL;

	switch (prng_below(prng, 14)) {
	case 0:
	case 1:
	case 2:
	case 3: submit(w, prng, seen->whole); break;
	case 4:
	case 5:
		if (j && j->state == JOB_RUNNING)
			cw_exit(w, job, 0);
		break;
	case 6:
		if (j)
			(void)cw_job(w, w->admin, (uint16_t[]){CMD_JOB_CANCEL, CMD_JOB_HOLD, CMD_JOB_RELEASE,
							       CMD_JOB_REQUEUE}[prng_below(prng, 4)], job);
		break;
	case 7: lease(w, prng, seen); break;
	case 8:
		if (j) {
			struct command cmd = cw_cmd(w, w->admin, CMD_JOB_UPDATE);

			cmd.job_update.job = job;
			cmd.job_update.time_limit_ms = (1 + (int64_t)prng_below(prng, 24)) * HOUR / 4;
			if (cw_do(w, &cmd) == 0)
				seen->promised[job] = 0; /* it is another job now */
		}
		break;
	case 9: calendar(w, prng, seen); break;
	default: cw_advance(w, (int64_t)prng_below(prng, 40 * MS_PER_MIN)); break;
	}
}

static void renew_all(struct core_world *w, uint64_t seq)
{
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_LEASE, id)) != 0;)
		(void)cw_renew(w, w->acme, id, seq);
}

static void promises_are_kept(void **state)
{
	struct core_world *w = *state;
	struct watch all = {0};
	const char *asked = getenv("RUNS");
	uint32_t runs = asked ? (uint32_t)strtoul(asked, NULL, 10) : RUNS;
	uint64_t loans = 0;
	struct prng prng;

	for (uint64_t seed = 1; seed <= runs; seed++) {
		struct watch seen = {.forced = seed % 2 == 0, .whole = seed / 2 % 2};
		uint32_t lung, heart;

		cw_close(w);
		memset(w, 0, sizeof *w);
		cw_start(w);
		prng_seed(&prng, seed);
		if (seen.whole) { /* two nodes of lung's, whole; eight devices of heart's and of acme's */
			cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
			cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 2, QTY_UNLIMITED, QTY_UNLIMITED);
			cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
			cw_apply(w);
		}
		w->core->cluster.reservations_max = (uint32_t[]){0, 4, 64}[seed % 3];
		w->core->cluster.reservations_each = (uint32_t[]){16, 1, 16, 4}[seed % 4];
		lung = cw_id(w, "public/health/cancer/lung");
		heart = cw_id(w, "public/health/cancer/heart");
		for (int i = 0; i < EVENTS; i++) {
			something(w, &prng, &seen);
			cw_settle(w);
			renew_all(w, (uint64_t)i + 1);
			watch(w, &seen);
			nothing_is_promised_twice(w, lung, seen.whole ? 2 : 8);
			nothing_is_promised_twice(w, heart, 8);
			if (!prng_below(&prng, 20)) {
				cw_reload(w, 0); /* a promise outlives the daemon */
				cw_settle(w);
				watch(w, &seen);
			}
		}
		all.given += seen.given;
		all.kept += seen.kept;
		all.early += seen.early;
		all.broken += seen.broken;
		all.calendar += seen.calendar;
		all.extended += seen.extended;
		all.kept_from += seen.kept_from;
		loans += w->core->loans.count;
	}
	print_message("# %u runs, %u reservations, %u leases extended and %u not for a promise: %u promises given, %u kept, %u "
		      "of them early, 0 broken but for %u by forced maintenance\n",
		      runs, all.calendar, all.extended, all.kept_from, all.given, all.kept, all.early, all.broken);
	assert_true(all.kept > runs / 4 && loans > 0 && all.calendar > runs && all.broken > 0);
}

/* ---- single stories -------------------------------------------------------------------------------------------- */

static uint64_t busy(struct core_world *w, uint32_t units, int64_t limit_ms)
{
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", units, limit_ms);

	cmd.job_submit.spec.loan = LOAN_NEVER;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	return w->core->cluster.next_job - 1;
}

static int64_t estimated(struct core_world *w, uint64_t job, int64_t *ret_p90)
{
	w->core->scratch->ordered_ms = 0; /* ask anew */
	sched_order(w->core, w->t);
	*ret_p90 = job_of(w->core, job)->p90_s * MS_PER_S;
	return job_of(w->core, job)->p50_s * MS_PER_S;
}

/* Nine starts of ten come before what is told as p90 and half of them before p50, whatever the world is like: here one of
 * three comes after thrice the time that the queue ahead tells, the others at any time before that time. */
static void estimates_follow_how_late_starts_are(void **state)
{
	enum { N = 6000, LEARNT = N / 2 };
	struct core_world *w = *state;
	uint64_t waits;
	uint32_t before50 = 0, before90 = 0;
	struct prng prng;

	(void)busy(w, 8, 4 * HOUR);
	waits = busy(w, 8, HOUR); /* has a place in the plan, and what it was told is kept as it is */
	prng_seed(&prng, 1);
	for (uint32_t i = 0; i < N; i++) {
		struct scratch *s = w->core->scratch;
		struct job_s *j = job_of(w->core, waits);
		int64_t span = 4 * HOUR, p50 = w->t + span / 2 / 1024 * s->stretch50, p90 = w->t + span / 1024 * s->stretch90;
		int64_t start = w->t + (prng_below(&prng, 3) ? (int64_t)prng_below(&prng, (uint64_t)span) : 3 * span);

		before50 += i >= LEARNT && start <= p50;
		before90 += i >= LEARNT && start <= p90;
		j->told50_s = (uint32_t)(p50 / MS_PER_S);
		j->told90_s = (uint32_t)(p90 / MS_PER_S);
		j->told_place = false;
		estimate_score(s, j, start);
	}
	assert_in_range(before50, (N - LEARNT) * 45 / 100, (N - LEARNT) * 55 / 100);
	assert_in_range(before90, (N - LEARNT) * 86 / 100, (N - LEARNT) * 94 / 100);
	for (uint32_t i = 0; i < 100; i++) { /* a reserved start says nothing about the others */
		struct job_s *j = job_of(w->core, waits);
		int32_t before = w->core->scratch->stretch90;

		j->told50_s = j->told90_s = 1;
		j->told_place = true;
		estimate_score(w->core->scratch, j, w->t);
		assert_int_equal(w->core->scratch->stretch90, before);
	}
}

static void small_jobs_slip_in_only_where_they_do_no_harm(void **state)
{
	struct core_world *w = *state;
	uint64_t first = busy(w, 6, HOUR), big = busy(w, 8, HOUR), small, longer;
	int64_t promised, p90;

	assert_int_equal(cw_job_state(w, first), JOB_RUNNING);
	promised = core_job(w->core, big)->promised_ms;
	assert_true(promised > w->t + HOUR && promised < w->t + 2 * HOUR);
	longer = busy(w, 2, 3 * HOUR); /* would hold 2 of the 8 by then */
	assert_int_equal(cw_job_state(w, longer), JOB_PENDING);
	assert_int_equal(cw_reason(w, longer), REASON_WOULD_DELAY);
	assert_int_equal(estimated(w, longer, &p90), 0); /* two are free, but not for it: not "now" */
	small = busy(w, 2, HOUR / 2);
	assert_int_equal(cw_job_state(w, small), JOB_RUNNING);
	assert_int_equal(core_job(w->core, big)->promised_ms, promised);
	cw_advance(w, HOUR);
	assert_int_equal(cw_job_state(w, big), JOB_RUNNING);
	assert_true(core_job(w->core, big)->first_start_ms <= promised);
	assert_int_equal(w->core->scratch->promises_broken, 0);
}

static void a_running_job_may_not_grow_into_a_promise(void **state)
{
	struct core_world *w = *state;
	uint64_t first = busy(w, 6, HOUR), big = busy(w, 8, HOUR);
	struct command cmd = cw_cmd(w, w->admin, CMD_JOB_UPDATE);

	assert_true(core_job(w->core, big)->promised_ms > 0);
	cmd.job_update.job = first;
	cmd.job_update.time_limit_ms = 3 * HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_POLICY);
	assert_non_null(strstr(w->err.msg, "promised"));
	cmd.job_update.time_limit_ms = HOUR / 2;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, big), 0);
	cmd.job_update.time_limit_ms = 3 * HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
}

static void lost_hardware_breaks_a_promise_and_is_named(void **state)
{
	struct core_world *w = *state;
	uint64_t first = busy(w, 6, HOUR), big = busy(w, 8, HOUR);
	int64_t promised = core_job(w->core, big)->promised_ms;
	uint32_t node = core_alloc(w->core, core_job(w->core, first)->alloc)->parts[0].node;

	for (uint32_t i = 1; i <= w->nodes_n; i++)
		if (w->node[i].id == node)
			w->node[i].manner = CW_MUTE; /* never says that the devices are free */
	cw_advance(w, promised - w->t);
	assert_int_equal(cw_job_state(w, big), JOB_PENDING);
	assert_int_equal(core_job(w->core, big)->promise_broken, 0);
	cw_advance(w, 1);
	assert_int_equal(core_job(w->core, big)->promise_broken, REASON_NODES_OUT);
	assert_int_equal(w->core->scratch->promises_given, 2); /* and a new one */
	assert_int_equal(w->core->scratch->promises_broken, 1);
	assert_true(core_job(w->core, big)->promised_ms > promised);
}

static void a_promise_holds_its_budget(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t first, big;

	cw_stage(w, CW_LUNG, "one", STAGE_RELEASED, 20);
	cw_apply(w);
	first = busy(w, 8, HOUR);
	big = busy(w, 8, HOUR);
	assert_int_equal(cw_job_state(w, first), JOB_RUNNING);
	assert_true(core_job(w->core, big)->promised_ms > 0);
	assert_int_equal(core_job(w->core, big)->held_rums, 8 * HOUR);
	/* what is left does not cover another */
	cmd = cw_submit_cmd(w, w->alice, "lung", 6, HOUR);
	assert_int_equal(cw_do(w, &cmd), ERR_BUDGET);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_HOLD, big), 0);
	assert_int_equal(core_job(w->core, big)->held_rums, 0);
	assert_int_equal(core_job(w->core, big)->promised_ms, 0);
}

/* A job that starts on others' loans may run longer by what it has to wait for them. Whoever was reserved before the
 * division said so has to be counted like somebody reserved after: else a restart, which counts all anew, decides
 * differently. */
static void a_division_with_other_recall_times_counts_anew(void **state)
{
	struct core_world *w = *state;
	const struct hold *h;
	uint64_t big;

	(void)busy(w, 6, HOUR);
	big = busy(w, 8, HOUR);
	assert_int_not_equal(core_job(w->core, big)->promised_ms, 0);
	w->qnode[CW_PUBLIC].recall_slo_ms = 40 * MS_PER_MIN; /* inherited by its project */
	cw_apply(w);
	h = idtab_get(&w->core->holds, big);
	assert_non_null(h);
	assert_int_equal(qnode_recall_slo(w->core, cw_id(w, "lung")), 40 * MS_PER_MIN);
	assert_int_equal(h->to_ms, core_job(w->core, big)->reserved_ms + HOUR + 40 * MS_PER_MIN +
					   w->core->cluster.bind_timeout_ms);
}

static void reservations_have_a_ceiling(void **state)
{
	struct core_world *w = *state;
	uint32_t reserved = 0;

	w->core->cluster.reservations_each = 3;
	for (int i = 0; i < 8; i++)
		(void)busy(w, 8, HOUR);
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_JOB, id)) != 0;)
		reserved += core_job(w->core, id)->reserved_ms != 0;
	assert_int_equal(reserved, 3);
	/* the next moves up when one starts */
	cw_advance(w, HOUR + MS_PER_MIN);
	reserved = 0;
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_JOB, id)) != 0;)
		reserved += core_job(w->core, id)->reserved_ms != 0;
	assert_int_equal(reserved, 3);
}

/* ---- the calendar ------------------------------------------------------------------------------------------------ */

/* All 32 devices are lung's. */
static void lung_alone(struct core_world *w)
{
	for (enum cw_q q = CW_LUNG; q <= CW_BETA; q++)
		if (q == CW_LUNG || q == CW_HEART || q == CW_ACME || q == CW_BETA)
			cw_quota(w, q, 0, SHAPE_GPU, q == CW_LUNG ? 32 : 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
}

/* As many reserved starts as a site may ask for, and more who wait: a thousand have a place and a promise, and each starts
 * by then, though those before it may end early. Who waits behind them gets a place as one comes free. */
static void a_thousand_promises_are_kept(void **state)
{
	enum { RESERVED = 1000, WAITING = 1200, RUN = 4 };
	struct core_world *w = *state;
	static int64_t promised[RUN + WAITING + 1];
	uint32_t running = 0, places = 0, ended = 0;
	struct prng prng;

	lung_alone(w);
	w->check_each = 16;
	prng_seed(&prng, 6);
	w->core->cluster.reservations_max = w->core->cluster.reservations_each = RESERVED;
	for (int i = 0; i < RUN; i++)
		(void)busy(w, 8, 2 * HOUR);
	for (int i = 0; i < WAITING; i++) {
		struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1 + (uint32_t)prng_below(&prng, 16),
						   (1 + (int64_t)prng_below(&prng, 16)) * HOUR / 4);

		cmd.job_submit.spec.loan = LOAN_NEVER;
		assert_int_equal(cw_do(w, &cmd), 0);
	}
	cw_settle(w);
	for (uint64_t id = RUN + 1; id <= RUN + WAITING; id++) {
		const struct job *j = core_job(w->core, id);

		assert_int_equal(j->state, JOB_PENDING);
		places += j->reserved_ms != 0;
		assert_int_equal(j->promised_ms != 0, j->reserved_ms != 0);
		if (j->reserved_ms)
			assert_int_equal(j->promised_ms, j->reserved_ms + 15 * MS_PER_MIN);
	}
	assert_int_equal(places, RESERVED);
	assert_int_equal(w->core->plan[1].holds, RESERVED);
	for (;;) {
		uint64_t next = 0;

		running = places = ended = 0;
		for (uint64_t id = 1; id <= RUN + WAITING; id++) {
			const struct job *j = core_job(w->core, id);

			ended += job_terminal(j->state);
			places += j->state == JOB_PENDING && j->reserved_ms;
			if (!promised[id])
				promised[id] = j->promised_ms;
			if (j->state != JOB_RUNNING)
				continue;
			running++;
			assert_true(!promised[id] || j->first_start_ms <= promised[id]);
			if (!next || core_alloc(w->core, j->alloc)->limit_ms < core_alloc(w->core, core_job(w->core, next)->alloc)->limit_ms)
				next = id;
		}
		if (ended == RUN + WAITING)
			break;
		assert_true(running > 0);
		assert_int_equal(places, min64(RESERVED, RUN + WAITING - ended - running)); /* nobody goes without who could have one */
		/* whoever is at his limit first ends then, or long before */
		if (prng_below(&prng, 2))
			cw_advance(w, core_alloc(w->core, core_job(w->core, next)->alloc)->limit_ms - MS_PER_S - w->t);
		cw_exit(w, next, 0);
	}
	assert_int_equal(w->core->scratch->promises_broken, 0);
	assert_int_equal(w->core->scratch->promises_kept, WAITING);
}

static int maintenance(struct core_world *w, const char *name, uint32_t first, uint32_t last, int64_t from, int64_t to,
		       bool force)
{
	struct command cmd = cw_cmd(w, w->operator, CMD_RESERVATION_CREATE);
	struct cmd_reservation_create *r = &cmd.reservation_create;
	struct window window = {from, to};
	struct text_ref node[4];

	(void)snprintf(r->spec.name, NAME_BYTES, "%s", name);
	r->spec.windows = &window;
	r->spec.windows_n = 1;
	r->spec.maint = true;
	r->spec.ignore_jobs = force;
	r->nodes = node;
	for (uint32_t n = first; n <= last; n++)
		(void)snprintf(node[r->nodes_n++].s, TEXT_BYTES, "n%u", n);
	return cw_do(w, &cmd);
}

static void a_promise_goes_around_maintenance(void **state)
{
	struct core_world *w = *state;
	int64_t from = w->t + 2 * HOUR, to = from + HOUR;
	struct query q = {.type = QUERY_JOBS, .all = true};
	struct arena arena = {0};
	uint64_t first, big, small;
	struct view_jobs v;

	lung_alone(w);
	assert_int_equal(maintenance(w, "disks", 1, 3, from, to, false), 0);
	first = busy(w, 24, HOUR);
	assert_int_equal(cw_job_state(w, first), JOB_RUNNING);
	big = busy(w, 16, 2 * HOUR); /* when the first is gone it would run into it */
	assert_true(core_job(w->core, big)->promised_ms >= to);
	assert_int_equal(core_job(w->core, big)->reserved_ms, to + plan_margin(w->core, 1));
	q.id = big;
	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, &v, &arena, &w->err), 0);
	assert_non_null(strstr(v.items[0].reason_text, "; then maintenance 1 (disks) until 2027-01-15 11:00 UTC"));
	arena_done(&arena);
	small = busy(w, 16, HOUR / 2); /* gone before */
	cw_advance(w, HOUR + MS_PER_MIN);
	assert_int_equal(cw_job_state(w, small), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, big), JOB_PENDING);
	assert_int_equal(cw_reason(w, big), REASON_MAINTENANCE);
	cw_advance(w, to + 2 * MS_PER_MIN - w->t);
	assert_int_equal(cw_job_state(w, big), JOB_RUNNING);
	assert_int_equal(w->core->scratch->promises_broken, 0);
}

/* What is free at its first instant is not what is free for all of its time: it cannot move to the other node. */
static void two_windows_one_after_the_other_take_both_nodes(void **state)
{
	struct core_world *w = *state;
	int64_t t = w->t;
	uint64_t big, long_one;

	w->core->cluster.reservations_each = 2;
	lung_alone(w);
	assert_int_equal(maintenance(w, "one", 1, 1, t + 2 * HOUR, t + 3 * HOUR, false), 0);
	assert_int_equal(maintenance(w, "two", 2, 2, t + 4 * HOUR, t + 5 * HOUR, false), 0);
	(void)busy(w, 32, HOUR);
	big = busy(w, 16, 5 * HOUR); /* on 3 and 4 */
	long_one = busy(w, 8, 5 * HOUR);
	assert_true(core_job(w->core, big)->promised_ms < t + 2 * HOUR);
	assert_true(core_job(w->core, long_one)->promised_ms >= t + 5 * HOUR);
	assert_int_equal(cw_job_state(w, busy(w, 8, HOUR)), JOB_PENDING);
	cw_advance(w, 13 * HOUR);
	assert_int_equal(w->core->scratch->promises_broken, 0);
	assert_true(core_job(w->core, long_one)->first_start_ms > 0);
}

static void maintenance_that_would_break_a_promise_is_refused(void **state)
{
	struct core_world *w = *state;
	uint64_t first, big, before;
	int64_t promised;
	char who[32];

	lung_alone(w);
	first = busy(w, 24, HOUR);
	big = busy(w, 32, 2 * HOUR);
	promised = core_job(w->core, big)->promised_ms;
	assert_int_equal(cw_job_state(w, first), JOB_RUNNING);
	assert_true(promised > w->t + HOUR);
	before = cw_digest(w);
	assert_int_equal(maintenance(w, "disks", 4, 4, w->t + 2 * HOUR, w->t + 3 * HOUR, false), ERR_CONFLICT);
	(void)snprintf(who, sizeof who, "job %u was promised", (unsigned)big);
	assert_non_null(strstr(w->err.msg, who));
	assert_non_null(strstr(w->err.msg, "8 h100"));
	assert_non_null(strstr(w->err.hint, "--flags ignore_jobs"));
	assert_int_equal(w->err.reason, REASON_WOULD_DELAY);
	assert_int_equal(cw_digest(w), before);
	/* behind it there is time */
	assert_int_equal(maintenance(w, "later", 4, 4, w->t + 4 * HOUR, w->t + 5 * HOUR, false), 0);
	assert_int_equal(core_job(w->core, big)->promised_ms, promised);
	/* forced, it is broken at once and says by what; another is given */
	assert_int_equal(maintenance(w, "now", 4, 4, w->t + 2 * HOUR, w->t + 3 * HOUR, true), 0);
	assert_int_equal(core_job(w->core, big)->promise_broken, REASON_MAINTENANCE);
	assert_int_equal(w->core->scratch->promises_broken, 1);
	cw_settle(w);
	assert_true(core_job(w->core, big)->promised_ms > w->t + 5 * HOUR);
}

/* ---- whole nodes ------------------------------------------------------------------------------------------------- */

/* All four nodes are lung's, whole. */
static void lung_whole(struct core_world *w)
{
	lung_alone(w);
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 4, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
}

static uint64_t nodes(struct core_world *w, uint32_t units, int64_t limit_ms)
{
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", units, limit_ms);

	cmd.job_submit.spec.shape = SHAPE_NODE;
	cmd.job_submit.spec.loan = LOAN_NEVER;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	return w->core->cluster.next_job - 1;
}

/* What single devices may break and what is under maintenance is nobody's whole node, however many devices are left. */
static void whole_nodes_are_promised_as_nodes(void **state)
{
	struct core_world *w = *state;
	int64_t from = w->t + 2 * HOUR;
	uint64_t first, gang, other;
	struct command cmd;

	lung_whole(w);
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 1, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_NODE, 1, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 16, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	assert_int_equal(place_area(w->core, 1), 2);
	assert_int_equal(maintenance(w, "disks", 1, 1, from, from + HOUR, false), 0);
	first = nodes(w, 1, HOUR);
	gang = nodes(w, 1, 4 * HOUR);
	assert_int_equal(cw_job_state(w, first), JOB_RUNNING);
	assert_true(core_job(w->core, gang)->promised_ms < from); /* the one that is left during maintenance */
	cmd = cw_submit_cmd(w, w->bob, "heart", 1, 4 * HOUR);
	cmd.job_submit.spec.shape = SHAPE_NODE;
	cmd.job_submit.spec.loan = LOAN_NEVER;
	assert_int_equal(cw_do(w, &cmd), 0);
	other = w->core->cluster.next_job - 1;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, other), JOB_PENDING); /* acme's devices may be on the other two */
	assert_int_equal(cw_reason(w, other), REASON_WOULD_DELAY);
	assert_true(core_job(w->core, other)->promised_ms > from + HOUR);
	cw_advance(w, 9 * HOUR);
	assert_int_equal(w->core->scratch->promises_broken, 0);
	assert_true(core_job(w->core, other)->first_start_ms > 0);
}

/* The same where it is a job of single devices whose place reaches into the window and beyond: the node under
 * maintenance is nobody's then, and it is not the job that was promised a node that has to do without. */
static void a_place_beside_a_window_leaves_the_nodes_that_were_promised(void **state)
{
	struct core_world *w = *state;
	uint64_t first, node, other, singles;
	struct command cmd;

	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 2, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	w->core->cluster.reservations_each = 4;
	first = nodes(w, 2, 5 * HOUR);
	assert_int_equal(maintenance(w, "disks", 3, 3, w->t + 2 * HOUR, w->t + 3 * HOUR, false), 0);
	assert_int_equal(cw_job_state(w, first), JOB_RUNNING);
	node = nodes(w, 1, 3 * HOUR);
	other = nodes(w, 1, HOUR);
	assert_true(core_job(w->core, node)->promised_ms && core_job(w->core, other)->promised_ms);
	for (int i = 0; i < 2; i++) { /* heart's devices are in use until before its end, then by one that stays beyond */
		cmd = cw_submit_cmd(w, w->bob, "heart", i ? 3 : 8, i ? 4 * HOUR : 5 * HOUR / 2);
		cmd.job_submit.spec.loan = LOAN_NEVER;
		assert_int_equal(cw_do(w, &cmd), 0);
		cw_settle(w);
	}
	singles = w->core->cluster.next_job - 1;
	assert_int_equal(cw_job_state(w, singles - 1), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, singles), JOB_PENDING);
	assert_int_equal(maintenance(w, "more", 4, 4, w->t + 99 * HOUR, w->t + 100 * HOUR, false), 0);
	EACH(w->core, holds, hold, h)
		assert_true(plan_spare(w->core, h) >= 0);
	cw_advance(w, 12 * HOUR);
	assert_int_equal(w->core->scratch->promises_broken, 0);
	assert_true(core_job(w->core, singles)->first_start_ms > 0);
}

static void a_node_with_a_broken_device_is_promised_to_nobody(void **state)
{
	struct core_world *w = *state;
	uint64_t first, three, two;

	cw_close(w);
	cw_open(w, 4);
	w->node[3].gpus = w->node[4].gpus = 7; /* that is what the agent finds */
	lung_whole(w);
	for (uint32_t n = 1; n <= 4; n++)
		assert_int_equal(cw_hello(w, n), 0);
	first = nodes(w, 2, HOUR);
	assert_int_equal(cw_job_state(w, first), JOB_RUNNING);
	three = nodes(w, 3, HOUR); /* thirty devices are there, two whole nodes */
	assert_int_equal(core_job(w->core, three)->promised_ms, 0);
	assert_int_equal(core_job(w->core, three)->reserved_ms, 0);
	two = nodes(w, 2, HOUR);
	cw_advance(w, HOUR + MS_PER_MIN);
	assert_int_equal(cw_job_state(w, two), JOB_RUNNING);
}

/* A lease whose term ends gives its devices back then, and others plan on it: who would move that end is asked first. */
static void a_lease_that_ends_is_counted_on(void **state)
{
	struct core_world *w = *state;
	int64_t from = w->t + 4 * HOUR;
	struct command cmd;
	uint64_t big = 0;

	for (int extends = 1; extends >= 0; extends--) {
		uint64_t acme;

		if (!extends) {
			cw_close(w);
			cw_start(w);
		}
		(void)busy(w, 8, HOUR);
		assert_int_equal(maintenance(w, "disks", 1, 1, from, from + HOUR, false), 0);
		assert_int_equal(cw_alloc_of(w, OWNER_JOB, 1)->parts[0].node, w->node[1].id);
		for (int i = 0; i < 2; i++) {
			cmd = cw_lease_cmd(w, i ? w->beta : w->acme, i ? "beta" : "acme", 8, LEASE_FIRM);
			cmd.lease_request.spec.term_ms = 2 * HOUR;
			cmd.lease_request.spec.auto_extend = i || extends;
			cmd.lease_request.spec.grace_ms = MS_PER_DAY; /* nobody renews here */
			assert_int_equal(cw_do(w, &cmd), 0);
			cw_settle(w);
		}
		cmd = cw_submit_cmd(w, w->bob, "heart", 8, 10 * HOUR);
		cmd.job_submit.spec.loan = LOAN_NEVER;
		assert_int_equal(cw_do(w, &cmd), 0);
		cw_settle(w);
		acme = w->core->cluster.next_lease - 2;
		assert_int_equal(cw_lease_state(w, acme), LEASE_ACTIVE);
		big = busy(w, 8, 4 * HOUR); /* with it there until then, somebody would have to do without */
		assert_int_equal(core_job(w->core, big)->reserved_ms > from, extends);
	}
	assert_true(core_job(w->core, big)->promised_ms > 0);
	cmd = cw_cmd(w, w->acme, CMD_LEASE_EXTEND);
	cmd.lease_extend.lease = w->core->cluster.next_lease - 2;
	cmd.lease_extend.term_ms = 5 * HOUR;
	{
		uint64_t before = cw_digest(w);

		assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT);
		assert_int_equal(w->err.reason, REASON_WOULD_DELAY);
		assert_non_null(strstr(w->err.msg, "8 h100 short from "));
		assert_non_null(strstr(w->err.hint, "a term that ends before"));
		assert_int_equal(cw_digest(w), before);
	}
	cw_reload(w, 0);
	assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT);
	cmd.lease_extend.term_ms = 3 * HOUR / 2; /* no later than it was: nothing to ask */
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_advance(w, core_job(w->core, big)->promised_ms - w->t);
	assert_int_equal(cw_job_state(w, big), JOB_RUNNING);
	assert_int_equal(w->core->scratch->promises_broken, 0);
}

static void a_waiting_job_knows_when_it_is_likely_to_start(void **state)
{
	struct core_world *w = *state;
	uint64_t first, reserved, second, third;
	int64_t p50, p90, behind;

	w->core->cluster.reservations_max = 1;
	first = busy(w, 8, HOUR);
	reserved = busy(w, 8, HOUR);
	second = busy(w, 4, HOUR);
	third = busy(w, 8, HOUR);
	assert_int_equal(core_job(w->core, second)->reserved_ms, 0);
	/* who has a reservation has an instant */
	p50 = estimated(w, reserved, &p90);
	assert_int_equal(p90, core_job(w->core, reserved)->promised_ms);
	/* the next when he has gone at his limit; before any has ended, half of that is likely */
	behind = core_job(w->core, reserved)->reserved_ms - plan_margin(w->core, 1);
	assert_int_equal(behind, core_alloc(w->core, core_job(w->core, first)->alloc)->limit_ms);
	behind = core_job(w->core, reserved)->reserved_ms + plan_span(w->core, &core_job(w->core, reserved)->spec, true);
	p50 = estimated(w, second, &p90);
	assert_int_equal(p90, behind);
	assert_true(p50 > w->t && p50 - w->t <= (p90 - w->t) / 2);
	/* behind it, another half hour of the eight */
	(void)estimated(w, third, &p90);
	assert_int_equal(p90, behind + HOUR / 2);
	/* jobs of the same kind end after a quarter of their time: so will those ahead, it is thought */
	cw_advance(w, HOUR / 4);
	cw_exit(w, first, 0);
	assert_true(w->core->scratch->run_sum_s * 4 == w->core->scratch->limit_sum_s);
	p50 = estimated(w, third, &p90);
	assert_true(p50 - w->t <= (p90 - w->t) / 4 + 1000);
	/* and it is held to account */
	cw_advance(w, 4 * HOUR);
	assert_true(core_job(w->core, third)->first_start_ms > 0);
	assert_true(w->core->scratch->estimates >= 2);
	assert_true(w->core->scratch->estimate_error_ms > 0);
}

/* The second starts after one hour of the four that the first may take, half of which was thought likely. The third, for
 * whom a quarter of the one that the second may take is likely by then, starts after two, as the second is given longer. The
 * fourth starts later than was likely, and within the limit. */
static void an_estimate_is_scored_by_the_start(void **state)
{
	struct core_world *w = *state;
	uint64_t first = busy(w, 8, 4 * HOUR), second = busy(w, 8, HOUR), third, fourth;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 32, HOUR);
	struct query q = {.type = QUERY_STATUS};
	struct arena arena = {0};
	struct view_status v;
	int64_t p50, p90, began = w->t, error;

	p50 = estimated(w, second, &p90);
	assert_int_equal(p90, core_job(w->core, second)->promised_ms);
	assert_in_range(p50, began + 2 * HOUR, began + 2 * HOUR + MS_PER_MIN); /* with a margin for what is given back */
	cw_advance(w, HOUR);
	cw_exit(w, first, 0);
	assert_int_equal(core_job(w->core, second)->first_start_ms, began + HOUR);
	assert_int_equal(w->core->scratch->estimates, 1);
	assert_int_equal(w->core->scratch->estimates_in, 1);
	error = p50 - (began + HOUR); /* what was told is kept in seconds */
	assert_in_range(w->core->scratch->estimate_error_ms, error - MS_PER_S, error + MS_PER_S);

	began = w->t;
	cmd.job_submit.spec.loan = LOAN_ONLY; /* nothing is promised to it that a longer limit would break */
	assert_int_equal(cw_do(w, &cmd), 0);
	third = w->d.result.id;
	cw_settle(w);
	p50 = estimated(w, third, &p90);
	assert_in_range(p90, began + HOUR, began + HOUR + MS_PER_MIN);
	assert_in_range(p50, began + HOUR / 4, began + HOUR / 4 + MS_PER_MIN);
	cmd = cw_cmd(w, w->admin, CMD_JOB_UPDATE);
	cmd.job_update.job = second;
	cmd.job_update.time_limit_ms = 3 * HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_advance(w, 2 * HOUR);
	cw_exit(w, second, 0);
	assert_int_equal(core_job(w->core, third)->first_start_ms, began + 2 * HOUR);
	assert_int_equal(w->core->scratch->estimates, 2);
	assert_int_equal(w->core->scratch->estimates_in, 1);
	error += began + 2 * HOUR - p50;
	assert_in_range(w->core->scratch->estimate_error_ms, error - 2 * MS_PER_S, error + 2 * MS_PER_S);

	began = w->t;
	cmd = cw_submit_cmd(w, w->alice, "lung", 32, HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	fourth = w->d.result.id;
	cw_settle(w);
	p50 = estimated(w, fourth, &p90); /* three of seven hours were needed so far */
	assert_in_range(p50, began + 25 * MS_PER_MIN, began + 27 * MS_PER_MIN);
	cw_advance(w, 45 * MS_PER_MIN);
	cw_exit(w, third, 0);
	assert_int_equal(core_job(w->core, fourth)->first_start_ms, began + 45 * MS_PER_MIN);
	error += began + 45 * MS_PER_MIN - p50;
	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.estimates, 3);
	assert_int_equal(v.estimates_in, 2);
	assert_in_range(v.estimate_error_ms, error / 3 - MS_PER_S, error / 3 + MS_PER_S);
	arena_done(&arena);
}

/* Gridopt of the trial: one of its own, eight to borrow, and its own job has seven of them. */
static void at_the_borrowing_limit_the_start_is_when_its_own_gives_back(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	struct view_jobs v;
	struct query q = {.type = QUERY_JOBS};
	struct arena arena = {0};
	uint64_t id;
	int64_t p90, begun;

	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 1, 8, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 15, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	cmd = cw_submit_cmd(w, w->alice, "lung", 8, 2 * HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	begun = w->t;
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	cmd = cw_submit_cmd(w, w->alice, "lung", 8, 2 * HOUR);
	cmd.job_submit.spec.loan = LOAN_OK;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	for (int i = 0; i < 3; i++) { /* and it stays that instant */
		(void)estimated(w, id, &p90);
		assert_true(p90 > begun + HOUR && p90 <= begun + 2 * HOUR + MIN);
		cw_advance(w, MIN);
	}
	q.id = id;
	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, &v, &arena, &w->err), 0);
	assert_string_equal(v.items[0].reason_text, "own quota is full; as a loan: 503 the borrowing limit is reached");
	arena_done(&arena);
}

/* What does not go by itself has no instant, though the devices will be free: a notice too long for a loan. */
static void a_notice_too_long_for_a_loan_has_no_start(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 16, 2 * HOUR);
	uint64_t id;
	int64_t p90;

	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 4, "out"), 0);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	cmd = cw_submit_cmd(w, w->alice, "lung", 12, HOUR);
	cmd.job_submit.spec.loan = LOAN_OK;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w); /* a plain one waits for devices, and they come */
	assert_true(estimated(w, id, &p90) > w->t + MIN);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, id), 0);
	cmd = cw_submit_cmd(w, w->alice, "lung", 12, HOUR);
	cmd.job_submit.spec.loan = LOAN_OK;
	cmd.job_submit.spec.notice_ms = 15 * MIN;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_reason(w, id), REASON_LOAN_NOTICE);
	assert_int_equal(estimated(w, id, &p90), 0);
	assert_int_equal(p90, 0);
}

/* Nor do nodes that are out come back at an instant, not at that of a place in the plan from before either. */
static void nodes_that_are_out_tell_no_start(void **state)
{
	struct core_world *w = *state;
	struct require leaf = {"leaf", "leaf1"}; /* n1 and n2 */
	struct command cmd;
	uint64_t id, first;
	int64_t p90;

	for (uint32_t n = 2; n <= 4; n++)
		assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, n, "out"), 0);
	first = busy(w, 8, 2 * HOUR);
	cmd = cw_submit_cmd(w, w->bob, "heart", 1, HOUR);
	cmd.job_submit.spec.loan = LOAN_NEVER;
	cmd.job_submit.spec.requires = &leaf;
	cmd.job_submit.spec.requires_n = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_true(core_job(w->core, id)->reserved_ms > w->t + HOUR);
	assert_true(estimated(w, id, &p90) > w->t);
	assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, 3, ""), 0);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 1, "out"), 0);
	cw_exit(w, first, 0);
	cw_settle(w);
	assert_int_equal(cw_reason(w, id), REASON_NODES_OUT);
	assert_true(core_job(w->core, id)->reserved_ms > w->t + HOUR);
	assert_int_equal(estimated(w, id, &p90), 0);
	assert_int_equal(p90, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(small_jobs_slip_in_only_where_they_do_no_harm),
		STORY(a_running_job_may_not_grow_into_a_promise),
		STORY(lost_hardware_breaks_a_promise_and_is_named),
		STORY(a_promise_holds_its_budget),
		STORY(a_division_with_other_recall_times_counts_anew),
		STORY(reservations_have_a_ceiling),
		STORY(a_thousand_promises_are_kept),
		STORY(a_waiting_job_knows_when_it_is_likely_to_start),
		STORY(an_estimate_is_scored_by_the_start),
		STORY(estimates_follow_how_late_starts_are),
		STORY(at_the_borrowing_limit_the_start_is_when_its_own_gives_back),
		STORY(a_notice_too_long_for_a_loan_has_no_start),
		STORY(nodes_that_are_out_tell_no_start),
		STORY(a_promise_goes_around_maintenance),
		STORY(two_windows_one_after_the_other_take_both_nodes),
		STORY(whole_nodes_are_promised_as_nodes),
		STORY(a_place_beside_a_window_leaves_the_nodes_that_were_promised),
		STORY(a_lease_that_ends_is_counted_on),
		STORY(a_node_with_a_broken_device_is_promised_to_nobody),
		STORY(maintenance_that_would_break_a_promise_is_refused),
		STORY(promises_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
