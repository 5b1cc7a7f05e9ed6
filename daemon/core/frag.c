/* frag.c - see frag.h */
#include "daemon/core/frag.h"

#include <string.h>

#include "proto/base/ensure.h"

/* 1000 ln(p / (1 - p)) at p = 1/100, 2/100, ... 49/100: a gradient in milli-devices scores 100 sigmoid(g / 1000),
 * cut to an integer. The upper half mirrors it. */
static const int32_t logit_100[49] = {
	-4595, -3892, -3476, -3178, -2944, -2752, -2587, -2442, -2314, -2197, -2091, -1992, -1901, -1815,
	-1735, -1658, -1586, -1516, -1450, -1386, -1325, -1266, -1208, -1153, -1099, -1046, -995, -944,
	-895, -847, -800, -754, -708, -663, -619, -575, -532, -490, -447, -405, -364, -323, -282, -241,
	-201, -160, -120, -80, -40,
};

/* Can the devices of `n` take `s`? */
static bool devices_fit(const struct frag_node *n, const struct frag_shape *s)
{
	int32_t found = 0;

	for (int32_t i = 0; i < n->devices && found < s->devices; i++)
		found += n->device_milli[i] >= s->device_milli;
	return found >= s->devices;
}

bool frag_fits(const struct frag_node *n, const struct frag_shape *s)
{
	if (n->cpu_milli < s->cpu_milli || n->memory_mib < s->memory_mib)
		return false;
	return s->devices == 0 || ((s->models & n->model) && devices_fit(n, s));
}

int64_t frag_left(const struct frag_node *n)
{
	int64_t left = 0;

	for (int32_t i = 0; i < n->devices; i++)
		left += n->device_milli[i];
	return left;
}

int64_t frag_lost(const struct frag_mix *mix, const struct frag_node *n)
{
	int64_t left = frag_left(n), sum = 0;

	if (left == 0)
		return 0;
	for (size_t t = 0; t < mix->n; t++) {
		const struct frag_shape *s = &mix->typical[t].shape;
		int64_t lost = left;

		if (s->devices > 0 && n->cpu_milli >= s->cpu_milli && (s->models & n->model) && devices_fit(n, s)) {
			lost = 0;
			for (int32_t i = 0; i < n->devices; i++)
				lost += n->device_milli[i] < s->device_milli ? n->device_milli[i] : 0;
		}
		sum += lost * mix->typical[t].weight;
	}
	return sum;
}

void frag_take(struct frag_node *n, const struct frag_shape *s, int32_t at)
{
	int32_t wanted = s->devices;

	n->cpu_milli -= s->cpu_milli;
	n->memory_mib -= s->memory_mib;
	if (frag_is_share(s)) {
		n->device_milli[at] -= s->device_milli;
		return;
	}
	for (int32_t i = 0; i < n->devices && wanted > 0; i++) {
		if (n->device_milli[i] == FRAG_DEVICE) {
			n->device_milli[i] = 0;
			wanted--;
		}
	}
	ENSURE(wanted == 0);
}

struct frag_node frag_after(const struct frag_node *n, const struct frag_shape *s, int32_t at)
{
	struct frag_node after;

	/* most nodes have a few of all the devices there is room for */
	memcpy(&after, n, offsetof(struct frag_node, device_milli) + (size_t)n->devices * sizeof *n->device_milli);
	frag_take(&after, s, at);
	return after;
}

int16_t frag_steps(int64_t gradient, int64_t weight)
{
	int16_t low = 0, high = FRAG_STEPS - 1;

	while (low < high) { /* the number of thresholds at or below the gradient */
		int16_t mid = (int16_t)((low + high) / 2);
		int64_t at = mid < 49 ? logit_100[mid] : mid == 49 ? 0 : -logit_100[98 - mid];

		if (gradient >= at * weight)
			low = (int16_t)(mid + 1);
		else
			high = mid;
	}
	return low;
}
