/* headroom.c - devices that are not lent, because a lease is likely to want them before the loan is over
 *
 * A lease that grows gets what is free at once; else a loan is recalled for it, and what that had done since its last
 * checkpoint is done again. So a loan starts only if, after it, as many devices stay free as the leases are
 * likely to grow by before it ends (forecast.h): a short job may have a device that a long one may not. When it ends is
 * taken to be half of its time limit. Extra units of elastic jobs go within seconds and lose nothing: they may
 * have what is kept, and count as free.
 *
 * No lease waits for any of this, and nothing that is guaranteed: it is a rule about loans alone.
 *
 * The forecast of a flavor is a record. It is written at the end of a span in which the leases changed, and as long as
 * past growth has to fade. Between the changes the level is what it was, so nothing is written then.
 *
 * Invariant (headroom_check): leased[] is the sum over the leases, kept[] what the records say.
 */
#include "daemon/core/forecast.h"
#include "daemon/core/roster.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int64_t held(const struct core *c, const struct lease_s *l)
{
	if (l->r.spec.klass != LEASE_FIRM)
		return 0;
	return in_devices(c, l->r.spec.flavor, l->r.spec.shape, (int64_t)l->units_held + l->units_claimed);
}

static void due(struct core *c, uint16_t flavor) { c->scratch->headroom_due |= UINT64_C(1) << flavor; }

/* The loans that a change makes possible are looked for. */
static void lend_more(struct core *c, uint16_t flavor)
{
	work_freed(c, flavor);
	c->scratch->work |= WORK_LEASES;
}

static int64_t most_kept(const struct core *c, uint16_t flavor)
{
	const struct flavor *f = flavor_of(c, flavor);

	return max64(c->headroom[flavor].kept[FORECAST_WINDOWS - 1], f ? f->headroom : 0);
}

void headroom_lease(struct core *c, const struct lease_s *l, int sign)
{
	struct headroom *h = &c->headroom[l->r.spec.flavor];
	int64_t devices = held(c, l);

	if (sign < 0)
		h->last = h->leased;
	if (!devices)
		return;
	h->leased += sign * devices;
	if (h->leased > h->peak)
		h->peak = h->leased;
	if (h->leased > h->last && most_kept(c, l->r.spec.flavor) > c->promised_private[l->r.spec.flavor] - h->leased)
		lend_more(c, l->r.spec.flavor); /* it fetches what is on loan, and so much less need be kept */
	due(c, l->r.spec.flavor);
}

void headroom_recount(struct core *c, uint16_t flavor)
{
	c->headroom[flavor].leased = 0;
	EACH(c, leases, lease_s, l)
		if (l->r.spec.flavor == flavor)
			headroom_lease(c, l, 1);
}

static void kept_find(const struct core *c, const struct forecast *f, uint32_t kept[FORECAST_WINDOWS])
{
	uint32_t most = 0;

	for (uint32_t w = 0; w < FORECAST_WINDOWS; w++) {
		uint32_t growth = forecast_growth(f, w, c->cluster.lend_risk_ppm ? c->cluster.lend_risk_ppm : LEND_RISK_DEFAULT);

		most = growth > most ? growth : most; /* who waits longer sees no less */
		kept[w] = most;
	}
}

static void kept_set(struct core *c, uint16_t flavor)
{
	struct headroom *h = &c->headroom[flavor];
	uint32_t was[FORECAST_WINDOWS];

	memcpy(was, h->kept, sizeof was);
	kept_find(c, &h->r, h->kept);
	if (memcmp(was, h->kept, sizeof was) != 0)
		work_grow(c); /* who waits in vain for what is kept lacks no devices */
	for (uint32_t w = 0; w < FORECAST_WINDOWS; w++)
		if (h->kept[w] < was[w]) {
			lend_more(c, flavor);
			break;
		}
}

void headroom_apply(struct core *c, uint16_t flavor)
{
	struct headroom *h = &c->headroom[flavor];

	h->peak = h->leased;
	kept_set(c, flavor);
	if (forecast_lives(&h->r) || h->leased != h->r.level)
		due(c, flavor);
	else
		c->scratch->headroom_due &= ~(UINT64_C(1) << flavor);
}

void headroom_risk(struct core *c)
{
	for (uint16_t f = 1; f <= FLAVORS_MAX; f++)
		if (c->headroom[f].r.flavor)
			kept_set(c, f);
}

int64_t headroom_next(const struct core *c, int64_t t)
{
	if (!c->scratch->headroom_due)
		return T_NEVER;
	return c->scratch->headroom_ms ? c->scratch->headroom_ms : t;
}

bool headroom_tick(const struct core *c, int64_t t, struct decision *d)
{
	struct scratch *s = c->scratch;
	int64_t span = t / FORECAST_SPAN_MS - 1; /* the last one that is over */
	bool any = false;

	if (!s->headroom_due)
		return false;
	if (!s->headroom_ms)
		s->headroom_ms = (span + 2) * FORECAST_SPAN_MS;
	if (s->headroom_ms > t)
		return false;
	s->headroom_ms = 0;
	for (uint16_t f = 1; f <= FLAVORS_MAX; f++) {
		const struct headroom *h = &c->headroom[f];
		struct forecast *e;

		if (!(s->headroom_due >> f & 1) || !flavor_of(c, f) || (h->r.flavor && h->r.span >= span))
			continue;
		e = create(d, RECORD_FORECAST, f);
		forecast_add(h->r.flavor ? &h->r : NULL, span, (uint32_t)h->peak, (uint32_t)h->leased, &d->arena, e);
		e->flavor = f;
		any = true;
	}
	return any;
}

int64_t headroom_kept(const struct core *c, uint16_t flavor, int64_t length_ms)
{
	const struct headroom *h = &c->headroom[flavor];
	uint32_t w = 0;
	int64_t kept;

	if (flavor_of(c, flavor)->unit != UNIT_DEVICE)
		return 0;
	while (w + 1 < FORECAST_WINDOWS && forecast_window_spans(w) * FORECAST_SPAN_MS < length_ms)
		w++;
	(void)tree_of(c, flavor, SHAPE_GPU); /* what is promised is up to date */
	kept = max64(h->kept[w], flavor_of(c, flavor)->headroom);
	return max64(0, min64(kept, c->promised_private[flavor] - h->leased)); /* leases grow no further than that */
}

bool headroom_may(const struct core *c, uint16_t flavor, int64_t devices, int64_t length_ms)
{
	int64_t kept = headroom_kept(c, flavor, length_ms);
	const struct roster *p = kept ? roster_of(c, flavor) : NULL;

	return !p || (int64_t)p->view[ROSTER_FREE].free_sum + c->headroom[flavor].extra - devices >= kept;
}

int64_t headroom_length_ms(const struct job_spec *s) { return s->time_limit_ms / 2; }

void headroom_text(const struct core *c, uint16_t flavor, int64_t length_ms, char out[TEXT_BYTES])
{
	(void)snprintf(out, TEXT_BYTES, "%" PRId64 " of %s are kept for leases that may grow before it ends",
		       headroom_kept(c, flavor, length_ms), flavor_of(c, flavor)->name);
}

int headroom_check(const struct core *c, struct err *err)
{
	int64_t leased[FLAVORS_MAX + 1] = {0}, extra[FLAVORS_MAX + 1] = {0};

	EACH(c, leases, lease_s, l)
		leased[l->r.spec.flavor] += held(c, l);
	EACH(c, loans, alloc_s, a)
		extra[a->r.flavor] += a->r.extra && a->r.state != ALLOC_STOPPING ? alloc_units(&a->r) : 0;
	for (uint16_t f = 0; f <= FLAVORS_MAX; f++) {
		const struct headroom *h = &c->headroom[f];
		uint32_t kept[FORECAST_WINDOWS] = {0};

		if (h->r.flavor)
			kept_find(c, &h->r, kept);
		if (leased[f] != h->leased || h->peak < h->leased)
			return err_set(err, ERR_CORRUPT, "what is leased of flavor %u is not the sum of its leases", f);
		if (extra[f] != h->extra)
			return err_set(err, ERR_CORRUPT, "extra units of flavor %u are not those of its loans", f);
		if (memcmp(kept, h->kept, sizeof kept) != 0)
			return err_set(err, ERR_CORRUPT, "what is kept free of flavor %u is not what its forecast says", f);
	}
	return 0;
}
