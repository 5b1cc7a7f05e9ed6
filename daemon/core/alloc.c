/* alloc.c - life of an allocation: bound, running, stopping, gone
 *
 *   BINDING ──every part prepared──▶ ACTIVE ──notice──▶ STOPPING ──last part released──▶ (deleted)
 *      └──a part failed, or bind_by passed──────────────────▲
 *
 * A part leaves only on evidence: the agent's `released` or `lost` for that very allocation, a new
 * boot id of the node, or an operator's declare-dead. Time alone frees nothing.
 */
#include "daemon/core/elastic.h"
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int64_t rums_of(const struct core *c, uint16_t flavor, uint8_t shape, uint32_t units, int64_t ms)
{
	const struct flavor *f = flavor_of(c, flavor);
	int64_t per, out;

	ENSURE(f);
	per = (int64_t)f->weight_milli * units * (shape == SHAPE_NODE ? f->devices_per_node : 1);
	if (__builtin_mul_overflow(per, ms, &out))
		return INT64_MAX / 1000;
	return out / 1000;
}

void alloc_charge(const struct core *c, struct decision *d, int64_t t, uint64_t id)
{
	const struct alloc *now = peek(c, d, RECORD_ALLOC, id);
	const struct job *jr;
	struct usage_row more;
	struct alloc *a;
	int64_t rums, until = t;

	if (!now || !now->start_ms || now->charged_until_ms >= t)
		return;
	if (until > now->limit_ms)
		until = now->limit_ms; /* a node that is late to give back costs nobody's budget */
	a = EDIT(c, d, RECORD_ALLOC, alloc, id);
	rums = rums_of(c, a->flavor, a->shape, a->units, until > a->charged_until_ms ? until - a->charged_until_ms : 0);
	a->charged_until_ms = t;
	more = (struct usage_row){.flavor = a->flavor};
	*(a->klass == CLASS_LOAN ? &more.loan_rums : &more.guaranteed_rums) = rums;
	jr = a->owner_kind == OWNER_JOB ? peek(c, d, RECORD_JOB, a->owner) : NULL;
	usage_add(c, d, t, a->qnode, jr ? jr->owner : 0, &more);
	if (a->reservation)
		reservation_used(c, d, a->reservation, rums);
	if (a->owner_kind == OWNER_JOB) {
		if (jr && a->extra && jr->attempt == a->attempt && jr->alloc) {
			struct job *j = EDIT(c, d, RECORD_JOB, job, a->owner);

			j->used_loan_rums += rums;
			j->attempt_extra_rums += rums;
		} else if (jr && jr->alloc == a->id) {
			struct job *j = EDIT(c, d, RECORD_JOB, job, a->owner);

			if (a->klass == CLASS_GUARANTEED) {
				j->used_guaranteed_rums += rums;
				j->attempt_guaranteed_rums += rums;
			} else {
				j->used_loan_rums += rums;
				j->attempt_loan_rums += rums;
			}
		}
	}
}

uint64_t alloc_make(const struct core *c, struct decision *d, int64_t t, const struct grant_ask *ask,
		    struct part *parts, uint32_t parts_n)
{
	struct cluster *cl = edit_cluster(c, d);
	uint64_t id = cl->next_alloc++;
	struct alloc *a = create(d, RECORD_ALLOC, id);

	a->id = id;
	a->owner_kind = ask->owner_kind;
	a->owner = ask->owner;
	a->attempt = ask->attempt;
	a->qnode = ask->qnode;
	a->flavor = ask->place.flavor;
	a->shape = ask->place.shape;
	a->klass = ask->klass;
	a->carried = ask->carried;
	a->created_ms = t;
	a->bind_by_ms = t + cl->bind_timeout_ms;
	a->limit_ms = ask->limit_ms;
	a->notice_ms = ask->notice_ms;
	a->exempt_until_ms = ask->klass == CLASS_LOAN && ask->exempt_ms ? t + ask->exempt_ms : 0;
	a->parts = arena_copy(&d->arena, parts, parts_n * sizeof *parts);
	a->parts_n = parts_n;
	a->part_next = (uint16_t)parts_n;
	for (uint32_t i = 0; i < parts_n; i++) {
		a->parts[i].index = (uint16_t)i;
		a->parts[i].state = PART_ASSIGNED;
		a->units += parts[i].units;
	}
	if (ask->owner_kind == OWNER_JOB && c->reservations.count)
		a->reservation = reservation_of_parts(c, &ask->place, a->parts, parts_n);
	if (ask->klass == CLASS_LOAN) {
		const struct job *j = ask->owner_kind == OWNER_JOB ? peek(c, d, RECORD_JOB, ask->owner) : NULL;

		a->back_ms = j ? j->back_ms : 0;
		note_loan(c, d, a);
	}
	return id;
}

void alloc_stop(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint8_t cause, int64_t grace_ms,
		uint64_t claim)
{
	const struct alloc *now = peek(c, d, RECORD_ALLOC, id);
	struct alloc *a;
	bool outranks;

	if (!now)
		return;
	/* the holder's own word decides what follows, however far the stop is; what ended by itself has ended */
	outranks = now->state != ALLOC_STOPPING || ((cause == END_CANCEL || cause == END_REQUEUE) &&
						    now->stop_cause != END_EXIT && now->stop_cause != END_OOM);
	if (now->state == ALLOC_STOPPING && now->stop_at_ms <= t + grace_ms) {
		if (outranks)
			EDIT(c, d, RECORD_ALLOC, alloc, id)->stop_cause = cause;
		return;
	}
	alloc_charge(c, d, t, id);
	a = EDIT(c, d, RECORD_ALLOC, alloc, id);
	if (outranks) {
		a->stop_cause = cause;
		a->claim = claim;
	}
	if (a->state == ALLOC_BINDING)
		a->start_ms = 0;
	a->state = ALLOC_STOPPING;
	a->stop_at_ms = max64(t, min64(t + grace_ms, a->limit_ms)); /* no notice outlives the limit */
	if (cause == END_RECALL || cause == END_DRAIN || cause == END_INFRA || a->extra)
		a->charged_until_ms = T_NEVER; /* policy stops it: not charged beyond the notice */
	if (a->owner_kind == OWNER_JOB) {
		const struct job *jr = peek(c, d, RECORD_JOB, a->owner);

		if (jr && jr->alloc == a->id) {
			EDIT(c, d, RECORD_JOB, job, a->owner)->state = JOB_STOPPING;
			elastic_follow(c, d, t, a->owner, cause, grace_ms);
		}
	}
}

/* The part is gone from the node: evidence was given. */
static void part_remove(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint16_t index)
{
	struct alloc *a;

	alloc_charge(c, d, t, id);
	a = EDIT(c, d, RECORD_ALLOC, alloc, id);
	for (uint32_t i = 0; i < a->parts_n; i++)
		if (a->parts[i].index == index) {
			if (a->parts[i].stop && a->state != ALLOC_STOPPING)
				a->units -= a->parts[i].units;
			memmove(&a->parts[i], &a->parts[i + 1], (a->parts_n - i - 1) * sizeof *a->parts);
			a->parts_n--;
			break;
		}
	if (a->parts_n && a->lenders_n)
		note_loan(c, d, a); /* fewer units, less to note */
	if (!a->parts_n) {
		drop(d, RECORD_ALLOC, id);
		reservation_left(c, d, t, a);
		if (a->owner_kind == OWNER_JOB)
			job_alloc_gone(c, d, t, a);
		else
			lease_alloc_gone(c, d, t, a);
	}
}

static void part_exited(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint16_t index,
			const struct unit_status *row)
{
	struct alloc *a = EDIT(c, d, RECORD_ALLOC, alloc, id);

	for (uint32_t i = 0; i < a->parts_n; i++) {
		struct part *p = &a->parts[i];

		if (p->index != index || p->state == PART_EXITED)
			continue;
		p->state = PART_EXITED;
		p->exit_code = row->exit_code;
		p->exit_signal = row->exit_signal;
		p->oom = row->oom;
		if (a->owner_kind == OWNER_JOB)
			job_part_exited(c, d, t, a, p, row->text);
		return;
	}
}

/* Prepared after its time to bind, as when nobody was heard for a while: a guaranteed job that would now still be
 * there when a reservation begins does not start; its timer, due already, puts it back in line. */
static bool starts_too_late(const struct core *c, int64_t t, const struct alloc *a)
{
	const struct job *j = a->owner_kind == OWNER_JOB ? core_job(c, a->owner) : NULL;

	return j && t > a->bind_by_ms && a->klass == CLASS_GUARANTEED && c->reservations.count &&
	       reservation_blocks(c, a, t + j->spec.time_limit_ms);
}

static void part_prepared(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint16_t index,
			  uint16_t port)
{
	struct alloc *a = EDIT(c, d, RECORD_ALLOC, alloc, id);
	bool all = true;

	for (uint32_t i = 0; i < a->parts_n; i++) {
		struct part *p = &a->parts[i];

		if (p->index == index && p->state == PART_ASSIGNED) {
			p->state = PART_PREPARED;
			p->port = port;
		}
		all &= p->state != PART_ASSIGNED;
	}
	if (!all || a->state != ALLOC_BINDING || starts_too_late(c, t, a))
		return;
	/* the start barrier: every agent has said prepared */
	a->state = ALLOC_ACTIVE;
	a->start_ms = t;
	a->charged_until_ms = t;
	if (a->owner_kind == OWNER_JOB)
		job_started(c, d, t, a);
	else
		lease_alloc_started(c, d, t, a);
}

static void checkpoint_seen(const struct core *c, struct decision *d, int64_t t, const struct alloc *a,
			    const struct unit_status *row)
{
	const struct job *j = a->owner_kind == OWNER_JOB ? peek(c, d, RECORD_JOB, a->owner) : NULL;
	struct job *e;
	int64_t at;

	if (!j || j->alloc != a->id || row->checkpoint_ago_ms < 0 || !row->checkpoint_step ||
	    row->checkpoint_step <= j->checkpoint_step)
		return;
	at = t - row->checkpoint_ago_ms;
	e = EDIT(c, d, RECORD_JOB, job, a->owner);
	e->checkpoint_step = row->checkpoint_step;
	e->checkpoint_ms = at > a->start_ms ? at : a->start_ms;
}

/* A node takes nothing new on account of a part; who enables it again knows why it was drained. */
static void node_unfit(const struct core *c, struct decision *d, const struct alloc *a, const struct part *p, const char *what,
		       const char *text)
{
	const struct node *n = core_node(c, p->node);
	struct node *m;

	if (!n || n->admin != NODE_ENABLED)
		return; /* drained already, for a reason of its own */
	m = EDIT(c, d, RECORD_NODE, node, n->id);
	m->admin = NODE_DRAINING;
	m->admin_until_ms = m->drain_by_ms = m->drain_next_ms = 0;
	(void)snprintf(m->admin_reason, sizeof m->admin_reason, "%s-%" PRIu64 "%s: %.80s",
		       a->owner_kind == OWNER_JOB ? "job" : "lease", a->owner, what, text);
}

/* A part that cannot be ended: its node is drained once. */
static void part_unkillable(const struct core *c, struct decision *d, const struct alloc *a, const struct part *p, const char *text)
{
	struct alloc *e;

	if (p->unkillable)
		return;
	e = EDIT(c, d, RECORD_ALLOC, alloc, a->id);
	for (uint32_t i = 0; i < e->parts_n; i++)
		if (e->parts[i].index == p->index)
			e->parts[i].unkillable = true;
	node_unfit(c, d, a, p, " cannot be ended", text);
}

/* After a restore of an older copy: a part that was split off in the future the copy does not know. Its number is not
 * given again, or what is said of it would pass for proof of another. */
static void part_number_seen(const struct core *c, struct decision *d, const struct alloc *a, uint16_t index)
{
	if (index >= a->part_next && index < UINT16_MAX)
		EDIT(c, d, RECORD_ALLOC, alloc, a->id)->part_next = (uint16_t)(index + 1);
}

void alloc_report(const struct core *c, struct decision *d, int64_t t, uint32_t node, const struct unit_status *row)
{
	const struct alloc *a = peek(c, d, RECORD_ALLOC, row->alloc);
	const struct part *p = NULL;
	bool here = false;

	for (uint32_t i = 0; a && i < a->parts_n; i++) {
		here |= a->parts[i].node == node;
		if (a->parts[i].index == row->part && a->parts[i].node == node)
			p = &a->parts[i];
	}
	if (!p && here)
		part_number_seen(c, d, a, row->part);
	if (!p)
		return; /* stale: the shell tells the agent to stop it */
	checkpoint_seen(c, d, t, a, row);
	if (row->unfit)
		node_unfit(c, d, a, p, " could not start", row->text);
	switch ((enum unit_state)row->state) {
	case UNIT_ABSENT:
	case UNIT_UNKNOWN: return; /* nothing is proven: the devices stay where they are */
	case UNIT_UNKILLABLE: part_unkillable(c, d, a, p, row->text); return; /* likewise */
	case UNIT_PREPARED:
		if (p->state == PART_ASSIGNED)
			part_prepared(c, d, t, a->id, row->part, row->port);
		return;
	case UNIT_RUNNING:
		if (p->state == PART_ASSIGNED)
			part_prepared(c, d, t, a->id, row->part, row->port);
		a = peek(c, d, RECORD_ALLOC, row->alloc);
		if (a->state == ALLOC_BINDING)
			return;
		if (p->state < PART_RUNNING || p->healthy != row->healthy || p->restarts != row->restarts) {
			struct alloc *e = EDIT(c, d, RECORD_ALLOC, alloc, row->alloc);

			for (uint32_t i = 0; i < e->parts_n; i++)
				if (e->parts[i].index == row->part && e->parts[i].state <= PART_RUNNING) {
					e->parts[i].state = PART_RUNNING;
					e->parts[i].healthy = row->healthy;
					e->parts[i].restarts = row->restarts;
					if (row->port)
						e->parts[i].port = row->port;
				}
		}
		return;
	case UNIT_EXITED: part_exited(c, d, t, a->id, row->part, row); return;
	case UNIT_RELEASED:
		if (a->state == ALLOC_BINDING) {
			job_bind_failed(c, d, t, a, node, row->text);
		} else if (p->state != PART_EXITED) {
			part_exited(c, d, t, a->id, row->part, row);
		}
		part_remove(c, d, t, row->alloc, row->part);
		return;
	case UNIT_FAILED:
		if (a->state == ALLOC_STOPPING)
			return; /* being stopped anyway; `released` follows */
		job_bind_failed(c, d, t, a, node, row->text);
		return;
	case UNIT_LOST: alloc_vanished(c, d, t, row->alloc, node); return;
	}
}

void alloc_vanished(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint32_t node)
{
	const struct alloc *a = peek(c, d, RECORD_ALLOC, id);

	if (!a)
		return;
	if (a->owner_kind == OWNER_JOB && a->state != ALLOC_STOPPING)
		alloc_stop(c, d, t, id, END_INFRA, 0, 0);
	if (a->owner_kind == OWNER_LEASE && a->state != ALLOC_STOPPING)
		lease_blame(c, d, a->owner, node);
	for (bool again = true; again;) {
		again = false;
		a = peek(c, d, RECORD_ALLOC, id);
		for (uint32_t i = 0; a && i < a->parts_n && !again; i++)
			if (a->parts[i].node == node) {
				part_remove(c, d, t, id, a->parts[i].index);
				again = true;
			}
	}
}

bool tick_alloc_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id)
{
	const struct alloc *a = core_alloc(c, id);

	if (reservation_wants_ms(c, a) <= t) {
		reservation_calls(c, t, d, a);
		return true;
	}
	if (a->state == ALLOC_BINDING && a->bind_by_ms <= t) {
		uint32_t node = 0;

		for (uint32_t i = 0; i < a->parts_n && !node; i++)
			if (a->parts[i].state == PART_ASSIGNED)
				node = a->parts[i].node;
		job_bind_failed(c, d, t, a, node, "not prepared in time");
		return true;
	}
	if (a->state == ALLOC_ACTIVE && a->owner_kind == OWNER_JOB) {
		/* the notice before the time limit; SIGKILL at the limit */
		alloc_stop(c, d, t, id, END_TIME, a->limit_ms > t ? a->limit_ms - t : 0, 0);
		return true;
	}
	return false;
}
