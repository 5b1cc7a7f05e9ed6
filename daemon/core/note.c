/* note.c - whose nominal a loan uses: its lenders, one note for each
 *
 * A loan names the nodes off its path whose unused nominal it takes, so that each unit lent is one somebody owns, has
 * not taken, may lend, and is promised back no sooner than the loan is. No unit is named twice. What nobody owns (spare
 * capacity) or may lend for so long is used without a note.
 *
 * Notes are bookkeeping: when a lender takes back what it had lent without recalling (from idle devices, or by another
 * loan that was cheaper to stop), its notes move to whoever has something left, one loan a tick (novation). A loan that
 * was told to go is nobody's debt any more.
 *
 * Invariant (core_check): noted, unnoted, lent and overnoted equal those counted from the records; when a tick finds
 * nothing to do, nobody is named for more than it has.
 */
#include "daemon/core/state.h"

#include <stdlib.h>
#include <string.h>

static struct quota_tree *tree_here(struct core *c, uint16_t flavor, uint8_t shape)
{
	struct quota_tree *t = &c->tree[resource_index(flavor, shape)];

	return t->cell ? t : NULL;
}

static bool over(const struct quota_tree *t, uint32_t at)
{
	return t->cell[at].noted > max64(0, quota_own_left(t, at));
}

void note_path(struct core *c, uint16_t flavor, uint8_t shape, uint32_t at, int sign)
{
	const struct quota_tree *t = tree_here(c, flavor, shape);

	for (uint32_t i = at; t; i = t->parent[i]) {
		c->overnoted += over(t, i) ? (uint32_t)sign : 0;
		if (!i)
			return;
	}
}

static bool counts(const struct alloc *a) { return a->klass == CLASS_LOAN && a->state != ALLOC_STOPPING; }

/* Units of a loan that use nobody's nominal but its path's. */
static int64_t noted_units(const struct alloc *a)
{
	int64_t units = 0;

	for (uint32_t i = 0; i < a->lenders_n; i++)
		units += a->lenders[i].units;
	return units;
}

static void notes_count(struct core *c, const struct alloc *a, int64_t sign)
{
	struct quota_tree *t = tree_here(c, a->flavor, a->shape);

	if (!t || !counts(a))
		return;
	t->cell[qnode_of(c, a->qnode)->at].unnoted += sign * (alloc_units(a) - noted_units(a));
	for (uint32_t i = 0; i < a->lenders_n; i++) {
		const struct qnode_s *q = qnode_of(c, a->lenders[i].qnode);

		if (!q)
			continue;
		c->overnoted -= over(t, q->at);
		t->cell[q->at].noted += sign * a->lenders[i].units;
		c->overnoted += over(t, q->at);
	}
}

void note_alloc(struct core *c, struct alloc_s *a, bool add)
{
	for (uint32_t i = 0; counts(&a->r) && i < a->r.lenders_n; i++)
		if (qnode_of(c, a->r.lenders[i].qnode))
			(void)idtab_set(&qnode_of(c, a->r.lenders[i].qnode)->lent, a->r.id, add ? a : NULL);
	if (!c->tree_stale)
		notes_count(c, &a->r, add ? 1 : -1);
}

void notes_rebuild(struct core *c)
{
	c->overnoted = 0; /* the cells are new: nothing is noted in them */
	EACH(c, loans, alloc_s, a)
		notes_count(c, &a->r, 1);
}

void note_loan(const struct core *c, struct decision *d, struct alloc *a)
{
	const struct quota_tree *t = tree_of(c, a->flavor, a->shape);
	int64_t units[LENDERS_PER_ALLOC_MAX];
	uint32_t at[LENDERS_PER_ALLOC_MAX], n = 0, leaf = qnode_of(c, a->qnode)->at;
	const struct alloc *now = core_alloc(c, a->id); /* what the counters know of it */
	int64_t unnoted = t ? t->cell[leaf].unnoted : 0;

	if (now && counts(now)) {
		unnoted -= alloc_units(now) - noted_units(now);
		for (uint32_t i = 0; t && i < now->lenders_n; i++) {
			at[n] = qnode_of(c, now->lenders[i].qnode)->at;
			units[n++] = now->lenders[i].units;
		}
	}
	if (t)
		quota_lenders(t, leaf, alloc_units(a), unnoted, c->tree_slo_ms, alloc_bound_ms(c, a), at, units, &n,
			      LENDERS_PER_ALLOC_MAX);
	a->lenders = arena_alloc(&d->arena, LENDERS_PER_ALLOC_MAX * sizeof *a->lenders);
	a->lenders_n = n;
	for (uint32_t i = 0; i < n; i++)
		a->lenders[i] = (struct lender){.qnode = c->tree_id[at[i]], .units = (uint32_t)units[i]};
}

/* Is it named for more than it has, of anything? */
static bool over_any(const struct core *c, uint32_t at)
{
	for (uint32_t r = 0; r < RESOURCES_MAX; r++)
		if (c->tree[r].cell && over(&c->tree[r], at))
			return true;
	return false;
}

bool note_again(const struct core *c, struct decision *d)
{
	(void)tree_of(c, 1, SHAPE_GPU); /* after a change of the division: counts anew */
	if (!c->overnoted)
		return false;
	EACH(c, qnodes, qnode_s, q) {
		uint64_t id = 0;
		void *p;

		if (!over_any(c, q->at))
			continue; /* it may have lent to thousands */
		while ((id = idtab_next(&q->lent, id, &p)) != 0) {
			const struct alloc_s *a = p;
			const struct quota_tree *t = tree_of(c, a->r.flavor, a->r.shape);

			if (t && over(t, q->at)) {
				note_loan(c, d, EDIT(c, d, RECORD_ALLOC, alloc, id));
				return true;
			}
		}
	}
	return false;
}

int note_check(const struct core *c, struct err *err)
{
	uint32_t n = 0;

	if (c->tree_stale)
		return 0;
	for (int r = 0; r < RESOURCES_MAX; r++) {
		const struct quota_tree *t = &c->tree[r];
		int64_t *noted, *unnoted;
		bool same = true;

		if (!t->cell)
			continue;
		noted = xcalloc(t->nodes_n, sizeof *noted);
		unnoted = xcalloc(t->nodes_n, sizeof *unnoted);
		EACH(c, loans, alloc_s, a) {
			if (resource_index(a->r.flavor, a->r.shape) != (uint32_t)r || !counts(&a->r))
				continue;
			unnoted[qnode_of(c, a->r.qnode)->at] += alloc_units(&a->r) - noted_units(&a->r);
			for (uint32_t i = 0; i < a->r.lenders_n; i++) {
				const struct qnode_s *q = qnode_of(c, a->r.lenders[i].qnode);

				noted[q->at] += a->r.lenders[i].units;
				same &= idtab_get(&q->lent, a->r.id) == a;
			}
		}
		for (uint32_t i = 0; i < t->nodes_n; i++) {
			same &= noted[i] == t->cell[i].noted && unnoted[i] == t->cell[i].unnoted;
			n += over(t, i);
		}
		free(noted);
		free(unnoted);
		if (!same)
			return err_set(err, ERR_CORRUPT, "I4: who lent what differs from the loans' notes");
	}
	return n == c->overnoted ? 0 : err_set(err, ERR_CORRUPT, "I4: lenders named for more than they have are not counted");
}
