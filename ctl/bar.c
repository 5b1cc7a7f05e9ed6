/* bar.c - see bar.h */
#include "ctl/bar.h"

#include "proto/base/ensure.h"

enum { DEVICES_MAX = 1 << 30 }; /* of a side; far above any cluster, so that sums never overflow */

static int64_t at_least_zero(int64_t v) { return v > DEVICES_MAX ? DEVICES_MAX : v > 0 ? v : 0; }

static int64_t cells_up(int64_t devices, int64_t cell) { return devices / cell + (devices % cell != 0); }

int64_t bar_cell(const struct bar_side *sides, uint32_t n, uint32_t width)
{
	int64_t cell = 1;

	ENSURE(width > 0);
	for (uint32_t i = 0; i < n; i++)
		while (cells_up(at_least_zero(sides[i].nominal), cell) + cells_up(at_least_zero(sides[i].loan), cell) >
			       (int64_t)width)
			cell *= 2;
	return cell;
}

/* Give `total` cells to three parts by largest remainder. */
static void share(const int64_t part[3], int64_t cell, uint32_t total, uint32_t ret[3])
{
	int64_t rest[3];
	uint32_t given = 0;

	for (int i = 0; i < 3; i++) {
		ret[i] = (uint32_t)(part[i] / cell);
		rest[i] = part[i] % cell;
		given += ret[i];
	}
	for (; given < total; given++) {
		int best = 0;

		for (int i = 1; i < 3; i++)
			if (rest[i] > rest[best])
				best = i;
		rest[best] = -1;
		ret[best]++;
	}
	for (int i = 0; i < 3; i++) { /* nothing that is there vanishes */
		int most = 0;

		for (int k = 1; k < 3; k++)
			if (ret[k] > ret[most])
				most = k;
		if (part[i] && !ret[i] && ret[most] > 1) {
			ret[i]++;
			ret[most]--;
		}
	}
}

struct bar_cells bar_cells(const struct bar_side *side, int64_t cell)
{
	int64_t nominal = at_least_zero(side->nominal), used = at_least_zero(side->guaranteed);
	int64_t lent = at_least_zero(side->lent), part[3];
	uint32_t n[3];

	ENSURE(cell > 0);
	/* More can be in use than is promised while a lower nominal settles: the row grows with it. */
	if (used > nominal)
		nominal = used;
	if (lent > nominal - used)
		lent = nominal - used;
	part[0] = used;
	part[1] = lent;
	part[2] = nominal - used - lent;
	share(part, cell, (uint32_t)cells_up(nominal, cell), n);
	return (struct bar_cells){.guaranteed = n[0], .lent = n[1], .free = n[2],
				  .loan = (uint32_t)cells_up(at_least_zero(side->loan), cell)};
}

static void repeat(struct buf *out, const char *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		buf_addf(out, "%s", s);
}

void bar_text(const struct bar_cells *cells, bool ascii, struct buf *out)
{
	repeat(out, ascii ? "#" : "█", cells->guaranteed);
	repeat(out, ascii ? "-" : "▒", cells->lent);
	repeat(out, ascii ? "." : "·", cells->free);
	repeat(out, ascii ? "=" : "░", cells->loan);
}
