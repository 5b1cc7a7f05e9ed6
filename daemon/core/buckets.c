/* buckets.c - see buckets.h
 *
 * Invariants (buckets_check):
 *  - a node in service with k > 0 free devices is in nodes[k] and in no other set
 *  - a leaf with w > 0 wholly free nodes is in leaves[w] and in no other set
 *  - levels and widths hold exactly the numbers whose set is not empty
 */
#include "daemon/core/buckets.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"

enum { BITS = 64 };
_Static_assert(DEVICES_PER_NODE_MAX < BUCKETS_OUT, "a count of devices is no marker");

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

/* The greatest member, or BUCKETS_NONE. */
static uint32_t idset_last(const struct idset *s)
{
	for (uint32_t top = words_for(s->words); top-- > 0;) {
		if (s->summary[top]) {
			uint32_t w = top * BITS + BITS - 1 - (uint32_t)__builtin_clzll(s->summary[top]);

			return w * BITS + BITS - 1 - (uint32_t)__builtin_clzll(s->word[w]);
		}
	}
	return BUCKETS_NONE;
}

void buckets_init(struct buckets *b, uint32_t nodes_n, uint32_t devices, const uint32_t *leaf_of)
{
	ENSURE(nodes_n > 0);
	ENSURE(devices >= 1);
	ENSURE(devices <= DEVICES_PER_NODE_MAX);
	*b = (struct buckets){.nodes_n = nodes_n, .devices = devices, .leaves_n = leaf_of[nodes_n - 1] + 1};
	b->free = xmalloc(nodes_n);
	memset(b->free, BUCKETS_OUT, nodes_n);
	b->leaf_of = xmalloc(nodes_n * sizeof *b->leaf_of);
	b->leaf_begin = xcalloc((size_t)b->leaves_n + 1, sizeof *b->leaf_begin);
	b->whole = xcalloc(b->leaves_n, sizeof *b->whole);
	for (uint32_t i = 0; i < nodes_n; i++) {
		ENSURE(i == 0 ? leaf_of[i] == 0 : leaf_of[i] - leaf_of[i - 1] <= 1);
		b->leaf_of[i] = leaf_of[i];
		if (i == 0 || leaf_of[i] != leaf_of[i - 1])
			b->leaf_begin[leaf_of[i]] = i;
	}
	b->leaf_begin[b->leaves_n] = nodes_n;
	for (uint32_t l = 0; l < b->leaves_n; l++)
		if (b->leaf_begin[l + 1] - b->leaf_begin[l] > b->widest)
			b->widest = b->leaf_begin[l + 1] - b->leaf_begin[l];
	b->nodes = xcalloc((size_t)devices + 1, sizeof *b->nodes);
	b->level_n = xcalloc((size_t)devices + 1, sizeof *b->level_n);
	for (uint32_t k = 1; k <= devices; k++)
		idset_init(&b->nodes[k], nodes_n);
	idset_init(&b->levels, devices + 1);
	b->leaves = xcalloc((size_t)b->widest + 1, sizeof *b->leaves);
	b->width_n = xcalloc((size_t)b->widest + 1, sizeof *b->width_n);
	for (uint32_t w = 1; w <= b->widest; w++)
		idset_init(&b->leaves[w], b->leaves_n);
	idset_init(&b->widths, b->widest + 1);
}

void buckets_done(struct buckets *b)
{
	for (uint32_t k = 1; b->nodes && k <= b->devices; k++)
		idset_done(&b->nodes[k]);
	for (uint32_t w = 1; b->leaves && w <= b->widest; w++)
		idset_done(&b->leaves[w]);
	idset_done(&b->levels);
	idset_done(&b->widths);
	free(b->nodes);
	free(b->level_n);
	free(b->leaves);
	free(b->width_n);
	free(b->free);
	free(b->leaf_of);
	free(b->leaf_begin);
	free(b->whole);
	*b = (struct buckets){0};
}

/* Put `id` into sets[k] or take it out; `index` holds the k whose set is not empty. */
static void enter(struct idset *sets, struct idset *index, uint32_t *size, uint32_t k, uint32_t id)
{
	idset_add(&sets[k], id);
	if (size[k]++ == 0)
		idset_add(index, k);
}

static void leave(struct idset *sets, struct idset *index, uint32_t *size, uint32_t k, uint32_t id)
{
	idset_drop(&sets[k], id);
	if (--size[k] == 0)
		idset_drop(index, k);
}

static void set_whole(struct buckets *b, uint32_t leaf, uint32_t whole)
{
	if (b->whole[leaf])
		leave(b->leaves, &b->widths, b->width_n, b->whole[leaf], leaf);
	b->whole[leaf] = whole;
	if (whole)
		enter(b->leaves, &b->widths, b->width_n, whole, leaf);
}

static void move(struct buckets *b, uint32_t node, uint8_t to)
{
	uint8_t from = b->free[node];
	uint32_t leaf = b->leaf_of[node];

	if (from == to)
		return;
	if (from != BUCKETS_OUT && from > 0)
		leave(b->nodes, &b->levels, b->level_n, from, node);
	b->free[node] = to;
	if (to != BUCKETS_OUT && to > 0)
		enter(b->nodes, &b->levels, b->level_n, to, node);
	if (from == b->devices)
		set_whole(b, leaf, b->whole[leaf] - 1);
	else if (to == b->devices)
		set_whole(b, leaf, b->whole[leaf] + 1);
}

void buckets_put(struct buckets *b, uint32_t node, uint32_t free)
{
	ENSURE(node < b->nodes_n);
	ENSURE(free <= b->devices);
	move(b, node, (uint8_t)free);
}

void buckets_out(struct buckets *b, uint32_t node)
{
	ENSURE(node < b->nodes_n);
	move(b, node, BUCKETS_OUT);
}

uint32_t buckets_pick(const struct buckets *b, uint32_t need)
{
	uint32_t level;

	ENSURE(need >= 1);
	ENSURE(need <= b->devices);
	level = idset_from(&b->levels, need);
	return level == BUCKETS_NONE ? BUCKETS_NONE : idset_from(&b->nodes[level], 0);
}

uint32_t buckets_next(const struct buckets *b, uint32_t node)
{
	uint32_t level, next;

	ENSURE(node < b->nodes_n);
	level = b->free[node];
	ENSURE(level >= 1);
	ENSURE(level <= b->devices);
	next = idset_from(&b->nodes[level], node + 1);
	if (next != BUCKETS_NONE)
		return next;
	level = idset_from(&b->levels, level + 1);
	return level == BUCKETS_NONE ? BUCKETS_NONE : idset_from(&b->nodes[level], 0);
}

uint32_t buckets_whole(const struct buckets *b) { return b->level_n[b->devices]; }

uint32_t buckets_widest(const struct buckets *b)
{
	uint32_t w = idset_last(&b->widths);

	return w == BUCKETS_NONE ? 0 : w;
}

/* The first `count` wholly free nodes of `leaf`. */
static uint32_t *take_from(const struct buckets *b, uint32_t leaf, uint32_t count, uint32_t *ret_nodes)
{
	uint32_t node = b->leaf_begin[leaf];

	for (uint32_t i = 0; i < count; i++) {
		node = idset_from(&b->nodes[b->devices], node);
		ENSURE(node < b->leaf_begin[leaf + 1]);
		*ret_nodes++ = node++;
	}
	return ret_nodes;
}

int buckets_gang(const struct buckets *b, uint32_t count, bool one_leaf, uint32_t *ret_nodes, struct err *err)
{
	uint32_t width, leaf;

	ENSURE(count >= 1);
	if (count > buckets_whole(b))
		return err_set(err, ERR_NOROOM, "%u whole nodes are needed, %u are free", count, buckets_whole(b));
	if (one_leaf && count > buckets_widest(b))
		return err_set(err, ERR_NOROOM, "%u whole nodes are needed in one leaf, at most %u are free in one", count,
			       buckets_widest(b));
	/* The widest unused leaf is the next one of `width` after `leaf`: all wider ones are used. */
	width = buckets_widest(b);
	leaf = BUCKETS_NONE;
	for (;;) {
		uint32_t next = idset_from(&b->leaves[width], leaf == BUCKETS_NONE ? 0 : leaf + 1), tight;

		if (next == BUCKETS_NONE) {
			do {
				width--;
				ENSURE(width > 0); /* buckets_whole() said there are enough */
			} while (b->width_n[width] == 0);
			leaf = BUCKETS_NONE;
		} else if (width < count) { /* all of it, and more */
			ret_nodes = take_from(b, next, width, ret_nodes);
			count -= width;
			leaf = next;
		} else { /* the rest, from the leaf that fits it best */
			tight = idset_from(&b->widths, count);
			(void)take_from(b, tight < width ? idset_from(&b->leaves[tight], 0) : next, count, ret_nodes);
			return 0;
		}
	}
}

void buckets_check(const struct buckets *b)
{
	for (uint32_t k = 1; k <= b->devices; k++) {
		uint32_t n = 0;

		for (uint32_t i = 0; i < b->nodes_n; i++) {
			bool in = b->nodes[k].word[i / BITS] >> i % BITS & 1;

			ENSURE(in == (b->free[i] == k));
			n += in;
		}
		ENSURE(n == b->level_n[k]);
		ENSURE((idset_from(&b->levels, k) == k) == (n > 0));
		for (uint32_t w = 0; w < b->nodes[k].words; w++)
			ENSURE((b->nodes[k].word[w] != 0) == (b->nodes[k].summary[w / BITS] >> w % BITS & 1));
	}
	for (uint32_t l = 0; l < b->leaves_n; l++) {
		uint32_t whole = 0;

		for (uint32_t i = b->leaf_begin[l]; i < b->leaf_begin[l + 1]; i++)
			whole += b->free[i] == b->devices;
		ENSURE(whole == b->whole[l]);
		for (uint32_t w = 1; w <= b->widest; w++)
			ENSURE((b->leaves[w].word[l / BITS] >> l % BITS & 1) == (w == whole));
	}
	for (uint32_t w = 1; w <= b->widest; w++)
		ENSURE((idset_from(&b->widths, w) == w) == (b->width_n[w] > 0));
}
