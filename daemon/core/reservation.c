/* reservation.c - devices kept from an instant on
 *
 *   REQUESTED ──confirm──▶ CONFIRMED ──from──▶ ACTIVE ──to──▶ ENDED, or CONFIRMED for the next window
 *       └──not confirmed in time──▶ CANCELLED ◀──delete──┘
 *
 * A reservation is pinned to devices when it is confirmed. From then on
 *  - guaranteed work that would still be there at `from` is not placed on them (603, 605), a loan only
 *    if it can be back in time, and then it is told to go in time;
 *  - inside the window only its members are placed there;
 *  - at the end what is still inside is stopped, its notice ending with the window.
 * So nobody who was promised something before has to go, and nobody comes too late. Whoever stands in
 * the way of a new one is named, and nothing is pinned; so is a job whose promised start (plan.c) would lack
 * devices. With ignore_jobs it is pinned all the same, and the promise is broken at once, with its cause.
 *
 * Only the window under way or next matters to work that comes now: whoever is gone before it begins is
 * gone before all that follow. Windows are apart from each other, so pinned devices are free between.
 *
 * Invariants (reservation_check): two reservations whose windows meet share no device and no core; a
 * device's pins are found at its node; guaranteed work on pinned devices that is not inside ends before the
 * window begins, unless it was there first and --flags ignore_jobs said so; in the window no loan is left that has
 * not been told.
 *
 * Source: Slurm's advance reservations (flags MAINT, FLEX, MAGNETIC, REPLACE_DOWN, PURGE_COMP,
 * IGNORE_JOBS; slurm.schedmd.com/reservations.html); the traps of openpbs #791, #2398: deleting while
 * ending, confirming twice, running past the end.
 */
#include "daemon/core/reservation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

__extension__ typedef __int128 wide; /* a weight times a span */

static const int64_t ENDED_KEPT_MS = 7 * MS_PER_DAY;
static const int64_t ROLL_TRIES = 8;

/* ---- small questions -------------------------------------------------------------------------------- */

/* 2026-11-28 15:00 UTC. Days to date: Howard Hinnant, "chrono-compatible low-level date algorithms". */
const char *utc_text(int64_t ms, char out[24])
{
	int64_t days = ms / MS_PER_DAY, min = ms % MS_PER_DAY / MS_PER_MIN;
	int64_t z = days + 719468, era = z / 146097, doe = z % 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	int64_t day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;

	(void)snprintf(out, 24, "%04u-%02u-%02u %02u:%02u UTC", (unsigned)(yoe + era * 400 + (month <= 2)) % 10000,
		       (unsigned)month % 100, (unsigned)day % 100, (unsigned)(min / 60) % 100, (unsigned)(min % 60) % 100);
	return out;
}

static const struct window *window_of(const struct reservation *r) { return &r->spec.windows[0]; }

static bool cores_meet(const uint64_t a[CORE_WORDS], const uint64_t b[CORE_WORDS])
{
	for (int w = 0; w < CORE_WORDS; w++)
		if (a[w] & b[w])
			return true;
	return false;
}

static bool parts_meet(const struct part *a, const struct part *b)
{
	return a->node == b->node && ((a->devices & b->devices) || cores_meet(a->cores, b->cores));
}

static bool windows_meet(const struct window *a, uint32_t an, const struct window *b, uint32_t bn)
{
	for (uint32_t i = 0, k = 0; i < an && k < bn;) {
		if (a[i].from_ms < b[k].to_ms && b[k].from_ms < a[i].to_ms)
			return true;
		if (a[i].to_ms <= b[k].to_ms)
			i++;
		else
			k++;
	}
	return false;
}

static const struct part *pin_part(const struct core *c, const struct pin *pin, const struct reservation **ret)
{
	const struct reservation_s *r = idtab_get(&c->reservations, pin->reservation);

	ENSURE(r && pin->part < r->r.parts_n);
	*ret = &r->r;
	return &r->r.parts[pin->part];
}

static bool is_member(const struct core *c, const struct reservation *r, uint32_t project, uint32_t principal)
{
	for (uint32_t i = 0; i < r->members_n; i++)
		if ((r->members[i].qnode && project && qnode_under(c, project, r->members[i].qnode)) ||
		    (r->members[i].principal && r->members[i].principal == principal))
			return true;
	return false;
}

/* Does its window let somebody in who stays until then? */
static bool lets_in(const struct reservation *r, int64_t until_ms)
{
	if (r->spec.flex)
		return true;
	return r->state == RESERVATION_ACTIVE && (r->spec.overrun || until_ms <= window_of(r)->to_ms) && until_ms;
}

/* May whoever asks use it now, until ask->until_ms? */
static bool open_to(const struct reservation *r, const struct place_ask *ask)
{
	return (r->id == ask->reservation || r->id == ask->magnet) && lets_in(r, ask->until_ms);
}

/* One, so that an allocation is never inside two: that under way before those to come, then by id. */
uint64_t reservation_magnet(const struct core *c, uint32_t project, int64_t until_ms)
{
	const struct reservation *found = NULL;

	EACH(c, reservations, reservation_s, rs) {
		const struct reservation *r = &rs->r;

		if (r->spec.magnetic && reservation_pins(r) && lets_in(r, until_ms) && is_member(c, r, project, 0) &&
		    (!found || (r->state == RESERVATION_ACTIVE && found->state != RESERVATION_ACTIVE)))
			found = r;
	}
	return found ? found->id : 0;
}

/* ---- pins at the nodes (core_apply) ------------------------------------------------------------------- */

void reservation_account(struct core *c, struct reservation_s *rs, bool add)
{
	const struct reservation *r = &rs->r;

	if (!reservation_pins(r))
		return;
	if (!add)
		plan_bar(c, rs, false);
	for (uint32_t i = 0; i < r->parts_n; i++) {
		struct node_s *n = node_of(c, r->parts[i].node);
		uint32_t at = 0;

		if (!n)
			continue; /* removed; its pins follow */
		while (at < n->pins_n && (n->pins[at].reservation < r->id ||
					  (n->pins[at].reservation == r->id && n->pins[at].part < i)))
			at++;
		if (add) {
			if (n->pins_n == n->pins_cap) {
				n->pins_cap = n->pins_cap ? n->pins_cap * 2 : 4;
				n->pins = xrealloc(n->pins, n->pins_cap * sizeof *n->pins);
			}
			memmove(&n->pins[at + 1], &n->pins[at], (n->pins_n - at) * sizeof *n->pins);
			n->pins[at] = (struct pin){r->id, i};
			n->pins_n++;
		} else {
			ENSURE(at < n->pins_n && n->pins[at].reservation == r->id && n->pins[at].part == i);
			memmove(&n->pins[at], &n->pins[at + 1], (n->pins_n - at - 1) * sizeof *n->pins);
			n->pins_n--;
		}
		node_index(c, n);
	}
	if (add)
		plan_bar(c, rs, true);
}

int64_t reservation_due(const struct reservation_s *rs)
{
	const struct reservation *r = &rs->r;
	int64_t due;

	switch ((enum reservation_state)r->state) {
	case RESERVATION_REQUESTED:
	case RESERVATION_CONFIRMED: return window_of(r)->from_ms;
	case RESERVATION_ACTIVE:
		due = window_of(r)->to_ms;
		return r->spec.purge_ms && !rs->inside ? min64(due, r->used_ms + r->spec.purge_ms) : due;
	case RESERVATION_ENDED:
	case RESERVATION_CANCELLED: return r->end_ms + ENDED_KEPT_MS;
	}
	UNREACHABLE();
}

/* ---- placing ------------------------------------------------------------------------------------------ */

/* What is pinned on `n` and not in use by work inside already: memory has no mask. */
static uint32_t memory_idle(const struct core *c, const struct node_s *n, const struct reservation *r,
			    const struct part *pin)
{
	uint64_t used = 0;

	for (uint32_t i = 0; i < n->units_n; i++) {
		const struct alloc *a = core_alloc(c, n->units[i].alloc);

		for (uint32_t k = 0; a->reservation == r->id && k < a->parts_n; k++)
			if (a->parts[k].index == n->units[i].part && parts_meet(&a->parts[k], pin))
				used += a->parts[k].memory_mib;
	}
	return pin->memory_mib > used ? (uint32_t)(pin->memory_mib - used) : 0;
}

/* Until when may an allocation stay that nobody calls back? */
static int64_t stays_until(const struct core *c, int64_t t, const struct alloc *a)
{
	int64_t until = a->limit_ms;

	if (a->owner_kind == OWNER_LEASE) {
		const struct lease *l = core_lease(c, a->owner);

		until = !l || l->spec.auto_extend ? T_NEVER :
			l->term_end_ms		  ? l->term_end_ms :
						    t + c->cluster.bind_timeout_ms + l->spec.term_ms;
	} else if (a->state == ALLOC_BINDING && core_job(c, a->owner)) {
		until = a->bind_by_ms + core_job(c, a->owner)->spec.time_limit_ms;
	}
	if (a->state == ALLOC_STOPPING && a->stop_at_ms < until)
		until = a->stop_at_ms + c->cluster.kill_margin_ms + flavor_of(c, a->flavor)->scrub_ms_max;
	return a->klass == CLASS_LOAN ? min64(until, t + loan_back_ms(c, a, t)) : until;
}

static void bar_part(const struct part *p, uint64_t *devices, uint64_t cores[CORE_WORDS])
{
	*devices &= ~p->devices;
	mask_andnot(cores, p->cores);
}

/* Of `devices`, those that a claim fetches for work that would stay beyond from_ms. One that comes too late for that is
 * planned anew. */
static uint64_t fetched_beyond(const struct core *c, const struct node_s *n, uint64_t devices, int64_t from_ms)
{
	uint64_t beyond = 0;

	for (devices &= n->claimed; devices; devices &= devices - 1) {
		int i = __builtin_ctzll(devices);

		if (claim_of(c, n->claimant[i])->until_ms > from_ms)
			beyond |= UINT64_C(1) << i;
	}
	return beyond;
}

/* What of a node cannot be pinned for these windows: others' pins, and work that stays into the first. */
static void bar_calendar(const struct core *c, const struct node_s *n, const struct calendar_ask *ask,
			 uint64_t *devices, uint64_t cores[CORE_WORDS])
{
	for (uint32_t i = 0; i < n->pins_n; i++) {
		const struct reservation *r;
		const struct part *p = pin_part(c, &n->pins[i], &r);

		if (windows_meet(r->spec.windows, r->spec.windows_n, ask->windows, ask->windows_n))
			bar_part(p, devices, cores);
	}
	*devices &= ~fetched_beyond(c, n, *devices, ask->windows[0].from_ms);
	mask_andnot(cores, n->cores_claimed);
	for (uint32_t i = 0; i < n->units_n && !ask->ignore_jobs; i++) {
		const struct alloc *a = core_alloc(c, n->units[i].alloc);

		if (stays_until(c, ask->t, a) <= ask->windows[0].from_ms)
			continue;
		for (uint32_t k = 0; k < a->parts_n; k++)
			if (a->parts[k].index == n->units[i].part)
				bar_part(&a->parts[k], devices, cores);
		if (a->carried)
			*devices &= ~n->carrier.devices;
	}
}

bool reservation_bar(const struct core *c, const struct node_s *n, const struct place_ask *ask, uint64_t *devices,
		     uint64_t cores[CORE_WORDS], uint32_t *memory_mib)
{
	uint64_t had = *devices, mine = 0, cores_mine[CORE_WORDS] = {0}, cores_had[CORE_WORDS];
	uint32_t memory_mine = 0;
	bool inside_only = false;

	if (ask->over == PLACE_CALENDAR) {
		bar_calendar(c, n, ask->calendar, devices, cores);
		return false;
	}
	if (ask->unbarred)
		return false;
	memcpy(cores_had, cores, sizeof cores_had);
	if (ask->reservation) {
		const struct reservation_s *r = idtab_get(&c->reservations, ask->reservation);

		inside_only = !r || !r->r.spec.flex;
	}
	for (uint32_t i = 0; i < n->pins_n; i++) {
		const struct reservation *r;
		const struct part *p = pin_part(c, &n->pins[i], &r);

		if (open_to(r, ask)) {
			mine |= p->devices;
			mask_or(cores_mine, p->cores);
			memory_mine += memory_idle(c, n, r, p);
		} else if (!ask->until_ms || ask->until_ms > window_of(r)->from_ms) {
			uint32_t idle = memory_idle(c, n, r, p);

			bar_part(p, devices, cores);
			*memory_mib -= idle < *memory_mib ? idle : *memory_mib;
		}
	}
	if (inside_only) {
		*devices &= mine;
		for (int w = 0; w < CORE_WORDS; w++)
			cores[w] &= cores_mine[w];
		if (*memory_mib > memory_mine)
			*memory_mib = memory_mine;
	}
	return *devices != had || memcmp(cores_had, cores, sizeof cores_had) != 0;
}

const struct reservation *reservation_in_way(const struct core *c, const struct place_ask *ask)
{
	const struct reservation *first = NULL;

	EACH(c, nodes, node_s, n) {
		if (!n->pins_n || (node_flavor_mask(n, ask->flavor) == 0 && !node_is_cpu(n)))
			continue;
		for (uint32_t i = 0; i < n->pins_n; i++) {
			const struct reservation *r;

			(void)pin_part(c, &n->pins[i], &r);
			if (!open_to(r, ask) && (!ask->until_ms || ask->until_ms > window_of(r)->from_ms) &&
			    (!first || window_of(r)->to_ms < window_of(first)->to_ms ||
			     (window_of(r)->to_ms == window_of(first)->to_ms && r->id < first->id)))
				first = r;
		}
	}
	return first;
}

uint64_t reservation_pinned(const struct core *c, const struct node_s *n, int64_t t, int64_t until_ms)
{
	struct window life = {t, until_ms ? max64(until_ms, t + 1) : T_NEVER};
	uint64_t devices = 0;

	for (uint32_t i = 0; i < n->pins_n; i++) {
		const struct reservation *r;
		const struct part *p = pin_part(c, &n->pins[i], &r);

		if (windows_meet(r->spec.windows, r->spec.windows_n, &life, 1))
			devices |= p->devices;
	}
	return devices;
}

uint64_t reservation_horizon(const struct core *c, int64_t until_ms)
{
	uint64_t n = 0;

	EACH(c, reservations, reservation_s, r)
		n += reservation_pins(&r->r) && (!until_ms || window_of(&r->r)->from_ms < until_ms);
	return n;
}

uint64_t reservation_of_parts(const struct core *c, const struct place_ask *ask, const struct part *parts, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct node_s *node = node_of(c, parts[i].node);

		for (uint32_t k = 0; k < node->pins_n; k++) {
			const struct reservation *r;
			const struct part *p = pin_part(c, &node->pins[k], &r);

			if (parts_meet(&parts[i], p) && open_to(r, ask))
				return r->id;
		}
	}
	return 0;
}

const struct reservation *reservation_blocks(const struct core *c, const struct alloc *a, int64_t until_ms)
{
	for (uint32_t i = 0; i < a->parts_n; i++) {
		const struct node_s *n = node_of(c, a->parts[i].node);

		for (uint32_t k = 0; k < n->pins_n; k++) {
			const struct reservation *r;
			const struct part *p = pin_part(c, &n->pins[k], &r);

			if (!parts_meet(&a->parts[i], p) && !(a->carried && (n->carrier.devices & p->devices)))
				continue;
			if (r->id == a->reservation ? !r->spec.flex && !r->spec.overrun && until_ms > window_of(r)->to_ms :
						      until_ms > window_of(r)->from_ms)
				return r;
		}
	}
	return NULL;
}

bool reservation_bars_parts(const struct core *c, const struct place_ask *ask, const struct part *parts, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct node_s *node = node_of(c, parts[i].node);

		for (uint32_t k = 0; k < node->pins_n; k++) {
			const struct reservation *r;
			const struct part *p = pin_part(c, &node->pins[k], &r);

			if (parts_meet(&parts[i], p) && !open_to(r, ask) &&
			    (!ask->until_ms || ask->until_ms > window_of(r)->from_ms))
				return true;
		}
	}
	return false;
}

int64_t reservation_wants_ms(const struct core *c, const struct alloc *a)
{
	int64_t due = T_NEVER;

	if (a->state == ALLOC_STOPPING)
		return T_NEVER;
	for (uint32_t i = 0; i < a->parts_n; i++) {
		const struct node_s *n = node_of(c, a->parts[i].node);

		for (uint32_t k = 0; k < n->pins_n; k++) {
			const struct reservation *r;
			const struct part *p = pin_part(c, &n->pins[k], &r);
			const struct window *w = window_of(r);

			if (!parts_meet(&a->parts[i], p))
				continue;
			if (r->id == a->reservation) {
				if (!r->spec.overrun && !r->spec.flex && a->limit_ms > w->to_ms)
					due = min64(due, w->to_ms - a->notice_ms);
			} else if (a->klass == CLASS_LOAN && a->limit_ms > w->from_ms) {
				due = min64(due, w->from_ms - a->notice_ms - c->cluster.kill_margin_ms -
							 flavor_of(c, a->flavor)->scrub_ms_max);
			}
		}
	}
	return due;
}

void reservation_calls(const struct core *c, int64_t t, struct decision *d, const struct alloc *a)
{
	const struct reservation *own = core_record(c, RECORD_RESERVATION, a->reservation);

	if (own && reservation_pins(own) && a->klass != CLASS_LOAN)
		alloc_stop(c, d, t, a->id, END_TIME, a->state == ALLOC_BINDING ? 0 : max64(0, window_of(own)->to_ms - t), 0);
	else
		loan_recall(c, d, t, a->id, 0);
}

/* ---- jobs --------------------------------------------------------------------------------------------- */

int reservation_gate(const struct core *c, int64_t t, const struct job *j)
{
	const struct reservation *r;

	if (!j->spec.reservation)
		return 0;
	r = core_record(c, RECORD_RESERVATION, j->spec.reservation);
	if (!r || !reservation_pins(r))
		return REASON_WINDOW;
	if (r->spec.flex)
		return 0;
	if (r->state != RESERVATION_ACTIVE)
		return REASON_WINDOW;
	return r->spec.overrun || t + c->cluster.bind_timeout_ms + j->spec.time_limit_ms <= window_of(r)->to_ms ?
		       0 :
		       REASON_WINDOW;
}

void reservation_reason_text(const struct core *c, const struct job *j, int reason, uint64_t id, char out[TEXT_BYTES])
{
	const struct reservation *r = core_record(c, RECORD_RESERVATION, reason == REASON_WINDOW ? j->spec.reservation : id);
	char when[24];

	if (!r || !reservation_pins(r)) {
		if (reason == REASON_WINDOW && j->spec.reservation)
			(void)snprintf(out, TEXT_BYTES, "its reservation is over: sluisctl job update %" PRIu64
				       " --reservation none", j->id);
		else
			text_set(out, TEXT_BYTES, reason_text(reason));
		return;
	}
	if (reason == REASON_WINDOW && r->state == RESERVATION_ACTIVE)
		(void)snprintf(out, TEXT_BYTES, "reservation %" PRIu64 " (%.32s) closes at %s, before it would end", r->id,
			       r->spec.name, utc_text(window_of(r)->to_ms, when));
	else if (reason == REASON_WINDOW)
		(void)snprintf(out, TEXT_BYTES, "reservation %" PRIu64 " (%.32s) opens at %s", r->id, r->spec.name,
			       utc_text(window_of(r)->from_ms, when));
	else
		(void)snprintf(out, TEXT_BYTES, "held for %s %" PRIu64 " (%.32s) until %s",
			       reason == REASON_MAINTENANCE ? "maintenance" : "reservation", r->id, r->spec.name,
			       utc_text(window_of(r)->to_ms, when));
}

int reservation_low_reason(const struct core *c, const struct plan_low *low)
{
	const struct reservation *r = core_record(c, RECORD_RESERVATION, low->reservation);

	return !r ? REASON_WOULD_DELAY : r->spec.maint ? REASON_MAINTENANCE : REASON_RESERVED;
}

void reservation_low_text(const struct core *c, uint16_t flavor, const struct plan_low *low, char out[TEXT_BYTES])
{
	const struct reservation *r = core_record(c, RECORD_RESERVATION, low->reservation);
	char from[24], to[24];

	if (r && r->spec.windows_n)
		(void)snprintf(out, TEXT_BYTES, "%" PRId64 " %s short: %s %" PRIu64 " (%.24s) %s to %s", low->devices,
			       flavor_of(c, flavor)->name, r->spec.maint ? "maintenance" : "reservation", r->id, r->spec.name,
			       utc_text(window_of(r)->from_ms, from), utc_text(window_of(r)->to_ms, to));
	else
		(void)snprintf(out, TEXT_BYTES, "%" PRId64 " %s short from %s: jobs were promised them", low->devices,
			       flavor_of(c, flavor)->name, utc_text(low->at_ms, from));
}

void reservation_behind_text(const struct core *c, uint64_t job, char out[TEXT_BYTES])
{
	const struct reservation *r = core_record(c, RECORD_RESERVATION, plan_behind(c, job));
	size_t used = strlen(out);
	char when[24];

	if (r && r->spec.windows_n)
		(void)snprintf(out + used, TEXT_BYTES - used, "; then %s %" PRIu64 " (%.24s) until %s",
			       r->spec.maint ? "maintenance" : "reservation", r->id, r->spec.name,
			       utc_text(window_of(r)->to_ms, when));
}

static const struct reservation *reservation_named(const struct core *c, const char *name)
{
	uint64_t id = 0;
	size_t digits = 0;

	for (; name[digits] >= '0' && name[digits] <= '9' && digits < 18; digits++)
		id = id * 10 + (uint64_t)(name[digits] - '0');
	if (digits && !name[digits])
		return core_record(c, RECORD_RESERVATION, id);
	EACH(c, reservations, reservation_s, r)
		if (!reservation_terminal(r->r.state) && !strcmp(r->r.spec.name, name))
			return &r->r;
	return NULL;
}

int reservation_for_job(const struct core *c, const char *name, const struct job *j, uint64_t *ret, struct err *err)
{
	const struct reservation *r = reservation_named(c, name);
	const struct principal *p = core_principal(c, j->owner);
	int64_t longest = 0;

	if (!strcmp(name, "none")) {
		*ret = 0;
		return 0;
	}
	if (!r || reservation_terminal(r->state)) {
		err_set(err, ERR_NOTFOUND, "there is no reservation '%s'", name);
		return err_hint(err, "sluisctl reservation list");
	}
	if (!is_member(c, r, j->spec.project, j->owner)) {
		err_set(err, ERR_DENIED, "reservation %s is not for %s", r->spec.name, p ? p->name : "you");
		return err_hint(err, "its members: sluisctl reservation show %s", r->spec.name);
	}
	for (uint32_t i = 0; i < r->spec.windows_n; i++)
		longest = max64(longest, r->spec.windows[i].to_ms - r->spec.windows[i].from_ms);
	if (!r->spec.flex && !r->spec.overrun && j->spec.time_limit_ms + c->cluster.bind_timeout_ms > longest) {
		err_set(err, ERR_NEVER, "its time limit does not fit into any window of reservation %s", r->spec.name);
		err_hint(err, "--time %" PRId64 "s at most", max64(0, longest - c->cluster.bind_timeout_ms) / 1000);
		return err_reason(err, REASON_TIME_LIMIT);
	}
	*ret = r->id;
	return 0;
}

/* ---- pinning -------------------------------------------------------------------------------------------- */

static void part_whole(const struct node_s *n, struct part *p)
{
	*p = (struct part){.node = n->r.id, .units = 1, .memory_mib = node_memory_mib(&n->r)};
	p->devices = n->r.devices_n < 64 ? (UINT64_C(1) << n->r.devices_n) - 1 : UINT64_MAX;
	memcpy(p->cores, n->cores_usable, sizeof p->cores);
}

/* Who keeps it from being pinned on this node, in words. */
static bool in_way(const struct core *c, int64_t t, const struct reservation_spec *s, const struct part *p, char *out,
		   size_t size)
{
	const struct node_s *n = node_of(c, p->node);
	uint64_t fetched;
	char when[24];

	for (uint32_t i = 0; i < n->pins_n; i++) {
		const struct reservation *r;
		const struct part *q = pin_part(c, &n->pins[i], &r);

		if (parts_meet(p, q) && windows_meet(r->spec.windows, r->spec.windows_n, s->windows, s->windows_n)) {
			(void)snprintf(out, size, "reservation %" PRIu64 " (%.32s) has %.40s then", r->id, r->spec.name,
				       n->r.name);
			return true;
		}
	}
	for (uint32_t i = 0; i < n->units_n && !s->ignore_jobs; i++) {
		const struct alloc *a = core_alloc(c, n->units[i].alloc);
		int64_t until = stays_until(c, t, a);

		if (until <= s->windows[0].from_ms)
			continue;
		for (uint32_t k = 0; k < a->parts_n; k++)
			if (parts_meet(p, &a->parts[k])) {
				(void)snprintf(out, size, "%s %" PRIu64 " has %.40s until %s",
					       a->owner_kind == OWNER_JOB ? "job" : "lease", a->owner, n->r.name,
					       until == T_NEVER ? "it is given back" : utc_text(until, when));
				return true;
			}
	}
	fetched = s->ignore_jobs ? 0 : fetched_beyond(c, n, p->devices, s->windows[0].from_ms);
	if (fetched) {
		const struct claim_s *m = claim_of(c, n->claimant[__builtin_ctzll(fetched)]);

		(void)snprintf(out, size, "claim %" PRIu64 " fetches devices of %.40s for %s %" PRIu64 ", which has them until %s",
			       m->r.id, n->r.name, m->r.owner_kind == OWNER_JOB ? "job" : "lease", m->r.owner,
			       m->until_ms == T_NEVER ? "it is given back" : utc_text(m->until_ms, when));
	}
	return fetched != 0;
}

static int pin_refused(const char *text, const struct reservation_spec *s, struct err *err)
{
	err_set(err, ERR_CONFLICT, "%s", text);
	err_hint(err, s->maint ? "a later --from, or --flags ignore_jobs: guaranteed work ends in its own time" :
				 "a later --from, fewer devices, or other nodes");
	return err_reason(err, REASON_RESERVED);
}

/* Choose the devices of r->spec.units; whole parts into `arena`. */
static int pin_units(const struct core *c, int64_t t, const struct reservation_spec *s, uint32_t units,
		     struct arena *arena, struct part **ret, uint32_t *ret_n)
{
	const struct calendar_ask cal = {.t = t, .windows = s->windows, .windows_n = s->windows_n,
					 .ignore_jobs = s->ignore_jobs};
	struct place_ask ask = {.flavor = s->flavor, .shape = s->shape, .units = units, .over = PLACE_CALENDAR,
				.klass = s->maint ? CLASS_LOAN : CLASS_GUARANTEED, .calendar = &cal};

	return place(c, &ask, arena, ret, ret_n);
}

/* The first that stands in the way on any node of the flavor. */
static void in_way_anywhere(const struct core *c, int64_t t, const struct reservation_spec *s, char *out, size_t size)
{
	out[0] = '\0';
	EACH(c, nodes, node_s, n) {
		struct part p;

		if (!node_flavor_mask(n, s->flavor))
			continue;
		part_whole(n, &p);
		if (in_way(c, t, s, &p, out, size))
			return;
	}
}

/* Devices of these parts that guaranteed work has beyond the start. */
static uint32_t devices_in_way(const struct core *c, int64_t t, const struct reservation *r)
{
	uint32_t devices = 0;

	for (uint32_t i = 0; i < r->parts_n; i++) {
		const struct node_s *n = node_of(c, r->parts[i].node);

		for (uint32_t u = 0; n && u < n->units_n; u++) {
			const struct alloc *a = core_alloc(c, n->units[u].alloc);

			for (uint32_t k = 0; stays_until(c, t, a) > window_of(r)->from_ms && k < a->parts_n; k++)
				if (a->parts[k].index == n->units[u].part)
					devices += popcount64(a->parts[k].devices & r->parts[i].devices);
		}
	}
	return devices;
}

static int pin(const struct core *c, int64_t t, struct decision *d, struct reservation *r, struct err *err)
{
	char who[128], text[224];

	if (!r->spec.units) { /* named: the parts are there */
		for (uint32_t i = 0; i < r->parts_n; i++) {
			uint32_t devices;

			if (!node_of(c, r->parts[i].node))
				return err_set(err, ERR_NOTFOUND, "one of its nodes is gone");
			if (!in_way(c, t, &r->spec, &r->parts[i], who, sizeof who))
				continue;
			devices = devices_in_way(c, t, r);
			if (!devices)
				return pin_refused(who, &r->spec, err);
			(void)snprintf(text, sizeof text, "%s; %u devices are in use beyond its start", who, devices);
			return pin_refused(text, &r->spec, err);
		}
	} else {
		int rc = pin_units(c, t, &r->spec, r->spec.units, &d->arena, &r->parts, &r->parts_n);

		if (rc) {
			in_way_anywhere(c, t, &r->spec, who, sizeof who);
			(void)snprintf(text, sizeof text, "not enough devices are free then: %s%s%s", reason_text(rc),
				       who[0] ? "; " : "", who);
			return pin_refused(text, &r->spec, err);
		}
	}
	r->state = RESERVATION_CONFIRMED;
	return 0;
}

/* ---- what was promised before --------------------------------------------------------------------------------- */

/* The tables with `draft` in the place of the record that has its id, or as one more: for a question only. */
struct trial { struct core *c; struct reservation_s *rs, fresh; struct reservation was; };

static void trial_begin(const struct core *c, const struct reservation *draft, struct trial *x)
{
	uint64_t id = draft->id ? draft->id : (uint64_t)or_else((int64_t)c->cluster.next_reservation, 1);

	memset(x, 0, sizeof *x);
	memcpy(&x->c, &c, sizeof c);
	x->rs = idtab_get(&c->reservations, id);
	if (x->rs) {
		reservation_account(x->c, x->rs, false);
		x->was = x->rs->r;
	} else {
		x->rs = &x->fresh;
		(void)idtab_set(&x->c->reservations, id, x->rs);
	}
	x->rs->r = *draft;
	x->rs->r.id = id;
	reservation_account(x->c, x->rs, true);
}

static void trial_end(struct trial *x)
{
	reservation_account(x->c, x->rs, false);
	if (x->rs == &x->fresh) {
		(void)idtab_set(&x->c->reservations, x->rs->r.id, NULL);
		return;
	}
	x->rs->r = x->was;
	reservation_account(x->c, x->rs, true);
}

/* Jobs whose places in the plan would lack devices, if `draft` were what the calendar says, and do not yet. With
 * `promised` those that were promised their start, whatever the others have; else the others. */
static uint32_t holds_met(const struct core *c, const struct reservation *draft, bool promised, struct arena *arena,
			  uint64_t **ret_jobs, int64_t *ret_short)
{
	int64_t *before = arena_alloc(arena, (c->holds.count + 1) * sizeof *before);
	uint64_t *jobs = arena_alloc(arena, (c->holds.count + 1) * sizeof *jobs);
	uint32_t soft_n = 0, n = 0, at = 0;
	struct hold **soft = NULL;
	struct core *mut;
	struct trial x;

	*ret_jobs = jobs;
	*ret_short = 0;
	if (!c->holds.count || !reservation_pins(draft))
		return 0;
	memcpy(&mut, &c, sizeof mut);
	if (promised)
		soft = plan_soft_out(mut, arena, &soft_n);
	EACH(c, holds, hold, h)
		before[at++] = plan_spare(c, h);
	trial_begin(c, draft, &x);
	at = 0;
	EACH(c, holds, hold, h) {
		int64_t spare = plan_spare(c, h), was = min64(before[at++], 0);

		if (spare >= was || h->promised != promised)
			continue;
		jobs[n++] = h->job;
		*ret_short = max64(*ret_short, was - spare);
	}
	trial_end(&x);
	if (promised)
		plan_soft_in(mut, soft, soft_n);
	return n;
}

/* Devices of one flavor that leases were granted and could not have while `draft` has its own: what is missing
 * anyway is not counted. */
static int64_t leases_short(const struct core *c, const struct reservation *draft, struct arena *arena, uint16_t *ret_flavor)
{
	int64_t before[FLAVORS_MAX + 1] = {0}, missing = 0;
	struct hold **soft;
	struct core *mut;
	uint32_t soft_n;
	struct trial x;

	if (!reservation_pins(draft))
		return 0;
	memcpy(&mut, &c, sizeof mut);
	soft = plan_soft_out(mut, arena, &soft_n);
	for (uint16_t f = 1; f <= FLAVORS_MAX; f++)
		if (flavor_of(c, f))
			before[f] = plan_short(c, f, draft->spec.windows, draft->spec.windows_n);
	trial_begin(c, draft, &x);
	for (uint32_t i = 0; i < x.rs->bars_n; i++) {
		uint16_t f = x.rs->bars[i].flavor;
		int64_t more = plan_short(c, f, draft->spec.windows, draft->spec.windows_n) - before[f];

		if (more > missing) {
			missing = more;
			*ret_flavor = f;
		}
	}
	trial_end(&x);
	plan_soft_in(mut, soft, soft_n);
	return missing;
}

/* The calendar is about to say `draft`. ERR_CONFLICT if that would break a promise, which is named; if it comes
 * all the same (ignore_jobs) the promise is broken, and says why. Places that carry none are found anew. */
static int calendar_change(const struct core *c, struct decision *d, const struct reservation *draft, struct err *err)
{
	uint64_t *jobs;
	int64_t missing;
	uint32_t n = holds_met(c, draft, true, &d->arena, &jobs, &missing);
	char when[24], more[32] = "";
	uint16_t flavor = 0;

	if (n && !draft->spec.ignore_jobs) {
		const struct job *j = core_job(c, jobs[0]);

		if (n > 1)
			(void)snprintf(more, sizeof more, " (and %u more)", n - 1);
		err_set(err, ERR_CONFLICT, "job %" PRIu64 "%s was promised its start by %s: %" PRId64 " %s would be missing",
			j->id, more, utc_text(j->promised_ms, when), missing, flavor_of(c, j->spec.flavor)->name);
		err_hint(err, draft->spec.maint ? "another time, or --flags ignore_jobs: the promise is broken, and says why" :
						  "another time, or fewer devices");
		(void)err_reason(err, REASON_WOULD_DELAY);
		return ERR_CONFLICT;
	}
	missing = draft->spec.ignore_jobs ? 0 : leases_short(c, draft, &d->arena, &flavor);
	if (missing) {
		err_set(err, ERR_CONFLICT, "%" PRId64 " %s would be missing of what leases were granted", missing,
			flavor_of(c, flavor)->name);
		err_hint(err, draft->spec.maint ? "another time, or --flags ignore_jobs: the leases stay short for so long" :
						  "another time, or fewer devices");
		(void)err_reason(err, REASON_DEFICIT);
		return ERR_CONFLICT;
	}
	for (uint32_t i = 0; i < n; i++)
		job_place_lost(c, d, jobs[i], draft->spec.maint ? REASON_MAINTENANCE : REASON_RESERVED);
	n = holds_met(c, draft, false, &d->arena, &jobs, &missing);
	for (uint32_t i = 0; i < n; i++)
		job_place_lost(c, d, jobs[i], 0);
	return 0;
}

/* ---- what it costs --------------------------------------------------------------------------------------------- */

/* Its node is not to be had. */
static bool part_out(const struct node_s *n)
{
	return !n || (n->r.state != NODE_READY && n->r.state != NODE_SUSPECT) || n->r.admin != NODE_ENABLED;
}

/* Weight (1/1000) of what it keeps from others: neither broken nor still in their hands; with `all`, too. Named nodes may
 * have several flavors; it is booked to the first that they have. */
static int64_t kept_of(const struct core *c, const struct reservation *r, bool all, uint16_t *ret_flavor)
{
	const uint16_t only = r->spec.flavor;
	int64_t rate = 0;

	*ret_flavor = only;
	for (uint32_t i = 0; i < r->parts_n; i++) {
		const struct part *p = &r->parts[i];
		const struct node_s *n = node_of(c, p->node);
		uint64_t devices = p->devices, cores[CORE_WORDS];

		if (!n || (!all && part_out(n)))
			continue;
		memcpy(cores, p->cores, sizeof cores);
		for (uint32_t k = 0; k < n->units_n && !all; k++) {
			const struct alloc *a = core_alloc(c, n->units[k].alloc);

			for (uint32_t m = 0; a->reservation != r->id && m < a->parts_n; m++)
				if (a->parts[m].node == p->node)
					bar_part(&a->parts[m], &devices, cores);
		}
		for (uint16_t f = only ? only : 1; f <= (only ? only : FLAVORS_MAX); f++) {
			const struct flavor *fl = flavor_of(c, f);
			uint32_t units = 0;

			if (!fl)
				continue;
			if (fl->unit == UNIT_DEVICE)
				units = popcount64(devices & node_flavor_mask(n, f));
			else if (node_is_cpu(n) && !fl->retired)
				units = mask_count(cores);
			rate += (int64_t)units * fl->weight_milli;
			*ret_flavor = *ret_flavor || !units ? *ret_flavor : f;
			if (units && fl->unit == UNIT_CORE)
				break; /* cores go by one flavor */
		}
	}
	return rate;
}

static int64_t kept_now(const struct core *c, const struct reservation *r, uint16_t *ret_flavor)
{
	return kept_of(c, r, false, ret_flavor);
}

/* The project that it is for: the first that is named, else the first that its first named user is a member of. */
uint32_t reservation_payer(const struct core *c, const struct reservation *r)
{
	for (uint32_t i = 0; i < r->members_n; i++) {
		const struct qnode *q = core_qnode(c, r->members[i].qnode);

		if (q && q->kind == QNODE_PROJECT)
			return q->id;
	}
	for (uint32_t i = 0; i < r->members_n; i++)
		EACH(c, qnodes, qnode_s, q)
			if (r->members[i].principal && q->r.kind == QNODE_PROJECT && !q->r.retired &&
			    member_of(c, r->members[i].principal, q->r.id))
				return q->r.id;
	return 0;
}

static int64_t rums_at(int64_t rate, int64_t span_ms)
{
	wide rums = (wide)rate * span_ms / 1000;

	return rums > INT64_MAX / 1000 ? INT64_MAX / 1000 : (int64_t)rums;
}

/* Kept from kept_ms to t, not past the window: whoever comes late to its end charges no more. */
static int64_t kept_since(const struct reservation *r, int64_t t)
{
	if (!r->kept_ms || !r->spec.windows_n)
		return 0;
	return rums_at(r->rate, max64(0, min64(t, window_of(r)->to_ms) - r->kept_ms));
}

void reservation_uses(const struct core *c, int64_t t, const struct reservation *r, int64_t *ret_kept, int64_t *ret_used)
{
	*ret_kept = r->kept_rums + kept_since(r, t);
	*ret_used = r->used_rums;
	EACH(c, allocs, alloc_s, a)
		if (r->kept_ms && a->r.reservation == r->id && a->r.start_ms && a->r.charged_until_ms < t)
			*ret_used += rums_of(c, a->r.flavor, a->r.shape, a->r.units, t - a->r.charged_until_ms);
}

static void kept_until(struct reservation *r, int64_t t, int64_t rate, uint16_t flavor)
{
	r->kept_rums += kept_since(r, t);
	r->kept_ms = t;
	r->rate = rate;
	r->kept_flavor = flavor ? flavor : r->kept_flavor; /* none while nothing of it is alive */
}

void reservation_used(const struct core *c, struct decision *d, uint64_t id, int64_t rums)
{
	const struct reservation *r = peek(c, d, RECORD_RESERVATION, id);

	if (r && r->kept_ms && rums)
		EDIT(c, d, RECORD_RESERVATION, reservation, id)->used_rums += rums;
}

/* What work inside has had until now belongs to the time before now. */
static void charge_inside(const struct core *c, struct decision *d, int64_t t, uint64_t id)
{
	EACH(c, allocs, alloc_s, a)
		if (a->r.reservation == id)
			alloc_charge(c, d, t, a->r.id);
}

/* Its window opens. */
static void keep_begin(const struct core *c, struct decision *d, int64_t t, struct reservation *r)
{
	uint16_t flavor;
	int64_t rate = kept_now(c, r, &flavor);

	charge_inside(c, d, t, r->id);
	if (!r->spec.maint)
		kept_until(r, t, rate, flavor);
}

/* Charge what was kept until now and nobody used inside. Nothing is kept from now on. */
static void keep_end(const struct core *c, struct decision *d, int64_t t, struct reservation *r)
{
	uint32_t payer = reservation_payer(c, r);
	int64_t idle;

	if (!r->kept_ms)
		return;
	charge_inside(c, d, t, r->id);
	kept_until(r, t, 0, 0);
	r->kept_ms = 0;
	idle = r->kept_rums - r->used_rums - r->idle_rums;
	if (idle <= 0)
		return;
	r->idle_rums += idle;
	if (!payer)
		return;
	usage_add(c, d, t, payer, member_of(c, r->owner, payer) ? r->owner : 0,
		  &(struct usage_row){.flavor = r->kept_flavor, .idle_rums = idle});
	stage_spend(c, d, t, payer, idle);
}

/* What its next window costs, from t on, if nobody comes to it. */
static int64_t next_rums(const struct core *c, int64_t t, const struct reservation *r)
{
	int64_t span_ms = window_of(r)->to_ms - max64(window_of(r)->from_ms, t);
	uint16_t flavor;

	if (r->spec.units)
		return rums_of(c, r->spec.flavor, r->spec.shape, r->spec.units, span_ms);
	return rums_at(kept_of(c, r, true, &flavor), span_ms);
}

/* Can the project that pays for it do so, if nobody comes to its next window? Asked of what it has when that begins, with
 * what this decision has spent; nobody asks about the windows after it. 0; ERR_BUDGET and the reason that a job would wait
 * for. */
static int affordable(const struct core *c, const struct decision *d, int64_t t, const struct reservation *r, struct err *err)
{
	uint32_t payer = r->spec.maint ? 0 : reservation_payer(c, r), stage;
	const struct qnode *q = payer ? peek(c, d, RECORD_QNODE, payer) : NULL;
	int64_t from_ms = max64(window_of(r)->from_ms, t), need, left = 0, most;
	int reason;

	if (!q || !q->stages_n)
		return 0; /* nobody pays, or without a limit */
	need = next_rums(c, t, r);
	for (uint32_t i = 0; i < q->stages_n; i++)
		if (stage_open(&q->stages[i], from_ms))
			left += stage_left(&q->stages[i]);
	if (left >= need)
		return 0;
	reason = job_stage(c, from_ms, payer, need, &stage, &most);
	err_set(err, ERR_BUDGET, "%s cannot pay for it if it idles: it needs %" PRId64 ".%" PRId64 " GPU-hours, %" PRId64
		".%" PRId64 " are left", q->name, need / MS_PER_HOUR, need % MS_PER_HOUR * 10 / MS_PER_HOUR,
		left / MS_PER_HOUR, left % MS_PER_HOUR * 10 / MS_PER_HOUR);
	err_hint(err, "shorter, fewer devices, or the next stage: sluisctl project show %s", q->name);
	return err_reason(err, reason ? reason : REASON_HOLD_TOO_LARGE);
}

/* Is there more to pay than before, at another time or by somebody else? A window that only ends sooner is nobody's loss. */
static bool asks_more(const struct core *c, int64_t t, const struct reservation *old, const struct reservation *r)
{
	return reservation_payer(c, r) != reservation_payer(c, old) ||
	       max64(window_of(r)->from_ms, t) != max64(window_of(old)->from_ms, t) || next_rums(c, t, r) > next_rums(c, t, old);
}

/* ---- commands --------------------------------------------------------------------------------------------- */

static int windows_check(int64_t t, const struct window *w, uint32_t n, struct err *err)
{
	for (uint32_t i = 0; i < n; i++) {
		if (w[i].to_ms <= w[i].from_ms || w[i].to_ms > INSTANT_MAX_MS || w[i].from_ms < 0)
			return err_set(err, ERR_RANGE, "a reservation ends after it begins");
		if (w[i].to_ms <= t) {
			err_set(err, ERR_RANGE, "it would end in the past");
			return err_hint(err, "--from and --to in the future");
		}
		if (i && w[i].from_ms < w[i - 1].to_ms) {
			err_set(err, ERR_INVAL, "its windows run into each other");
			return err_hint(err, "a shorter --duration than the span of --repeat");
		}
	}
	if (!n)
		return err_set(err, ERR_INVAL, "a reservation has a window: from when until when");
	return 0;
}

static int members_find(const struct core *c, const struct text_ref *refs, uint32_t n, struct arena *arena,
			struct reservation *r, struct err *err)
{
	r->members = arena_alloc(arena, (n + 1) * sizeof *r->members);
	r->members_n = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct reservation_member *m = &r->members[r->members_n++];
		int rc;

		if (!strncmp(refs[i].s, "project:", 8)) {
			rc = core_qnode_find(c, refs[i].s + 8, &m->qnode, err);
			if (rc)
				return rc;
			continue;
		}
		for (uint64_t id = 0; !strncmp(refs[i].s, "user:", 5) && !m->principal &&
				      (id = core_next_id(c, RECORD_PRINCIPAL, id)) != 0;)
			if (!strcmp(core_principal(c, (uint32_t)id)->name, refs[i].s + 5) &&
			    core_principal(c, (uint32_t)id)->role != ROLE_NODE)
				m->principal = (uint32_t)id;
		if (!m->principal) {
			err_set(err, ERR_NOTFOUND, "there is no user '%s'", strchr(refs[i].s, ':') ? refs[i].s + 5 : refs[i].s);
			return err_hint(err, "sluisctl user list");
		}
	}
	return 0;
}

static int nodes_find(const struct core *c, const struct cmd_reservation_create *r, struct arena *arena,
		      struct reservation *to, struct err *err)
{
	to->parts = arena_alloc(arena, (r->nodes_n + 1) * sizeof *to->parts);
	for (uint32_t i = 0; i < r->nodes_n; i++) {
		const struct node_s *found = NULL;

		EACH(c, nodes, node_s, n)
			if (!strcmp(n->r.name, r->nodes[i].s))
				found = n;
		if (!found) {
			err_set(err, ERR_NOTFOUND, "there is no node '%s'", r->nodes[i].s);
			return err_hint(err, "sluisctl node list");
		}
		for (uint32_t k = 0; k < to->parts_n; k++)
			if (to->parts[k].node == found->r.id)
				return err_set(err, ERR_INVAL, "node '%s' is named twice", r->nodes[i].s);
		part_whole(found, &to->parts[to->parts_n]);
		to->parts[to->parts_n].index = (uint16_t)to->parts_n;
		to->parts_n++;
	}
	return 0;
}

/* Work for it has to be within what its projects were granted: a reservation decides where and when, not
 * how much. */
static int within_quota(const struct core *c, const struct reservation *r, struct err *err)
{
	int64_t most = 0, cover, all;
	bool projects = false;

	for (uint32_t i = 0; i < r->members_n; i++)
		if (r->members[i].qnode) {
			quota_most(c, r->members[i].qnode, r->spec.flavor, r->spec.shape, &cover, &all);
			most = max64(most, cover);
			projects = true;
		}
	if (!projects || !r->spec.units || most >= r->spec.units)
		return 0;
	err_set(err, ERR_NEVER, "%u is more than its projects can ever be guaranteed: %" PRId64, r->spec.units, most);
	err_hint(err, "at most %" PRId64 ", or a larger quota: sluisctl division show", most);
	return err_reason(err, REASON_OVER_LIMIT);
}

/* A member may ask for what is for its own projects alone. */
static bool only_own(const struct core *c, uint32_t principal, const struct reservation *r)
{
	for (uint32_t i = 0; i < r->members_n; i++)
		if (!(r->members[i].qnode && member_of(c, principal, r->members[i].qnode)) &&
		    r->members[i].principal != principal)
			return false;
	return r->members_n > 0 && !r->spec.maint && !r->spec.ignore_jobs;
}

static bool runs_reservations(const struct core *c, uint32_t principal)
{
	const struct principal *p = core_principal(c, principal);

	return p->role == ROLE_ADMIN || p->role == ROLE_OPERATOR;
}

static int decide_create(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	const struct cmd_reservation_create *q = &cmd->reservation_create;
	struct reservation draft = {.spec = q->spec, .owner = cmd->principal, .created_ms = t}, *r;
	struct reservation_spec *s = &draft.spec;
	struct cluster *cl;
	int rc;

	s->flavor = 0;
	if (!s->name[0] || !strcmp(s->name, "none") || strspn(s->name, "0123456789") == strlen(s->name)) {
		err_set(err, ERR_INVAL, "a reservation needs a name, and not a number");
		return err_hint(err, "sluisctl reservation create NAME ...");
	}
	if (c->reservations.count >= RESERVATIONS_MAX)
		return err_set(err, ERR_NOROOM, "there are %d reservations, the most", RESERVATIONS_MAX);
	if (reservation_named(c, s->name)) {
		err_set(err, ERR_EXISTS, "there is a reservation '%s' already", s->name);
		return err_hint(err, "another name, or sluisctl reservation delete %s", s->name);
	}
	rc = windows_check(t, s->windows, s->windows_n, err);
	if (rc)
		return rc;
	if (s->purge_ms < 0 || s->purge_ms > SPAN_MAX_MS || s->repeat_ms < 0 || s->repeat_ms > SPAN_MAX_MS ||
	    s->shape >= SHAPE_COUNT || (!s->units) != (q->nodes_n > 0) ||
	    s->units > (uint32_t)PARTS_PER_ALLOC_MAX * DEVICES_PER_NODE_MAX) {
		err_set(err, ERR_INVAL, "a reservation is for named nodes, or for a number of devices or nodes");
		return err_hint(err, "--nodes n1,n2, or --flavor F with --gpus N or --whole-nodes N");
	}
	if (s->windows_n > 1 && s->repeat_ms &&
	    s->windows[s->windows_n - 1].from_ms - s->windows[s->windows_n - 2].from_ms != s->repeat_ms)
		return err_set(err, ERR_INVAL, "its windows do not follow each other by what it says");
	rc = members_find(c, q->members, q->members_n, &d->arena, &draft, err);
	if (!rc && s->units)
		rc = flavor_find(c, q->flavor, &s->flavor, err);
	if (!rc)
		rc = nodes_find(c, q, &d->arena, &draft, err);
	if (!rc && !s->maint)
		rc = within_quota(c, &draft, err);
	if (rc)
		return rc;
	if (!s->maint && !draft.members_n) {
		err_set(err, ERR_INVAL, "nobody could use it");
		return err_hint(err, "--project or --user, or --flags maint: then nobody should");
	}
	rc = affordable(c, d, t, &draft, err);
	if (rc)
		return rc;
	if (!runs_reservations(c, cmd->principal)) {
		if (!only_own(c, cmd->principal, &draft)) {
			err_set(err, ERR_DENIED, "you may ask for what is for your own projects, nothing else");
			return err_hint(err, "ask an operator");
		}
		draft.state = RESERVATION_REQUESTED; /* an operator confirms it */
	} else {
		rc = pin(c, t, d, &draft, err);
		if (!rc)
			rc = calendar_change(c, d, &draft, err);
		if (rc)
			return rc;
	}
	cl = edit_cluster(c, d);
	cl->next_reservation = cl->next_reservation ? cl->next_reservation : 1;
	r = create(d, RECORD_RESERVATION, cl->next_reservation);
	*r = draft;
	r->id = cl->next_reservation++;
	d->result.id = r->id;
	d->result.state = r->state;
	TEXT_SET(d->result.text, s->name);
	return 0;
}

/* Another that has one of its devices in one of these windows; NULL. */
static const struct reservation *windows_met(const struct core *c, const struct reservation *r, const struct window *w,
					     uint32_t n)
{
	for (uint32_t i = 0; i < r->parts_n; i++) {
		const struct node_s *node = node_of(c, r->parts[i].node);

		for (uint32_t k = 0; node && k < node->pins_n; k++) {
			const struct reservation *o;
			const struct part *p = pin_part(c, &node->pins[k], &o);

			if (o->id != r->id && parts_meet(&r->parts[i], p) &&
			    windows_meet(o->spec.windows, o->spec.windows_n, w, n))
				return o;
		}
	}
	return NULL;
}

/* Windows of one that pins already may only change where its devices are free of others. */
static int windows_change(const struct core *c, int64_t t, struct reservation *r, const struct window *w, uint32_t n,
			  struct err *err)
{
	int rc = windows_check(t, w, n, err);
	const struct reservation *o = windows_met(c, r, w, n);

	if (rc)
		return rc;
	if (o) {
		err_set(err, ERR_CONFLICT, "reservation %" PRIu64 " (%.32s) has its devices then", o->id, o->spec.name);
		return err_reason(err, REASON_RESERVED);
	}
	for (uint32_t i = 0; i < r->parts_n; i++) {
		const struct node_s *node = node_of(c, r->parts[i].node);

		for (uint32_t k = 0; node && k < node->units_n && !r->spec.ignore_jobs; k++) {
			const struct alloc *a = core_alloc(c, node->units[k].alloc);

			if (a->reservation == r->id || stays_until(c, t, a) <= w[0].from_ms ||
			    w[0].from_ms >= window_of(r)->from_ms)
				continue; /* an earlier start meets work that was placed before the old one */
			for (uint32_t m = 0; m < a->parts_n; m++)
				if (parts_meet(&r->parts[i], &a->parts[m])) {
					err_set(err, ERR_CONFLICT, "%s %" PRIu64 " is on %.40s beyond that",
						a->owner_kind == OWNER_JOB ? "job" : "lease", a->owner, node->r.name);
					return err_reason(err, REASON_RESERVED);
				}
		}
	}
	return 0;
}

static const struct reservation *find(const struct core *c, uint64_t id, const char *name, struct err *err)
{
	const struct reservation *r = id ? core_record(c, RECORD_RESERVATION, id) : reservation_named(c, name);

	if (!r) {
		err_set(err, ERR_NOTFOUND, "there is no such reservation");
		err_hint(err, "sluisctl reservation list");
	}
	return r;
}

static int decide_update(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	const struct cmd_reservation_update *u = &cmd->reservation_update;
	const struct reservation *old = find(c, u->reservation, u->name, err);
	struct window *w;
	struct reservation *r;
	uint32_t n;
	int rc;

	if (!old)
		return err->code;
	if (reservation_terminal(old->state)) {
		err_set(err, ERR_STATE, "reservation %" PRIu64 " is over", old->id);
		return err_hint(err, "sluisctl reservation create ...");
	}
	d->result.id = old->id;
	r = EDIT(c, d, RECORD_RESERVATION, reservation, old->id);
	keep_end(c, d, t, r); /* by what it was until now */
	w = arena_copy(&d->arena, old->spec.windows, old->spec.windows_n * sizeof *w);
	n = old->spec.windows_n;
	if (u->windows_n) {
		w = arena_copy(&d->arena, u->windows, u->windows_n * sizeof *w);
		n = u->windows_n;
		r->spec.repeat_ms = n > 1 ? w[n - 1].from_ms - w[n - 2].from_ms : 0;
	}
	if (u->to_ms)
		w[0].to_ms = u->to_ms;
	if (u->windows_n || u->to_ms) {
		rc = old->state == RESERVATION_REQUESTED ? windows_check(t, w, n, err) : windows_change(c, t, r, w, n, err);
		if (rc)
			return rc;
		if (old->state == RESERVATION_ACTIVE && w[0].from_ms > t)
			r->state = RESERVATION_CONFIRMED;
		r->spec.windows = w;
		r->spec.windows_n = n;
	}
	if (u->members_n) {
		rc = members_find(c, u->members, u->members_n, &d->arena, r, err);
		if (!rc && !r->spec.maint)
			rc = within_quota(c, r, err);
		if (rc)
			return rc;
	}
	if ((u->confirm && r->state == RESERVATION_REQUESTED) || asks_more(c, t, old, r)) {
		rc = affordable(c, d, t, r, err);
		if (rc)
			return rc;
	}
	if (u->confirm && r->state == RESERVATION_REQUESTED) { /* twice is once */
		rc = pin(c, t, d, r, err);
		if (rc)
			return rc;
	}
	rc = calendar_change(c, d, r, err);
	if (rc)
		return rc;
	if (r->state == RESERVATION_ACTIVE)
		keep_begin(c, d, t, r);
	d->result.state = r->state;
	TEXT_SET(d->result.text, r->spec.name);
	return 0;
}

static void end(struct reservation *r, int64_t t, uint8_t state, const char *text)
{
	r->state = state;
	r->end_ms = t;
	r->degraded = 0;
	TEXT_SET(r->end_text, text);
}

static int decide_delete(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	const struct reservation *old = find(c, cmd->object.id, cmd->object.name, err);
	struct reservation *r;

	if (!old)
		return err->code;
	d->result.id = old->id;
	TEXT_SET(d->result.text, old->spec.name);
	d->result.state = old->state;
	if (!runs_reservations(c, cmd->principal) && old->owner != cmd->principal) {
		err_set(err, ERR_DENIED, "reservation %s is not yours", old->spec.name);
		return err_hint(err, "ask an operator");
	}
	if (reservation_terminal(old->state))
		return 0; /* it ended by itself meanwhile: there is nothing left to do */
	/* work inside goes on as what it is: in its project's quota, to its time limit */
	r = EDIT(c, d, RECORD_RESERVATION, reservation, old->id);
	keep_end(c, d, t, r);
	end(r, t, RESERVATION_CANCELLED, cmd->object.reason[0] ? cmd->object.reason : "deleted");
	d->result.state = RESERVATION_CANCELLED;
	return 0;
}

int decide_reservation(const struct core *c, int64_t t, const struct command *cmd, struct decision *d, struct err *err)
{
	switch ((enum command_type)cmd->type) {
	case CMD_RESERVATION_CREATE: return decide_create(c, t, cmd, d, err);
	case CMD_RESERVATION_UPDATE: return decide_update(c, t, cmd, d, err);
	case CMD_RESERVATION_DELETE: return decide_delete(c, t, cmd, d, err);
	default: UNREACHABLE();
	}
}

void reservations_leave(const struct core *c, struct decision *d, uint32_t node)
{
	EACH(c, reservations, reservation_s, rs) {
		uint32_t kept = 0;
		struct reservation *r;

		if (!reservation_pins(&rs->r))
			continue;
		for (uint32_t i = 0; i < rs->r.parts_n; i++)
			kept += rs->r.parts[i].node != node;
		if (kept == rs->r.parts_n)
			continue;
		r = EDIT(c, d, RECORD_RESERVATION, reservation, rs->r.id);
		kept = 0;
		for (uint32_t i = 0; i < r->parts_n; i++)
			if (r->parts[i].node != node)
				r->parts[kept++] = r->parts[i];
		r->parts_n = kept;
	}
}

/* ---- time --------------------------------------------------------------------------------------------------- */

/* The window is over: what is still inside was told; the next one, or the end. */
static void window_over(const struct core *c, int64_t t, struct decision *d, struct reservation *r, bool idle)
{
	uint32_t n = r->spec.windows_n;
	struct window *w = arena_alloc(&d->arena, (n + 1) * sizeof *w); /* one more may come */

	keep_end(c, d, t, r);
	memcpy(w, r->spec.windows, n * sizeof *w);
	if (!r->spec.overrun && !r->spec.flex)
		EACH(c, allocs, alloc_s, a)
			if (a->r.reservation == r->id && a->r.state != ALLOC_STOPPING && a->r.limit_ms > t)
				alloc_stop(c, d, t, a->r.id, END_TIME, 0, 0);
	r->spec.windows = w + 1;
	r->spec.windows_n = n - 1;
	r->state = RESERVATION_CONFIRMED;
	/* the horizon rolls on; where another, or a promise, has come in between, that one window is left out */
	for (int64_t k = 1; r->spec.repeat_ms && k <= ROLL_TRIES && r->spec.windows_n < n; k++) {
		w[n].from_ms = w[n - 1].from_ms + k * r->spec.repeat_ms;
		w[n].to_ms = w[n - 1].to_ms + k * r->spec.repeat_ms;
		if (windows_met(c, r, &w[n], 1))
			continue;
		r->spec.windows_n = n;
		if (calendar_change(c, d, r, NULL))
			r->spec.windows_n = n - 1;
	}
	if (!r->spec.windows_n)
		end(r, t, RESERVATION_ENDED, idle ? "nobody used it" : "");
}

bool tick_reservation_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id)
{
	const struct reservation *old = core_record(c, RECORD_RESERVATION, id);
	struct reservation *r;

	if (reservation_terminal(old->state)) {
		drop(d, RECORD_RESERVATION, id);
		return true;
	}
	r = EDIT(c, d, RECORD_RESERVATION, reservation, id);
	switch ((enum reservation_state)r->state) {
	case RESERVATION_REQUESTED: end(r, t, RESERVATION_CANCELLED, "nobody confirmed it before it was to begin"); break;
	case RESERVATION_CONFIRMED:
		r->state = RESERVATION_ACTIVE;
		r->used_ms = t;
		keep_begin(c, d, t, r);
		break;
	default: window_over(c, t, d, r, t < window_of(r)->to_ms); break;
	}
	return true;
}

void reservation_left(const struct core *c, struct decision *d, int64_t t, const struct alloc *a)
{
	const struct reservation *r = a->reservation ? peek(c, d, RECORD_RESERVATION, a->reservation) : NULL;

	if (r && r->spec.purge_ms && r->state == RESERVATION_ACTIVE)
		EDIT(c, d, RECORD_RESERVATION, reservation, r->id)->used_ms = t;
}

/* ---- devices that fail ---------------------------------------------------------------------------------------- */

static bool part_lost(const struct core *c, const struct part *p)
{
	const struct node_s *n = node_of(c, p->node);
	uint64_t ok = 0;

	if (part_out(n))
		return true;
	for (uint32_t i = 0; i < n->r.devices_n; i++)
		if (n->r.devices[i].health == DEVICE_OK)
			ok |= UINT64_C(1) << i;
	return (p->devices & ~ok) != 0;
}

static uint32_t units_lost(const struct core *c, const struct reservation *r)
{
	uint32_t lost = 0, have = 0;

	for (uint32_t i = 0; i < r->parts_n; i++) {
		have += r->parts[i].units;
		lost += part_lost(c, &r->parts[i]) ? r->parts[i].units : 0;
	}
	return lost + (r->spec.units > have ? r->spec.units - have : 0);
}

/* Others of equal kind in place of those that are gone. Nothing changes if there are too few. */
static bool replace(const struct core *c, int64_t t, struct decision *d, const struct reservation *old, uint32_t units)
{
	struct part *more, *all;
	struct reservation *r, draft;
	uint32_t more_n, n = 0;

	if (pin_units(c, t, &old->spec, units, &d->arena, &more, &more_n))
		return false;
	all = arena_alloc(&d->arena, (old->parts_n + more_n) * sizeof *all);
	for (uint32_t i = 0; i < old->parts_n; i++)
		if (!part_lost(c, &old->parts[i]))
			all[n++] = old->parts[i];
	if (n + more_n > PARTS_PER_ALLOC_MAX)
		return false;
	for (uint32_t i = 0; i < more_n; i++)
		all[n++] = more[i];
	for (uint32_t i = 0; i < n; i++)
		all[i].index = (uint16_t)i;
	draft = *old;
	draft.parts = all;
	draft.parts_n = n;
	if (calendar_change(c, d, &draft, NULL))
		return false; /* what is promised of them comes first */
	r = EDIT(c, d, RECORD_RESERVATION, reservation, old->id);
	r->parts = all;
	r->parts_n = n;
	r->degraded = 0;
	return true;
}

bool sched_reservations(const struct core *c, int64_t t, struct decision *d)
{
	EACH(c, reservations, reservation_s, rs) {
		const struct reservation *r = &rs->r;
		uint32_t lost;
		uint16_t flavor;
		int64_t rate;

		if (!reservation_pins(r) || r->spec.maint)
			continue; /* a node under maintenance is expected to go */
		rate = r->state == RESERVATION_ACTIVE ? kept_now(c, r, &flavor) : 0;
		if (rate != r->rate) { /* also one of a window that was open before such was charged */
			kept_until(EDIT(c, d, RECORD_RESERVATION, reservation, r->id), t, rate, flavor);
			return true;
		}
		lost = units_lost(c, r);
		if (lost && r->spec.units && !r->spec.no_replace && replace(c, t, d, r, lost))
			return true;
		if (lost != r->degraded) {
			struct reservation *e = EDIT(c, d, RECORD_RESERVATION, reservation, r->id);

			e->degraded_ms = lost ? (r->degraded ? r->degraded_ms : t) : 0;
			e->degraded = lost;
			return true;
		}
	}
	return false;
}

/* ---- views ------------------------------------------------------------------------------------------------------ */

uint32_t reservation_units_here(const struct core *c, const struct reservation *r)
{
	uint32_t here = 0;

	for (uint32_t i = 0; i < r->parts_n; i++) {
		const struct node_s *n = node_of(c, r->parts[i].node);
		bool others = part_lost(c, &r->parts[i]);

		for (uint32_t k = 0; n && k < n->units_n && !others; k++) {
			const struct alloc *a = core_alloc(c, n->units[k].alloc);

			for (uint32_t m = 0; a->reservation != r->id && m < a->parts_n; m++)
				others |= parts_meet(&a->parts[m], &r->parts[i]);
		}
		here += others ? 0 : r->parts[i].units;
	}
	return here;
}

void reservation_note(const struct core *c, const struct node_s *n, char out[TEXT_BYTES])
{
	const struct reservation *first = NULL;
	char when[24];

	for (uint32_t i = 0; i < n->pins_n; i++) {
		const struct reservation *r;

		(void)pin_part(c, &n->pins[i], &r);
		if (!first || window_of(r)->from_ms < window_of(first)->from_ms)
			first = r;
	}
	if (first)
		(void)snprintf(out, TEXT_BYTES, "%s %" PRIu64 " (%.32s) %s %s", first->spec.maint ? "maintenance" : "reservation",
			       first->id, first->spec.name, first->state == RESERVATION_ACTIVE ? "until" : "from",
			       utc_text(first->state == RESERVATION_ACTIVE ? window_of(first)->to_ms : window_of(first)->from_ms, when));
}

/* ---- check ------------------------------------------------------------------------------------------------------ */

/* Does it end before the window that comes, or was told to? */
static bool ends_before(const struct core *c, const struct alloc *a, const struct reservation *r)
{
	const struct job *j = a->owner_kind == OWNER_JOB ? core_job(c, a->owner) : NULL;
	const struct lease *l = a->owner_kind == OWNER_LEASE ? core_lease(c, a->owner) : NULL;

	if (a->state == ALLOC_STOPPING || a->reservation == r->id)
		return true;
	if (a->klass == CLASS_LOAN)
		return r->state != RESERVATION_ACTIVE || a->limit_ms <= window_of(r)->from_ms;
	if (l)
		return !l->term_end_ms || l->term_end_ms <= window_of(r)->from_ms;
	return !j || (a->state == ALLOC_BINDING ? a->bind_by_ms + j->spec.time_limit_ms : a->limit_ms) <=
			     window_of(r)->from_ms;
}

int reservation_check(const struct core *c, struct err *err)
{
	uint64_t pinned = 0, found = 0;

	EACH(c, reservations, reservation_s, r) {
		uint32_t inside = 0;

		EACH(c, allocs, alloc_s, a)
			inside += a->r.reservation == r->r.id;
		if (inside != r->inside)
			return err_set(err, ERR_CORRUPT, "a reservation's count of what is inside is wrong (%" PRIu64 ")",
				       r->r.id);
		if ((r->r.kept_ms || r->r.rate) && (r->r.state != RESERVATION_ACTIVE || r->r.spec.maint))
			return err_set(err, ERR_CORRUPT, "a reservation is charged outside its window (%" PRIu64 ")", r->r.id);
		if (r->r.idle_rums < 0 || r->r.used_rums < 0 || r->r.idle_rums > r->r.kept_rums ||
		    (!r->r.kept_ms && r->r.kept_rums - r->r.used_rums > r->r.idle_rums))
			return err_set(err, ERR_CORRUPT, "what idled in a reservation is not what was charged (%" PRIu64 ")",
				       r->r.id);
		if (!reservation_terminal(r->r.state) && !r->r.spec.windows_n)
			return err_set(err, ERR_CORRUPT, "a reservation without a window (%" PRIu64 ")", r->r.id);
		for (uint32_t i = 0; reservation_pins(&r->r) && i < r->r.parts_n; i++)
			pinned += node_of(c, r->r.parts[i].node) != NULL;
	}
	EACH(c, nodes, node_s, n)
		for (uint32_t i = 0; i < n->pins_n; i++) {
			const struct reservation *a, *b;
			const struct part *p = pin_part(c, &n->pins[i], &a);

			found++;
			for (uint32_t u = 0; u < n->units_n && !a->spec.ignore_jobs; u++) {
				const struct alloc *al = core_alloc(c, n->units[u].alloc);

				for (uint32_t k = 0; k < al->parts_n; k++)
					if (al->parts[k].index == n->units[u].part && parts_meet(&al->parts[k], p) &&
					    !ends_before(c, al, a))
						return err_set(err, ERR_CORRUPT, "I2: allocation %" PRIu64
							       " stays into reservation %" PRIu64, al->id, a->id);
			}
			if (!reservation_pins(a) || p->node != n->r.id)
				return err_set(err, ERR_CORRUPT, "a node's pin is none of its reservation (%" PRIu64 ")", a->id);
			for (uint32_t k = 0; k < i; k++)
				if (parts_meet(p, pin_part(c, &n->pins[k], &b)) && a != b &&
				    windows_meet(a->spec.windows, a->spec.windows_n, b->spec.windows, b->spec.windows_n))
					return err_set(err, ERR_CORRUPT, "I2: a device is reserved twice (%" PRIu64 ")", a->id);
		}
	if (pinned != found)
		return err_set(err, ERR_CORRUPT, "pins at the nodes are not those of the reservations");
	return 0;
}
