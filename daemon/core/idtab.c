/* idtab.c - see idtab.h */
#include "daemon/core/idtab.h"

#include "proto/base/buf.h"
#include "proto/base/ensure.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_BITS = 8, PAGE_SLOTS = 1 << PAGE_BITS, PAGE_WORDS = PAGE_SLOTS / 64 };
struct idtab_page {
	uint64_t base; /* id >> PAGE_BITS */
	uint32_t used;
	uint64_t set[PAGE_WORDS];
	void *slot[PAGE_SLOTS];
};

/* Index of the first page with base >= `base`. */
static uint32_t page_lower(const struct idtab *t, uint64_t base)
{
	uint32_t lo = 0, hi = t->pages_n;

	if (hi && t->pages[hi - 1]->base <= base) /* the latest, and the common append */
		return hi - (t->pages[hi - 1]->base == base);
	/* no page stands further from the first than its base does: where none is missing between them, right there */
	if (hi && base >= t->pages[0]->base && base - t->pages[0]->base < hi) {
		hi = (uint32_t)(base - t->pages[0]->base);
		if (t->pages[hi]->base == base)
			return hi;
	}
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (t->pages[mid]->base < base)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void *idtab_get(const struct idtab *t, uint64_t id)
{
	uint32_t i = page_lower(t, id >> PAGE_BITS);

	if (i == t->pages_n || t->pages[i]->base != id >> PAGE_BITS)
		return NULL;
	return t->pages[i]->slot[id & (PAGE_SLOTS - 1)];
}

void *idtab_set(struct idtab *t, uint64_t id, void *obj)
{
	uint64_t base = id >> PAGE_BITS;
	uint32_t slot = (uint32_t)(id & (PAGE_SLOTS - 1));
	uint32_t i = page_lower(t, base);
	struct idtab_page *page;
	void *old;

	ENSURE(id != 0);
	if (i == t->pages_n || t->pages[i]->base != base) {
		if (!obj)
			return NULL;
		if (t->pages_n == t->pages_cap) {
			t->pages_cap = t->pages_cap ? t->pages_cap * 2 : 8;
			t->pages = xrealloc(t->pages, t->pages_cap * sizeof *t->pages);
		}
		memmove(&t->pages[i + 1], &t->pages[i], (t->pages_n - i) * sizeof *t->pages);
		t->pages[i] = xcalloc(1, sizeof *page);
		t->pages[i]->base = base;
		t->pages_n++;
	}
	page = t->pages[i];
	old = page->slot[slot];
	page->slot[slot] = obj;
	if (obj && !old) {
		page->used++;
		t->count++;
		page->set[slot / 64] |= UINT64_C(1) << (slot % 64);
	} else if (!obj && old) {
		page->used--;
		t->count--;
		page->set[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
	}
	if (!page->used) {
		free(page);
		memmove(&t->pages[i], &t->pages[i + 1], (t->pages_n - i - 1) * sizeof *t->pages);
		t->pages_n--;
	}
	return old;
}

uint64_t idtab_next(const struct idtab *t, uint64_t after, void **ret_obj)
{
	uint64_t from = after + 1;

	if (from == 0)
		return 0;
	for (uint32_t i = page_lower(t, from >> PAGE_BITS); i < t->pages_n; i++) {
		const struct idtab_page *page = t->pages[i];
		uint32_t slot = page->base == from >> PAGE_BITS ? (uint32_t)(from & (PAGE_SLOTS - 1)) : 0, w = slot / 64;
		uint64_t bits = page->set[w] & ~UINT64_C(0) << (slot % 64);

		while (!bits && ++w < PAGE_WORDS)
			bits = page->set[w];
		if (!bits)
			continue;
		slot = w * 64 + (uint32_t)__builtin_ctzll(bits);
		if (ret_obj)
			*ret_obj = page->slot[slot];
		return page->base << PAGE_BITS | slot;
	}
	return 0;
}

void idtab_done(struct idtab *t)
{
	for (uint32_t i = 0; i < t->pages_n; i++)
		free(t->pages[i]);
	free(t->pages);
	*t = (struct idtab){0};
}
