/* forecast.h - by how much the leases of a flavor may grow before a loan is back
 *
 * Watched is the sum of what firm leases have or are fetching. A window of w spans begins with each span: its growth is
 * the most leased in the w spans that follow, less the most leased in the first one. Growth is counted in
 * buckets that widen with it (two per doubling), per window, with weights that fade by 1/FORECAST_FADE a span: half of
 * what counts is of the last four hours, and after three days nothing is left.
 *
 * A device is wanted back within a window with a chance of more than `risk` if the leases grew into it in more than that
 * share of the windows seen. So forecast_growth() is the (1 - risk) quantile.
 *
 * What it says is used to keep devices free of loans that would be recalled soon (headroom.c). It decides no lease, and
 * no certificate asks it: an error costs use of a device, or work that is done again.
 *
 * No season is kept: in two weeks of ServeGen's m-large the growth of the next four hours correlates with that of the day
 * before by -0.01 and of the week before by 0.03, and the same hour of past days beside the last hours made loans wait longer
 * for the same loss (tests/FIGURES.md).
 *
 * Source: quantiles of fading histograms as in Autopilot (Rzadca et al., EuroSys 2020).
 */
#ifndef SLUIS_DAEMON_CORE_FORECAST_H
#define SLUIS_DAEMON_CORE_FORECAST_H

#include <stdbool.h>

#include "proto/base/buf.h"
#include "proto/base/instant.h"
#include "proto/model/forecast.h"

#define FORECAST_SPAN_MS (5 * MS_PER_MIN)
enum {
	FORECAST_FADE = 72,    /* spans: six hours */
	FORECAST_ONE = 1 << 16 /* weight of a window that was seen just now */
};

/* Length of a window in spans: 5, 10, 30 min, 1, 2, 4 h. */
uint32_t forecast_window_spans(uint32_t window);

/* Count the spans up to and with `span`: in those before it the level was what `old` says (NULL: nothing is known), in
 * `span` itself at most `peak` devices were leased, at its end `level`. Lists of *ret are made in `arena`.
 * `old->span` < span. O(spans that are new, at most FORECAST_FADE × 16). */
void forecast_add(const struct forecast *old, int64_t span, uint32_t peak, uint32_t level, struct arena *arena,
		  struct forecast *ret);

/* Devices by which the leases grew at most in all but `risk_ppm` of the windows; what was not seen yet is 0. */
uint32_t forecast_growth(const struct forecast *f, uint32_t window, uint32_t risk_ppm);

/* Is there growth in it that has yet to fade? */
bool forecast_lives(const struct forecast *f);

#endif
