/* lease.c - life of a lease
 *
 *   REQUESTED ─▶ OFFERED ─accept─▶ GRANTED ─▶ BINDING ─every agent prepared─▶ ACTIVE ⇄ GRACE ─▶ EXPIRED
 *        └── auto_accept ────────────▲                                          │
 *   ACTIVE, GRACE ─release─▶ RELEASING ─▶ RELEASED      (loan) ─claim─▶ RECALLING ─▶ REVOKED
 *   ACTIVE ─term end─▶ ENDED                            any live ─admin─▶ REVOKING ─▶ REVOKED
 *
 * Expiry is decided in live time: logical time minus every span in which the daemon could not have
 * received a renewal; after a restart nothing expires before the rejoin grace is over. Whoever renews
 * counts from when it sent, the daemon from when it commits, so the daemon is never the earlier one.
 * Nor does a term end before the end that its holder was told last (renewal.told_ms), whatever is reserved since.
 * An expired lease is never resurrected. Terminal is not free: devices come back on evidence.
 *
 * Source: Gray & Cheriton, "Leases", SOSP 1989.
 */
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const int64_t LEASE_RETRY_MS = 2 * MS_PER_S;
static const int64_t WAITING_POLL_MS = 10 * MS_PER_S; /* nothing to hold yet, maybe for long */

static uint32_t min32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint8_t lease_klass(const struct lease *l)
{
	return l->spec.klass == LEASE_LOAN ? CLASS_LOAN : CLASS_GUARANTEED;
}

static bool is_service(const struct lease_spec *s)
{
	static const uint8_t none[32];

	return memcmp(s->payload, none, 32) != 0;
}

static void lease_ask(const struct lease *l, struct grant_ask *ask)
{
	const struct lease_spec *s = &l->spec;

	*ask = (struct grant_ask){
		.owner_kind = OWNER_LEASE,
		.owner = l->id,
		.qnode = s->provider,
		.klass = lease_klass(l),
		.notice_ms = s->notice_ms,
		.limit_ms = T_NEVER,
		.place = {.flavor = s->flavor,
			  .shape = s->shape,
			  .klass = lease_klass(l),
			  .chunk = s->shape == SHAPE_GPU && s->units_per_replica ? s->units_per_replica : 0,
			  .chunk_parts = is_service(s),
			  .requires = s->requires,
			  .requires_n = s->requires_n,
			  .excluded = l->excluded,
			  .excluded_n = l->excluded_n},
	};
	if (s->leaf_percent_max) {
		uint32_t step = s->shape == SHAPE_GPU && s->units_per_replica ? s->units_per_replica : 1;
		uint32_t max = (uint32_t)((uint64_t)s->units * s->leaf_percent_max / 100);

		ask->place.leaf_max = max > step ? max : step;
		ask->place.lease = l->id;
	}
	if (s->shape == SHAPE_GPU && !s->units_per_replica)
		ask->place.chunk = 1; /* bare devices need not be together; best fit puts them together */
}

static void state_set(struct lease *l, uint8_t state, int64_t t)
{
	l->state = state;
	l->state_since_ms = t;
}

/* Allocations of the lease as this decision leaves them. */
static uint32_t allocs_left(const struct core *c, const struct decision *d, uint64_t lease)
{
	uint32_t n = lease_of(c, lease) ? lease_of(c, lease)->allocs_n : 0;

	for (uint32_t i = 0; i < d->facts_n; i++) {
		const struct fact *f = &d->facts[i];
		const struct alloc *old;

		if (f->kind != RECORD_ALLOC)
			continue;
		old = core_alloc(c, f->id);
		if (!f->any && old && old->owner_kind == OWNER_LEASE && old->owner == lease)
			n--;
		else if (f->any && !old && f->alloc->owner_kind == OWNER_LEASE && f->alloc->owner == lease)
			n++;
	}
	return n;
}

static void stop_everything(const struct core *c, struct decision *d, int64_t t, uint64_t lease, uint8_t cause)
{
	EACH(c, claims, claim_s, m)
		if (m->r.owner_kind == OWNER_LEASE && m->r.owner == lease)
			claim_drop(c, d, t, m->r.id);
	EACH(c, allocs, alloc_s, a)
		if (a->r.owner_kind == OWNER_LEASE && a->r.owner == lease)
			alloc_stop(c, d, t, a->r.id, cause, a->r.state == ALLOC_BINDING ? 0 : LEASE_STOP_MS, 0);
}

/* How long after a recall a loan lease has given everything back. */
static int64_t lease_back_ms(const struct core *c, const struct lease *l)
{
	return l->spec.notice_ms + c->cluster.kill_margin_ms + flavor_of(c, l->spec.flavor)->scrub_ms_max;
}

/* ---- reservations ahead ------------------------------------------------------------------------------ */

/* Until when it has its devices, for reservation.h; 0: it may stay. */
static int64_t holds_until(const struct core *c, int64_t t, const struct lease *l)
{
	if (l->spec.klass == LEASE_LOAN)
		return t + lease_back_ms(c, l) + 1; /* not to be told to go the moment it comes */
	if (l->spec.auto_extend)
		return 0;
	return l->term_end_ms ? l->term_end_ms : t + c->cluster.bind_timeout_ms + l->spec.term_ms;
}

/* The first reservation that wants its devices before `until_ms`. */
static const struct reservation *blocked(const struct core *c, uint64_t lease, int64_t until_ms)
{
	if (!c->reservations.count)
		return NULL;
	EACH(c, allocs, alloc_s, a) {
		const struct reservation *r = a->r.owner_kind == OWNER_LEASE && a->r.owner == lease &&
						a->r.klass == CLASS_GUARANTEED ?
						      reservation_blocks(c, &a->r, until_ms) :
						      NULL;

		if (r)
			return r;
	}
	return NULL;
}

/* ---- hooks of alloc.c ------------------------------------------------------------------------------ */

void lease_alloc_started(const struct core *c, struct decision *d, int64_t t, struct alloc *a)
{
	struct lease *l = EDIT(c, d, RECORD_LEASE, lease, a->owner);
	const struct renewal *old = peek(c, d, RECORD_RENEWAL, a->owner);
	struct renewal *r;

	if (l->state != LEASE_GRANTED && l->state != LEASE_BINDING)
		return;
	state_set(l, LEASE_ACTIVE, t);
	l->fence = a->id;
	l->bind_failures = 0;
	l->end_reason[0] = '\0';
	if (!l->active_since_ms) {
		l->active_since_ms = t;
		l->term_end_ms = t + l->spec.term_ms;
		/* what was placed for it first may have been placed for a little less */
		for (const struct reservation *in_way; (in_way = blocked(c, a->owner, l->term_end_ms)) != NULL;)
			l->term_end_ms = in_way->spec.windows[0].from_ms;
	}
	r = old ? EDIT(c, d, RECORD_RENEWAL, renewal, a->owner) : create(d, RECORD_RENEWAL, a->owner);
	r->lease = a->owner;
	r->renewed_ms = t;
	r->expires_live_ms = max64(r->expires_live_ms, live_ms(c, t) + l->spec.ttl_ms);
}

void lease_blame(const struct core *c, struct decision *d, uint64_t id, uint32_t node)
{
	struct lease *l = EDIT(c, d, RECORD_LEASE, lease, id);
	struct node_ref *list = arena_alloc(&d->arena, (EXCLUDED_NODES_MAX + 1) * sizeof *list);
	uint32_t n = 0;

	for (uint32_t i = l->excluded_n < EXCLUDED_NODES_MAX ? 0 : 1; i < l->excluded_n; i++)
		if (l->excluded[i].node != node)
			list[n++] = l->excluded[i];
	if (node)
		list[n++].node = node;
	l->excluded = list;
	l->excluded_n = n;
}

/* From the failure on, not from when its devices are back: else it would bind again at once. */
void lease_bind_failed(const struct core *c, struct decision *d, int64_t t, uint64_t id, uint32_t node, const char *text)
{
	struct lease *l = EDIT(c, d, RECORD_LEASE, lease, id);

	lease_blame(c, d, id, node);
	l->retry_ms = t + (LEASE_RETRY_MS << (l->bind_failures < 6 ? l->bind_failures : 6));
	l->bind_failures++;
	if (!lease_terminal(l->state))
		(void)snprintf(l->end_reason, sizeof l->end_reason, "%s: %.60s",
			       core_node(c, node) ? core_node(c, node)->name : "?", text);
}

void lease_alloc_gone(const struct core *c, struct decision *d, int64_t t, const struct alloc *a)
{
	struct lease *l = EDIT(c, d, RECORD_LEASE, lease, a->owner);

	if (allocs_left(c, d, a->owner))
		return;
	if (l->state == LEASE_RELEASING)
		state_set(l, LEASE_RELEASED, t);
	else if (l->state == LEASE_REVOKING || l->state == LEASE_RECALLING)
		state_set(l, LEASE_REVOKED, t);
}

/* ---- getting devices -------------------------------------------------------------------------------- */

void lease_replicas_fill(const struct lease *l, struct part *parts, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		parts[i].tasks = is_service(&l->spec);
}

static void lease_reason(struct lease_s *l, int64_t t, int reason)
{
	if (l->reason != reason)
		l->reason_since_ms = t;
	l->reason = (uint16_t)reason;
}

void lease_place_ask(const struct core *c, int64_t t, const struct lease *l, struct place_ask *ask)
{
	struct grant_ask grant;

	lease_ask(l, &grant);
	*ask = grant.place;
	ask->until_ms = holds_until(c, t, l);
}

/* Bind `units` from free devices. */
static int grow_now(const struct core *c, struct decision *d, int64_t t, const struct lease *l, uint32_t units)
{
	struct grant_ask ask;
	struct part *parts;
	uint32_t n;
	int rc;

	lease_ask(l, &ask);
	ask.place.units = units;
	ask.place.until_ms = holds_until(c, t, l);
	rc = place(c, &ask.place, &d->arena, &parts, &n);
	if (rc)
		return rc;
	if (ask.klass == CLASS_LOAN && !certify_loan(c, ask.place.flavor, lease_back_ms(c, l), parts, n))
		return REASON_LOAN_NOTICE;
	lease_replicas_fill(l, parts, n);
	(void)alloc_make(c, d, t, &ask, parts, n);
	return 0;
}

/* Are `units` free? */
static bool fits_now(const struct core *c, struct decision *d, int64_t t, const struct lease *l, uint32_t units)
{
	struct grant_ask ask;
	struct part *parts;
	uint32_t n;

	lease_ask(l, &ask);
	ask.place.units = units;
	ask.place.until_ms = holds_until(c, t, l);
	return place(c, &ask.place, &d->arena, &parts, &n) == 0;
}

/* Raise a claim for `units` over loans; its parts get their replicas. False if that cannot help. */
static bool grow_claim(const struct core *c, struct decision *d, int64_t t, const struct lease *l, uint32_t units,
		       bool offered)
{
	struct grant_ask ask;

	if (lease_klass(l) == CLASS_LOAN && !offered)
		return false; /* a loan recalls nobody */
	lease_ask(l, &ask);
	ask.place.until_ms = holds_until(c, t, l);
	return claim_raise(c, d, t, &ask, units, offered) != 0;
}

/* A loan lease stays as long as nobody recalls it: what other leases may grow into is not lent to it. */
static bool may_lend(const struct core *c, const struct lease *l, uint32_t units)
{
	return l->spec.klass != LEASE_LOAN ||
	       headroom_may(c, l->spec.flavor, in_devices(c, l->spec.flavor, l->spec.shape, units), T_NEVER);
}

static bool sched_requested(const struct core *c, int64_t t, struct decision *d, struct lease_s *ls)
{
	const struct lease *l = &ls->r;
	int rc = quota_ask(c, l->spec.provider, l->spec.flavor, l->spec.shape, l->spec.units, lease_klass(l));
	struct lease *e;

	if (!rc && l->spec.klass == LEASE_LOAN &&
	    !loan_in_time(c, l->spec.provider, l->spec.flavor, l->spec.shape, l->spec.units, lease_back_ms(c, l)))
		rc = REASON_LOAN_NOTICE;
	if (!rc && !may_lend(c, l, l->spec.units))
		rc = REASON_HEADROOM;
	ls->tight = (struct cert_short){0};
	ls->low = (struct plan_low){0};
	if (!rc && l->spec.klass == LEASE_FIRM && !certify_firm(c, t, l, l->spec.units, holds_until(c, t, l), &ls->tight))
		rc = REASON_FRAGMENTED; /* what others are promised could not be freed in time any more */
	if (!rc && l->spec.klass == LEASE_FIRM &&
	    !plan_may_lease(c, t, l, l->spec.units, holds_until(c, t, l), &ls->low))
		rc = reservation_low_reason(c, &ls->low);
	if (ls->low.devices) /* time alone may lift it */
		wake_at(&c->scratch->lease_ms, plan_changes(c, t, l->spec.provider, l->spec.flavor, l->spec.shape));
	if (rc) {
		lease_reason(ls, t, rc);
		return false;
	}
	if (!l->spec.auto_accept) {
		if (!grow_claim(c, d, t, l, l->spec.units, true)) {
			lease_reason(ls, t, REASON_NO_SHAPE);
			return false;
		}
		e = EDIT(c, d, RECORD_LEASE, lease, l->id);
		state_set(e, LEASE_OFFERED, t);
		e->offer_until_ms = t + c->cluster.lease_offer_ms;
		return true;
	}
	rc = grow_now(c, d, t, l, l->spec.units);
	if (!rc) {
		state_set(EDIT(c, d, RECORD_LEASE, lease, l->id), LEASE_BINDING, t);
		return true;
	}
	if (reason_tier(rc) == 6 && grow_claim(c, d, t, l, l->spec.units, false)) {
		state_set(EDIT(c, d, RECORD_LEASE, lease, l->id), LEASE_GRANTED, t);
		return true;
	}
	lease_reason(ls, t, rc);
	return false;
}

/* As many of `missing` as are free at once, else all of them by a claim. */
static bool grow(const struct core *c, int64_t t, struct decision *d, const struct lease *l, uint32_t missing)
{
	uint32_t step = l->spec.shape == SHAPE_GPU && l->spec.units_per_replica ? l->spec.units_per_replica : 1;
	uint32_t now = missing / step, least = 0;

	if (!grow_now(c, d, t, l, missing))
		return true;
	while (least < now) {
		uint32_t mid = least + (now - least + 1) / 2;

		if (fits_now(c, d, t, l, mid * step))
			least = mid;
		else
			now = mid - 1;
	}
	return (least && !grow_now(c, d, t, l, least * step)) || grow_claim(c, d, t, l, missing, false);
}

/* A live lease that holds less than it should: after a resize, or when hardware was lost. */
static bool sched_short(const struct core *c, int64_t t, struct decision *d, struct lease_s *ls, uint32_t missing)
{
	const struct lease *l = &ls->r;
	int rc = quota_ask(c, l->spec.provider, l->spec.flavor, l->spec.shape, missing, lease_klass(l));
	bool did = false;

	if (!rc && !may_lend(c, l, missing))
		rc = REASON_HEADROOM;
	if (rc) {
		lease_reason(ls, t, rc);
		return false;
	}
	did = grow(c, t, d, l, missing);
	if (!did && l->excluded_n) { /* better on a node that failed it before than not at all */
		struct lease plain = *l;

		plain.excluded_n = 0;
		did = grow(c, t, d, &plain, missing);
	}
	if (did && l->state == LEASE_GRANTED)
		state_set(EDIT(c, d, RECORD_LEASE, lease, l->id), LEASE_BINDING, t);
	lease_reason(ls, t, did ? REASON_NONE : REASON_NO_SHAPE);
	return did;
}

bool sched_leases(const struct core *c, int64_t t, struct decision *d)
{
	EACH(c, hungry, lease_s, l) {
		uint32_t have;

		if (lease_terminal(l->r.state) || l->r.retry_ms > t)
			continue;
		if (l->r.state == LEASE_REQUESTED) {
			if (sched_requested(c, t, d, l))
				return true;
			continue;
		}
		if (l->r.state != LEASE_GRANTED && l->r.state != LEASE_BINDING && l->r.state != LEASE_ACTIVE)
			continue;
		/* what a claim fetches already is as good as there; growth since then gets one of its own, so
		 * that it does not wait for the first one's victims before its own are told */
		have = l->units_held + l->units_claimed;
		if (have < l->r.spec.units && sched_short(c, t, d, l, l->r.spec.units - have))
			return true;
	}
	return false;
}

void lease_claim_filled(const struct core *c, struct decision *d, int64_t t, const struct claim *m)
{
	const struct lease *l = core_lease(c, m->owner);
	struct grant_ask ask;

	ENSURE(l);
	lease_ask(l, &ask);
	ask.place.until_ms = holds_until(c, t, l);
	if (reservation_bars_parts(c, &ask.place, m->parts, m->parts_n)) {
		claim_drop(c, d, t, m->id); /* it came too late for these: planned anew */
		return;
	}
	claim_served(c, d, t, m);
	(void)alloc_make(c, d, t, &ask, m->parts, m->parts_n);
	if (l->state == LEASE_GRANTED)
		state_set(EDIT(c, d, RECORD_LEASE, lease, l->id), LEASE_BINDING, t);
}

/* ---- time ---------------------------------------------------------------------------------------------- */

bool tick_lease_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id)
{
	struct lease *l = EDIT(c, d, RECORD_LEASE, lease, id);
	const struct renewal *told = core_renewal(c, id);

	if (l->retry_ms && l->retry_ms <= t) {
		l->retry_ms = 0;
		return true;
	}
	switch ((enum lease_state)l->state) {
	case LEASE_OFFERED:
		stop_everything(c, d, t, id, END_CANCEL);
		state_set(l, LEASE_WITHDRAWN, t);
		TEXT_SET(l->end_reason, "the offer was not accepted in time");
		return true;
	case LEASE_ACTIVE:
	case LEASE_GRACE:
		if (l->spec.auto_extend && l->state == LEASE_ACTIVE) {
			const struct reservation *r = blocked(c, id, l->term_end_ms + l->spec.term_ms);

			if (!r) {
				l->term_end_ms += l->spec.term_ms;
				return true;
			}
			/* the reservation came after the holder had been told of a part of the next term */
			if (told && told->told_ms > l->term_end_ms) {
				l->term_end_ms = told->told_ms;
				return true;
			}
			(void)snprintf(l->end_reason, sizeof l->end_reason, "not extended: reservation %" PRIu64
				       " (%.32s) has its devices then", r->id, r->spec.name);
		} else {
			TEXT_SET(l->end_reason, "its term ended");
		}
		stop_everything(c, d, t, id, END_TIME);
		state_set(l, LEASE_ENDED, t);
		return true;
	case LEASE_RECALLING: /* the agents kill at recall_at; nothing more to decide here */
		l->recall_at_ms = T_NEVER;
		return true;
	default: UNREACHABLE();
	}
}

bool tick_lease_live(const struct core *c, int64_t t, struct decision *d, uint64_t id)
{
	struct lease *l = EDIT(c, d, RECORD_LEASE, lease, id);

	if (l->state == LEASE_ACTIVE) {
		state_set(l, LEASE_GRACE, t);
		return true;
	}
	ENSURE(l->state == LEASE_GRACE);
	stop_everything(c, d, t, id, END_TIME);
	state_set(l, LEASE_EXPIRED, t);
	TEXT_SET(l->end_reason, "it was not renewed within ttl and grace");
	return true;
}

/* ---- commands ---------------------------------------------------------------------------------------- */

/* Are there leaves enough, if there is room enough? 0, or ERR_NEVER. */
static int spread_installed(const struct core *c, struct decision *d, const struct place_ask *want, struct err *err)
{
	struct place_ask ask = *want;
	struct part *parts;
	uint32_t n;

	ask.over = PLACE_EMPTY;
	ask.klass = CLASS_LOAN;
	if (place(c, &ask, &d->arena, &parts, &n) == 0)
		return 0;
	ask.leaf_max = 0;
	if (place(c, &ask, &d->arena, &parts, &n) != 0)
		return 0; /* not all that is promised has joined */
	err_set(err, ERR_NEVER, "there are too few leaves to hold %u with at most %u in each", ask.units, want->leaf_max);
	err_hint(err, "a higher --spread; nodes say where they are by the label 'leaf'");
	return err_reason(err, REASON_SHAPE);
}

/* ---- concentration -------------------------------------------------------------------------------------- */

/* What the lease keeps from others, in units: what it asks for, or, if that is more, what it has not given back yet.
 * A claim or a shrink under way makes no difference, so that no order of commands gets a tenant more. */
static int64_t lease_keeps(const struct lease_s *l)
{
	bool going = lease_terminal(l->r.state) || l->r.state == LEASE_RELEASING || l->r.state == LEASE_REVOKING;
	int64_t held = 0;

	for (const struct alloc_s *a = l->allocs; a; a = a->lease_next)
		held += alloc_units(&a->r);
	return max64(going ? 0 : l->r.spec.units, held);
}

/* Devices of `flavor` that the tenant of `q` keeps below `top`, by all its providers there. O(leases). */
static int64_t tenant_keeps(const struct core *c, const struct qnode *q, uint32_t top, uint16_t flavor)
{
	int64_t sum = 0;

	EACH(c, leases, lease_s, l) {
		const struct lease_spec *s = &l->r.spec;
		const struct qnode *of = s->flavor == flavor ? core_qnode(c, s->provider) : NULL;

		if (of && (of == q || (q->tenant[0] && !strcmp(of->tenant, q->tenant))) && qnode_under(c, of->id, top))
			sum += in_devices(c, flavor, s->shape, lease_keeps(l));
	}
	return sum;
}

/* May the provider of `s` ask for `units` more? Every cap on its way up is of the private side's nominal, as it is
 * now: one that was lowered below what is held takes nothing away. 0; ERR_NEVER: not even alone; ERR_QUOTA. */
static int concentration_check(const struct core *c, const struct lease_spec *s, int64_t units, struct err *err)
{
	const struct qnode *q = core_qnode(c, s->provider);

	(void)tree_of(c, s->flavor, s->shape); /* the sums are made with the trees */
	for (const struct qnode *top = q;; top = core_qnode(c, top->parent)) {
		int64_t most = ppm_of(c->promised_private[s->flavor], top->concentration_cap_ppm);
		int64_t asked = in_devices(c, s->flavor, s->shape, units), kept;

		if (top->concentration_cap_ppm) {
			kept = tenant_keeps(c, q, top->id, s->flavor);
			if (asked > most - kept) {
				err_set(err, asked > most ? ERR_NEVER : ERR_QUOTA,
					"%.32s holds %" PRId64 " devices of %s and asks for %" PRId64
					" more; the cap of %.32s allows %" PRId64, q->tenant[0] ? q->tenant : q->name, kept,
					flavor_of(c, s->flavor)->name, asked, top->name, most);
				if (most > kept)
					err_hint(err, "at most %" PRId64 " more; or release or shrink a lease: sluisctl lease list",
						 most - kept);
				else
					err_hint(err, "release or shrink a lease first: sluisctl lease list");
				return err_reason(err, REASON_CONCENTRATION);
			}
		}
		if (top->kind == QNODE_ROOT)
			return 0;
	}
}

/* The longest term that its provider may have, as one would type it. */
static void term_hint(struct err *err, int64_t most_ms)
{
	if (most_ms % MS_PER_DAY)
		err_hint(err, "--term %" PRId64 "s", most_ms / MS_PER_S);
	else
		err_hint(err, "--term %" PRId64 "d", most_ms / MS_PER_DAY);
}

/* The most that could be asked for; of the other shape when that is nothing: each has a quota of its own. */
static void most_hint(const struct core *c, const struct lease_spec *s, int64_t most, struct err *err)
{
	const char *option = s->shape == SHAPE_NODE ? "--nodes" : "--gpus", *other = s->shape == SHAPE_NODE ? "--gpus" : "--nodes";
	int64_t cover, all;

	if (most > 0) {
		err_hint(err, "at most %s %" PRId64, option, most);
		return;
	}
	quota_most(c, s->provider, s->flavor, s->shape == SHAPE_NODE ? SHAPE_GPU : SHAPE_NODE, &cover, &all);
	most = s->klass == LEASE_FIRM ? cover : all;
	if (most > 0)
		err_hint(err, "its quota is of %s: at most %s %" PRId64, s->shape == SHAPE_NODE ? "single devices" : "whole nodes",
			 other, most);
	else
		err_hint(err, "it may hold none of this flavor: sluisctl provider show %s", core_qnode(c, s->provider)->name);
}

static int decide_request(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			  struct err *err)
{
	const struct cmd_lease_request *r = &cmd->lease_request;
	struct lease draft = {.spec = r->spec}, *l;
	struct lease_spec *s = &draft.spec;
	const struct qnode *q;
	const struct flavor *f;
	struct grant_ask ask;
	struct cluster *cl;
	uint32_t live;
	int rc = core_qnode_find(c, r->provider, &s->provider, err);

	if (rc)
		return rc;
	q = core_qnode(c, s->provider);
	if (q->kind != QNODE_PROVIDER) {
		err_set(err, ERR_INVAL, "'%s' is not a provider", r->provider);
		return err_hint(err, "leases belong to providers: sluisctl provider list");
	}
	if (!may_act_for(c, cmd->principal, s->provider)) {
		err_set(err, ERR_DENIED, "you may not lease for %s", q->name);
		return err_hint(err, "use the key of %s", q->name);
	}
	rc = flavor_find(c, r->flavor, &s->flavor, err);
	if (rc)
		return rc;
	f = flavor_of(c, s->flavor);
	if (!s->units || s->units > (uint32_t)PARTS_PER_ALLOC_MAX * DEVICES_PER_NODE_MAX || s->shape >= SHAPE_COUNT ||
	    s->klass > LEASE_LOAN)
		return err_set(err, ERR_RANGE, "a lease needs at least one device or node");
	if (s->shape == SHAPE_GPU && s->units_per_replica &&
	    (s->units % s->units_per_replica || s->units_per_replica > f->devices_per_node)) {
		err_set(err, ERR_INVAL, "%u devices do not divide into replicas of %u", s->units, s->units_per_replica);
		return err_hint(err, "a replica sits on one node of %u devices", f->devices_per_node);
	}
	s->ttl_ms = or_else(s->ttl_ms, or_else(c->cluster.defaults.lease_ttl_ms, c->cluster.lease_ttl_ms));
	s->grace_ms = or_else(s->grace_ms, or_else(c->cluster.defaults.lease_grace_ms, c->cluster.lease_grace_ms));
	s->term_ms = or_else(s->term_ms, or_else(c->cluster.defaults.lease_term_ms, c->cluster.lease_term_ms));
	s->notice_ms = s->notice_ms ? s->notice_ms : c->cluster.notice_ms;
	if (s->ttl_ms < MS_PER_S || s->grace_ms < 0 || s->term_ms < s->ttl_ms || s->notice_ms < 0 ||
	    s->term_ms > SPAN_MAX_MS || s->grace_ms > SPAN_MAX_MS || s->notice_ms > SPAN_MAX_MS)
		return err_set(err, ERR_RANGE, "ttl is at least 1 s, term at least ttl and at most a hundred years");
	if (q->term_ms_max && s->term_ms > q->term_ms_max) {
		err_set(err, ERR_NEVER, "the term is over the provider's %" PRId64 " days", q->term_ms_max / MS_PER_DAY);
		term_hint(err, q->term_ms_max);
		return err_reason(err, REASON_TIME_LIMIT);
	}
	live = qnode_of(c, s->provider)->leases;
	if (q->leases_max && live >= q->leases_max) {
		err_set(err, ERR_NOROOM, "%s has %u leases, its limit", q->name, live);
		return err_reason(err, REASON_JOB_LIMIT);
	}
	if (s->leaf_percent_max > 100) {
		err_set(err, ERR_RANGE, "%u %% of it in one leaf is more than all", s->leaf_percent_max);
		return err_hint(err, "--spread 1 to 100");
	}
	lease_ask(&draft, &ask);
	ask.place.units = s->units;
	rc = shape_installed(c, d, &ask.place, err);
	if (!rc && s->leaf_percent_max)
		rc = spread_installed(c, d, &ask.place, err);
	if (rc)
		return rc;
	{
		int64_t cover, all;

		quota_most(c, s->provider, s->flavor, s->shape, &cover, &all);
		if ((s->klass == LEASE_FIRM ? cover : all) < s->units) {
			err_set(err, ERR_NEVER, "%u is more than %s can ever hold: %" PRId64, s->units, q->name,
				s->klass == LEASE_FIRM ? cover : all);
			if (s->klass == LEASE_FIRM && all >= s->units)
				err_hint(err, "--class loan could have up to %" PRId64, all);
			else
				most_hint(c, s, s->klass == LEASE_FIRM ? cover : all, err);
			return err_reason(err, REASON_OVER_LIMIT);
		}
	}
	rc = concentration_check(c, s, s->units, err);
	if (!rc && s->klass == LEASE_LOAN)
		rc = loan_ever_in_time(c, s->provider, s->flavor, s->shape, s->units, lease_back_ms(c, &draft), err);
	if (rc)
		return rc;
	cl = edit_cluster(c, d);
	l = create(d, RECORD_LEASE, cl->next_lease);
	*l = draft;
	l->id = cl->next_lease++;
	l->owner = cmd->principal;
	l->created_ms = l->state_since_ms = t;
	d->result.id = l->id;
	d->result.state = LEASE_REQUESTED;
	return 0;
}

/* Spread by id and renewal so that a fleet started together does not come back together; slower when
 * there are more leases than the wanted rate serves. */
static int64_t renew_after(const struct core *c, const struct lease *l, const struct renewal *r, int64_t ttl)
{
	int64_t base = ttl / 3, levelled, jitter;
	uint64_t h = (l->id * 2 + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ r->renew_seq * UINT64_C(0xbf58476d1ce4e5b9);

	if (c->cluster.renewals_per_s) {
		levelled = (int64_t)(c->leases.count * 1000 / c->cluster.renewals_per_s);
		base = min64(max64(base, levelled), ttl / 2);
	}
	h ^= h >> 31;
	jitter = base / 10;
	return base - jitter + (jitter ? (int64_t)(h % (uint64_t)(2 * jitter + 1)) : 0);
}

/* When the contract ends as far as is known, asked for the time until `live_until_ms`; logical time. Cost: all
 * allocations when an extension is near and there are reservations. */
static int64_t contract_end(const struct core *c, const struct lease *l, const struct renewal *r, int64_t live_until_ms)
{
	int64_t end = l->term_end_ms ? l->term_end_ms : T_NEVER;

	if (l->spec.auto_extend && (end >= live_until_ms || !c->reservations.count ||
				    !blocked(c, l->id, end + l->spec.term_ms)))
		end = T_NEVER; /* it will be extended */
	else if (l->spec.auto_extend)
		end = max64(end, r->told_ms); /* as it would have been when that was told */
	return l->state == LEASE_RECALLING ? min64(end, l->recall_at_ms) : end;
}

static void renew_answer(const struct core *c, int64_t t, const struct lease *l, const struct renewal *r,
			 struct renew_result *res)
{
	res->state = l->state;
	res->fence = l->fence;
	/* downtime moves the liveness deadline, an extension the contract's: the nearer one is told */
	if (r) {
		int64_t ttl = r->expires_live_ms - live_ms(c, t);

		res->ttl_ms = min64(ttl, contract_end(c, l, r, t + ttl) - t);
	}
	res->renew_after_ms = r ? renew_after(c, l, r, l->spec.ttl_ms) :
			      l->state == LEASE_REQUESTED ? WAITING_POLL_MS : MS_PER_S;
	res->term_left_ms = l->term_end_ms ? l->term_end_ms - t : 0;
	res->recall_in_ms = l->state == LEASE_RECALLING && l->recall_at_ms != T_NEVER ? l->recall_at_ms - t : -1;
	res->units = lease_of(c, l->id)->units_active;
	res->units_target = l->spec.units;
}

static void renew_one(const struct core *c, int64_t t, const struct command *cmd, const struct lease_renew_item *it,
		      struct decision *d, struct renew_result *res)
{
	const struct lease *l = peek(c, d, RECORD_LEASE, it->lease);
	const struct renewal *old;
	struct renewal *r;
	int64_t until;

	res->lease = it->lease;
	res->recall_in_ms = -1;
	if (!l) {
		res->code = ERR_NOTFOUND;
		return;
	}
	if (!may_act_for(c, cmd->principal, l->spec.provider)) {
		res->code = ERR_DENIED;
		return;
	}
	old = peek(c, d, RECORD_RENEWAL, it->lease);
	if (lease_terminal(l->state) || l->state == LEASE_RELEASING || l->state == LEASE_REVOKING) {
		renew_answer(c, t, l, old, res);
		res->ttl_ms = 0;
		res->code = ERR_GONE;
		return;
	}
	if (!old || !l->fence) { /* not active yet: nothing to renew, nothing wrong */
		renew_answer(c, t, l, NULL, res);
		return;
	}
	if (it->fence != l->fence) {
		renew_answer(c, t, l, old, res);
		res->code = ERR_STALE_FENCE;
		return;
	}
	if (it->renew_seq < old->renew_seq) {
		renew_answer(c, t, l, old, res);
		res->code = ERR_STALE;
		return;
	}
	if (it->renew_seq == old->renew_seq && old->renewals) { /* a repeat: the stored reply, no new time */
		renew_answer(c, t, l, old, res);
		if (old->told_ms)
			res->ttl_ms = min64(res->ttl_ms, old->told_ms - t);
		return;
	}
	until = live_ms(c, t) + (it->ttl_ms > 0 ? min64(it->ttl_ms, l->spec.ttl_ms) : l->spec.ttl_ms);
	r = EDIT(c, d, RECORD_RENEWAL, renewal, it->lease);
	r->renew_seq = it->renew_seq;
	r->renewed_ms = t;
	r->renewals++;
	r->expires_live_ms = max64(r->expires_live_ms, until);
	if (l->state == LEASE_GRACE) {
		struct lease *e = EDIT(c, d, RECORD_LEASE, lease, it->lease);

		state_set(e, LEASE_ACTIVE, t);
		l = e;
	}
	renew_answer(c, t, l, r, res);
	r->told_ms = max64(r->told_ms, t + res->ttl_ms);
}

static int decide_renew(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			struct err *err)
{
	const struct cmd_lease_renew *r = &cmd->lease_renew;

	if (!r->items_n || r->items_n > RENEWALS_PER_COMMAND_MAX)
		return err_set(err, ERR_RANGE, "a renewal names 1 to %d leases", RENEWALS_PER_COMMAND_MAX);
	d->result.renewals = arena_alloc(&d->arena, r->items_n * sizeof *d->result.renewals);
	d->result.renewals_n = r->items_n;
	for (uint32_t i = 0; i < r->items_n; i++)
		renew_one(c, t, cmd, &r->items[i], d, &d->result.renewals[i]);
	d->result.id = r->items[0].lease;
	return 0;
}

/* Give back `excess` units: pending growth first, then the newest parts. */
static int shrink(const struct core *c, struct decision *d, int64_t t, const struct lease *l, uint32_t excess,
		  struct err *err)
{
	uint64_t ids[PARTS_PER_ALLOC_MAX];
	uint32_t n = 0;

	EACH(c, claims, claim_s, m)
		if (m->r.owner_kind == OWNER_LEASE && m->r.owner == l->id)
			claim_drop(c, d, t, m->r.id);
	EACH(c, allocs, alloc_s, a)
		if (a->r.owner_kind == OWNER_LEASE && a->r.owner == l->id && a->r.state != ALLOC_STOPPING &&
		    n < ARRAY_LEN(ids))
			ids[n++] = a->r.id;
	while (n-- > 0 && excess) {
		struct alloc *a = EDIT(c, d, RECORD_ALLOC, alloc, ids[n]);
		uint32_t stopping = 0;

		if (a->state == ALLOC_BINDING) { /* nothing runs there: bind what is still wanted anew */
			/* not a->units: a part that was lost is still among those */
			for (uint32_t i = 0; i < a->parts_n && excess; i++)
				excess -= min32(excess, a->parts[i].stop ? 0 : a->parts[i].units);
			alloc_stop(c, d, t, a->id, END_CANCEL, 0, 0);
			continue;
		}
		for (uint32_t i = a->parts_n; i-- > 0 && excess;) {
			struct part *p = &a->parts[i];

			if (p->stop)
				continue;
			if (p->units <= excess) {
				p->stop = true;
				excess -= p->units;
			} else if (!is_service(&l->spec) && l->spec.shape == SHAPE_GPU && p->devices) {
				struct part *parts = arena_alloc(&d->arena, (a->parts_n + 1) * sizeof *parts);
				struct part *tail = &parts[a->parts_n];

				memcpy(parts, a->parts, a->parts_n * sizeof *parts);
				/* not one that was used before: what its agent says of that one, late or until we have heard
				 * it, would pass for proof that this one's devices are idle */
				for (uint32_t k = 0; k < a->parts_n; k++)
					if (parts[k].index >= a->part_next)
						a->part_next = (uint16_t)(parts[k].index + 1);
				if (a->part_next == UINT16_MAX)
					return err_set(err, ERR_NOROOM, "lease %" PRIu64 " was divided too often", l->id);
				*tail = parts[i];
				tail->index = a->part_next++;
				tail->stop = true;
				tail->units = excess;
				tail->devices = 0;
				memset(tail->cores, 0, sizeof tail->cores);
				tail->memory_mib = 0;
				for (; excess; excess--) {
					uint64_t top = UINT64_C(1) << (63 - __builtin_clzll(parts[i].devices));

					parts[i].devices &= ~top;
					tail->devices |= top;
					parts[i].units--;
				}
				a->parts = parts;
				a->parts_n++;
			}
		}
		for (uint32_t i = 0; i < a->parts_n; i++)
			stopping += a->parts[i].stop;
		if (stopping == a->parts_n) {
			for (uint32_t i = 0; i < a->parts_n; i++)
				a->parts[i].stop = false;
			alloc_stop(c, d, t, a->id, END_CANCEL, LEASE_STOP_MS, 0);
		} else {
			a->stop_at_ms = t + LEASE_STOP_MS;
			a->stop_cause = END_CANCEL;
		}
	}
	if (excess)
		return err_set(err, ERR_STATE, "%u units cannot be given back singly", excess);
	return 0;
}

/* It would have what was promised, or admitted to windows of the calendar. */
static int low_refused(const struct core *c, const struct lease *l, const struct plan_low *low, int code, struct err *err)
{
	char why[TEXT_BYTES];

	reservation_low_text(c, l->spec.flavor, low, why);
	err_set(err, code, "%s", why);
	if (low->reservation)
		err_hint(err, "fewer, or a term that ends before: sluisctl reservation show %" PRIu64, low->reservation);
	else
		err_hint(err, "fewer, or a term that ends before: sluisctl queue --start");
	(void)err_reason(err, reservation_low_reason(c, low));
	return code;
}

/* Does the calendar leave no room for `units` more? Then *err says what takes it. */
static bool calendar_short(const struct core *c, int64_t t, const struct lease *l, int64_t units, struct err *err)
{
	struct plan_low low;

	if (plan_may_lease(c, t, l, units, holds_until(c, t, l), &low))
		return false;
	(void)low_refused(c, l, &low, ERR_NOROOM, err);
	return true;
}

static int decide_resize(const struct core *c, int64_t t, const struct command *cmd, struct decision *d,
			 struct err *err)
{
	const struct lease_s *ls = lease_of(c, cmd->lease_resize.lease);
	const struct lease *l = &ls->r;
	uint32_t units = cmd->lease_resize.units, have = ls->units_held;
	int64_t cover, all, growth = (int64_t)units - l->spec.units;
	struct lease *e;

	if (lease_terminal(l->state)) {
		err_set(err, ERR_GONE, "lease %" PRIu64 " is gone: %s", l->id,
			l->end_reason[0] ? l->end_reason : "it has ended");
		return err_hint(err, "request a new one; an ended lease is never brought back");
	}
	if (l->state != LEASE_ACTIVE && l->state != LEASE_BINDING && l->state != LEASE_GRANTED &&
	    l->state != LEASE_GRACE)
		return err_set(err, ERR_STATE, "lease %" PRIu64 " cannot be resized now", l->id);
	if (!units) {
		err_set(err, ERR_RANGE, "a lease holds at least one unit");
		return err_hint(err, "sluisctl lease release %" PRIu64, l->id);
	}
	if (l->spec.units_per_replica && l->spec.shape == SHAPE_GPU && units % l->spec.units_per_replica) {
		err_set(err, ERR_INVAL, "%u is not a whole number of replicas of %u devices", units,
			l->spec.units_per_replica);
		return err_hint(err, "%u or %u", units / l->spec.units_per_replica * l->spec.units_per_replica,
				(units / l->spec.units_per_replica + 1) * l->spec.units_per_replica);
	}
	if (growth > 0 && l->state == LEASE_GRACE) {
		err_set(err, ERR_STATE, "lease %" PRIu64 " is in its grace period: no growth", l->id);
		return err_hint(err, "renew it first: sluisctl lease renew %" PRIu64, l->id);
	}
	if (growth > 0) {
		int rc = quota_ask(c, l->spec.provider, l->spec.flavor, l->spec.shape, growth, lease_klass(l));
		const struct quota_tree *tree = tree_of(c, l->spec.flavor, l->spec.shape);
		struct cert_short tight;

		quota_most(c, l->spec.provider, l->spec.flavor, l->spec.shape, &cover, &all);
		if ((l->spec.klass == LEASE_FIRM ? cover : all) < units) {
			err_set(err, ERR_NEVER, "%u is more than its provider can ever hold: %" PRId64, units,
				l->spec.klass == LEASE_FIRM ? cover : all);
			most_hint(c, &l->spec, l->spec.klass == LEASE_FIRM ? cover : all, err);
			return err_reason(err, REASON_OVER_LIMIT);
		}
		if (concentration_check(c, &l->spec, growth, err))
			return err->code;
		if (!rc && l->spec.klass == LEASE_FIRM && !certify_firm(c, t, l, growth, holds_until(c, t, l), &tight)) {
			char why[TEXT_BYTES];

			certify_text(c, l, &tight, why);
			err_set(err, ERR_NOROOM, "%s", why);
			err_hint(err, "fewer, smaller replicas, or later: sluisctl deficit");
			return err_reason(err, REASON_FRAGMENTED);
		}
		if (!rc && l->spec.klass == LEASE_FIRM && calendar_short(c, t, l, growth, err))
			return err->code;
		if (rc) {
			int64_t left = tree ? quota_cover_left(tree, qnode_of(c, l->spec.provider)->at) : 0;

			err_set(err, ERR_QUOTA, "%s: %" PRId64 " more are asked for, %" PRId64 " are left",
				reason_text(rc), growth, left);
			err_hint(err, "sluisctl division show");
			return err_reason(err, rc);
		}
	} else if (units < have) {
		int rc = shrink(c, d, t, l, have - units, err);

		if (rc)
			return rc;
	} else if (growth < 0) { /* only growth that has not arrived is given up */
		EACH(c, claims, claim_s, m)
			if (m->r.owner_kind == OWNER_LEASE && m->r.owner == l->id)
				claim_drop(c, d, t, m->r.id);
	}
	e = EDIT(c, d, RECORD_LEASE, lease, l->id);
	e->spec.units = units;
	d->result.id = l->id;
	d->result.state = e->state;
	return 0;
}

int decide_lease(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	const struct lease *l;
	struct lease *e;
	uint64_t id;

	switch ((enum command_type)cmd->type) {
	case CMD_LEASE_REQUEST: return decide_request(c, t, cmd, d, err);
	case CMD_LEASE_RENEW: return decide_renew(c, t, cmd, d, err);
	case CMD_LEASE_RESIZE: return decide_resize(c, t, cmd, d, err);
	case CMD_LEASE_EXTEND: id = cmd->lease_extend.lease; break;
	case CMD_LEASE_REVOKE: id = cmd->lease_revoke.lease; break;
	default: id = cmd->object.id; break;
	}
	l = core_lease(c, id);
	ENSURE(l); /* the authority check has found it */
	d->result.id = id;
	if (lease_terminal(l->state)) {
		err_set(err, ERR_GONE, "lease %" PRIu64 " is gone: %s", id,
			l->end_reason[0] ? l->end_reason : "it has ended");
		return err_hint(err, "request a new one; an ended lease is never brought back");
	}
	switch ((enum command_type)cmd->type) {
	case CMD_LEASE_ACCEPT:
		if (l->state != LEASE_OFFERED)
			return err_set(err, ERR_STATE, "lease %" PRIu64 " is not on offer", id);
		if (lease_of(c, id)->units_claimed < l->spec.units && l->spec.klass == LEASE_FIRM) {
			struct cert_short tight; /* nodes of the offer were lost since: is it to be had elsewhere? */
			char why[TEXT_BYTES];

			if (!certify_firm(c, t, l, (int64_t)l->spec.units - lease_of(c, id)->units_claimed,
					  holds_until(c, t, l), &tight)) {
				certify_text(c, l, &tight, why);
				err_set(err, ERR_NOROOM, "%s", why);
				err_hint(err, "nodes of the offer were lost: decline it and ask anew");
				return err_reason(err, REASON_FRAGMENTED);
			}
			if (calendar_short(c, t, l, (int64_t)l->spec.units - lease_of(c, id)->units_claimed, err))
				return err->code;
		}
		state_set(EDIT(c, d, RECORD_LEASE, lease, id), LEASE_GRANTED, t);
		EACH(c, claims, claim_s, m)
			if (m->r.owner_kind == OWNER_LEASE && m->r.owner == id)
				claim_start(c, d, t, m->r.id);
		return 0;
	case CMD_LEASE_DECLINE:
		if (l->state != LEASE_OFFERED)
			return err_set(err, ERR_STATE, "lease %" PRIu64 " is not on offer", id);
		stop_everything(c, d, t, id, END_CANCEL);
		state_set(EDIT(c, d, RECORD_LEASE, lease, id), LEASE_WITHDRAWN, t);
		return 0;
	case CMD_LEASE_RELEASE:
		if (l->state == LEASE_RELEASING)
			return 0;
		stop_everything(c, d, t, id, END_CANCEL);
		e = EDIT(c, d, RECORD_LEASE, lease, id);
		state_set(e, allocs_left(c, d, id) ? LEASE_RELEASING : LEASE_RELEASED, t);
		TEXT_SET(e->end_reason, "released by its holder");
		return 0;
	case CMD_LEASE_EXTEND:
		if (cmd->lease_extend.term_ms <= 0 || cmd->lease_extend.term_ms > SPAN_MAX_MS)
			return err_set(err, ERR_RANGE, "the extension must be positive, and at most a hundred years");
		if (core_qnode(c, l->spec.provider)->term_ms_max &&
		    cmd->lease_extend.term_ms > core_qnode(c, l->spec.provider)->term_ms_max) {
			int64_t most = core_qnode(c, l->spec.provider)->term_ms_max;

			err_set(err, ERR_NEVER, "the term is over the provider's %" PRId64 " days", most / MS_PER_DAY);
			term_hint(err, most);
			return err_reason(err, REASON_TIME_LIMIT);
		}
		if (l->term_end_ms) {
			int64_t end_ms = max64(l->term_end_ms, t + cmd->lease_extend.term_ms);
			struct plan_low low;
			const struct reservation *r = blocked(c, id, t + cmd->lease_extend.term_ms);

			if (r) {
				err_set(err, ERR_CONFLICT, "reservation %" PRIu64 " (%.32s) has its devices then", r->id,
					r->spec.name);
				err_hint(err, "sluisctl reservation show %" PRIu64, r->id);
				return err_reason(err, r->spec.maint ? REASON_MAINTENANCE : REASON_RESERVED);
			}
			if (!plan_may_extend(c, lease_of(c, id), end_ms, &d->arena, &low))
				return low_refused(c, l, &low, ERR_CONFLICT, err);
		}
		e = EDIT(c, d, RECORD_LEASE, lease, id);
		if (e->term_end_ms)
			e->term_end_ms = max64(e->term_end_ms, t + cmd->lease_extend.term_ms);
		else
			e->spec.term_ms = cmd->lease_extend.term_ms;
		return 0;
	case CMD_LEASE_REVOKE:
		stop_everything(c, d, t, id, END_CANCEL);
		e = EDIT(c, d, RECORD_LEASE, lease, id);
		state_set(e, allocs_left(c, d, id) ? LEASE_REVOKING : LEASE_REVOKED, t);
		TEXT_SET(e->end_reason, cmd->lease_revoke.reason);
		return 0;
	default: UNREACHABLE();
	}
}
