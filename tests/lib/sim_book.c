/* sim_book.c - a naive model beside the core: who has which device, who may renew, what was paid
 *
 * The core keeps sums, trees and timers; this keeps one number per device and compares each decision, before it
 * is applied, with rules that need nothing else:
 *   I1  a device given out is free             I6  epochs, fences and renewals never go back
 *   I11 nobody takes what a claim has          an end is final; a renewal gives at most a ttl, and never after an end
 *   a device comes back on evidence alone      nothing is given, and nobody expires, in safe mode
 *   I5  a settled attempt costs what it used, less its refund; what was spent stays spent; usage grows by the devices
 *       that an allocation had, times how long, times what its flavor weighs
 *   I10 what a stage releases is changed by a division alone
 *   I14 what is placed is placed on nodes that are ready and enabled, on sound devices of its flavor
 */
#include "tests/lib/sim_world.h"

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/minmax.h"
#include "proto/model/names.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t *holder_of(struct sim *s, uint32_t node, unsigned device)
{
	static uint64_t elsewhere;

	for (uint32_t i = 0; i < s->k.machines; i++)
		if (s->machine[i].node == node && device < SIM_DEVICES_MAX)
			return &s->book.holder[i][device];
	elsewhere = 0;
	return &elsewhere;
}

void book_open(struct sim *s)
{
	memset(&s->book, 0, sizeof s->book);
	for (uint64_t id = 0; (id = core_next_id(s->d.core, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(s->d.core, id);

		for (uint32_t i = 0; i < a->parts_n; i++)
			for (uint64_t m = a->parts[i].devices; m; m &= m - 1)
				*holder_of(s, a->parts[i].node, (unsigned)__builtin_ctzll(m)) = id;
		s->book.alloc_max = id;
	}
}

/* ---- devices ------------------------------------------------------------------------------------------- */

static bool evidence(uint16_t command)
{
	return command == CMD_NODE_REPORT || command == CMD_NODE_HELLO || command == CMD_NODE_DECLARE_DEAD;
}

static void parts_forget(struct sim *s, const struct alloc *a)
{
	for (uint32_t i = 0; a && i < a->parts_n; i++)
		for (uint64_t m = a->parts[i].devices; m; m &= m - 1)
			*holder_of(s, a->parts[i].node, (unsigned)__builtin_ctzll(m)) = 0;
}

static void parts_take(struct sim *s, const struct alloc *a)
{
	for (uint32_t i = 0; a && i < a->parts_n; i++)
		for (uint64_t m = a->parts[i].devices; m; m &= m - 1) {
			uint64_t *h = holder_of(s, a->parts[i].node, (unsigned)__builtin_ctzll(m));

			if (*h)
				sim_violation(s, "I1: allocation %" PRIu64 " is given a device of %" PRIu64, a->id, *h);
			*h = a->id;
		}
}

static uint64_t devices_on(const struct alloc *a, uint32_t node)
{
	uint64_t mask = 0;

	for (uint32_t i = 0; a && i < a->parts_n; i++)
		mask |= a->parts[i].node == node ? a->parts[i].devices : 0;
	return mask;
}

static void claims_kept(struct sim *s, const struct alloc *a)
{
	for (uint64_t id = 0; (id = core_next_id(s->d.core, RECORD_CLAIM, id)) != 0;) {
		const struct claim *m = core_claim(s->d.core, id);

		if (m->owner_kind == a->owner_kind && m->owner == a->owner)
			continue;
		for (uint32_t i = 0; i < m->parts_n; i++)
			if (m->parts[i].devices & devices_on(a, m->parts[i].node))
				sim_violation(s, "I11: allocation %" PRIu64 " takes a device of claim %" PRIu64, a->id, id);
	}
}

static const struct fact *fact_of(const struct decision *d, uint8_t kind, uint64_t id)
{
	for (uint32_t i = 0; i < d->facts_n; i++)
		if (d->facts[i].kind == kind && d->facts[i].id == id)
			return &d->facts[i];
	return NULL;
}

/* Does a claim of the same owner hold these devices? They were chosen when it was raised. */
static bool claimed(const struct sim *s, const struct alloc *a, const struct part *p)
{
	for (uint64_t id = 0; (id = core_next_id(s->d.core, RECORD_CLAIM, id)) != 0;) {
		const struct claim *m = core_claim(s->d.core, id);

		for (uint32_t i = 0; m->owner_kind == a->owner_kind && m->owner == a->owner && i < m->parts_n; i++)
			if (m->parts[i].node == p->node && (p->devices & ~m->parts[i].devices) == 0)
				return true;
	}
	return false;
}

/* What a placement relies on is attested when it is made. */
static void attested(struct sim *s, const struct decision *d, const struct alloc *a)
{
	static const uint8_t none[sizeof ((struct node *)0)->digest_pending];

	for (uint32_t i = 0; i < a->parts_n; i++) {
		const struct fact *f = fact_of(d, RECORD_NODE, a->parts[i].node);
		const struct node *n = f ? f->node : core_node(s->d.core, a->parts[i].node);

		if (!n || n->state != NODE_READY || memcmp(n->digest_pending, none, sizeof none) != 0 ||
		    (n->admin != NODE_ENABLED && !claimed(s, a, &a->parts[i]))) {
			sim_violation(s, "I14: allocation %" PRIu64 " is placed on node %u, which is in state %u, %u", a->id,
				      a->parts[i].node, n ? n->state : 0, n ? n->admin : 0);
			return;
		}
		for (uint64_t m = a->parts[i].devices; m; m &= m - 1) {
			unsigned k = (unsigned)__builtin_ctzll(m);

			if (k >= n->devices_n || n->devices[k].health != DEVICE_OK || n->devices[k].flavor != a->flavor)
				sim_violation(s, "I14: allocation %" PRIu64 " is given device %u of %s: not sound, or of another flavor",
					      a->id, k, n->name);
		}
	}
}

static void alloc_rules(struct sim *s, uint16_t command, const struct decision *d, const struct alloc *old, const struct alloc *now)
{
	if (!old && now->id <= s->book.alloc_max)
		sim_violation(s, "I6: allocation %" PRIu64 " comes after %" PRIu64, now->id, s->book.alloc_max);
	if (!old && core_cluster(s->d.core)->safe_mode)
		sim_violation(s, "allocation %" PRIu64 " is made in safe mode", now->id);
	if (!old) {
		claims_kept(s, now);
		attested(s, d, now);
	}
	for (uint32_t i = 0; old && i < old->parts_n; i++)
		if ((old->parts[i].devices & ~devices_on(now, old->parts[i].node)) && !evidence(command))
			sim_violation(s, "devices of allocation %" PRIu64 " come back by %s: that is no evidence", old->id,
				      command_name(command));
	if (!old)
		s->book.alloc_max = now->id;
}

/* ---- leases --------------------------------------------------------------------------------------------- */

static void lease_rules(struct sim *s, int64_t t, const struct lease *old, const struct lease *now)
{
	if (!old || !now)
		return;
	if (lease_terminal(old->state) && now->state != old->state)
		sim_violation(s, "lease %" PRIu64 " had ended (%u) and is %u now", now->id, old->state, now->state);
	if (now->fence < old->fence)
		sim_violation(s, "I6: the fence of lease %" PRIu64 " goes back", now->id);
	if (now->state == LEASE_EXPIRED && old->state != LEASE_EXPIRED) {
		if (core_cluster(s->d.core)->safe_mode)
			sim_violation(s, "lease %" PRIu64 " expires in safe mode", now->id);
		if (t < core_cluster(s->d.core)->no_expiry_until_ms)
			sim_violation(s, "lease %" PRIu64 " expires within the rejoin grace", now->id);
	}
}

static void renewal_rules(struct sim *s, int64_t t, const struct renewal *old, const struct renewal *now)
{
	const struct lease *l = now ? core_lease(s->d.core, now->lease) : NULL;
	int64_t live = t - core_cluster(s->d.core)->down_ms;

	if (!old || !l)
		return;
	if (now->renew_seq < old->renew_seq)
		sim_violation(s, "I6: the renewals of lease %" PRIu64 " go back", l->id);
	if (now->expires_live_ms < old->expires_live_ms)
		sim_violation(s, "a renewal takes time from lease %" PRIu64, l->id);
	if (now->expires_live_ms > max64(old->expires_live_ms, live + l->spec.ttl_ms))
		sim_violation(s, "a renewal gives lease %" PRIu64 " more than its ttl", l->id);
	if (now->renewals > old->renewals && lease_terminal(l->state))
		sim_violation(s, "lease %" PRIu64 " is renewed after its end", l->id);
	if (now->renewals > old->renewals && now->renew_seq == old->renew_seq && old->renewals)
		sim_violation(s, "one renewal of lease %" PRIu64 " counts twice", l->id);
}

/* ---- budgets --------------------------------------------------------------------------------------------- */

static int64_t spent_of(const struct qnode *q)
{
	int64_t sum = 0;

	for (uint32_t i = 0; q && i < q->stages_n; i++)
		sum += q->stages[i].spent_rums;
	return sum;
}

static void stage_rules(struct sim *s, uint16_t command, const struct qnode *old, const struct qnode *now)
{
	for (uint32_t i = 0; now && i < now->stages_n; i++)
		if (now->stages[i].held_rums < 0)
			sim_violation(s, "I5: stage %s of %s holds less than nothing", now->stages[i].name, now->name);
	if (old && now && command != CMD_DIVISION_APPLY && old->stages_n != now->stages_n)
		sim_violation(s, "I10: the stages of %s change by %s", now->name, command_name(command));
	for (uint32_t i = 0; old && now && command != CMD_DIVISION_APPLY && i < now->stages_n && i < old->stages_n; i++)
		if (now->stages[i].amount_rums != old->stages[i].amount_rums || now->stages[i].from_ms != old->stages[i].from_ms)
			sim_violation(s, "I10: what stage %s of %s releases changes by %s", now->stages[i].name, now->name,
				      command_name(command));
	if (old && now && command != CMD_DIVISION_APPLY && spent_of(now) < spent_of(old))
		sim_violation(s, "I5: what %s has spent becomes less", now->name);
}

/* When one attempt alone is settled, and it was guaranteed throughout, its price is known without the core; not where
 * a reservation ends with it, whose idle devices its project pays, too. */
static void settle_rules(struct sim *s, const struct decision *d)
{
	const struct job *old = NULL, *now = NULL;
	const struct fact *f;
	int64_t used, paid;
	uint32_t settled = 0;

	for (uint32_t i = 0; i < d->facts_n; i++) {
		if (d->facts[i].kind == RECORD_RESERVATION)
			return;
		const struct job *o = d->facts[i].kind == RECORD_JOB ? core_job(s->d.core, d->facts[i].id) : NULL;

		if (!o || !d->facts[i].any || !o->held_rums || d->facts[i].job->held_rums == o->held_rums)
			continue;
		old = o;
		now = d->facts[i].job;
		settled++;
	}
	if (settled != 1 || now->held_rums || old->spec.klass == JOB_URGENT || old->attempt_loan_rums || old->attempt_extra_rums ||
	    now->used_loan_rums != old->used_loan_rums)
		return;
	f = fact_of(d, RECORD_QNODE, old->spec.project);
	if (!f || !f->any || !core_qnode(s->d.core, old->spec.project) || !core_qnode(s->d.core, old->spec.project)->stages_n)
		return;
	used = old->attempt_guaranteed_rums + now->used_guaranteed_rums - old->used_guaranteed_rums;
	paid = spent_of(f->qnode) - spent_of(core_qnode(s->d.core, old->spec.project));
	s->n.settlements++;
	if (paid != max64(0, used - (now->refunded_rums - old->refunded_rums)))
		sim_violation(s, "I5: job %" PRIu64 " used %" PRId64 ", is refunded %" PRId64 " and pays %" PRId64, now->id, used,
			      now->refunded_rums - old->refunded_rums, paid);
}

/* Devices, times milliseconds, times weight: what a change of allocations charges to whom. Charged is what an allocation has run since it was charged last, not past its limit. */
struct charge { uint32_t qnode; uint16_t flavor; int64_t rums; };

static int64_t charge_of(const struct core *c, int64_t t, const struct alloc *old, const struct alloc *now)
{
	const struct flavor *f = core_record(c, RECORD_FLAVOR, old->flavor);
	int64_t until = min64(t, old->limit_ms), devices = old->units;

	if (!old->start_ms || old->charged_until_ms >= until || (now && now->charged_until_ms == old->charged_until_ms))
		return 0;
	if (old->shape == SHAPE_NODE)
		devices *= f->devices_per_node;
	return devices * f->weight_milli * (until - old->charged_until_ms) / 1000;
}

static int64_t delivered(const struct usage *u, uint16_t flavor)
{
	for (uint32_t i = 0; u && i < u->rows_n; i++)
		if (u->rows[i].flavor == flavor)
			return u->rows[i].guaranteed_rums + u->rows[i].loan_rums;
	return 0;
}

static void charge_rules(struct sim *s, int64_t t, const struct decision *d)
{
	const struct core *c = s->d.core;
	struct charge *row = xcalloc(d->facts_n + 1, sizeof *row);
	uint32_t n = 0;

	for (uint32_t i = 0; i < d->facts_n; i++) {
		const struct alloc *old = d->facts[i].kind == RECORD_ALLOC ? core_alloc(c, d->facts[i].id) : NULL;
		uint32_t k = 0;

		if (!old)
			continue;
		while (k < n && (row[k].qnode != old->qnode || row[k].flavor != old->flavor))
			k++;
		n += k == n;
		row[k].qnode = old->qnode;
		row[k].flavor = old->flavor;
		row[k].rums += charge_of(c, t, old, d->facts[i].alloc);
	}
	for (uint32_t k = 0; k < n && !s->failed; k++) {
		const struct usage *old = core_record(c, RECORD_USAGE, row[k].qnode), *now = old;
		const struct fact *f = fact_of(d, RECORD_USAGE, row[k].qnode);
		int64_t more;

		if (f)
			now = f->usage;
		more = delivered(now, row[k].flavor) - delivered(old, row[k].flavor);
		s->n.charges += row[k].rums > 0;
		if (more != row[k].rums)
			sim_violation(s, "I5: node %u of the division had %" PRId64 " of flavor %u and is charged %" PRId64, row[k].qnode,
				      row[k].rums, row[k].flavor, more);
	}
	free(row);
}

void book_decision(struct sim *s, uint16_t command, int64_t t, const struct decision *d)
{
	const struct core *c = s->d.core;

	if (!core_cluster(c))
		return;
	for (uint32_t i = 0; i < d->facts_n && !s->failed; i++) {
		const struct fact *f = &d->facts[i];

		switch (f->kind) {
		case RECORD_ALLOC:
			if (f->alloc || core_alloc(c, f->id))
				alloc_rules(s, command, d, core_alloc(c, f->id), f->alloc);
			break;
		case RECORD_LEASE: lease_rules(s, t, core_lease(c, f->id), f->lease); break;
		case RECORD_RENEWAL: renewal_rules(s, t, core_renewal(c, f->id), f->renewal); break;
		case RECORD_QNODE: stage_rules(s, command, core_qnode(c, (uint32_t)f->id), f->qnode); break;
		case RECORD_JOB:
			if (f->job && f->job->refunded_rums > f->job->used_guaranteed_rums + f->job->used_loan_rums)
				sim_violation(s, "I5: job %" PRIu64 " is refunded more than it used", f->id);
			break;
		default: break;
		}
	}
	for (uint32_t i = 0; i < d->facts_n; i++) /* what one part of an allocation gives, another may take */
		if (d->facts[i].kind == RECORD_ALLOC)
			parts_forget(s, core_alloc(c, d->facts[i].id));
	for (uint32_t i = 0; i < d->facts_n; i++)
		if (d->facts[i].kind == RECORD_ALLOC)
			parts_take(s, d->facts[i].alloc);
	if (!s->failed)
		settle_rules(s, d);
	if (!s->failed)
		charge_rules(s, t, d);
}
