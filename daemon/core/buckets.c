/* buckets.c - see buckets.h
 *
 * Invariants (buckets_check):
 *  - a node with something free is in the bucket of its key and in no other
 *  - a group with w > 0 wholly free nodes is in set[w] and in no other
 *  - live and widths hold exactly what is not empty
 */
#include "daemon/core/buckets.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"

enum { BITS = 64 };

/* ---- sets ------------------------------------------------------------------------------------- */

static uint32_t words_for(uint32_t n) { return (n + BITS - 1) / BITS; }

static void idset_init(struct idset *s, uint32_t n)
{
	s->words = words_for(n);
	s->word = xcalloc(s->words, sizeof *s->word);
	s->summary = xcalloc(words_for(s->words), sizeof *s->summary);
}

static void idset_done(struct idset *s)
{
	free(s->word);
	free(s->summary);
}

static void idset_add(struct idset *s, uint32_t id)
{
	uint32_t w = id / BITS;

	s->word[w] |= UINT64_C(1) << id % BITS;
	s->summary[w / BITS] |= UINT64_C(1) << w % BITS;
}

static void idset_drop(struct idset *s, uint32_t id)
{
	uint32_t w = id / BITS;

	s->word[w] &= ~(UINT64_C(1) << id % BITS);
	if (!s->word[w])
		s->summary[w / BITS] &= ~(UINT64_C(1) << w % BITS);
}

static bool idset_has(const struct idset *s, uint32_t id) { return s->word[id / BITS] >> id % BITS & 1; }

/* The least member >= id, or BUCKETS_NONE. */
static uint32_t idset_from(const struct idset *s, uint32_t id)
{
	uint32_t w = id / BITS, top, tops = words_for(s->words);
	uint64_t bits;

	if (w >= s->words)
		return BUCKETS_NONE;
	bits = s->word[w] & (~UINT64_C(0) << id % BITS);
	if (bits)
		return w * BITS + (uint32_t)__builtin_ctzll(bits);
	if (++w == s->words)
		return BUCKETS_NONE;
	top = w / BITS;
	bits = s->summary[top] & (~UINT64_C(0) << w % BITS);
	while (!bits) {
		if (++top == tops)
			return BUCKETS_NONE;
		bits = s->summary[top];
	}
	w = top * BITS + (uint32_t)__builtin_ctzll(bits);
	return w * BITS + (uint32_t)__builtin_ctzll(s->word[w]);
}

/* The greatest member below `end`, or BUCKETS_NONE. */
static uint32_t idset_below(const struct idset *s, uint32_t end)
{
	for (uint32_t w = words_for(end); w-- > 0;) {
		uint64_t bits = s->word[w];

		if (w == end / BITS)
			bits &= ~(~UINT64_C(0) << end % BITS);
		if (bits)
			return w * BITS + BITS - 1 - (uint32_t)__builtin_clzll(bits);
	}
	return BUCKETS_NONE;
}

/* ---- groups ------------------------------------------------------------------------------------ */

static void level_init(struct level *l, uint32_t nodes_n, const struct bucket_spot *spot, int which)
{
	l->groups_n = spot[nodes_n - 1].group[which] + 1;
	l->of = xmalloc(nodes_n * sizeof *l->of);
	l->begin = xcalloc((size_t)l->groups_n + 1, sizeof *l->begin);
	l->known = xcalloc(l->groups_n, sizeof *l->known);
	l->whole = xcalloc(l->groups_n, sizeof *l->whole);
	l->free = xcalloc(l->groups_n, sizeof *l->free);
	for (uint32_t i = 0; i < nodes_n; i++) {
		uint32_t g = spot[i].group[which];

		ENSURE(i == 0 ? g == 0 : g - l->of[i - 1] <= 1);
		l->of[i] = g;
		l->known[g] = spot[i].known[which];
		if (i == 0 || g != l->of[i - 1])
			l->begin[g] = i;
	}
	l->begin[l->groups_n] = nodes_n;
	for (uint32_t g = 0; g < l->groups_n; g++)
		if (l->begin[g + 1] - l->begin[g] > l->widest)
			l->widest = l->begin[g + 1] - l->begin[g];
	l->set = xcalloc((size_t)l->widest + 1, sizeof *l->set);
	l->width_n = xcalloc((size_t)l->widest + 1, sizeof *l->width_n);
	for (uint32_t w = 1; w <= l->widest; w++)
		idset_init(&l->set[w], l->groups_n);
	idset_init(&l->widths, l->widest + 1);
}

static void level_done(struct level *l)
{
	for (uint32_t w = 1; l->set && w <= l->widest; w++)
		idset_done(&l->set[w]);
	idset_done(&l->widths);
	free(l->set);
	free(l->width_n);
	free(l->of);
	free(l->begin);
	free(l->known);
	free(l->whole);
	free(l->free);
}

static void level_whole(struct level *l, uint32_t g, uint32_t whole)
{
	uint32_t was = l->whole[g];

	if (was) {
		idset_drop(&l->set[was], g);
		if (--l->width_n[was] == 0)
			idset_drop(&l->widths, was);
	}
	l->whole[g] = whole;
	if (whole) {
		idset_add(&l->set[whole], g);
		if (l->width_n[whole]++ == 0)
			idset_add(&l->widths, whole);
	}
}

void buckets_init(struct buckets *b, uint32_t nodes_n, const struct bucket_spot *spot)
{
	ENSURE(nodes_n > 0);
	*b = (struct buckets){.nodes_n = nodes_n};
	b->key = xcalloc(nodes_n, sizeof *b->key);
	b->in = xmalloc(nodes_n * sizeof *b->in);
	memset(b->in, 0xff, nodes_n * sizeof *b->in);
	idset_init(&b->whole, nodes_n);
	for (int l = 0; l < LEVELS; l++)
		level_init(&b->level[l], nodes_n, spot, l);
}

void buckets_done(struct buckets *b)
{
	for (uint32_t i = 0; i < b->buckets_n; i++)
		idset_done(&b->bucket[i].nodes);
	for (int l = 0; l < LEVELS; l++)
		level_done(&b->level[l]);
	idset_done(&b->live);
	idset_done(&b->whole);
	free(b->key);
	free(b->in);
	free(b->bucket);
	free(b->slot);
	*b = (struct buckets){0};
}

/* ---- buckets ------------------------------------------------------------------------------------- */

static uint64_t packed(const struct bucket_key *k)
{
	return k->free | (uint64_t)k->served << 16 | (uint64_t)k->size << 32 | (uint64_t)k->broken << 48;
}

static uint32_t slot_of(const struct buckets *b, uint64_t key)
{
	uint32_t i = (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 40) & (b->slots - 1);

	while (b->slot[i] && packed(&b->bucket[b->slot[i] - 1].key) != key)
		i = (i + 1) & (b->slots - 1);
	return i;
}

static void more_buckets(struct buckets *b)
{
	struct idset live = {0};

	b->buckets_cap = b->buckets_cap ? b->buckets_cap * 2 : BITS;
	b->bucket = xrealloc(b->bucket, b->buckets_cap * sizeof *b->bucket);
	idset_init(&live, b->buckets_cap);
	for (uint32_t i = 0; i < b->buckets_n; i++)
		if (b->bucket[i].n)
			idset_add(&live, i);
	idset_done(&b->live);
	b->live = live;
	b->slots = b->buckets_cap * 2;
	free(b->slot);
	b->slot = xcalloc(b->slots, sizeof *b->slot);
	for (uint32_t i = 0; i < b->buckets_n; i++)
		b->slot[slot_of(b, packed(&b->bucket[i].key))] = i + 1;
}

static uint32_t bucket_for(struct buckets *b, const struct bucket_key *k)
{
	uint32_t at = b->slots ? slot_of(b, packed(k)) : 0;

	if (b->slots && b->slot[at])
		return b->slot[at] - 1;
	if (b->buckets_n == b->buckets_cap) {
		more_buckets(b);
		at = slot_of(b, packed(k));
	}
	b->bucket[b->buckets_n] = (struct bucket){.key = *k};
	b->bucket[b->buckets_n].key.whole = false;
	idset_init(&b->bucket[b->buckets_n].nodes, b->nodes_n);
	b->slot[at] = ++b->buckets_n;
	return b->buckets_n - 1;
}

void buckets_put(struct buckets *b, uint32_t node, struct bucket_key key)
{
	struct bucket_key was;
	uint32_t from, to;

	ENSURE(node < b->nodes_n);
	ENSURE(key.served <= key.free);
	was = b->key[node];
	if (packed(&was) == packed(&key) && was.whole == key.whole)
		return;
	from = b->in[node];
	to = key.free ? bucket_for(b, &key) : BUCKETS_NONE;
	b->key[node] = key;
	if (from != to) {
		if (from != BUCKETS_NONE) {
			idset_drop(&b->bucket[from].nodes, node);
			if (--b->bucket[from].n == 0)
				idset_drop(&b->live, from);
		}
		if (to != BUCKETS_NONE) {
			idset_add(&b->bucket[to].nodes, node);
			if (b->bucket[to].n++ == 0)
				idset_add(&b->live, to);
		}
		b->in[node] = to;
	}
	b->free_sum += (uint64_t)key.free - was.free;
	for (int l = 0; l < LEVELS; l++)
		b->level[l].free[b->level[l].of[node]] += (uint32_t)key.free - was.free;
	if (was.whole == key.whole)
		return;
	if (key.whole)
		idset_add(&b->whole, node);
	else
		idset_drop(&b->whole, node);
	b->whole_n += key.whole ? 1 : UINT32_MAX; /* -1 */
	for (int l = 0; l < LEVELS; l++) {
		struct level *lv = &b->level[l];
		uint32_t g = lv->of[node];

		level_whole(lv, g, lv->whole[g] + (key.whole ? 1 : UINT32_MAX));
	}
}

bool buckets_next(const struct buckets *b, const uint32_t *rank, uint32_t from, uint32_t to,
		  struct bucket_cursor *cursor)
{
	struct bucket_cursor best = {BUCKETS_NONE, BUCKETS_NONE};

	for (uint32_t w = 0; w < b->live.words; w++)
		for (uint64_t bits = b->live.word[w]; bits; bits &= bits - 1) {
			uint32_t i = w * BITS + (uint32_t)__builtin_ctzll(bits), r = rank[i], node = from;

			if (r > best.rank || r < cursor->rank || r == BUCKETS_NONE)
				continue;
			if (r == cursor->rank && cursor->node != BUCKETS_NONE)
				node = cursor->node + 1;
			node = idset_from(&b->bucket[i].nodes, node);
			if (node < to && (r < best.rank || node < best.node))
				best = (struct bucket_cursor){r, node};
		}
	if (best.node == BUCKETS_NONE)
		return false;
	*cursor = best;
	return true;
}

/* ---- gangs ---------------------------------------------------------------------------------------- */

uint32_t buckets_whole_from(const struct buckets *b, uint32_t node) { return idset_from(&b->whole, node); }

uint32_t buckets_widest(const struct buckets *b, enum bucket_level level)
{
	const struct level *l = &b->level[level];
	uint32_t w = idset_below(&l->widths, l->widest + 1);

	return w == BUCKETS_NONE ? 0 : w;
}

/* The group with the fewest wholly free nodes that are at least `count`. */
static uint32_t tightest(const struct level *l, uint32_t count, bool known)
{
	for (uint32_t w = idset_from(&l->widths, count); w != BUCKETS_NONE; w = idset_from(&l->widths, w + 1))
		for (uint32_t g = 0; (g = idset_from(&l->set[w], g)) != BUCKETS_NONE; g++)
			if (!known || l->known[g])
				return g;
	return BUCKETS_NONE;
}

/* The first `count` wholly free nodes of a group. */
static uint32_t *take_from(const struct buckets *b, const struct level *l, uint32_t group, uint32_t count,
			   uint32_t *ret_nodes)
{
	uint32_t node = l->begin[group];

	for (uint32_t i = 0; i < count; i++) {
		node = idset_from(&b->whole, node);
		ENSURE(node < l->begin[group + 1]);
		*ret_nodes++ = node++;
	}
	return ret_nodes;
}

static uint32_t *spread(const struct buckets *b, enum bucket_level level, uint32_t count, uint32_t from, uint32_t to,
			uint32_t *ret_nodes);

/* `count` nodes of one group, which has them, in as few leaves as possible. */
static uint32_t *gather(const struct buckets *b, enum bucket_level level, uint32_t g, uint32_t count,
			uint32_t *ret_nodes)
{
	const struct level *l = &b->level[LEVEL_LEAF], *p = &b->level[LEVEL_POD];

	if (level == LEVEL_LEAF)
		return take_from(b, l, g, count, ret_nodes);
	return spread(b, LEVEL_LEAF, count, l->of[p->begin[g]], l->of[p->begin[g + 1] - 1] + 1, ret_nodes);
}

/* `count` nodes, of which there are enough in the groups [from, to): all of the fullest, one after the
 * other, the rest from the group that it fits best. */
static uint32_t *spread(const struct buckets *b, enum bucket_level level, uint32_t count, uint32_t from, uint32_t to,
			uint32_t *ret_nodes)
{
	const struct level *l = &b->level[level];
	uint32_t width = l->widest, next = from, g;

	for (;;) {
		/* the fullest unused group: all wider ones are used, and those of its width before it */
		while ((g = idset_from(&l->set[width], next)) >= to) {
			width = idset_below(&l->widths, width);
			ENSURE(width != BUCKETS_NONE); /* somebody said there are enough */
			next = from;
		}
		if (width >= count)
			break;
		ret_nodes = take_from(b, l, g, width, ret_nodes);
		count -= width;
		next = g + 1;
	}
	for (uint32_t w = idset_from(&l->widths, count); w < width; w = idset_from(&l->widths, w + 1)) {
		uint32_t tight = idset_from(&l->set[w], from);

		if (tight < to) {
			g = tight;
			break;
		}
	}
	return gather(b, level, g, count, ret_nodes);
}

bool buckets_gang(const struct buckets *b, uint32_t count, enum bucket_level within, uint32_t *ret_nodes)
{
	ENSURE(count >= 1);
	if (count > b->whole_n)
		return false;
	for (enum bucket_level k = LEVEL_LEAF; k <= within && k < LEVELS; k++) {
		const struct level *l = &b->level[k];
		uint32_t g = tightest(l, count, within != LEVELS);

		if (g != BUCKETS_NONE) {
			(void)gather(b, k, g, count, ret_nodes);
			return true;
		}
	}
	if (within != LEVELS)
		return false;
	(void)spread(b, LEVEL_POD, count, 0, b->level[LEVEL_POD].groups_n, ret_nodes);
	return true;
}

void buckets_check(const struct buckets *b)
{
	uint64_t free_sum = 0;
	uint32_t whole_n = 0;

	for (uint32_t i = 0; i < b->nodes_n; i++) {
		free_sum += b->key[i].free;
		whole_n += b->key[i].whole;
		ENSURE(idset_has(&b->whole, i) == b->key[i].whole);
		ENSURE((b->in[i] == BUCKETS_NONE) == (b->key[i].free == 0));
		ENSURE(b->in[i] == BUCKETS_NONE || packed(&b->bucket[b->in[i]].key) == packed(&b->key[i]));
	}
	ENSURE(free_sum == b->free_sum);
	ENSURE(whole_n == b->whole_n);
	for (uint32_t k = 0; k < b->buckets_n; k++) {
		const struct idset *s = &b->bucket[k].nodes;
		uint32_t n = 0;

		for (uint32_t i = 0; i < b->nodes_n; i++) {
			ENSURE(idset_has(s, i) == (b->in[i] == k));
			n += b->in[i] == k;
		}
		ENSURE(n == b->bucket[k].n);
		ENSURE(idset_has(&b->live, k) == (n > 0));
		for (uint32_t w = 0; w < s->words; w++)
			ENSURE((s->word[w] != 0) == (s->summary[w / BITS] >> w % BITS & 1));
	}
	for (int k = 0; k < LEVELS; k++) {
		const struct level *l = &b->level[k];

		for (uint32_t g = 0; g < l->groups_n; g++) {
			uint32_t whole = 0, free = 0;

			for (uint32_t i = l->begin[g]; i < l->begin[g + 1]; i++) {
				whole += b->key[i].whole;
				free += b->key[i].free;
			}
			ENSURE(whole == l->whole[g]);
			ENSURE(free == l->free[g]);
			for (uint32_t w = 1; w <= l->widest; w++)
				ENSURE(idset_has(&l->set[w], g) == (w == whole));
		}
		for (uint32_t w = 1; w <= l->widest; w++)
			ENSURE(idset_has(&l->widths, w) == (l->width_n[w] > 0));
	}
}
