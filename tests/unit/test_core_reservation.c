/* test_core_reservation.c - devices that are kept from an instant on
 *
 * A reservation that is confirmed and then not there, that work outlives, or that two people hold is worse
 * than none: a course of forty stands before busy machines. Every way to get there has its story here.
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

static const struct reservation *get(const struct core_world *w, uint64_t id)
{
	return core_record(w->core, RECORD_RESERVATION, id);
}

/* A command to reserve; its lists live as long as the test's frame. */
struct order { struct command cmd; struct window window[4]; struct text_ref node[4], member[4]; };
static struct order *order(const struct core_world *w, struct order *o, struct cw_who who, const char *name, int64_t from,
			   int64_t to)
{
	struct cmd_reservation_create *r;

	memset(o, 0, sizeof *o);
	o->cmd = cw_cmd(w, who, CMD_RESERVATION_CREATE);
	r = &o->cmd.reservation_create;
	(void)snprintf(r->spec.name, sizeof r->spec.name, "%s", name);
	o->window[0] = (struct window){from, to};
	r->spec.windows = o->window;
	r->spec.windows_n = 1;
	r->nodes = o->node;
	r->members = o->member;
	return o;
}

static void with_node(struct order *o, uint32_t node)
{
	struct cmd_reservation_create *r = &o->cmd.reservation_create;

	(void)snprintf(o->node[r->nodes_n++].s, TEXT_BYTES, "n%u", node);
}

static void with_project(struct order *o, const char *project)
{
	struct cmd_reservation_create *r = &o->cmd.reservation_create;

	(void)snprintf(o->member[r->members_n++].s, TEXT_BYTES, "project:%s", project);
}

static void with_gpus(struct order *o, uint32_t n)
{
	o->cmd.reservation_create.spec.units = n;
	(void)snprintf(o->cmd.reservation_create.flavor, FLAVOR_NAME_BYTES, "h100");
}

static uint64_t maintenance(struct core_world *w, uint32_t node, int64_t from, int64_t to)
{
	struct order o;

	order(w, &o, w->operator, "disks", from, to);
	o.cmd.reservation_create.spec.maint = true;
	with_node(&o, node);
	assert_int_equal(cw_do(w, &o.cmd), 0);
	return w->d.result.id;
}

static uint64_t course(struct core_world *w, uint32_t gpus, int64_t from, int64_t to)
{
	struct order o;

	order(w, &o, w->operator, "course", from, to);
	with_gpus(&o, gpus);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	return w->d.result.id;
}

static int erase(struct core_world *w, struct cw_who who, uint64_t id)
{
	struct command cmd = cw_cmd(w, who, CMD_RESERVATION_DELETE);

	cmd.object.id = id;
	return cw_do(w, &cmd);
}

static uint64_t submit_into(struct core_world *w, struct cw_who who, const char *project, const char *reservation,
			    uint32_t units, int64_t limit)
{
	struct command cmd = cw_submit_cmd(w, who, project, units, limit);

	(void)snprintf(cmd.job_submit.reservation, NAME_BYTES, "%s", reservation);
	assert_int_equal(cw_do(w, &cmd), 0);
	return w->d.result.id;
}

static bool on_node(const struct core_world *w, uint64_t job, uint32_t node)
{
	const struct alloc *a = core_alloc(w->core, core_job(w->core, job)->alloc);

	for (uint32_t i = 0; a && i < a->parts_n; i++)
		if (a->parts[i].node == w->node[node].id)
			return true;
	return false;
}

/* ---- before it begins ---------------------------------------------------------------------------- */

/* Guaranteed work that would still run then starts elsewhere, or waits and says for what. */
static void work_keeps_clear_of_what_is_to_come(void **state)
{
	struct core_world *w = *state;
	int64_t from = w->t + 2 * HOUR;
	uint64_t id, jobs[4], last;
	struct query q = {.type = QUERY_JOBS, .all = true};
	struct view_jobs v;
	struct arena arena = {0};

	id = maintenance(w, 1, from, from + HOUR);
	assert_int_equal(get(w, id)->state, RESERVATION_CONFIRMED);
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 32, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	for (int i = 0; i < 4; i++)
		jobs[i] = cw_submit(w, w->alice, "lung", 8, 3 * HOUR);
	cw_settle(w);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(cw_job_state(w, jobs[i]), JOB_RUNNING);
		assert_false(on_node(w, jobs[i], 1));
	}
	assert_int_equal(cw_job_state(w, jobs[3]), JOB_PENDING);
	assert_int_equal(cw_reason(w, jobs[3]), REASON_MAINTENANCE);
	q.id = jobs[3];
	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, &v, &arena, &w->err), 0);
	assert_non_null(strstr(v.items[0].reason_text, "maintenance"));
	assert_non_null(strstr(v.items[0].reason_text, "disks"));
	arena_done(&arena);
	last = cw_submit(w, w->alice, "lung", 8, HOUR); /* behind it, and short enough */
	cw_settle(w);
	assert_int_equal(cw_job_state(w, last), JOB_RUNNING); /* what waits for an instant blocks nobody */
	assert_true(on_node(w, last, 1));
	cw_advance(w, 90 * MIN);
	cw_exit(w, last, 0);
	assert_int_equal(cw_job_state(w, jobs[3]), JOB_PENDING);
	cw_advance(w, HOUR); /* under way */
	assert_int_equal(get(w, id)->state, RESERVATION_ACTIVE);
	for (int i = 0; i < 3; i++)
		cw_exit(w, jobs[i], 0);
	cw_advance(w, MIN);
	assert_int_equal(cw_job_state(w, jobs[3]), JOB_RUNNING); /* elsewhere */
	assert_false(on_node(w, jobs[3], 1));
	cw_advance(w, HOUR);
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
	cw_advance(w, 8 * MS_PER_DAY);
	assert_null(get(w, id)); /* forgotten in the end */
}

/* A loan may use what is kept as long as it is back in time, and it is told in time. */
static void loans_are_back_in_time(void **state)
{
	struct core_world *w = *state;
	int64_t from = w->t + HOUR;
	uint64_t id, loan;
	struct command cmd;

	id = maintenance(w, 1, from, from + HOUR);
	for (uint32_t n = 2; n <= 4; n++)
		assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, n, "so that node 1 is all there is"), 0);
	cmd = cw_submit_cmd(w, w->alice, "lung", 8, 5 * HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, loan), JOB_RUNNING);
	assert_true(on_node(w, loan, 1));
	/* it never becomes guaranteed where it stands, whatever quota there is */
	assert_int_equal(core_alloc(w->core, core_job(w->core, loan)->alloc)->klass, CLASS_LOAN);
	cw_advance(w, from - w->t - 4 * MIN);
	assert_int_equal(cw_job_state(w, loan), JOB_RUNNING);
	w->node[1].manner = CW_STUBBORN; /* it uses its notice to the last */
	cw_advance(w, 3 * MIN);
	assert_int_equal(cw_job_state(w, loan), JOB_STOPPING);
	assert_true(core_alloc(w->core, core_job(w->core, loan)->alloc)->stop_at_ms < from);
	w->node[1].manner = CW_OBEY;
	cw_advance(w, MIN);
	assert_int_equal(get(w, id)->state, RESERVATION_ACTIVE);
	assert_int_equal(w->core->allocs.count, 0);
	assert_int_equal(cw_job_state(w, loan), JOB_PENDING);
	assert_non_null(strstr(core_job(w->core, loan)->end_text, "reservation"));
	cw_advance(w, 30 * MIN);
	assert_int_equal(w->core->allocs.count, 0); /* nobody runs on a node under maintenance */
	cw_advance(w, HOUR);
	assert_int_equal(cw_job_state(w, loan), JOB_RUNNING);
}

/* What a guarantee holds already is not taken away: the order says who is in the way, and pins nothing. */
static void who_is_in_the_way_is_named(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 8, 3 * HOUR), before;
	struct order o;
	char text[32];
	uint32_t node = 0;

	cw_settle(w);
	for (uint32_t n = 1; n <= 4; n++)
		if (on_node(w, job, n))
			node = n;
	order(w, &o, w->operator, "disks", w->t + HOUR, w->t + 2 * HOUR);
	o.cmd.reservation_create.spec.maint = true;
	with_node(&o, node);
	before = cw_digest(w);
	assert_int_equal(cw_do(w, &o.cmd), ERR_CONFLICT);
	(void)snprintf(text, sizeof text, "job %llu has n%u", (unsigned long long)job, node);
	assert_non_null(strstr(w->err.msg, text));
	assert_non_null(strstr(w->err.hint, "--flags ignore_jobs"));
	assert_int_equal(cw_digest(w), before);
	o.cmd.reservation_create.spec.ignore_jobs = true; /* it ends in its own time */
	assert_int_equal(cw_do(w, &o.cmd), 0);
	cw_advance(w, 90 * MIN);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	/* longer than it had said it would be is another matter */
	{
		struct command cmd = cw_cmd(w, w->admin, CMD_JOB_UPDATE);

		cmd.job_update.job = job;
		cmd.job_update.time_limit_ms = 6 * HOUR;
		assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT);
		assert_int_equal(w->err.reason, REASON_MAINTENANCE);
	}
	/* behind its end there is room */
	(void)snprintf(o.cmd.reservation_create.spec.name, NAME_BYTES, "later");
	o.cmd.reservation_create.spec.ignore_jobs = false;
	o.window[0] = (struct window){w->t + 3 * HOUR, w->t + 4 * HOUR};
	assert_int_equal(cw_do(w, &o.cmd), 0);
}

static void a_lease_is_not_extended_into_it(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", 8, LEASE_FIRM);
	uint64_t lease, id;
	uint32_t node = 0;

	cmd.lease_request.spec.term_ms = 4 * HOUR;
	cmd.lease_request.spec.ttl_ms = 2 * HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	lease = w->d.result.id;
	cw_settle(w);
	for (uint32_t n = 1; n <= 4; n++)
		if (cw_alloc_of(w, OWNER_LEASE, lease)->parts[0].node == w->node[n].id)
			node = n;
	id = maintenance(w, node, w->t + 5 * HOUR, w->t + 6 * HOUR);
	cmd = cw_cmd(w, w->acme, CMD_LEASE_EXTEND);
	cmd.lease_extend.lease = lease;
	cmd.lease_extend.term_ms = 10 * HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT);
	assert_int_equal(w->err.reason, REASON_MAINTENANCE);
	cmd.lease_extend.term_ms = 5 * HOUR; /* up to it is fine */
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(erase(w, w->operator, id), 0);
	cmd.lease_extend.term_ms = 10 * HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
}

/* One that extends itself is in the way for good; one that begins to later ends before. */
static void a_lease_that_extends_itself_stays_clear(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", 8, LEASE_FIRM);
	uint64_t lease;

	(void)maintenance(w, 1, w->t + 50 * HOUR, w->t + 51 * HOUR);
	cmd.lease_request.spec.term_ms = 4 * HOUR;
	cmd.lease_request.spec.auto_extend = true;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(cw_do(w, &cmd), i < 1 ? 0 : ERR_NEVER);
		if (i == 0) {
			lease = w->d.result.id;
			cw_settle(w);
			for (uint32_t k = 0; k < cw_alloc_of(w, OWNER_LEASE, lease)->parts_n; k++)
				assert_int_not_equal(cw_alloc_of(w, OWNER_LEASE, lease)->parts[k].node, w->node[1].id);
		}
		cmd.lease_request.spec.units = 99;
	}
}

/* Eight devices for four hours at a time, told for two. */
static uint64_t lease_that_extends_itself(struct core_world *w, uint32_t *ret_node)
{
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", 8, LEASE_FIRM);
	uint64_t lease;

	cmd.lease_request.spec.term_ms = 4 * HOUR;
	cmd.lease_request.spec.ttl_ms = 2 * HOUR;
	cmd.lease_request.spec.auto_extend = true;
	assert_int_equal(cw_do(w, &cmd), 0);
	lease = w->d.result.id;
	cw_settle(w);
	for (uint32_t n = 1; n <= 4; n++)
		if (cw_alloc_of(w, OWNER_LEASE, lease)->parts[0].node == w->node[n].id)
			*ret_node = n;
	return lease;
}

/* Work that was there stays, but its term is not extended: whoever renews then is promised the rest of it. */
static void a_holder_is_not_told_more_than_it_gets(void **state)
{
	struct core_world *w = *state;
	struct renew_result told;
	uint64_t lease;
	uint32_t node = 0;
	struct order o;

	lease = lease_that_extends_itself(w, &node);
	order(w, &o, w->operator, "disks", w->t + 5 * HOUR, w->t + 6 * HOUR);
	o.cmd.reservation_create.spec.maint = o.cmd.reservation_create.spec.ignore_jobs = true;
	with_node(&o, node);
	assert_int_equal(cw_do(w, &o.cmd), 0);
	cw_advance(w, HOUR);
	told = cw_renew(w, w->acme, lease, 1);
	assert_int_equal(told.code, 0);
	assert_int_equal(told.ttl_ms, 2 * HOUR); /* its term reaches further */
	cw_advance(w, 2 * HOUR - 1);
	told = cw_renew(w, w->acme, lease, 2);
	assert_int_equal(told.code, 0);
	assert_true(told.ttl_ms <= told.term_left_ms); /* it will not be extended */
	cw_advance(w, told.ttl_ms);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ENDED);
}

/* The order comes between a renewal that was promised a part of the next term and the end of this one. The holder serves
 * on until then, so the lease has to last as long; no longer, however often it renews. */
static void a_reservation_takes_nothing_that_a_holder_was_told(void **state)
{
	struct core_world *w = *state;
	struct renew_result told, again;
	uint64_t lease;
	uint32_t node = 0;
	struct order o;
	int64_t end;

	lease = lease_that_extends_itself(w, &node);
	for (uint64_t seq = 1; seq <= 2; seq++) {
		told = cw_renew(w, w->acme, lease, seq);
		assert_int_equal(told.code, 0);
		cw_advance(w, 90 * MIN);
	}
	told = cw_renew(w, w->acme, lease, 3);
	assert_true(told.ttl_ms > told.term_left_ms); /* it extends itself */
	end = w->t + told.ttl_ms;
	order(w, &o, w->operator, "disks", w->t + 10 * MIN, w->t + 20 * HOUR);
	o.cmd.reservation_create.spec.maint = o.cmd.reservation_create.spec.ignore_jobs = true;
	with_node(&o, node);
	assert_int_equal(cw_do(w, &o.cmd), 0);
	again = cw_renew(w, w->acme, lease, 3); /* a repeat is told the same */
	assert_int_equal(w->t + again.ttl_ms, end);
	for (uint64_t seq = 4; w->t + 10 * MIN < end; seq++) {
		cw_advance(w, 10 * MIN);
		assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
		told = cw_renew(w, w->acme, lease, seq);
		assert_int_equal(told.code, 0);
		assert_int_equal(w->t + told.ttl_ms, end);
	}
	cw_advance(w, end - w->t - 1);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
	cw_advance(w, 1);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ENDED);
}

/* ---- leases that live into a window ---------------------------------------------------------------------- */

/* All there is belongs to acme. */
static void acme_alone(struct core_world *w, int64_t devices)
{
	static const enum cw_q leaf[] = {CW_LUNG, CW_HEART, CW_ACME, CW_BETA};

	for (size_t i = 0; i < ARRAY_LEN(leaf); i++)
		cw_quota(w, leaf[i], 0, SHAPE_GPU, leaf[i] == CW_ACME ? devices : 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
}

static uint64_t lease(struct core_world *w, uint32_t units, uint16_t replica, int64_t term, bool extend)
{
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", units, LEASE_FIRM);

	cmd.lease_request.spec.term_ms = term;
	cmd.lease_request.spec.ttl_ms = MIN;
	cmd.lease_request.spec.grace_ms = 100 * MS_PER_DAY; /* nobody renews here */
	cmd.lease_request.spec.auto_extend = extend;
	cmd.lease_request.spec.units_per_replica = replica;
	if (cw_do(w, &cmd))
		return 0;
	cw_settle(w);
	return w->core->cluster.next_lease - 1;
}

static const char *lease_why(struct core_world *w, uint64_t id, struct view_leases *v, struct arena *arena)
{
	struct query q = {.type = QUERY_LEASES, .id = id, .all = true};

	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, v, arena, &w->err), 0);
	return v->items[0].reason_text;
}

/* Whoever may stay for good cannot have what is taken away in between, now or as growth later. */
static void a_lease_is_not_granted_past_what_maintenance_takes(void **state)
{
	struct core_world *w = *state;
	struct arena arena = {0};
	uint64_t big, small, brief;
	struct view_leases v;
	struct command cmd;
	const char *why;

	acme_alone(w, 32);
	(void)maintenance(w, 1, w->t + 5 * HOUR, w->t + 6 * HOUR);
	big = lease(w, 28, 0, HOUR, true);
	assert_int_equal(cw_lease_state(w, big), LEASE_REQUESTED);
	why = lease_why(w, big, &v, &arena);
	assert_int_equal(v.items[0].reason, REASON_MAINTENANCE);
	assert_non_null(strstr(why, "4 h100 short: maintenance 1 (disks)"));
	arena_done(&arena);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, big), 0);
	small = lease(w, 20, 0, HOUR, true);
	assert_int_equal(cw_lease_state(w, small), LEASE_ACTIVE);
	/* growth is judged before it is looked for */
	assert_int_equal(cw_resize(w, w->acme, small, 26), ERR_NOROOM);
	assert_int_equal(w->err.reason, REASON_MAINTENANCE);
	assert_non_null(strstr(w->err.msg, "2 h100 short"));
	assert_non_null(strstr(w->err.hint, "reservation show 1"));
	assert_int_equal(cw_resize(w, w->acme, small, 24), 0);
	/* gone before it begins: nothing is taken from it */
	brief = lease(w, 8, 0, 2 * HOUR, false);
	assert_int_equal(cw_lease_state(w, brief), LEASE_ACTIVE);
	cmd = cw_cmd(w, w->acme, CMD_LEASE_EXTEND);
	cmd.lease_extend.lease = brief;
	cmd.lease_extend.term_ms = 20 * HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT);
}

/* Two halves of nodes are no whole one, however many devices are left in all. */
static void replicas_do_not_fit_around_what_is_reserved(void **state)
{
	struct core_world *w = *state;
	struct arena arena = {0};
	struct view_leases v;
	struct command cmd;
	struct order o;
	uint64_t id;

	acme_alone(w, 12);
	for (uint32_t n = 2; n <= 4; n++)
		assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, n, "away"), 0);
	for (uint32_t n = 1; n <= 2; n++) { /* two devices of each of two nodes */
		order(w, &o, w->operator, n == 1 ? "a" : "b", w->t + 2 * HOUR, w->t + 3 * HOUR);
		with_gpus(&o, 2);
		(void)snprintf(o.member[o.cmd.reservation_create.members_n++].s, TEXT_BYTES, "user:alice");
		assert_int_equal(cw_do(w, &o.cmd), 0);
		assert_int_equal(cw_admin_node(w, n == 1 ? CMD_NODE_UNCORDON : CMD_NODE_CORDON, n == 1 ? 2 : 3, "now"), 0);
		if (n == 1)
			assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 1, "away"), 0);
	}
	assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, 1, ""), 0);
	cmd = cw_submit_cmd(w, w->alice, "lung", 12, 9 * HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY; /* what comes back of it in time does not, for good */
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, 1), JOB_RUNNING);
	id = lease(w, 12, 4, HOUR, true); /* six and six for good: two pieces of four, though twelve in all */
	assert_int_equal(cw_lease_state(w, id), LEASE_REQUESTED);
	assert_non_null(strstr(lease_why(w, id, &v, &arena), "reservations have them"));
	assert_null(strstr(v.items[0].reason_text, "set aside"));
	arena_done(&arena);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, id), 0);
	id = lease(w, 12, 3, HOUR, true); /* four pieces of three would just fit into six and six; as four they do not */
	assert_int_equal(cw_lease_state(w, id), LEASE_REQUESTED);
	assert_non_null(strstr(lease_why(w, id, &v, &arena), "2 more of 4 h100 on one node"));
	assert_non_null(strstr(v.items[0].reason_text, "; 3 are set aside as 4"));
	arena_done(&arena);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, id), 0);
	id = lease(w, 12, 2, HOUR, true);
	cw_advance(w, 5 * MIN);
	assert_int_equal(lease_of(w->core, id)->units_active, 12);
}

/* A lease that lost its node is still owed as much: nobody reserves what it is about to get. */
static void what_leases_are_owed_is_not_reserved(void **state)
{
	struct core_world *w = *state;
	uint64_t id, before;
	uint32_t lost = 0;
	struct order o;

	acme_alone(w, 32);
	id = lease(w, 8, 0, HOUR, true);
	for (uint32_t n = 1; n <= 4; n++)
		if (cw_alloc_of(w, OWNER_LEASE, id)->parts[0].node == w->node[n].id)
			lost = n;
	assert_int_equal(cw_lease_state(w, lease(w, 24, 0, 2 * HOUR, false)), LEASE_ACTIVE);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, lost, "smells"), 0);
	cw_reboot(w, lost);
	cw_settle(w);
	assert_int_equal(lease_of(w->core, id)->units_held, 0);
	order(w, &o, w->operator, "all", w->t + 3 * HOUR, w->t + 4 * HOUR);
	o.cmd.reservation_create.spec.maint = true;
	for (uint32_t n = 1; n <= 4; n++)
		if (n != lost)
			with_node(&o, n);
	before = cw_digest(w);
	assert_int_equal(cw_do(w, &o.cmd), ERR_CONFLICT);
	assert_non_null(strstr(w->err.msg, "8 h100 would be missing of what leases were granted"));
	assert_int_equal(w->err.reason, REASON_DEFICIT);
	assert_int_equal(cw_digest(w), before);
	o.cmd.reservation_create.spec.ignore_jobs = true;
	assert_int_equal(cw_do(w, &o.cmd), 0);
}

/* What a lease has until its term ends is free for the calendar after it; with its next term for granted it is not. */
/* A claim that is under way keeps its devices until its job would end, and no longer: days away they can be reserved. */
static void what_a_claim_fetches_is_reserved_for_later(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	struct order o;
	uint64_t job;

	for (int i = 0; i < 4; i++) {
		cmd = cw_submit_cmd(w, w->bob, "heart", 8, 24 * HOUR);
		cmd.job_submit.spec.loan = LOAN_ONLY;
		assert_int_equal(cw_do(w, &cmd), 0);
	}
	cw_settle(w);
	for (uint32_t n = 1; n <= 4; n++)
		w->node[n].manner = CW_STUBBORN;
	job = cw_submit(w, w->alice, "lung", 8, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_EARMARKED);
	order(w, &o, w->operator, "all", w->t + HOUR, w->t + 2 * HOUR);
	o.cmd.reservation_create.spec.maint = true;
	for (uint32_t n = 1; n <= 4; n++)
		with_node(&o, n);
	assert_int_equal(cw_do(w, &o.cmd), ERR_CONFLICT);
	assert_non_null(strstr(w->err.msg, "fetches devices of "));
	assert_non_null(strstr(w->err.msg, " for job "));
	order(w, &o, w->operator, "all", w->t + 10 * HOUR, w->t + 11 * HOUR);
	o.cmd.reservation_create.spec.maint = true;
	for (uint32_t n = 1; n <= 4; n++)
		with_node(&o, n);
	assert_int_equal(cw_do(w, &o.cmd), 0);
	for (uint32_t n = 1; n <= 4; n++)
		w->node[n].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
}

static void what_ends_before_is_reserved(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	struct order o;
	uint64_t brief, owed;
	uint32_t lost;

	acme_alone(w, 32);
	brief = lease(w, 8, 0, 2 * HOUR, false);
	assert_int_equal(cw_lease_state(w, lease(w, 8, 0, HOUR, true)), LEASE_ACTIVE);
	owed = lease(w, 8, 0, HOUR, true);
	lost = cw_alloc_of(w, OWNER_LEASE, owed)->parts[0].node;
	for (uint32_t n = 1; n <= 4; n++)
		if (w->node[n].id != lost && !node_of(w->core, w->node[n].id)->held)
			assert_int_equal(lease(w, 8, 0, 5 * HOUR / 2, false) != 0, true);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, lost, "smells"), 0);
	for (uint32_t n = 1; n <= 4; n++)
		if (w->node[n].id == lost)
			cw_reboot(w, n);
	cw_settle(w);
	assert_int_equal(lease_of(w->core, owed)->units_held, 0);
	/* 24 devices: 8 for good, 8 owed, 16 that come back before */
	order(w, &o, w->operator, "course", w->t + 3 * HOUR, w->t + 4 * HOUR);
	with_gpus(&o, 8);
	with_project(&o, "lung");
	(void)snprintf(o.member[0].s, TEXT_BYTES, "user:alice");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	/* now that is counted on */
	cmd = cw_cmd(w, w->acme, CMD_LEASE_EXTEND);
	cmd.lease_extend.lease = brief;
	cmd.lease_extend.term_ms = 5 * HOUR / 2;
	assert_int_equal(cw_do(w, &cmd), 0);
	cmd.lease_extend.term_ms = 5 * HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT);
	assert_int_equal(w->err.reason, REASON_RESERVED);
}

/* Could so many replicas stand until then, on what no reservation has and nobody holds, or with `loans` no guaranteed work?
 * Looked at device by device. */
static bool stands(const struct core_world *w, const struct lease_spec *s, int64_t until, bool loans)
{
	uint32_t replica = s->units_per_replica ? s->units_per_replica : 1, room = 0;

	for (uint32_t i = 1; i <= w->nodes_n; i++) {
		const struct node_s *n = node_of(w->core, w->node[i].id);
		uint32_t free = 0;

		for (uint32_t dev = 0; dev < w->node[i].gpus; dev++) {
			const struct alloc *a = core_alloc(w->core, n->holder[dev]);
			bool mine = !n->claimant[dev] && (!a || (loans && a->klass == CLASS_LOAN));

			for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_RESERVATION, id)) != 0;) {
				const struct reservation *r = get(w, id);

				for (uint32_t p = 0; p < r->parts_n && r->state <= RESERVATION_ACTIVE; p++)
					for (uint32_t k = 0; k < r->spec.windows_n; k++)
						mine &= r->parts[p].node != n->r.id || !(r->parts[p].devices >> dev & 1) ||
							r->spec.windows[k].from_ms >= until || r->spec.windows[k].to_ms <= w->t;
			}
			free += mine;
		}
		room += free / replica;
	}
	return room * replica >= s->units;
}

/* Has a reservation a device of this lease before `until`? */
static bool reserved_before(const struct core_world *w, uint64_t lease, int64_t until)
{
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(w->core, id);

		for (uint32_t i = 0; i < a->parts_n && a->owner_kind == OWNER_LEASE && a->owner == lease; i++)
			for (uint64_t rid = 0; (rid = core_next_id(w->core, RECORD_RESERVATION, rid)) != 0;) {
				const struct reservation *r = get(w, rid);

				for (uint32_t p = 0; p < r->parts_n && r->state <= RESERVATION_ACTIVE; p++)
					if (r->parts[p].node == a->parts[i].node && (r->parts[p].devices & a->parts[i].devices) &&
					    r->spec.windows[0].from_ms < until)
						return true;
			}
	}
	return false;
}

/* Small clusters, everything looked at: a firm lease is granted exactly if it can stand, and what was granted is there
 * within the recall time, whatever is reserved afterwards. */
static void granted_is_what_can_stand(void **state)
{
	struct core_world *w = *state;
	uint32_t granted = 0, refused = 0, reserved = 0, extended = 0, kept = 0;
	struct prng prng;

	for (uint64_t seed = 1; seed <= 300; seed++) {
		cw_close(w);
		cw_open(w, 2);
		w->flavor[0].devices_per_node = 4;
		w->node[1].gpus = w->node[2].gpus = 4;
		acme_alone(w, 8);
		assert_int_equal(cw_hello(w, 1) | cw_hello(w, 2), 0);
		prng_seed(&prng, seed);
		for (int i = 0; i < 20; i++) {
			struct order o;
			struct command cmd;

			switch (prng_below(&prng, 7)) {
			case 0:
				order(w, &o, w->operator, "r", w->t + (int64_t)prng_below(&prng, 12) * HOUR / 2, 0);
				(void)snprintf(o.cmd.reservation_create.spec.name, NAME_BYTES, "r%d", i);
				o.window[0].to_ms = o.window[0].from_ms + HOUR;
				if (prng_below(&prng, 2)) {
					o.cmd.reservation_create.spec.maint = true;
					with_node(&o, 1 + (uint32_t)prng_below(&prng, 2));
				} else {
					with_gpus(&o, 1 + (uint32_t)prng_below(&prng, 4));
					(void)snprintf(o.member[o.cmd.reservation_create.members_n++].s, TEXT_BYTES, "user:alice");
				}
				reserved += cw_do(w, &o.cmd) == 0;
				break;
			case 1:
				cmd = cw_submit_cmd(w, w->alice, "lung", 1 + (uint32_t)prng_below(&prng, 4), 9 * HOUR);
				cmd.job_submit.spec.loan = LOAN_ONLY;
				(void)cw_do(w, &cmd);
				break;
			case 2:
				cw_advance(w, (int64_t)prng_below(&prng, 90) * MIN);
				break;
			case 3: {
				uint64_t next = w->core->cluster.next_lease;

				if (next > 1)
					(void)cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, 1 + prng_below(&prng, next - 1));
				break;
			}
			case 4: { /* what others were granted by its end they have already: only its own devices may be gone */
				uint64_t next = w->core->cluster.next_lease, id = next > 1 ? 1 + prng_below(&prng, next - 1) : 0;
				const struct lease *l = id ? core_lease(w->core, id) : NULL;
				int64_t term = (1 + (int64_t)prng_below(&prng, 12)) * HOUR;
				bool could;

				if (!l || l->state != LEASE_ACTIVE || l->spec.klass != LEASE_FIRM)
					break;
				could = !reserved_before(w, id, w->t + term);
				cmd = cw_cmd(w, w->acme, CMD_LEASE_EXTEND);
				cmd.lease_extend.lease = id;
				cmd.lease_extend.term_ms = term;
				assert_int_equal(cw_do(w, &cmd) == 0, could);
				extended += could;
				kept += !could;
				break;
			}
			default: {
				uint16_t replica = (uint16_t[]){0, 0, 2, 4}[prng_below(&prng, 4)];
				uint32_t units = (replica ? replica : 1) * (1 + (uint32_t)prng_below(&prng, 2));
				int64_t term = (1 + (int64_t)prng_below(&prng, 6)) * HOUR;
				bool extend = prng_below(&prng, 2), could;
				int64_t until = extend ? T_NEVER : w->t + w->core->cluster.bind_timeout_ms + term;
				struct lease_spec s = {.units = units, .units_per_replica = replica};
				uint64_t id;

				cw_settle(w);
				could = stands(w, &s, until, false) || /* what has to be recalled may begin later by that */
					stands(w, &s, extend ? T_NEVER : until + RECALL_SLO_DEFAULT_MS, true);
				id = lease(w, units, replica, term, extend);
				if (!id)
					break; /* more than it could ever have */
				if (quota_ask(w->core, core_lease(w->core, id)->spec.provider, 1, SHAPE_GPU, 1, CLASS_GUARANTEED) &&
				    cw_lease_state(w, id) == LEASE_REQUESTED)
					could = false;
				assert_int_equal(could, cw_lease_state(w, id) != LEASE_REQUESTED);
				granted += could;
				refused += !could;
				if (!could)
					(void)cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, id);
				break;
			}
			}
			cw_settle(w);
		}
		cw_advance(w, RECALL_SLO_DEFAULT_MS);
		for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_LEASE, id)) != 0;)
			if (cw_lease_state(w, id) == LEASE_ACTIVE || cw_lease_state(w, id) == LEASE_GRANTED ||
			    cw_lease_state(w, id) == LEASE_BINDING)
				assert_int_equal(lease_of(w->core, id)->units_held, core_lease(w->core, id)->spec.units);
	}
	print_message("# 300 small clusters, %u reservations: %u leases granted, %u refused, %u extended, %u not, each as a "
		      "search over all devices says\n",
		      reserved, granted, refused, extended, kept);
	assert_true(granted > 300 && refused > 100 && reserved > 100 && extended > 100 && kept > 10);
}

/* ---- inside ------------------------------------------------------------------------------------------ */

static void inside_only_members_run(void **state)
{
	struct core_world *w = *state;
	int64_t from = w->t + HOUR, to = from + 2 * HOUR;
	uint64_t id = course(w, 8, from, to), in, other, own;
	struct command cmd;
	uint32_t node = 0;

	for (uint32_t n = 1; n <= 4; n++)
		if (get(w, id)->parts[0].node == w->node[n].id)
			node = n;
	in = submit_into(w, w->alice, "lung", "course", 4, HOUR);
	cw_settle(w);
	assert_int_equal(cw_reason(w, in), REASON_WINDOW); /* opens later */
	cmd = cw_submit_cmd(w, w->bob, "heart", 1, HOUR);
	(void)snprintf(cmd.job_submit.reservation, NAME_BYTES, "course");
	assert_int_equal(cw_do(w, &cmd), ERR_DENIED);
	cmd = cw_submit_cmd(w, w->alice, "lung", 1, 3 * HOUR);
	(void)snprintf(cmd.job_submit.reservation, NAME_BYTES, "course");
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER); /* longer than any window */
	(void)snprintf(cmd.job_submit.reservation, NAME_BYTES, "curse");
	assert_int_equal(cw_do(w, &cmd), ERR_NOTFOUND);
	cw_advance(w, HOUR + MIN);
	assert_int_equal(cw_job_state(w, in), JOB_RUNNING);
	assert_true(on_node(w, in, node));
	assert_int_equal(core_alloc(w->core, core_job(w->core, in)->alloc)->reservation, id);
	/* the others have the other 24, whatever their hurry */
	own = cw_submit(w, w->alice, "lung", 4, MIN);
	other = cw_submit(w, w->bob, "heart", 8, MIN);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, other), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, own), JOB_RUNNING);
	assert_false(on_node(w, other, node));
	assert_false(on_node(w, own, node)); /* it did not name it, and it is not magnetic */
	/* too long for what is left of the window */
	cw_advance(w, HOUR + 30 * MIN);
	in = submit_into(w, w->alice, "lung", "course", 1, HOUR);
	cw_settle(w);
	assert_int_equal(cw_reason(w, in), REASON_WINDOW);
	cw_advance(w, HOUR);
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
	assert_int_equal(cw_reason(w, in), REASON_WINDOW); /* over: it says how to leave */
	cmd = cw_cmd(w, w->alice, CMD_JOB_UPDATE);
	cmd.job_update.job = in;
	(void)snprintf(cmd.job_update.reservation, NAME_BYTES, "none");
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, in), JOB_RUNNING);
}

static void magnetic_ones_draw_their_projects_work(void **state)
{
	struct core_world *w = *state;
	struct order o;
	uint64_t id, job, other;

	order(w, &o, w->operator, "pull", w->t, w->t + 3 * HOUR);
	o.cmd.reservation_create.spec.magnetic = true;
	with_gpus(&o, 8);
	with_project(&o, "public/health");
	assert_int_equal(cw_do(w, &o.cmd), ERR_NEVER); /* not more than the sector itself could be guaranteed */
	o.member[0].s[0] = '\0';
	o.cmd.reservation_create.members_n = 0;
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	id = w->d.result.id;
	for (uint32_t n = 1; n <= 4; n++)
		if (get(w, id)->parts[0].node != w->node[n].id)
			assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, n, "only what is reserved"), 0);
	job = cw_submit(w, w->alice, "lung", 8, HOUR);
	other = cw_submit(w, w->bob, "heart", 1, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(core_alloc(w->core, core_job(w->core, job)->alloc)->reservation, id);
	assert_int_equal(cw_job_state(w, other), JOB_PENDING);
}

/* ---- its end ----------------------------------------------------------------------------------------- */

static void what_runs_past_the_end_is_stopped_with_notice(void **state)
{
	struct core_world *w = *state;
	int64_t to = w->t + 3 * HOUR;
	uint64_t id = course(w, 8, w->t, to), job;
	struct command cmd;

	cw_tick(w);
	job = submit_into(w, w->alice, "lung", "course", 8, 2 * HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	/* the window is cut short under it */
	cmd = cw_cmd(w, w->operator, CMD_RESERVATION_UPDATE);
	cmd.reservation_update.reservation = id;
	cmd.reservation_update.to_ms = to = w->t + HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	for (uint32_t n = 1; n <= 4; n++)
		w->node[n].manner = CW_STUBBORN;
	cw_advance(w, HOUR - 3 * MIN);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	cw_advance(w, MIN + MIN / 2);
	assert_int_equal(cw_job_state(w, job), JOB_STOPPING);
	assert_true(core_alloc(w->core, core_job(w->core, job)->alloc)->stop_at_ms == to);
	for (uint32_t n = 1; n <= 4; n++)
		w->node[n].manner = CW_OBEY;
	cw_advance(w, 2 * MIN);
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
	assert_int_equal(w->core->allocs.count, 0);
	assert_int_equal(cw_job_state(w, job), JOB_TIMEOUT);
	assert_string_equal(core_job(w->core, job)->end_text, "its reservation ended");
}

static void overrun_lets_it_finish(void **state)
{
	struct core_world *w = *state;
	struct order o;
	uint64_t id, job;

	order(w, &o, w->operator, "loose", w->t, w->t + HOUR);
	o.cmd.reservation_create.spec.overrun = true;
	with_gpus(&o, 8);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	id = w->d.result.id;
	cw_tick(w);
	job = submit_into(w, w->alice, "lung", "loose", 8, 3 * HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	cw_advance(w, 2 * HOUR);
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
}

/* openpbs #791, #2398: the command and the end meet in one batch, in either order. */
static void deleting_while_it_ends(void **state)
{
	struct core_world *w = *state;
	uint64_t id = course(w, 8, w->t, w->t + HOUR), job;

	cw_tick(w);
	job = submit_into(w, w->alice, "lung", "course", 8, 30 * MIN);
	cw_settle(w);
	w->t = get(w, id)->spec.windows[0].to_ms;
	assert_int_equal(erase(w, w->operator, id), 0); /* before the tick of that instant */
	assert_int_equal(get(w, id)->state, RESERVATION_CANCELLED);
	cw_tick(w);
	assert_int_equal(get(w, id)->state, RESERVATION_CANCELLED);
	assert_int_equal(erase(w, w->operator, id), 0); /* again: nothing left to do */
	cw_settle(w);
	assert_true(job_terminal(cw_job_state(w, job)) || cw_job_state(w, job) == JOB_RUNNING);

	id = course(w, 8, w->t + HOUR, w->t + 2 * HOUR);
	cw_advance(w, 90 * MIN);
	w->t = get(w, id)->spec.windows[0].to_ms;
	cw_tick(w); /* the tick first */
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
	assert_int_equal(erase(w, w->operator, id), 0);
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
}

/* openpbs PR#1: confirmed twice in one batch, the devices were counted twice. */
static void confirming_twice_is_once(void **state)
{
	struct core_world *w = *state;
	struct order o;
	struct command cmd;
	uint64_t id, once;

	order(w, &o, w->alice, "exam", w->t + HOUR, w->t + 2 * HOUR);
	with_gpus(&o, 8);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), 0); /* a member asks */
	id = w->d.result.id;
	assert_int_equal(get(w, id)->state, RESERVATION_REQUESTED);
	assert_int_equal(get(w, id)->parts_n, 0);
	cmd = cw_cmd(w, w->alice, CMD_RESERVATION_UPDATE);
	cmd.reservation_update.reservation = id;
	cmd.reservation_update.confirm = true;
	assert_int_equal(cw_do(w, &cmd), ERR_DENIED); /* and does not answer herself */
	cmd = cw_cmd(w, w->operator, CMD_RESERVATION_UPDATE);
	cmd.reservation_update.reservation = id;
	cmd.reservation_update.confirm = true;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(get(w, id)->state, RESERVATION_CONFIRMED);
	once = cw_digest(w);
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(cw_digest(w), once);
	assert_int_equal(get(w, id)->parts_n, 1);
	/* nobody answers another one: it is not there when it was to begin */
	(void)snprintf(o.cmd.reservation_create.spec.name, NAME_BYTES, "exam2");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	id = w->d.result.id;
	cw_advance(w, HOUR + MIN);
	assert_int_equal(get(w, id)->state, RESERVATION_CANCELLED);
	/* not for others, not for everything */
	o.window[0] = (struct window){w->t + HOUR, w->t + 2 * HOUR};
	(void)snprintf(o.cmd.reservation_create.spec.name, NAME_BYTES, "theirs");
	(void)snprintf(o.member[0].s, TEXT_BYTES, "project:heart");
	assert_int_equal(cw_do(w, &o.cmd), ERR_DENIED);
}

/* ---- the calendar -------------------------------------------------------------------------------------- */

static void nothing_is_reserved_twice(void **state)
{
	struct core_world *w = *state;
	struct order o;
	uint64_t a, b;

	a = maintenance(w, 1, w->t + HOUR, w->t + 2 * HOUR);
	order(w, &o, w->operator, "more", w->t + 90 * MIN, w->t + 3 * HOUR);
	o.cmd.reservation_create.spec.maint = true;
	with_node(&o, 1);
	assert_int_equal(cw_do(w, &o.cmd), ERR_CONFLICT);
	assert_non_null(strstr(w->err.msg, "reservation 1 (disks)"));
	o.window[0].from_ms = w->t + 2 * HOUR; /* end to end they fit */
	assert_int_equal(cw_do(w, &o.cmd), 0);
	b = w->d.result.id;
	{
		struct command cmd = cw_cmd(w, w->operator, CMD_RESERVATION_UPDATE);

		cmd.reservation_update.reservation = a;
		cmd.reservation_update.to_ms = w->t + 150 * MIN; /* into the other */
		assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT);
	}
	assert_int_equal(cw_do(w, &o.cmd), ERR_EXISTS);
	/* all that is left is 24 devices, and not more than the project has */
	order(w, &o, w->operator, "many", w->t + HOUR, w->t + 2 * HOUR);
	with_gpus(&o, 9);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), ERR_NEVER);
	for (int i = 0; i < 4; i++) {
		(void)snprintf(o.cmd.reservation_create.spec.name, NAME_BYTES, "many%d", i);
		o.cmd.reservation_create.spec.units = 8;
		assert_int_equal(cw_do(w, &o.cmd), i < 3 ? 0 : ERR_CONFLICT);
	}
	assert_int_equal(erase(w, w->operator, b), 0);
	cw_advance(w, 5 * HOUR);
	cw_reload(w, 0);
}

/* Every Monday: three windows are listed, a fourth follows when the first is over, and between them the
 * devices are everybody's. */
static void windows_repeat(void **state)
{
	struct core_world *w = *state;
	struct order o;
	int64_t day = MS_PER_DAY, t0 = w->t;
	uint64_t id, job;

	order(w, &o, w->operator, "mondays", t0 + HOUR, t0 + 3 * HOUR);
	for (int i = 1; i < 3; i++)
		o.window[i] = (struct window){t0 + HOUR + i * day, t0 + 3 * HOUR + i * day};
	o.cmd.reservation_create.spec.windows_n = 3;
	o.cmd.reservation_create.spec.repeat_ms = day;
	with_gpus(&o, 8);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	id = w->d.result.id;
	job = submit_into(w, w->alice, "lung", "mondays", 8, HOUR);
	for (int i = 0; i < 4; i++) {
		cw_advance(w, t0 + i * day + 2 * HOUR - w->t);
		assert_int_equal(get(w, id)->state, RESERVATION_ACTIVE);
		cw_advance(w, t0 + i * day + 4 * HOUR - w->t);
		assert_int_equal(get(w, id)->state, RESERVATION_CONFIRMED);
		assert_int_equal(get(w, id)->spec.windows_n, 3);
		assert_true(get(w, id)->spec.windows[2].from_ms == t0 + HOUR + (i + 3) * day);
	}
	assert_true(job_terminal(cw_job_state(w, job)));
	cw_reload(w, MIN);
	/* windows that run into each other are refused */
	(void)snprintf(o.cmd.reservation_create.spec.name, NAME_BYTES, "long");
	for (int i = 0; i < 3; i++)
		o.window[i] = (struct window){w->t + HOUR + i * HOUR, w->t + 3 * HOUR + i * HOUR};
	assert_int_equal(cw_do(w, &o.cmd), ERR_INVAL);
}

/* The daemon was away over a whole window: nothing of it is left standing. */
static void a_window_that_was_slept_through(void **state)
{
	struct core_world *w = *state;
	uint64_t id = course(w, 8, w->t + HOUR, w->t + 2 * HOUR);

	w->t += 5 * HOUR;
	cw_reload(w, 5 * HOUR);
	cw_settle(w);
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
}

/* Placed so that it is gone in time; then nobody is heard, and its node says late that it is ready. A start now would
 * reach into what is promised: it goes back in line instead. */
static void what_is_prepared_too_late_does_not_start(void **state)
{
	struct core_world *w = *state;
	int64_t from = w->t + MIN + HOUR;
	const struct alloc *a;
	uint64_t job, late;

	for (uint32_t n = 2; n <= 4; n++)
		assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, n, "away"), 0);
	maintenance(w, 1, from, from + HOUR);
	w->node[1].manner = CW_MUTE;
	job = cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_settle(w);
	a = cw_alloc_of(w, OWNER_JOB, job);
	assert_non_null(a);
	assert_true(a->bind_by_ms + HOUR <= from);
	late = a->id;
	w->t += 5 * MIN; /* no tick either: sluisd stood still */
	w->node[1].manner = CW_OBEY;
	assert_int_equal(cw_report(w, 1, late, 0, UNIT_PREPARED, 0), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_PENDING);
	assert_null(core_alloc(w->core, late));
	assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, 2, ""), 0);
	cw_advance(w, 10 * MIN); /* after the pause that follows a failed binding */
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, job)->parts[0].node, w->node[2].id);
}

static void an_idle_one_ends_if_it_said_so(void **state)
{
	struct core_world *w = *state;
	struct order o;
	uint64_t id, job;

	order(w, &o, w->operator, "brief", w->t, w->t + 10 * HOUR);
	o.cmd.reservation_create.spec.purge_ms = 30 * MIN;
	with_gpus(&o, 8);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	id = w->d.result.id;
	cw_advance(w, 20 * MIN);
	job = submit_into(w, w->alice, "lung", "brief", 8, 2 * HOUR);
	cw_settle(w);
	cw_advance(w, HOUR);
	assert_int_equal(get(w, id)->state, RESERVATION_ACTIVE); /* in use */
	cw_exit(w, job, 0);
	cw_advance(w, 20 * MIN);
	assert_int_equal(get(w, id)->state, RESERVATION_ACTIVE);
	cw_advance(w, 20 * MIN);
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
}

/* ---- what it costs ------------------------------------------------------------------------------------- */

/* What the usage of lung says is idle, in RU·ms. */
static int64_t idle_of_lung(const struct core_world *w)
{
	const struct usage *u = &qnode_of(w->core, cw_id(w, "public/health/cancer/lung"))->usage;
	int64_t idle = 0;

	for (uint32_t i = 0; i < u->rows_n; i++) {
		assert_int_not_equal(u->rows[i].flavor, 0);
		idle += u->rows[i].idle_rums;
	}
	return idle;
}

/* 8 for 2 h, of which a job of 4 has 1 h: lung pays its 4, and the 12 that others could not have. */
static void what_idles_inside_is_charged(void **state)
{
	struct core_world *w = *state;
	uint32_t lung = cw_id(w, "public/health/cancer/lung");
	struct query q = {.type = QUERY_RESERVATIONS};
	struct view_reservations v;
	struct arena arena = {0};
	uint64_t job;
	int64_t from, job_ms, kept = 16 * HOUR;

	cw_stage(w, CW_LUNG, "one", STAGE_RELEASED, 100);
	cw_apply(w);
	from = w->t + HOUR;
	q.id = course(w, 8, from, from + 2 * HOUR);
	cw_advance(w, from - w->t);
	assert_int_equal(get(w, q.id)->state, RESERVATION_ACTIVE);
	job = submit_into(w, w->alice, "lung", "course", 4, 90 * MIN);
	cw_settle(w);
	cw_advance(w, 30 * MIN);
	cw_reload(w, 0);
	cw_advance(w, from + 70 * MIN - w->t);
	assert_int_equal(idle_of_lung(w), 0); /* at the end only */
	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items[0].kept_rums, 8 * (w->t - from));
	job_ms = w->t - core_alloc(w->core, core_job(w->core, job)->alloc)->start_ms;
	assert_int_equal(v.items[0].used_rums, 4 * job_ms);
	assert_string_equal(v.items[0].payer, "public/health/cancer/lung");
	arena_done(&arena);
	cw_exit(w, job, 0);
	job_ms = core_job(w->core, job)->used_guaranteed_rums / 4;
	assert_in_range(job_ms, HOUR, 75 * MIN);
	assert_int_equal(get(w, q.id)->used_rums, 4 * job_ms);
	cw_advance(w, from + 2 * HOUR - w->t);
	assert_int_equal(get(w, q.id)->state, RESERVATION_ENDED);
	assert_int_equal(idle_of_lung(w), kept - 4 * job_ms);
	assert_int_equal(get(w, q.id)->idle_rums, kept - 4 * job_ms);
	assert_int_equal(core_qnode(w->core, lung)->stages[0].spent_rums, kept); /* paid for once */
	assert_int_equal(core_check(w->core, &w->err), 0);
	cw_reload(w, HOUR);
	assert_int_equal(idle_of_lung(w), kept - 4 * job_ms);
}

/* Only until it is given back; a new member pays from then on only; a budget is not overdrawn. */
static void what_idles_is_charged_until_it_ends(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	struct text_ref heart;
	uint64_t id, job;
	int64_t used;

	cw_stage(w, CW_LUNG, "one", STAGE_RELEASED, 64);
	cw_stage(w, CW_LUNG, "locked", STAGE_LOCKED, 100);
	cw_stage(w, CW_LUNG, "later", STAGE_RELEASED, 100);
	w->stage[CW_LUNG][2].from_ms = w->t + 9 * HOUR;
	cw_apply(w);
	id = course(w, 8, w->t, w->t + 8 * HOUR);
	w->stage[CW_LUNG][0].amount_rums = 3 * HOUR; /* it could have paid for it then */
	cw_apply(w);
	cw_advance(w, HOUR);
	cmd = cw_cmd(w, w->operator, CMD_RESERVATION_UPDATE);
	cmd.reservation_update.reservation = id;
	(void)snprintf(heart.s, sizeof heart.s, "project:heart");
	cmd.reservation_update.members = &heart;
	cmd.reservation_update.members_n = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_in_range(idle_of_lung(w), 8 * HOUR - MIN, 8 * HOUR + MIN);
	assert_int_equal(core_qnode(w->core, cw_id(w, "public/health/cancer/lung"))->stages[0].spent_rums, 3 * HOUR);
	for (uint32_t i = 1; i < 3; i++)
		assert_int_equal(core_qnode(w->core, cw_id(w, "public/health/cancer/lung"))->stages[i].spent_rums, 0);
	job = submit_into(w, w->bob, "heart", "course", 2, 4 * HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	cw_advance(w, HOUR);
	assert_int_equal(erase(w, w->operator, id), 0); /* the job goes on, and is its own affair from now on */
	assert_in_range(get(w, id)->used_rums, 2 * HOUR - MIN, 2 * HOUR);
	assert_int_equal(get(w, id)->idle_rums, get(w, id)->kept_rums - get(w, id)->used_rums);
	assert_in_range(get(w, id)->kept_rums, 16 * HOUR - MIN, 16 * HOUR + MIN);
	used = get(w, id)->used_rums;
	cw_advance(w, 2 * HOUR);
	cw_exit(w, job, 0);
	assert_int_equal(get(w, id)->used_rums, used);
	assert_in_range(get(w, id)->kept_rums, 16 * HOUR - MIN, 16 * HOUR + MIN);
	assert_in_range(idle_of_lung(w), 8 * HOUR - MIN, 8 * HOUR + MIN);
}

/* Whoever could not run a job there for so long cannot keep it from others either. */
static void who_cannot_pay_does_not_reserve(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t before;
	struct order o;

	cw_stage(w, CW_LUNG, "one", STAGE_RELEASED, 12);
	cw_stage(w, CW_LUNG, "two", STAGE_RELEASED, 8);
	w->stage[CW_LUNG][1].from_ms = w->t + 9 * HOUR;
	cw_apply(w);
	order(w, &o, w->operator, "course", w->t + HOUR, w->t + 3 * HOUR);
	with_gpus(&o, 8);
	with_project(&o, "lung");
	before = cw_digest(w);
	assert_int_equal(cw_do(w, &o.cmd), ERR_BUDGET); /* 16 hours; the second stage is not open then */
	assert_int_equal(w->err.reason, REASON_HOLD_TOO_LARGE);
	assert_non_null(strstr(w->err.msg, "lung cannot pay for it if it idles: it needs 16.0 GPU-hours, 12.0 are left"));
	assert_int_equal(cw_digest(w), before);
	order(w, &o, w->alice, "course", w->t + HOUR, w->t + 3 * HOUR); /* also where somebody else would confirm it */
	with_gpus(&o, 8);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), ERR_BUDGET);
	order(w, &o, w->operator, "course", w->t + 9 * HOUR, w->t + 11 * HOUR);
	with_gpus(&o, 8);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), 0); /* both together, as they would be charged */
	cmd = cw_cmd(w, w->operator, CMD_RESERVATION_UPDATE);
	cmd.reservation_update.reservation = w->d.result.id;
	cmd.reservation_update.to_ms = w->t + 12 * HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_BUDGET);
	/* named nodes by what they have; a maintenance is nobody's bill; without a grant there is no limit */
	order(w, &o, w->operator, "node", w->t + HOUR, w->t + 3 * HOUR);
	with_node(&o, 1);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), ERR_BUDGET);
	o.window[0].to_ms = w->t + 2 * HOUR;
	assert_int_equal(cw_do(w, &o.cmd), 0);
	(void)maintenance(w, 2, w->t + HOUR, w->t + 99 * HOUR);
	order(w, &o, w->operator, "heart", w->t + HOUR, w->t + 99 * HOUR);
	with_gpus(&o, 8);
	with_project(&o, "heart");
	assert_int_equal(cw_do(w, &o.cmd), 0);
}

/* Nor is it held to a window that it cannot pay for any more: it may end sooner, not later. */
static void who_cannot_pay_any_more_gives_back(void **state)
{
	struct core_world *w = *state;
	int64_t from = w->t;
	struct command cmd;
	uint64_t id;

	cw_stage(w, CW_LUNG, "one", STAGE_RELEASED, 64);
	cw_apply(w);
	id = course(w, 8, from, from + 8 * HOUR);
	w->stage[CW_LUNG][0].amount_rums = 9 * HOUR;
	cw_apply(w);
	cw_advance(w, HOUR);
	cmd = cw_cmd(w, w->operator, CMD_RESERVATION_UPDATE);
	cmd.reservation_update.reservation = id;
	cmd.reservation_update.confirm = true; /* again */
	assert_int_equal(cw_do(w, &cmd), 0);
	cmd.reservation_update.confirm = false;
	cmd.reservation_update.to_ms = from + 9 * HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_BUDGET);
	cmd.reservation_update.to_ms = from + 4 * HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(get(w, id)->spec.windows[0].to_ms, from + 4 * HOUR);
}

/* What is charged to work inside makes nothing possible: the whole queue is not looked at for it. */
static void a_bill_wakes_nobody(void **state)
{
	struct core_world *w = *state;
	uint64_t id = course(w, 8, w->t, w->t + 8 * HOUR);
	struct reservation r = *get(w, id);
	struct fact f = {.kind = RECORD_RESERVATION, .id = id, .reservation = &r};
	struct window moved;
	struct err err;

	cw_settle(w);
	r = *get(w, id);
	assert_int_equal(w->core->scratch->work & WORK_ALL, 0);
	r.used_rums += 1000;
	r.used_ms++;
	core_apply(w->core, &f);
	assert_int_equal(w->core->scratch->work & WORK_ALL, 0);
	assert_int_equal(core_check(w->core, &err), 0);
	moved = r.spec.windows[0];
	moved.to_ms -= HOUR;
	r = *get(w, id);
	r.spec.windows = &moved;
	core_apply(w->core, &f);
	assert_int_equal(w->core->scratch->work & WORK_ALL, WORK_ALL);
	assert_int_equal(core_check(w->core, &err), 0);
}

/* Work that came before the window is its own affair until it opens; what others still have is not kept from them. */
static void what_is_used_counts_inside_the_window_only(void **state)
{
	struct core_world *w = *state;
	struct order o;
	uint64_t flex, late, job, other;
	uint32_t node = 0;

	order(w, &o, w->operator, "flex", w->t + HOUR, w->t + 3 * HOUR);
	o.cmd.reservation_create.spec.flex = true;
	with_gpus(&o, 8);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	flex = w->d.result.id;
	job = submit_into(w, w->alice, "lung", "flex", 8, 4 * HOUR);
	cw_settle(w);
	assert_int_equal(core_alloc(w->core, core_job(w->core, job)->alloc)->reservation, flex);
	other = cw_submit(w, w->bob, "heart", 4, 4 * HOUR);
	cw_settle(w);
	for (uint32_t n = 1; n <= 4; n++)
		node = on_node(w, other, n) ? n : node;
	order(w, &o, w->operator, "late", w->t + HOUR, w->t + 3 * HOUR);
	o.cmd.reservation_create.spec.ignore_jobs = true;
	with_node(&o, node);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	late = w->d.result.id;
	cw_advance(w, 2 * HOUR);
	cw_exit(w, other, 0);
	cw_advance(w, HOUR + MIN);
	assert_int_equal(get(w, flex)->state, RESERVATION_ENDED);
	assert_in_range(get(w, flex)->used_rums, 16 * HOUR - MIN, 16 * HOUR + MIN);
	assert_in_range(get(w, late)->idle_rums, (4 + 8) * HOUR - MIN, (4 + 8) * HOUR + MIN);
}

/* Nobody ordered that broken hardware idles, nor pays for maintenance. */
static void what_is_not_to_be_had_is_not_charged(void **state)
{
	struct core_world *w = *state;
	struct order o;
	uint64_t id, disks = maintenance(w, 1, w->t, w->t + HOUR);

	order(w, &o, w->operator, "course", w->t, w->t + 2 * HOUR);
	with_node(&o, 2);
	with_node(&o, 3);
	with_project(&o, "lung");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	id = w->d.result.id;
	cw_advance(w, HOUR);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 3, "fan"), 0);
	cw_advance(w, HOUR / 2);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 2, "fan"), 0);
	cw_settle(w);
	w->t += HOUR; /* sluisd was down when it was to end */
	cw_settle(w);
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
	assert_in_range(get(w, id)->idle_rums, 20 * HOUR - MIN, 20 * HOUR + MIN);
	assert_int_equal(idle_of_lung(w), get(w, id)->idle_rums);
	assert_int_equal(get(w, disks)->state, RESERVATION_ENDED);
	assert_int_equal(get(w, disks)->kept_rums, 0);
	id = course(w, 8, w->t, w->t + HOUR);
	cw_advance(w, MIN);
	w->t += 2 * HOUR;
	cw_settle(w);
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
	assert_in_range(get(w, id)->idle_rums, 8 * HOUR - MIN, 8 * HOUR);
}

/* One for a user is charged to the project that the user is in; books that do not add up are found. */
static void a_users_project_pays(void **state)
{
	struct core_world *w = *state;
	struct reservation wrong;
	struct order o;
	struct fact fact = {.kind = RECORD_RESERVATION, .reservation = &wrong};

	order(w, &o, w->operator, "mine", w->t, w->t + HOUR);
	with_gpus(&o, 8);
	(void)snprintf(o.member[0].s, TEXT_BYTES, "user:alice");
	o.cmd.reservation_create.members_n = 1;
	assert_int_equal(cw_do(w, &o.cmd), 0);
	fact.id = w->d.result.id;
	cw_advance(w, HOUR);
	assert_in_range(idle_of_lung(w), 8 * HOUR - MIN, 8 * HOUR);
	assert_int_equal(core_check(w->core, &w->err), 0);
	wrong = *get(w, fact.id);
	wrong.kept_rums += HOUR; /* and nobody was charged */
	core_apply(w->core, &fact);
	assert_int_equal(core_check(w->core, &w->err), ERR_CORRUPT);
	wrong.kept_rums -= HOUR;
	wrong.rate = 8000; /* after its window */
	core_apply(w->core, &fact);
	assert_int_equal(core_check(w->core, &w->err), ERR_CORRUPT);
	wrong.rate = 0;
	core_apply(w->core, &fact);
	assert_int_equal(core_check(w->core, &w->err), 0);
}

/* ---- hardware -------------------------------------------------------------------------------------------- */

static void a_node_that_fails_before_is_replaced(void **state)
{
	struct core_world *w = *state;
	uint64_t id = course(w, 8, w->t + HOUR, w->t + 2 * HOUR);
	uint32_t first = get(w, id)->parts[0].node, second;
	uint64_t busy[3];

	for (uint32_t n = 1; n <= 4; n++)
		if (w->node[n].id == first)
			assert_int_equal(cw_liveness(w, n, NODE_SUSPECT), 0);
	cw_tick(w);
	assert_int_equal(get(w, id)->parts[0].node, first); /* heard too late is not gone */
	for (uint32_t n = 1; n <= 4; n++)
		if (w->node[n].id == first)
			assert_int_equal(cw_liveness(w, n, NODE_UNREACHABLE), 0);
	cw_tick(w);
	second = get(w, id)->parts[0].node;
	assert_int_not_equal(second, first);
	assert_int_equal(get(w, id)->degraded, 0);
	/* now everything else is taken for longer: it is short, and says so */
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 32, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	for (int i = 0; i < 2; i++)
		busy[i] = cw_submit(w, w->alice, "lung", 8, 9 * HOUR);
	cw_settle(w);
	for (uint32_t n = 1; n <= 4; n++)
		if (w->node[n].id == second)
			assert_int_equal(cw_admin_node(w, CMD_NODE_DRAIN, n, "fan"), 0);
	cw_tick(w);
	assert_int_equal(get(w, id)->degraded, 8);
	/* one of them ends early: found at once */
	cw_exit(w, busy[0], 0);
	cw_settle(w);
	assert_int_equal(get(w, id)->degraded, 0);
	assert_int_not_equal(get(w, id)->parts[0].node, second);
}

static void a_node_that_is_removed_takes_its_pins(void **state)
{
	struct core_world *w = *state;
	uint64_t id = maintenance(w, 1, w->t + HOUR, w->t + 2 * HOUR);

	assert_int_equal(cw_admin_node(w, CMD_NODE_REMOVE, 1, "sold"), 0);
	assert_int_equal(get(w, id)->parts_n, 0);
	cw_advance(w, 3 * HOUR);
	assert_int_equal(get(w, id)->state, RESERVATION_ENDED);
}

static void bad_orders_say_what_is_wrong(void **state)
{
	struct core_world *w = *state;
	struct order o;

	order(w, &o, w->operator, "x", w->t + HOUR, w->t + HOUR);
	with_node(&o, 1);
	o.cmd.reservation_create.spec.maint = true;
	assert_int_equal(cw_do(w, &o.cmd), ERR_RANGE);
	o.window[0] = (struct window){w->t - 2 * HOUR, w->t - HOUR};
	assert_int_equal(cw_do(w, &o.cmd), ERR_RANGE);
	o.window[0] = (struct window){w->t, w->t + HOUR};
	o.cmd.reservation_create.spec.windows_n = 0;
	assert_int_equal(cw_do(w, &o.cmd), ERR_INVAL);
	o.cmd.reservation_create.spec.windows_n = 1;
	o.cmd.reservation_create.spec.units = 3; /* and nodes */
	assert_int_equal(cw_do(w, &o.cmd), ERR_INVAL);
	o.cmd.reservation_create.spec.units = 0;
	o.cmd.reservation_create.spec.maint = false;
	assert_int_equal(cw_do(w, &o.cmd), ERR_INVAL); /* for nobody */
	assert_non_null(strstr(w->err.hint, "--flags maint"));
	with_project(&o, "lungs");
	assert_int_equal(cw_do(w, &o.cmd), ERR_NOTFOUND);
	(void)snprintf(o.member[0].s, TEXT_BYTES, "user:nobody");
	assert_int_equal(cw_do(w, &o.cmd), ERR_NOTFOUND);
	(void)snprintf(o.node[0].s, TEXT_BYTES, "n99");
	(void)snprintf(o.member[0].s, TEXT_BYTES, "user:alice");
	assert_int_equal(cw_do(w, &o.cmd), ERR_NOTFOUND);
	(void)snprintf(o.node[0].s, TEXT_BYTES, "n1");
	(void)snprintf(o.cmd.reservation_create.spec.name, NAME_BYTES, "17");
	assert_int_equal(cw_do(w, &o.cmd), ERR_INVAL); /* names and ids are told apart */
	(void)snprintf(o.cmd.reservation_create.spec.name, NAME_BYTES, "mine");
	assert_int_equal(cw_do(w, &o.cmd), 0);
	assert_int_equal(erase(w, w->alice, w->d.result.id), ERR_DENIED);
	assert_int_equal(erase(w, w->operator, 4711), ERR_NOTFOUND);
}


int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(work_keeps_clear_of_what_is_to_come),
		STORY(loans_are_back_in_time),
		STORY(who_is_in_the_way_is_named),
		STORY(a_lease_is_not_extended_into_it),
		STORY(a_lease_that_extends_itself_stays_clear),
		STORY(a_holder_is_not_told_more_than_it_gets),
		STORY(a_reservation_takes_nothing_that_a_holder_was_told),
		STORY(a_lease_is_not_granted_past_what_maintenance_takes),
		STORY(replicas_do_not_fit_around_what_is_reserved),
		STORY(what_leases_are_owed_is_not_reserved),
		STORY(what_a_claim_fetches_is_reserved_for_later),
		STORY(what_ends_before_is_reserved),
		STORY(granted_is_what_can_stand),
		STORY(inside_only_members_run),
		STORY(magnetic_ones_draw_their_projects_work),
		STORY(what_runs_past_the_end_is_stopped_with_notice),
		STORY(overrun_lets_it_finish),
		STORY(deleting_while_it_ends),
		STORY(confirming_twice_is_once),
		STORY(nothing_is_reserved_twice),
		STORY(windows_repeat),
		STORY(a_window_that_was_slept_through),
		STORY(what_is_prepared_too_late_does_not_start),
		STORY(an_idle_one_ends_if_it_said_so),
		STORY(what_idles_inside_is_charged),
		STORY(what_idles_is_charged_until_it_ends),
		STORY(who_cannot_pay_does_not_reserve),
		STORY(who_cannot_pay_any_more_gives_back),
		STORY(a_bill_wakes_nobody),
		STORY(what_is_used_counts_inside_the_window_only),
		STORY(what_is_not_to_be_had_is_not_charged),
		STORY(a_users_project_pays),
		STORY(a_node_that_fails_before_is_replaced),
		STORY(a_node_that_is_removed_takes_its_pins),
		STORY(bad_orders_say_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
