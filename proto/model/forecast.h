/* forecast.h - what is known of how the leases of a flavor grow
 *
 * Time is cut into spans of FORECAST_SPAN_MS. Of the last ones the most devices that were leased at once are kept;
 * of each window of 1, 2, 6 … spans how often the leases grew by how much (daemon/core/forecast.h).
 */
#ifndef SLUIS_PROTO_MODEL_FORECAST_H
#define SLUIS_PROTO_MODEL_FORECAST_H

#include <stdint.h>

enum { FORECAST_WINDOWS = 6, FORECAST_BUCKETS = 64, FORECAST_PEAKS_MAX = 48 };

struct forecast_peak { uint32_t devices; };
/* Growth that falls into this bucket was seen in that window, with a weight that fades. */
struct forecast_count { uint8_t window, bucket; uint32_t weight; };

struct forecast {
	uint16_t flavor;
	int64_t span;   /* number of the last one that is counted, from 1970 */
	uint32_t level; /* devices leased at its end */
	uint32_t peaks_n;
	struct forecast_peak *peaks; /* of the last spans, the newest last */
	uint32_t counts_n;
	struct forecast_count *counts; /* ascending by window, then bucket; none without weight */
};

#endif
