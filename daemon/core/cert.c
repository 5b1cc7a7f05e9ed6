/* cert.c - see cert.h
 *
 * Invariants (tests/unit/test_cert.c holds them against exhaustive search):
 *  - cert_holds ⇔ some assignment of demands to cells gives each one in time, no cell more than its size
 *  - devices of one node cut into cells serve exactly the demands whose sizes sum up to no more
 */
#include "daemon/core/cert.h"

#include "proto/base/ensure.h"
#include "proto/base/minmax.h"

#include <string.h>

struct cert_levels cert_levels(uint32_t devices_per_node)
{
	struct cert_levels l = {0};

	ENSURE(devices_per_node);
	for (uint32_t s = 1; s < devices_per_node && devices_per_node % s == 0 && l.n < CERT_LEVELS_MAX - 1; s *= 2)
		l.size[l.n++] = s;
	l.size[l.n++] = devices_per_node;
	return l;
}

uint32_t cert_level_of(const struct cert_levels *levels, uint32_t devices)
{
	uint32_t l = 0;

	while (l + 1 < levels->n && levels->size[l] < devices)
		l++;
	return l;
}

void cert_cut(const struct cert_levels *levels, uint32_t devices, bool whole, int64_t sign,
	      int64_t counts[CERT_LEVELS_MAX])
{
	uint32_t top = levels->n - 1;

	if (whole) {
		counts[top] += sign;
		return;
	}
	for (uint32_t l = top > 0 ? top : 1; l-- > 0;) {
		counts[l] += sign * (int64_t)(devices / levels->size[l]);
		devices %= levels->size[l];
	}
}

/* Split `units` cells of level `from` into the largest cells below level `to`. */
static void split(const struct cert_levels *levels, uint32_t from, uint32_t to, int64_t units, int64_t *free)
{
	for (uint32_t l = to; l-- > from && units;) {
		int64_t each = levels->size[l] / levels->size[from];

		free[l] += units / each;
		units %= each;
	}
}

bool cert_holds(const struct cert_levels *levels, uint32_t classes, const struct cert_cells *supply,
		const struct cert_cells *demand, struct cert_short *ret)
{
	int64_t free[CERT_LEVELS_MAX] = {0};
	struct cert_short tight = {0};

	for (uint32_t k = 0; k < classes; k++) {
		for (uint32_t l = 0; l < levels->n; l++)
			free[l] += supply->n[k][l];
		for (uint32_t l = levels->n; l-- > 0;) {
			int64_t need = demand->n[k][l];

			for (uint32_t j = l; need && j < levels->n; j++) {
				int64_t each = levels->size[j] / levels->size[l];
				int64_t cells = min64(free[j], need / each + (need % each != 0));

				free[j] -= cells;
				if (cells * each > need) {
					split(levels, l, j, cells * each - need, free);
					need = 0;
				} else {
					need -= cells * each;
				}
			}
			if (!need)
				continue;
			if (!tight.devices) {
				tight.class = k;
				tight.level = l;
				tight.cells = need;
			}
			tight.devices += need * levels->size[l];
		}
	}
	if (ret)
		*ret = tight;
	return !tight.devices;
}
