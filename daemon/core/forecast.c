/* forecast.c - see forecast.h
 *
 * Invariants:
 *  - counts stand in order and have weight; the weights of a window sum to less than FORECAST_FADE × FORECAST_ONE
 *  - peaks are of consecutive spans, the last one `span`
 */
#include "daemon/core/forecast.h"

#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/minmax.h"

static const uint32_t WINDOW[FORECAST_WINDOWS] = {1, 2, 6, 12, 24, 48};
_Static_assert(FORECAST_PEAKS_MAX == 48, "the longest window begins with the oldest span");
_Static_assert((uint64_t)FORECAST_FADE * FORECAST_ONE < UINT32_MAX, "a weight fits");

/* All of it, spread out. */
struct spread {
	uint32_t weight[FORECAST_WINDOWS][FORECAST_BUCKETS];
	uint32_t peak[FORECAST_PEAKS_MAX];
	uint32_t peaks_n;
};

uint32_t forecast_window_spans(uint32_t window)
{
	ENSURE(window < FORECAST_WINDOWS);
	return WINDOW[window];
}

/* 0, 1, 2, 3, 4-5, 6-7, 8-11, 12-15, … */
static uint32_t bucket_of(uint32_t devices)
{
	uint32_t top;

	if (devices <= 2)
		return devices;
	top = 31 - (uint32_t)__builtin_clz(devices);
	return 2 * top + (devices >> (top - 1) & 1);
}

static uint32_t bucket_most(uint32_t bucket)
{
	uint32_t step = bucket <= 2 ? 1 : UINT32_C(1) << (bucket / 2 - 1);

	return bucket <= 2 ? bucket : (2 + bucket % 2) * step + step - 1;
}

static void span_add(struct spread *s, uint32_t peak)
{
	for (uint32_t w = 0; w < FORECAST_WINDOWS; w++) {
		uint32_t most = peak, first;

		if (s->peaks_n < WINDOW[w])
			continue;
		first = s->peaks_n - WINDOW[w];
		for (uint32_t i = first; i < s->peaks_n; i++)
			most = s->peak[i] > most ? s->peak[i] : most;
		for (uint32_t b = 0; b < FORECAST_BUCKETS; b++) {
			s->weight[w][b] -= s->weight[w][b] / FORECAST_FADE;
			if (s->weight[w][b] < FORECAST_ONE / 64)
				s->weight[w][b] = 0;
		}
		s->weight[w][bucket_of(most - s->peak[first])] += FORECAST_ONE;
	}
	if (s->peaks_n == FORECAST_PEAKS_MAX)
		memmove(s->peak, s->peak + 1, --s->peaks_n * sizeof *s->peak);
	s->peak[s->peaks_n++] = peak;
}

void forecast_add(const struct forecast *old, int64_t span, uint32_t peak, uint32_t level, struct arena *arena,
		  struct forecast *ret)
{
	struct spread s = {0};
	int64_t still = 0;

	if (old) {
		ENSURE(old->span < span);
		for (; s.peaks_n < old->peaks_n; s.peaks_n++)
			s.peak[s.peaks_n] = old->peaks[s.peaks_n].devices;
		for (uint32_t i = 0; i < old->counts_n; i++)
			s.weight[old->counts[i].window][old->counts[i].bucket] = old->counts[i].weight;
		still = min64(span - old->span - 1, FORECAST_FADE * 16); /* after so many nothing changes any more */
	}
	while (still-- > 0)
		span_add(&s, old->level);
	span_add(&s, peak);
	*ret = (struct forecast){.flavor = old ? old->flavor : 0, .span = span, .level = level, .peaks_n = s.peaks_n};
	ret->peaks = arena_alloc(arena, s.peaks_n * sizeof *ret->peaks);
	for (uint32_t i = 0; i < s.peaks_n; i++)
		ret->peaks[i].devices = s.peak[i];
	ret->counts = arena_alloc(arena, FORECAST_WINDOWS * FORECAST_BUCKETS * sizeof *ret->counts);
	for (uint32_t w = 0; w < FORECAST_WINDOWS; w++)
		for (uint32_t b = 0; b < FORECAST_BUCKETS; b++)
			if (s.weight[w][b])
				ret->counts[ret->counts_n++] =
					(struct forecast_count){(uint8_t)w, (uint8_t)b, s.weight[w][b]};
}

uint32_t forecast_growth(const struct forecast *f, uint32_t window, uint32_t risk_ppm)
{
	uint64_t sum = 0, below = 0;

	for (uint32_t i = 0; i < f->counts_n; i++)
		sum += f->counts[i].window == window ? f->counts[i].weight : 0;
	for (uint32_t i = 0; i < f->counts_n; i++) {
		if (f->counts[i].window != window)
			continue;
		below += f->counts[i].weight;
		if ((sum - below) * 1000000 <= sum * risk_ppm)
			return bucket_most(f->counts[i].bucket);
	}
	return 0;
}

bool forecast_lives(const struct forecast *f)
{
	for (uint32_t i = 0; i < f->counts_n; i++)
		if (f->counts[i].bucket)
			return true;
	return false;
}
