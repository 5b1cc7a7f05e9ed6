/* pending.c - the newest version of state records that are not in the state table yet */
#include "proto/logfile/pending.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/ensure.h"

static size_t hash_key(uint8_t kind, uint64_t id)
{
	uint64_t x = id + ((uint64_t)kind << 56) + UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (size_t)(x ^ x >> 31);
}

void pending_done(struct pending *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->v[i].val);
	free(p->v);
	free(p->slot);
	*p = (struct pending){0};
}

void pending_clear(struct pending *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->v[i].val);
	p->n = 0;
	p->bytes = 0;
	if (p->slots)
		memset(p->slot, 0, p->slots * sizeof(*p->slot));
}

/* The slot that holds (kind, id), or the free one where it belongs. */
static size_t find_slot(const struct pending *p, uint8_t kind, uint64_t id)
{
	size_t i = hash_key(kind, id) & (p->slots - 1);

	while (p->slot[i]) {
		const struct pending_entry *e = &p->v[p->slot[i] - 1];

		if (e->id == id && e->kind == kind)
			break;
		i = (i + 1) & (p->slots - 1);
	}
	return i;
}

static void grow(struct pending *p)
{
	size_t slots = p->slots ? 2 * p->slots : 256;

	free(p->slot);
	p->slot = xcalloc(slots, sizeof(*p->slot));
	p->slots = slots;
	for (size_t i = 0; i < p->n; i++)
		p->slot[find_slot(p, p->v[i].kind, p->v[i].id)] = (uint32_t)(i + 1);
}

const struct pending_entry *pending_find(const struct pending *p, uint8_t kind, uint64_t id)
{
	uint32_t e = p->slots ? p->slot[find_slot(p, kind, id)] : 0;

	return e ? &p->v[e - 1] : NULL;
}

static struct pending_entry *entry_for(struct pending *p, uint8_t kind, uint64_t id)
{
	size_t i;

	if (p->n + 1 > p->slots / 2)
		grow(p);
	i = find_slot(p, kind, id);
	if (p->slot[i])
		return &p->v[p->slot[i] - 1];
	if (p->n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 128;
		p->v = xrealloc(p->v, p->cap * sizeof(*p->v));
	}
	ENSURE(p->n < UINT32_MAX);
	p->v[p->n] = (struct pending_entry){.id = id, .kind = kind};
	p->slot[i] = (uint32_t)++p->n;
	return &p->v[p->n - 1];
}

void pending_set(struct pending *p, const struct store_fact *f,
		 const uint8_t hash[STORE_HASH_BYTES])
{
	struct pending_entry *e = entry_for(p, f->kind, f->id);

	p->bytes -= e->cap;
	if (!f->val) {
		free(e->val);
		e->val = NULL;
		e->len = e->cap = 0;
		return;
	}
	if (!e->val || f->len > e->cap) {
		/* At least one byte: an empty value is not a delete. */
		e->cap = f->len ? f->len : 1;
		e->val = xrealloc(e->val, e->cap);
	}
	if (f->len > 0)
		memcpy(e->val, f->val, f->len);
	e->len = f->len;
	memcpy(e->hash, hash, STORE_HASH_BYTES);
	p->bytes += e->cap;
}

static int by_key(const void *va, const void *vb)
{
	const struct pending_entry *a = va, *b = vb;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

void pending_sort(struct pending *p)
{
	if (p->n > 1)
		qsort(p->v, p->n, sizeof(*p->v), by_key);
}
