/* usage.c - what was delivered to whom, and whose turn it is
 *
 * Usage is booked when it ends or changes, to the project or provider and within a project to the user. Fair
 * share goes by usage that is forgotten by half-lives (Slurm's PriorityDecayHalfLife). Everything is forgotten
 * at the same instants, the starts of the 1024ths of a half-life: what is booked often fades like what is booked
 * once, and between two bookings no order changes.
 *
 * Order of the projects: sector by usage per weight, then project by usage per weight; all users of a project
 * weigh the same. Ties go by id.
 */
#include "daemon/core/state.h"

#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 wide; /* usage times weight needs 96 bits */

enum { STEPS = 1024 };
#define STEP_MS (USAGE_HALF_LIFE_MS / STEPS)

/* 2^(-steps / 1024) in 1/2^32, steps < 1024, from its binary digits; off by less than 10 / 2^32. */
static uint64_t decay_factor(uint32_t steps)
{
	static const uint64_t digit[] = {/* 2^(32 - 2^i / 1024) */
		UINT64_C(4292061010), UINT64_C(4289156690), UINT64_C(4283353945), UINT64_C(4271771996),
		UINT64_C(4248701965), UINT64_C(4202935003), UINT64_C(4112874773), UINT64_C(3938502376),
		UINT64_C(3611622603), UINT64_C(3037000500),
	};
	uint64_t f = UINT64_C(1) << 32;

	for (uint32_t i = 0; steps; i++, steps >>= 1)
		if (steps & 1)
			f = f * digit[i] >> 32;
	return f;
}

int64_t usage_decay(int64_t rums, int64_t from_ms, int64_t t)
{
	int64_t steps = t / STEP_MS - from_ms / STEP_MS;

	if (steps <= 0)
		return rums;
	if (steps / STEPS > 62)
		return 0;
	return (int64_t)((wide)rums * decay_factor((uint32_t)(steps % STEPS)) >> 32) >> steps / STEPS;
}

int64_t usage_now(const struct core *c, int64_t t, uint32_t qnode)
{
	const struct usage *u = &qnode_of(c, qnode)->usage;

	return usage_decay(u->decayed_rums, u->decayed_at_ms, t);
}

/* Index of the first user not below `user`. */
static uint32_t user_at(const struct usage *u, uint32_t user)
{
	uint32_t lo = 0, hi = u->users_n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (u->users[mid].user < user)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int64_t usage_of_user(const struct core *c, int64_t t, uint32_t qnode, uint32_t user)
{
	const struct usage *u = &qnode_of(c, qnode)->usage;
	uint32_t i = user_at(u, user);

	if (i == u->users_n || u->users[i].user != user)
		return 0;
	return usage_decay(u->users[i].decayed_rums, u->decayed_at_ms, t);
}

/* ---- booking --------------------------------------------------------------------------------------------- */

struct usage *usage_edit(const struct core *c, struct decision *d, uint32_t qnode)
{
	const struct usage *have = peek(c, d, RECORD_USAGE, qnode);
	struct usage *u = have ? EDIT(c, d, RECORD_USAGE, usage, qnode) : create(d, RECORD_USAGE, qnode);

	u->qnode = qnode;
	return u;
}

static int64_t booked(int64_t have, int64_t from_ms, int64_t t, int64_t rums)
{
	return max64(usage_decay(have, from_ms, t) + rums, 0);
}

/* All users fade, who has nothing left goes, `user` gets `rums`. */
static void users_book(struct usage *u, struct arena *arena, int64_t t, uint32_t user, int64_t rums)
{
	struct user_usage *rows = arena_alloc(arena, (u->users_n + 1) * sizeof *rows);
	uint32_t n = 0, least = 0;
	bool found = false;

	for (uint32_t i = 0; i <= u->users_n; i++) {
		const struct user_usage *have = i < u->users_n ? &u->users[i] : NULL;

		if (user && !found && (!have || have->user >= user)) {
			bool same = have && have->user == user;
			int64_t now = booked(same ? have->decayed_rums : 0, u->decayed_at_ms, t, rums);

			found = true;
			if (now)
				rows[n++] = (struct user_usage){user, now};
			if (same)
				continue;
		}
		if (have && usage_decay(have->decayed_rums, u->decayed_at_ms, t))
			rows[n++] = (struct user_usage){have->user, usage_decay(have->decayed_rums, u->decayed_at_ms, t)};
	}
	if (n > USERS_KEPT) { /* whoever had least is as good as new */
		for (uint32_t i = 1; i < n; i++)
			if (rows[i].decayed_rums < rows[least].decayed_rums)
				least = i;
		memmove(rows + least, rows + least + 1, (n - least - 1) * sizeof *rows);
		n--;
	}
	u->users = rows;
	u->users_n = n;
}

void usage_add(const struct core *c, struct decision *d, int64_t t, uint32_t qnode, uint32_t user,
	       const struct usage_row *more)
{
	int64_t rums = more->guaranteed_rums + more->loan_rums + more->idle_rums - more->refunded_rums;
	struct usage *u = usage_edit(c, d, qnode);
	struct usage_row *row = NULL;

	users_book(u, &d->arena, t, user, rums);
	u->decayed_rums = booked(u->decayed_rums, u->decayed_at_ms, t, rums);
	u->decayed_at_ms = t;
	for (uint32_t i = 0; i < u->rows_n; i++)
		if (u->rows[i].flavor == more->flavor)
			row = &u->rows[i];
	if (!row) {
		struct usage_row *rows = arena_alloc(&d->arena, (u->rows_n + 1) * sizeof *rows);

		if (u->rows_n)
			memcpy(rows, u->rows, u->rows_n * sizeof *rows);
		u->rows = rows;
		row = &rows[u->rows_n++];
		row->flavor = more->flavor;
	}
	row->guaranteed_rums += more->guaranteed_rums;
	row->loan_rums += more->loan_rums;
	row->refunded_rums += more->refunded_rums;
	row->idle_rums += more->idle_rums;
}

/* ---- whose turn ------------------------------------------------------------------------------------------- */

static int ratio_cmp(int64_t ua, uint32_t wa, int64_t ub, uint32_t wb)
{
	wide l = (wide)ua * (wb ? wb : 1), r = (wide)ub * (wa ? wa : 1);

	return l < r ? -1 : l > r;
}

uint32_t usage_sector(const struct core *c, uint32_t project)
{
	const struct qnode_s *q = qnode_of(c, project);

	while (q && q->r.kind != QNODE_SECTOR && q->r.kind != QNODE_ROOT)
		q = qnode_of(c, q->r.parent);
	return q ? q->r.id : 0;
}

struct standing { uint32_t sector, project; int64_t sector_usage, project_usage; uint32_t sector_weight, project_weight; };

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

void usage_order(const struct core *c, int64_t t)
{
	struct scratch *s = c->scratch;
	struct standing *st = xcalloc(c->qnodes.count + 1, sizeof *st);
	int64_t *sector_usage;
	uint32_t n = 0;

	(void)tree_of(c, 1, SHAPE_GPU); /* sectors go by tree positions */
	sector_usage = xcalloc(c->tree_n + 1, sizeof *sector_usage);
	EACH(c, qnodes, qnode_s, q) {
		const struct qnode_s *sector;

		if (q->r.kind != QNODE_PROJECT)
			continue;
		sector = qnode_of(c, usage_sector(c, q->r.id));
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
	if (s->order_cap < n) {
		s->order_cap = n;
		s->order = xrealloc(s->order, n * sizeof(struct qnode_s *));
	}
	for (uint32_t i = 0; i < n; i++) {
		s->order[i] = qnode_of(c, st[i].project);
		s->order[i]->rank = i;
	}
	s->order_n = n;
	s->order_stale = false;
	free(st);
	free(sector_usage);
}

void usage_order_seen(const struct core *c, int64_t t)
{
	if (c->scratch->order_stale && !(c->scratch->work & WORK_WALK))
		usage_order(c, t);
}
